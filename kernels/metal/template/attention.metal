// Attention for few queries over a KV cache whose K or V, or both, are turbo types.
//
// One threadgroup serves one KV head: its rows are (query, query head of the group) pairs, up to TQ_ROWS, and every row of
// the cache is decoded once for all of them. The cache is split among NWG threadgroups and their NSG simdgroups in chunks of
// 32 positions; with NWG > 1 the partial results go to upstream's kernel_flash_attn_ext_vec_reduce.
//
// A chunk of one simdgroup: scores with 8 lanes per position, four positions at a time, then each lane owns the score of one
// position; online softmax; then all lanes share each row of V. Levels, queries, scores and results are floats. Arguments
// and function constants are those of upstream's vec kernel and two more: rows and table.

constant bool    FC_turbo_vec_has_mask  [[function_constant(FC_FLASH_ATTN_EXT_VEC + 0)]];
constant bool    FC_turbo_vec_has_sinks [[function_constant(FC_FLASH_ATTN_EXT_VEC + 1)]];
constant bool    FC_turbo_vec_has_bias  [[function_constant(FC_FLASH_ATTN_EXT_VEC + 2)]];
constant bool    FC_turbo_vec_has_scap  [[function_constant(FC_FLASH_ATTN_EXT_VEC + 3)]];
constant int32_t FC_turbo_vec_nsg       [[function_constant(FC_FLASH_ATTN_EXT_VEC + 22)]];
constant int32_t FC_turbo_vec_nwg       [[function_constant(FC_FLASH_ATTN_EXT_VEC + 23)]];
// rows of this threadgroup, 1 .. TQ_ROWS
constant int32_t FC_turbo_vec_rows      [[function_constant(FC_FLASH_ATTN_EXT_VEC + 24)]];
// where the levels are looked up: false constant memory, true threadgroup memory
constant bool    FC_turbo_vec_table     [[function_constant(FC_FLASH_ATTN_EXT_VEC + 25)]];

#define TQ_ROWS  8
#define TQ_CHUNK 32
#define TQ_TABLE 16 // floats of threadgroup memory before everything else, for K and for V

// Unrolled with constant indices, so that arrays by row stay in registers.
#define FOR_ROWS(r) FOR_UNROLL (short r = 0; r < TQ_ROWS; ++r) if (r < FC_turbo_vec_rows)

// ---- operands: how a row of K or V is read -------------------------------------------------------
// SCALE: units of four elements that share a scale. values<T>(row, s, base, t, table): unit base + t of scale s, for one of
// T lanes t that read neighbouring units, without the scale. scale(row, s): the factor.

template <short BITS, short BLOCK>
struct tq_turbo {
    enum { SCALE = BLOCK/4, LEVELS = 1 << BITS };
    static float level(short i) { return tq_level<BITS>(i); }
    static device const tq_block<BITS, BLOCK> * block(device const char * row, short s) {
        return (device const tq_block<BITS, BLOCK> *) row + s;
    }
    template <short T>
    static float4 values(device const char * row, short s, short base, short t, threadgroup const float * table) {
        const ushort4 i = tq_indices<T, BITS, BLOCK>(block(row, s), base, t);
        if (FC_turbo_vec_table) {
            return float4(table[i.x], table[i.y], table[i.z], table[i.w]);
        }
        return float4(tq_level<BITS>(i.x), tq_level<BITS>(i.y), tq_level<BITS>(i.z), tq_level<BITS>(i.w));
    }
    static float scale(device const char * row, short s) { return tq_scale(block(row, s)); }
};

struct tq_q8_0 {
    enum { SCALE = 8, LEVELS = 0 };
    static float level(short) { return 0.0f; }
    template <short T>
    static float4 values(device const char * row, short s, short base, short t, threadgroup const float *) {
        device const ushort * q = (device const ushort *) (row + 34*s + 2) + 2*(base + t);
        return float4(float2(as_type<char2>(q[0])), float2(as_type<char2>(q[1])));
    }
    static float scale(device const char * row, short s) { return *(device const half *) (row + 34*s); }
};

struct tq_f16 {
    enum { SCALE = 16, LEVELS = 0 };
    static float level(short) { return 0.0f; }
    template <short T>
    static float4 values(device const char * row, short s, short base, short t, threadgroup const float *) {
        return float4(((device const half4 *) row)[16*s + base + t]);
    }
    static float scale(device const char *, short) { return 1.0f; }
};

// ---- the kernel ----------------------------------------------------------------------------------

template <typename K, typename V, short DK, short DV>
kernel void kernel_tq_flash_attn_vec(
        constant ggml_metal_kargs_flash_attn_ext_vec & args,
        device const char * q,
        device const char * k,
        device const char * v,
        device const char * mask,
        device const char * sinks,
        device const char * pad,
        device       char * dst,
        threadgroup float * shmem [[threadgroup(0)]],
        uint3   tgpig[[threadgroup_position_in_grid]],
        ushort  tiisg[[thread_index_in_simdgroup]],
        ushort  sgitg[[simdgroup_index_in_threadgroup]]) {
    constexpr short DK4 = DK/4;
    constexpr short DV4 = DV/4;
    constexpr short C   = TQ_CHUNK;
    constexpr short NL  = 8;                            // lanes that share a position of K
    constexpr short NV  = DV % 128 == 0 ? 32 : 16;      // lanes that share a position of V
    constexpr short NO  = DV4/NV;                       // results of a lane, in units of four
    static_assert(DK4 % K::SCALE == 0 && K::SCALE % NL == 0, "K: a lane reads whole units of every scale");
    static_assert(DV4 % V::SCALE == 0 && DV4 % NV == 0, "V: the lanes share a row evenly");

    const int   NSG  = FC_turbo_vec_nsg;
    const int   NWG  = FC_turbo_vec_nwg;
    const short rows = FC_turbo_vec_rows;

    const int iwg  = tgpig[2]%NWG;
    const int iq3  = tgpig[2]/NWG;
    const int ikv2 = tgpig[1];
    const int ikv3 = iq3/(args.ne03/args.ne_12_3);
    const int group = args.ne02/args.ne_12_2;           // query heads of this KV head
    const int row0  = tgpig[0]*rows;                    // row r: query r/group, head r%group

    threadgroup float  * tk  = shmem;
    threadgroup float  * tv  = shmem + TQ_TABLE;
    threadgroup float4 * sq4 = (threadgroup float4 *) (shmem + 2*TQ_TABLE);
    threadgroup float  * ss  = shmem + 2*TQ_TABLE + rows*DK + sgitg*rows*C;

    const ushort tid = sgitg*32 + tiisg;
    if (FC_turbo_vec_table) {
        if (tid < K::LEVELS) {
            tk[tid] = K::level(tid);
        }
        if (tid < V::LEVELS) {
            tv[tid] = V::level(tid);
        }
    }
    for (int i = tid; i < rows*DK4; i += 32*NSG) {
        const int r   = row0 + i/DK4;
        const int iq1 = r/group;
        const int iq2 = ikv2*group + r%group;
        sq4[i] = iq1 < args.ne01 ? ((device const float4 *) (q + iq1*args.nb01 + iq2*args.nb02 + iq3*args.nb03))[i%DK4] : float4(0.0f);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);

    k += ikv2*args.nb12 + ikv3*args.nb13;
    v += ikv2*args.nb22 + ikv3*args.nb23;

    float  M[TQ_ROWS];                                  // largest score so far
    float  S[TQ_ROWS];                                  // sum of weights, this lane's part
    float4 o[TQ_ROWS][NO];                              // weighted V: unit NV*i + tiisg%NV
    float  slope[TQ_ROWS];
    device const half * pm[TQ_ROWS];
    FOR_ROWS(r) {
        M[r] = -FLT_MAX/2;
        S[r] = 0.0f;
        FOR_UNROLL (short i = 0; i < NO; ++i) {
            o[r][i] = float4(0.0f);
        }
        const int iq1 = min((row0 + r)/group, args.ne01 - 1);
        const int iq2 = ikv2*group + (row0 + r)%group;
        pm[r]    = (device const half *) (mask + iq1*args.nb31 + (iq2%args.ne32)*args.nb32 + (iq3%args.ne33)*args.nb33);
        slope[r] = 1.0f;
        if (FC_turbo_vec_has_bias) {                    // ALiBi
            const float base = iq2 < args.n_head_log2 ? args.m0 : args.m1;
            const int   exph = iq2 < args.n_head_log2 ? iq2 + 1 : 2*(iq2 - args.n_head_log2) + 1;
            slope[r] = pow(base, (float) exph);
        }
    }

    const short tx = tiisg%NL;
    const short ty = tiisg/NL;
    const short tq = tiisg%NV;

    for (int ic = (iwg*NSG + sgitg)*C; ic < args.ne11; ic += NWG*NSG*C) {
        // this lane's position, and the last one: rows behind it are read as the last and weigh nothing
        const bool inside = ic + tiisg < args.ne11;
        const int  last   = args.ne11 - 1 - ic;

        float m[TQ_ROWS];
        if (FC_turbo_vec_has_mask) {
            float most = -FLT_MAX/2;
            FOR_ROWS(r) {
                m[r] = inside ? (float) pm[r][ic + tiisg] : -MAXHALF;
                most = max(most, m[r]);
            }
            if (simd_max(most) <= -MAXHALF) {
                continue;
            }
        }

        // Q*K^T: lanes 8 ty .. 8 ty + 7 take positions 8 ty + cc one after another
        float s[TQ_ROWS][NL];
        FOR_UNROLL (short cc = 0; cc < NL; ++cc) {
            device const char * row = k + (uint64_t) (ic + min(NL*ty + cc, last))*args.nb11;
            FOR_ROWS(r) {
                s[r][cc] = 0.0f;
            }
            FOR_UNROLL (short b = 0; b < DK4/K::SCALE; ++b) {
                float part[TQ_ROWS];
                FOR_ROWS(r) {
                    part[r] = 0.0f;
                }
                FOR_UNROLL (short u = 0; u < K::SCALE; u += NL) {
                    const float4 x = K::template values<NL>(row, b, u, tx, tk);
                    FOR_ROWS(r) {
                        part[r] += dot(x, sq4[r*DK4 + b*K::SCALE + u + tx]);
                    }
                }
                const float d = K::scale(row, b);
                FOR_ROWS(r) {
                    s[r][cc] += d*part[r];
                }
            }
        }

        // sums over the eight lanes of a position: each step halves the positions that a lane keeps; lane l ends with l's
        simdgroup_barrier(mem_flags::mem_threadgroup);  // the weights of the chunk before have been read
        FOR_ROWS(r) {
            FOR_UNROLL (short w = NL/2; w > 0; w /= 2) {
                const bool upper = tx & w;
                FOR_UNROLL (short i = 0; i < w; ++i) {
                    const float keep = upper ? s[r][i + w] : s[r][i];
                    const float send = upper ? s[r][i] : s[r][i + w];
                    s[r][i] = keep + simd_shuffle_xor(send, w);
                }
            }
            float score = s[r][0]*args.scale;
            if (FC_turbo_vec_has_scap) {
                score = args.logit_softcap*precise::tanh(score);
            }
            if (FC_turbo_vec_has_mask) {
                score += slope[r]*m[r];
            }

            // online softmax
            const float before = M[r];
            M[r] = simd_max(max(before, inside ? score : -FLT_MAX/2));
            const float ms = exp(before - M[r]);
            const float vs = inside ? exp(score - M[r]) : 0.0f;
            S[r] = S[r]*ms + vs;
            ss[r*C + tiisg] = vs;
            FOR_UNROLL (short i = 0; i < NO; ++i) {
                o[r][i] *= ms;
            }
        }
        simdgroup_barrier(mem_flags::mem_threadgroup);

        // O = O + P*V: NV lanes share a position, 32/NV positions at a time
        for (short c = tiisg/NV; c < C; c += 32/NV) {
            device const char * row = v + (uint64_t) (ic + min((int) c, last))*args.nb21;
            FOR_UNROLL (short i = 0; i < NO; ++i) {
                // a scale covers the units of all lanes or of some
                constexpr short T = V::SCALE < NV ? (short) V::SCALE : NV;
                const short  b = V::SCALE < NV ? (NV*i + tq)/V::SCALE : NV*i/V::SCALE;
                const short  u = V::SCALE < NV ? 0 : NV*i%V::SCALE;
                const float4 x = V::scale(row, b)*V::template values<T>(row, b, u, tq%T, tv);
                FOR_ROWS(r) {
                    o[r][i] += x*ss[r*C + c];
                }
            }
        }
    }

    FOR_ROWS(r) {
        S[r] = simd_sum(S[r]);
        if (NV < 32) {
            FOR_UNROLL (short i = 0; i < NO; ++i) {
                o[r][i] += simd_shuffle_xor(o[r][i], 16);
            }
        }
        if (FC_turbo_vec_has_sinks && sgitg == 0 && iwg == 0) {
            const float sink = ((device const float *) sinks)[ikv2*group + (row0 + r)%group];
            const float before = M[r];
            M[r] = max(before, sink);
            const float ms = exp(before - M[r]);
            S[r] = S[r]*ms + exp(sink - M[r]);
            FOR_UNROLL (short i = 0; i < NO; ++i) {
                o[r][i] *= ms;
            }
        }
    }

    // The simdgroups of this threadgroup, upper half into lower half, through the memory of queries and weights.
    for (short n = NSG/2; n > 0; n /= 2) {
        threadgroup_barrier(mem_flags::mem_threadgroup);
        threadgroup float4 * ro = (threadgroup float4 *) (shmem + 2*TQ_TABLE) + (sgitg%n)*rows*DV4;
        threadgroup float  * rs = shmem + 2*TQ_TABLE + n*rows*DV + 2*(sgitg%n)*rows;
        if (sgitg >= n && sgitg < 2*n) {
            FOR_ROWS(r) {
                FOR_UNROLL (short i = 0; i < NO; ++i) {
                    if (tiisg < NV) {
                        ro[r*DV4 + NV*i + tq] = o[r][i];
                    }
                }
                if (tiisg == 0) {
                    rs[2*r + 0] = S[r];
                    rs[2*r + 1] = M[r];
                }
            }
        }
        threadgroup_barrier(mem_flags::mem_threadgroup);
        if (sgitg < n) {
            FOR_ROWS(r) {
                const float m1 = rs[2*r + 1];
                const float mx = max(M[r], m1);
                const float e0 = exp(M[r] - mx);
                const float e1 = exp(m1 - mx);
                S[r] = S[r]*e0 + rs[2*r + 0]*e1;
                M[r] = mx;
                FOR_UNROLL (short i = 0; i < NO; ++i) {
                    o[r][i] = o[r][i]*e0 + ro[r*DV4 + NV*i + tq]*e1;
                }
            }
        }
    }

    if (sgitg != 0) {
        return;
    }
    const int64_t nrows = (int64_t) args.ne3*args.ne2*args.ne1;
    device float4 * dst4 = (device float4 *) dst;
    device float  * dst1 = (device float  *) dst + nrows*DV*NWG; // S and M lie behind the results
    FOR_ROWS(r) {
        const int iq1 = (row0 + r)/group;
        if (iq1 < args.ne01) {
            const int64_t rid = (int64_t) iq3*args.ne2*args.ne1 + iq1*args.ne1 + ikv2*group + (row0 + r)%group;
            const float   inv = NWG == 1 ? (S[r] == 0.0f ? 0.0f : 1.0f/S[r]) : 1.0f;
            FOR_UNROLL (short i = 0; i < NO; ++i) {
                if (tiisg < NV) {
                    dst4[rid*DV4*NWG + NWG*(NV*i + tq) + iwg] = o[r][i]*inv;
                }
            }
            if (NWG > 1 && tiisg == 0) {
                dst1[rid*(2*NWG) + 2*iwg + 0] = S[r];
                dst1[rid*(2*NWG) + 2*iwg + 1] = M[r];
            }
        }
    }
}

@KERNELS@
