// The codec on Metal: SET_ROWS and CPY into a turbo type, GET_ROWS, CPY and the f16 scratch of attention out of one.
// Kernels take the arguments and the dispatch of upstream's kernels of the same name, except that a row to encode is
// given one simdgroup per block instead of one thread: the host multiplies nk0 by 32 (hooks/metal_ops.h).

// ---- encoder -----------------------------------------------------------------------------------

// Sum over a block in the order of encode.h: lane j of 16 holds the sum of elements j, j + 16, ...; then j and j + 8 are
// added, j and j + 4, j and j + 2, and the last two. Each half of the simdgroup has a block sum of its own.
inline float tq_tree(float x) {
#pragma METAL fp math_mode(safe)
#pragma METAL fp contract(off)
    x += simd_shuffle_xor(x, 8);
    x += simd_shuffle_xor(x, 4);
    x += simd_shuffle_xor(x, 2);
    x += simd_shuffle_xor(x, 1);
    return x;
}

// Rank of a magnitude in half levels among the positive levels: the number of edges it reaches.
template <short BITS>
inline short tq_rank(float u2) {
    short rank = 0;
    for (short i = 0; i < (1 << (BITS - 1)) - 1; ++i) {
        rank += u2 >= (BITS == 2 ? tq_edges_2[i] : BITS == 3 ? tq_edges_3[i] : tq_edges_4[i]);
    }
    return rank;
}

// Integer level of a rank.
template <short BITS>
inline short tq_magnitude(short rank) {
    return (short) tq_level<BITS>((1 << (BITS - 1)) + rank);
}

// One block by one simdgroup; see kernels/common/ref.c, whose bytes these are. Lane 16 h + j holds elements j, j + 16,
// ...; half h tries grid points h, h + 2, ...
template <short BITS, short BLOCK, typename S>
void tq_encode(device const S * src, device tq_block<BITS, BLOCK> * dst, ushort lane) {
#pragma METAL fp math_mode(safe)
#pragma METAL fp contract(off)
    constexpr short N = BLOCK/16;
    constexpr short BYTES = BLOCK*BITS/8;
    const short h = lane/16;
    const short j = lane%16;
    device uchar * out = dst->qs;

    uint  bits[N];
    float a[N];
    float square = 0.0f;
    for (short k = 0; k < N; ++k) {
        const float x = (float) src[j + 16*k];
        bits[k] = as_type<uint>(x);
        a[k]    = x;
        square += x*x;
    }
    square = tq_tree(square);

    // Non-finite elements replaced, then everything scaled by a power of two: all in integers as far as denormals are
    // concerned, because the device may flush them.
    float up = 1.0f;
    if (!(square >= TQ_PLAIN_MIN && square <= TQ_PLAIN_MAX)) {
        uint top = 0;
        for (short k = 0; k < N; ++k) {
            const uint mag = bits[k] & 0x7fffffffu;
            bits[k] = mag > 0x7f800000u ? 0u : mag == 0x7f800000u ? bits[k] - 1u : bits[k];
            top = max(top, bits[k] & 0x7fffffffu);
        }
        top = simd_max(top);
        if (top == 0) {
            for (short i = lane; i < BYTES; i += 32) {
                out[i] = 0;
            }
            if (lane == 0) {
                dst->d = 0.0h;
            }
            return;
        }
        const uint  exponent = clamp(top >> 23, 1u, 253u);
        const float power    = as_type<float>((254u - exponent) << 23);
        const float small    = as_type<float>((uint) max(128 - (int) exponent, 0) << 23);
        up     = as_type<float>(exponent << 23);
        square = 0.0f;
        for (short k = 0; k < N; ++k) {
            const uint mag = bits[k] & 0x7fffffffu;
            // A denormal is its bits times 2^-149, times the power: 2^-23 and 2^(1 - exponent).
            a[k] = mag < 0x00800000u ? (float) mag*as_type<float>(104u << 23)*small : as_type<float>(mag)*power;
            square += a[k]*a[k];
        }
        square = tq_tree(square);
    }
    for (short k = 0; k < N; ++k) {
        a[k] = fabs(a[k]);
    }
    const float norm = precise::sqrt(square);

    // The first grid point with the largest <x,L>^2 / <L,L>.
    float best_score = -1.0f, best_gain = 0.0f, best_cross = 0.0f;
    short best = TQ_GRID_POINTS;
    for (short g = h; g < TQ_GRID_POINTS + h; g += 2) {
        const float gain  = tq_gain<BITS, BLOCK>()/(tq_grid[min(g, (short) (TQ_GRID_POINTS - 1))]*norm);
        float       cross = 0.0f;
        int         own   = 0;
        for (short k = 0; k < N; ++k) {
            const short level = tq_magnitude<BITS>(tq_rank<BITS>(a[k]*gain));
            cross += a[k]*(float) level;
            own   += level*level;
        }
        cross = tq_tree(cross);
        own += simd_shuffle_xor(own, 8);
        own += simd_shuffle_xor(own, 4);
        own += simd_shuffle_xor(own, 2);
        own += simd_shuffle_xor(own, 1);
        const float score = cross*cross/(float) own;
        if (g < TQ_GRID_POINTS && score > best_score) {
            best_score = score;
            best_gain  = gain;
            best_cross = cross;
            best       = g;
        }
    }
    const float other_score = simd_shuffle_xor(best_score, 16);
    const float other_gain  = simd_shuffle_xor(best_gain,  16);
    const float other_cross = simd_shuffle_xor(best_cross, 16);
    const short other       = simd_shuffle_xor(best,       16);
    if (other_score > best_score || (other_score == best_score && other < best)) {
        best_gain  = other_gain;
        best_cross = other_cross;
    }

    const float ratio  = square/best_cross;
    const float scaled = ratio*TQ_SCALE_UP;
    const float scale  = scaled*up;
    const half  d      = (half) (scale > TQ_HALF_MAX ? TQ_HALF_MAX : scale);
    // A scale that rounds to zero leaves the block all zero bytes, like the zero block.
    const bool  some   = as_type<ushort>(d) != 0;

    ushort index[N];
    for (short k = 0; k < N; ++k) {
        const short rank = tq_rank<BITS>(a[k]*best_gain);
        index[k] = some ? (bits[k] >> 31 ? (1 << (BITS - 1)) - 1 - rank : (1 << (BITS - 1)) + rank) : 0;
    }
    if (lane == 0) {
        dst->d = d;
    }
    if (BITS == 4) {
        for (short k = 0; k < N/2; ++k) {
            if (k%2 == h) {
                out[j + 16*k] = index[k] | index[k + N/2] << 4;
            }
        }
    } else {
        constexpr short Q = N/4;
        for (short k = 0; k < Q; ++k) {
            if (k%2 == h) {
                out[j + 16*k] = (index[k] & 3) | (index[k + Q] & 3) << 2 | (index[k + 2*Q] & 3) << 4 | (index[k + 3*Q] & 3) << 6;
            }
        }
    }
    if (BITS == 3) {
        // element e is bit e%8 of byte e/8: 32 lanes make one word
        for (short k = 0; k < N/2; ++k) {
            const bool high = (h ? index[2*k + 1] : index[2*k]) & 4;
            const uint word = (uint) (simd_vote::vote_t) simd_ballot(high);
            if (lane < 4) {
                out[BLOCK/4 + 4*k + lane] = word >> (8*lane);
            }
        }
    }
}

template <typename TS, typename TI, short BITS, short BLOCK>
kernel void kernel_tq_set_rows(
        constant ggml_metal_kargs_set_rows & args,
        device const  void * src0,
        device const  void * src1,
        device       float * dst,
        uint3                tgpig[[threadgroup_position_in_grid]],
        uint                 tiitg[[thread_index_in_threadgroup]],
        uint3                tptg [[threads_per_threadgroup]],
        ushort               tiisg[[thread_index_in_simdgroup]]) {
    const int32_t i03 = tgpig.z;
    const int32_t i02 = tgpig.y;
    const int32_t i01 = tgpig.x*tptg.y + tiitg/tptg.x;
    if (i01 >= args.ne01) {
        return;
    }
    const int32_t i12 = i03%args.ne12;
    const int32_t i11 = i02%args.ne11;
    const TI      i1  = ((device const TI *) ((device const char *) src1 + i01*args.nb10 + i11*args.nb11 + i12*args.nb12))[0];

    device tq_block<BITS, BLOCK> * dst_row = (device tq_block<BITS, BLOCK> *) ((device char *) dst + i1*args.nb1 + i02*args.nb2 + i03*args.nb3);
    device const TS              * src_row = (device const TS *) ((device const char *) src0 + i01*args.nb01 + i02*args.nb02 + i03*args.nb03);

    for (int32_t ind = tiitg%tptg.x; ind < args.nk0; ind += tptg.x) {
        tq_encode<BITS, BLOCK, TS>(src_row + BLOCK*(ind/32), dst_row + ind/32, tiisg);
    }
}

template <typename TS, short BITS, short BLOCK>
kernel void kernel_tq_cpy_to(
        constant ggml_metal_kargs_cpy & args,
        device  const char * src0,
        device        char * dst,
        uint3   tgpig[[threadgroup_position_in_grid]],
        ushort3 tpitg[[thread_position_in_threadgroup]],
        ushort3   ntg[[threads_per_threadgroup]],
        ushort  tiisg[[thread_index_in_simdgroup]]) {
    const int32_t i03 = tgpig[2];
    const int32_t i02 = tgpig[1];
    const int32_t i01 = tgpig[0]%args.ne01;
    const int32_t iw0 = tgpig[0]/args.ne01;

    const int64_t n  = i03*args.ne02*args.ne01*args.ne00 + i02*args.ne01*args.ne00 + i01*args.ne00;
    const int64_t i3 = n/(args.ne2*args.ne1*args.ne0);
    const int64_t i2 = (n - i3*args.ne2*args.ne1*args.ne0)/(args.ne1*args.ne0);
    const int64_t i1 = (n - i3*args.ne2*args.ne1*args.ne0 - i2*args.ne1*args.ne0)/args.ne0;
    const int64_t i0 = (n - i3*args.ne2*args.ne1*args.ne0 - i2*args.ne1*args.ne0 - i1*args.ne0)/BLOCK;

    device const TS              * src_row = (device const TS *) (src0 + i03*args.nb03 + i02*args.nb02 + i01*args.nb01);
    device tq_block<BITS, BLOCK> * dst_row = (device tq_block<BITS, BLOCK> *) (dst + i3*args.nb3 + i2*args.nb2 + i1*args.nb1 + i0*args.nb0);

    const int32_t ind = iw0*ntg[0] + tpitg.x;
    if (ind < args.nk0) {
        tq_encode<BITS, BLOCK, TS>(src_row + BLOCK*(ind/32), dst_row + ind/32, tiisg);
    }
}

// ---- decoder -----------------------------------------------------------------------------------

// Four elements; bit-identical to the reference: one product of the scale and an integer.
template <short BITS, short BLOCK>
inline float4 tq_decode4(device const tq_block<BITS, BLOCK> * xb, short unit) {
    const float   d = tq_scale(xb);
    const ushort4 i = tq_indices<1, BITS, BLOCK>(xb, unit, 0);
    return d*float4(tq_level<BITS>(i.x), tq_level<BITS>(i.y), tq_level<BITS>(i.z), tq_level<BITS>(i.w));
}

template <short BITS, short BLOCK>
kernel void kernel_tq_get_rows(
        constant ggml_metal_kargs_get_rows & args,
        device const void * src0,
        device const void * src1,
        device       void * dst,
        uint3               tgpig[[threadgroup_position_in_grid]],
        ushort              tiitg[[thread_index_in_threadgroup]],
        ushort3             ntg  [[threads_per_threadgroup]]) {
    const int32_t iw0 = tgpig.x/args.ne10;
    const int32_t i10 = tgpig.x%args.ne10;
    const int32_t i11 = tgpig.y;
    const int32_t i12 = tgpig.z;

    const int32_t r = ((device const int32_t *) ((device const char *) src1 + i12*args.nb12 + i11*args.nb11 + i10*args.nb10))[0];

    device const tq_block<BITS, BLOCK> * psrc = (device const tq_block<BITS, BLOCK> *) ((device const char *) src0 + i12*args.nb03 + i11*args.nb02 + r*args.nb01);
    device       float4                * pdst = (device float4 *) ((device char *) dst + i12*args.nb3 + i11*args.nb2 + i10*args.nb1);

    const int32_t ind = iw0*ntg.x + tiitg;     // a run of 16 values
    if (ind < args.ne00t) {
        for (short i = 0; i < 4; ++i) {
            pdst[4*ind + i] = tq_decode4<BITS, BLOCK>(psrc + ind/(BLOCK/16), 4*(ind%(BLOCK/16)) + i);
        }
    }
}

template <typename T4, short BITS, short BLOCK>
kernel void kernel_tq_cpy_from(
        constant ggml_metal_kargs_cpy & args,
        device  const char * src0,
        device        char * dst,
        uint3   tgpig[[threadgroup_position_in_grid]],
        ushort3 tpitg[[thread_position_in_threadgroup]],
        ushort3   ntg[[threads_per_threadgroup]]) {
    const int32_t i03 = tgpig[2];
    const int32_t i02 = tgpig[1];
    const int32_t i01 = tgpig[0]%args.ne01;
    const int32_t iw0 = tgpig[0]/args.ne01;

    const int64_t n  = i03*args.ne02*args.ne01*args.ne00 + i02*args.ne01*args.ne00 + i01*args.ne00;
    const int64_t i3 = n/(args.ne2*args.ne1*args.ne0);
    const int64_t i2 = (n - i3*args.ne2*args.ne1*args.ne0)/(args.ne1*args.ne0);
    const int64_t i1 = (n - i3*args.ne2*args.ne1*args.ne0 - i2*args.ne1*args.ne0)/args.ne0;
    const int64_t i0 = (n - i3*args.ne2*args.ne1*args.ne0 - i2*args.ne1*args.ne0 - i1*args.ne0);

    device const tq_block<BITS, BLOCK> * src_row = (device const tq_block<BITS, BLOCK> *) (src0 + i03*args.nb03 + i02*args.nb02 + i01*args.nb01);
    device       T4                    * dst_row = (device T4 *) (dst + i3*args.nb3 + i2*args.nb2 + i1*args.nb1 + i0*args.nb0);

    const int32_t ind = iw0*ntg[0] + tpitg.x;  // a run of 16 values
    if (ind < args.nk0) {
        for (short i = 0; i < 4; ++i) {
            dst_row[4*ind + i] = T4(tq_decode4<BITS, BLOCK>(src_row + ind/(BLOCK/16), 4*(ind%(BLOCK/16)) + i));
        }
    }
}

// K or V to contiguous f16, one thread per block, for attention with many queries.
template <short BITS, short BLOCK>
kernel void kernel_tq_kv_f16(
        constant ggml_metal_kargs_flash_attn_ext_kv_f16 & args,
        device const char * x,
        device       half * x_dst,
        uint gid [[thread_position_in_grid]]) {
    if (gid >= (uint) args.nblocks) {
        return;
    }
    const uint nb = args.ne0/BLOCK;
    const uint i0 = gid%nb;
    const uint i1 = gid/nb%args.ne1;
    const uint i2 = gid/nb/args.ne1%args.ne2;
    const uint i3 = gid/nb/args.ne1/args.ne2;

    device const tq_block<BITS, BLOCK> * src = (device const tq_block<BITS, BLOCK> *) (x + i0*args.nb0 + i1*args.nb1 + i2*args.nb2 + i3*args.nb3);
    device       half4                 * dst = (device half4 *) x_dst + (uint64_t) (BLOCK/4)*gid;
    for (short i = 0; i < BLOCK/4; ++i) {
        dst[i] = half4(tq_decode4<BITS, BLOCK>(src, i));
    }
}

// The f16 side of a mixed pair: a block of one value.
[[host_name("kernel_flash_attn_ext_kv_f16_f16")]] kernel void kernel_tq_kv_f16_plain(
        constant ggml_metal_kargs_flash_attn_ext_kv_f16 & args,
        device const char * x,
        device       half * x_dst,
        uint gid [[thread_position_in_grid]]) {
    if (gid >= (uint) args.nblocks) {
        return;
    }
    const uint i0 = gid%args.ne0;
    const uint i1 = gid/args.ne0%args.ne1;
    const uint i2 = gid/args.ne0/args.ne1%args.ne2;
    const uint i3 = gid/args.ne0/args.ne1/args.ne2;
    x_dst[gid] = *(device const half *) (x + i0*args.nb0 + i1*args.nb1 + i2*args.nb2 + i3*args.nb3);
}

@KERNELS@
