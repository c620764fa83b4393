// AVX-512 implementation (F, BW, VL, DQ, VNNI; no VBMI). Comments say only what differs from ref.c.
#include "impl.h"

#if defined(__x86_64__)

#include "../turbo2/avx2.h"
#include "../turbo3/avx512.h"
#include "../turbo4/avx2.h"

// Tables for byte shuffles, 16 entries each; index 0 of the first dimension is width 2.
static const int8_t levels_table[3][16] = { TQ_LEVELS_2, TQ_LEVELS_3, TQ_LEVELS_4 };
static const int8_t mag_table[3][16]    = { TQ_MAG_2, TQ_MAG_3, TQ_MAG_4 };
static const uint8_t below_table[3][16] = { TQ_BIN_BELOW_2, TQ_BIN_BELOW_3, TQ_BIN_BELOW_4 };
static const uint8_t rank_table[3][16]  = { TQ_BIN_RANK_2, TQ_BIN_RANK_3, TQ_BIN_RANK_4 };
static const float   grid[]             = TQ_GRID;

TQ_INLINE TQ_AVX512 __m512i broadcast_table(const void * table) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *) table));
}

// ---- encode -------------------------------------------------------------------------------------

// The first step of the tree of encode.h: lanes j and j + 8.
TQ_INLINE TQ_AVX512 __m256 fold_avx512(__m512 lanes) {
    return _mm256_add_ps(_mm512_castps512_ps256(lanes), _mm512_extractf32x8_ps(lanes, 1));
}

// Stores |x| to a and returns <x,x>.
TQ_INLINE TQ_AVX512 float magnitudes_avx512(const float * x, float * a, int block) {
    __m512 lanes = _mm512_setzero_ps();
    TQ_UNROLL
    for (int i = 0; i < block / 16; i++) {
        const __m512 v = _mm512_abs_ps(_mm512_loadu_ps(x + 16 * i));
        _mm512_store_ps(a + 16 * i, v);
        lanes = _mm512_add_ps(lanes, _mm512_mul_ps(v, v));
    }
    return tq_sum_avx2(fold_avx512(lanes));
}

// Ranks of 64 magnitudes as bytes, in the order that the in-lane packs leave:
// 128-bit lane h holds dwords (0,h) (1,h) (2,h) (3,h) of the four input vectors. unpack undoes it.
TQ_INLINE TQ_AVX512 __m512i ranks_avx512(const float * a, __m512 gain, int bits) {
    __m512i w[4];
    TQ_UNROLL
    for (int i = 0; i < 4; i++) {
        w[i] = _mm512_cvttps_epi32(_mm512_mul_ps(_mm512_load_ps(a + 16 * i), gain));
    }
    // Saturating packs give min(255, floor(2 |u|)).
    const __m512i half_levels = _mm512_packus_epi16(_mm512_packs_epi32(w[0], w[1]), _mm512_packs_epi32(w[2], w[3]));
    if (bits == 2) {
        static const uint8_t edges[] = TQ_EDGES_2;
        const __mmask64 above = _mm512_cmpge_epu8_mask(half_levels, _mm512_set1_epi8((char) edges[0]));
        return _mm512_maskz_set1_epi8(above, 1);
    }
    const __m512i   bin   = _mm512_and_si512(_mm512_srli_epi16(half_levels, 4), _mm512_set1_epi8(15));
    const __m512i   below = _mm512_shuffle_epi8(broadcast_table(below_table[bits - 2]), bin);
    const __m512i   start = _mm512_shuffle_epi8(broadcast_table(rank_table[bits - 2]), bin);
    const __mmask64 above = _mm512_cmpgt_epu8_mask(half_levels, below);
    return _mm512_mask_add_epi8(start, above, start, _mm512_set1_epi8(1));
}

// TQ_STRIDE grid points: <x,L> and <L,L> of each, up to the last three steps of the tree. Their chains of
// additions are independent and overlap; one point at a time waits
// for its own (15 % slower).
TQ_INLINE TQ_AVX512 void try_gains_avx512(
    const float * a, const float * gain, int bits, int block, __m256 * cross, __m256 * own) {
    const __m512i zero = _mm512_setzero_si512();
    const __m512i mags = broadcast_table(mag_table[bits - 2]);
    __m512        lanes[TQ_STRIDE];
    __m512i       squares[TQ_STRIDE];
    TQ_UNROLL
    for (int g = 0; g < TQ_STRIDE; g++) {
        lanes[g]   = _mm512_setzero_ps();
        squares[g] = zero;
    }
    TQ_UNROLL
    for (int i = 0; i < block; i += 64) {
        TQ_UNROLL
        for (int g = 0; g < TQ_STRIDE; g++) {
            const __m512i level = _mm512_shuffle_epi8(mags, ranks_avx512(a + i, _mm512_set1_ps(gain[g]), bits));
            squares[g]          = _mm512_dpbusd_epi32(squares[g], level, level);
            const __m512i front = _mm512_unpacklo_epi8(level, zero);
            const __m512i back  = _mm512_unpackhi_epi8(level, zero);
            const __m512  l0    = _mm512_cvtepi32_ps(_mm512_unpacklo_epi16(front, zero));
            const __m512  l1    = _mm512_cvtepi32_ps(_mm512_unpackhi_epi16(front, zero));
            const __m512  l2    = _mm512_cvtepi32_ps(_mm512_unpacklo_epi16(back, zero));
            const __m512  l3    = _mm512_cvtepi32_ps(_mm512_unpackhi_epi16(back, zero));
            // Never fused: the reference rounds every product.
            lanes[g] = _mm512_add_ps(lanes[g], _mm512_mul_ps(_mm512_load_ps(a + i), l0));
            lanes[g] = _mm512_add_ps(lanes[g], _mm512_mul_ps(_mm512_load_ps(a + i + 16), l1));
            lanes[g] = _mm512_add_ps(lanes[g], _mm512_mul_ps(_mm512_load_ps(a + i + 32), l2));
            lanes[g] = _mm512_add_ps(lanes[g], _mm512_mul_ps(_mm512_load_ps(a + i + 48), l3));
        }
    }
    TQ_UNROLL
    for (int g = 0; g < TQ_STRIDE; g++) {
        cross[g] = fold_avx512(lanes[g]);
        own[g]   = fold_avx512(_mm512_cvtepi32_ps(squares[g]));
    }
}

// Index bytes of 64 elements in natural order.
TQ_INLINE TQ_AVX512 __m512i indices_avx512(const float * a, const float * x, __m512 gain, int bits) {
    const __m512i natural = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __mmask64     negative = 0;
    TQ_UNROLL
    for (int i = 0; i < 4; i++) {
        const __mmask16 sign = _mm512_movepi32_mask(_mm512_loadu_si512(x + 16 * i));
        negative |= (__mmask64) sign << (16 * i);
    }
    // half - 1 - rank is the complement of half + rank.
    const __m512i rank     = _mm512_permutexvar_epi32(natural, ranks_avx512(a, gain, bits));
    const __m512i positive = _mm512_or_si512(rank, _mm512_set1_epi8((char) (1 << (bits - 1))));
    const __m512i flip     = _mm512_maskz_set1_epi8(negative, (char) ((1 << bits) - 1));
    return _mm512_xor_si512(positive, flip);
}

// A block on its way through the encoder. Blocks go in pairs, phase by phase: the first and the last
// phase are chains of dependent steps, and two of them overlap (3 to 8 % faster than singly).
typedef struct {
    float         a[TQ_MAX_BLOCK] __attribute__((aligned(64)));
    float         clean[TQ_MAX_BLOCK];
    const float * x;
    float         square, norm, up;  // up is 0 for a block of zeros
    float         gain[TQ_GRID_POINTS], cross[TQ_GRID_POINTS], own[TQ_GRID_POINTS];
} block_work;

TQ_INLINE TQ_AVX512 void prepare_avx512(block_work * w, const float * x, int block) {
    w->x      = x;
    w->up     = 1.0f;
    w->square = magnitudes_avx512(x, w->a, block);
    if (!tq_is_plain(w->square)) {
        w->up     = tq_norm_block(x, w->clean, block);
        w->x      = w->clean;
        w->square = magnitudes_avx512(w->clean, w->a, block);
    }
    w->norm = _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(w->square)));
}

TQ_INLINE TQ_AVX512 void search_avx512(block_work * w, int bits, int block) {
    __m256 cross_lanes[TQ_GRID_POINTS], own_lanes[TQ_GRID_POINTS];
    for (int g = 0; g < TQ_GRID_POINTS; g++) {
        w->gain[g] = tq_gain(bits, block) / (grid[g] * w->norm);
    }
    for (int g = 0; g < TQ_GRID_POINTS; g += TQ_STRIDE) {
        try_gains_avx512(w->a, w->gain + g, bits, block, cross_lanes + g, own_lanes + g);
    }
    tq_grid_sums_avx2(cross_lanes, w->cross);
    tq_grid_sums_avx2(own_lanes, w->own);
}

TQ_INLINE TQ_AVX512 void finish_avx512(const block_work * w, uint8_t * out, int bits, int block) {
    const int      best = tq_best_point(w->cross, w->own);
    const uint16_t d    = tq_stored_scale(w->square, w->cross[best], w->up);
    if (d == 0 || w->up == 0.0f) {
        memset(out, 0, TQ_ROW_BYTES(bits, block));
        return;
    }
    __m256i index[TQ_MAX_BLOCK / 32];
    TQ_UNROLL
    for (int i = 0; i < block / 64; i++) {
        const __m512i v  = indices_avx512(w->a + 64 * i, w->x + 64 * i, _mm512_set1_ps(w->gain[best]), bits);
        index[2 * i]     = _mm512_castsi512_si256(v);
        index[2 * i + 1] = _mm512_extracti64x4_epi64(v, 1);
    }
    memcpy(out, &d, sizeof d);
    switch (bits) {
        case 2: tq_turbo2_pack_avx2(index, out + 2, block); break;
        case 3: tq_turbo3_pack_avx2(index, out + 2, block); break;
        default: tq_turbo4_pack_avx2(index, out + 2, block); break;
    }
}

TQ_INLINE TQ_AVX512 void quantize_blocks_avx512(
    const float * x, uint8_t * out, int64_t count, int bits, int block) {
    block_work work[2];
    for (int64_t i = 0; i < count; i += 2) {
        const int pair = count - i < 2 ? 1 : 2;
        for (int j = 0; j < pair; j++) {
            prepare_avx512(&work[j], x + (i + j) * block, block);
        }
        for (int j = 0; j < pair; j++) {
            search_avx512(&work[j], bits, block);
        }
        for (int j = 0; j < pair; j++) {
            finish_avx512(&work[j], out + (i + j) * TQ_ROW_BYTES(bits, block), bits, block);
        }
    }
}

// ---- decode and dot -------------------------------------------------------------------------------

TQ_INLINE TQ_AVX512 __m256i levels_avx512(const uint8_t * qs, int bits, int block, int b) {
    const __m256i index = bits == 2   ? tq_turbo2_unpack_avx2(qs, block, b)
                          : bits == 3 ? tq_turbo3_unpack_avx512(qs, block, b)
                                      : tq_turbo4_unpack_avx2(qs, block, b);
    return _mm256_shuffle_epi8(_mm512_castsi512_si256(broadcast_table(levels_table[bits - 2])), index);
}

TQ_INLINE TQ_AVX512 void dequantize_block_avx512(const uint8_t * in, float * y, int bits, int block) {
    const __m512 scale = _mm512_set1_ps(tq_fp16_to_f32_f16c(tq_load_u16(in)) * TQ_SCALE_DOWN);
    TQ_UNROLL
    for (int b = 0; b < block / 32; b++) {
        const __m256i level = levels_avx512(in + 2, bits, block, b);
        const __m512i front = _mm512_cvtepi8_epi32(_mm256_castsi256_si128(level));
        const __m512i back  = _mm512_cvtepi8_epi32(_mm256_extracti128_si256(level, 1));
        _mm512_storeu_ps(y + 32 * b, _mm512_mul_ps(scale, _mm512_cvtepi32_ps(front)));
        _mm512_storeu_ps(y + 32 * b + 16, _mm512_mul_ps(scale, _mm512_cvtepi32_ps(back)));
    }
}

TQ_INLINE TQ_AVX512 float dot_row_avx512(
    int n, const uint8_t * x, const tq_block_q8_0 * y, int bits, int block, int bytes) {
    __m256 sum = _mm256_setzero_ps();
    for (int i = 0; i < n / block; i++, x += bytes, y += block / 32) {
        __m256 inner = _mm256_setzero_ps();
        TQ_UNROLL
        for (int b = 0; b < block / 32; b++) {
            // The sign moves to the levels, |q| fits an unsigned byte even for -128.
            const __m256i level = levels_avx512(x + 2, bits, block, b);
            const __m256i q     = _mm256_loadu_si256((const __m256i *) y[b].qs);
            const __m256i whole = _mm256_dpbusd_epi32(
                _mm256_setzero_si256(), _mm256_abs_epi8(q), _mm256_sign_epi8(level, q));
            const __m256 scale = _mm256_set1_ps(tq_fp16_to_f32_f16c(y[b].d));
            inner              = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(whole), inner);
        }
        const __m256 scale = _mm256_set1_ps(tq_fp16_to_f32_f16c(tq_load_u16(x)) * TQ_SCALE_DOWN);
        sum                = _mm256_fmadd_ps(scale, inner, sum);
    }
    return tq_sum_avx2(sum);
}

static bool supported(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni");
}

#define TQ_KV_TYPE(ENUM, id, name, family, bits, block, bytes) \
    TQ_DEFINE_OPS(avx512, TQ_AVX512, name, bits, block, bytes)
#include "../types.def"

const tq_codec_impl tq_impl_avx512 = {
    "avx512",
    supported,
    {
#define TQ_KV_TYPE(ENUM, id, name, family, bits, block, bytes) TQ_LIST_OPS(avx512, avx512, name)
#include "../types.def"
    },
};

#endif
