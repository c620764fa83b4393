// AVX2 implementation. Comments say only what differs from ref.c.
#include "impl.h"

#if defined(__x86_64__)

#include "../turbo2/avx2.h"
#include "../turbo3/avx2.h"
#include "../turbo4/avx2.h"

// Tables for byte shuffles, 16 entries each; index 0 of the first dimension is width 2.
static const int8_t levels_table[3][16] = { TQ_LEVELS_2, TQ_LEVELS_3, TQ_LEVELS_4 };
static const int8_t mag_table[3][16]    = { TQ_MAG_2, TQ_MAG_3, TQ_MAG_4 };
static const uint8_t below_table[3][16] = { TQ_BIN_BELOW_2, TQ_BIN_BELOW_3, TQ_BIN_BELOW_4 };
static const uint8_t rank_table[3][16]  = { TQ_BIN_RANK_2, TQ_BIN_RANK_3, TQ_BIN_RANK_4 };
static const float   grid[]             = TQ_GRID;

TQ_INLINE TQ_AVX2 __m256i broadcast_table(const void * table) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *) table));
}

// ---- encode -------------------------------------------------------------------------------------

// Stores |x| to a and returns <x,x>.
TQ_INLINE TQ_AVX2 float magnitudes_avx2(const float * x, float * a, int block) {
    const __m256 no_sign = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    __m256       low = _mm256_setzero_ps(), high = _mm256_setzero_ps();
    TQ_UNROLL
    for (int i = 0; i < block; i += 16) {
        const __m256 v0 = _mm256_and_ps(_mm256_loadu_ps(x + i), no_sign);
        const __m256 v1 = _mm256_and_ps(_mm256_loadu_ps(x + i + 8), no_sign);
        _mm256_store_ps(a + i, v0);
        _mm256_store_ps(a + i + 8, v1);
        low  = _mm256_add_ps(low, _mm256_mul_ps(v0, v0));
        high = _mm256_add_ps(high, _mm256_mul_ps(v1, v1));
    }
    return tq_sum_avx2(_mm256_add_ps(low, high));
}

// Ranks of 32 magnitudes as bytes, in the order that the in-lane packs leave:
// 128-bit lane h holds dwords (0,h) (1,h) (2,h) (3,h) of the four input vectors. unpack undoes it.
TQ_INLINE TQ_AVX2 __m256i ranks_avx2(const float * a, __m256 gain, int bits) {
    __m256i w[4];
    TQ_UNROLL
    for (int i = 0; i < 4; i++) {
        w[i] = _mm256_cvttps_epi32(_mm256_mul_ps(_mm256_load_ps(a + 8 * i), gain));
    }
    // Saturating packs give min(255, floor(2 |u|)).
    const __m256i half_levels = _mm256_packus_epi16(_mm256_packs_epi32(w[0], w[1]), _mm256_packs_epi32(w[2], w[3]));
    const __m256i bin   = _mm256_and_si256(_mm256_srli_epi16(half_levels, 4), _mm256_set1_epi8(15));
    const __m256i below = _mm256_shuffle_epi8(broadcast_table(below_table[bits - 2]), bin);
    // One too high, and not_above is -1 where half_levels <= below.
    const __m256i table = _mm256_add_epi8(broadcast_table(rank_table[bits - 2]), _mm256_set1_epi8(1));
    const __m256i start = _mm256_shuffle_epi8(table, bin);
    const __m256i not_above = _mm256_cmpeq_epi8(_mm256_min_epu8(half_levels, below), half_levels);
    return _mm256_add_epi8(start, not_above);
}

// TQ_STRIDE grid points: <x,L> and <L,L> of each, up to the last three steps of the tree, lanes j and
// j + 8 added. Their chains of additions are independent and overlap; one point at a time waits for its own.
TQ_INLINE TQ_AVX2 void try_gains_avx2(
    const float * a, const float * gain, int bits, int block, __m256 * cross, __m256 * own) {
    const __m256i zero = _mm256_setzero_si256();
    const __m256i mags = broadcast_table(mag_table[bits - 2]);
    __m256        low[TQ_STRIDE], high[TQ_STRIDE];
    __m256i       squares[TQ_STRIDE];
    TQ_UNROLL
    for (int g = 0; g < TQ_STRIDE; g++) {
        low[g] = high[g] = _mm256_setzero_ps();
        squares[g]       = zero;
    }
    TQ_UNROLL
    for (int i = 0; i < block; i += 32) {
        TQ_UNROLL
        for (int g = 0; g < TQ_STRIDE; g++) {
            const __m256i level = _mm256_shuffle_epi8(mags, ranks_avx2(a + i, _mm256_set1_ps(gain[g]), bits));
            const __m256i pairs = _mm256_maddubs_epi16(level, level);
            squares[g]          = _mm256_add_epi32(squares[g], _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
            const __m256i front = _mm256_unpacklo_epi8(level, zero);
            const __m256i back  = _mm256_unpackhi_epi8(level, zero);
            const __m256  l0    = _mm256_cvtepi32_ps(_mm256_unpacklo_epi16(front, zero));
            const __m256  l1    = _mm256_cvtepi32_ps(_mm256_unpackhi_epi16(front, zero));
            const __m256  l2    = _mm256_cvtepi32_ps(_mm256_unpacklo_epi16(back, zero));
            const __m256  l3    = _mm256_cvtepi32_ps(_mm256_unpackhi_epi16(back, zero));
            low[g]  = _mm256_add_ps(low[g], _mm256_mul_ps(_mm256_load_ps(a + i), l0));
            high[g] = _mm256_add_ps(high[g], _mm256_mul_ps(_mm256_load_ps(a + i + 8), l1));
            low[g]  = _mm256_add_ps(low[g], _mm256_mul_ps(_mm256_load_ps(a + i + 16), l2));
            high[g] = _mm256_add_ps(high[g], _mm256_mul_ps(_mm256_load_ps(a + i + 24), l3));
        }
    }
    TQ_UNROLL
    for (int g = 0; g < TQ_STRIDE; g++) {
        cross[g] = _mm256_add_ps(low[g], high[g]);
        own[g]   = _mm256_cvtepi32_ps(squares[g]);
    }
}

// Index bytes of 32 elements in natural order.
TQ_INLINE TQ_AVX2 __m256i indices_avx2(const float * a, const float * x, __m256 gain, int bits) {
    const __m256i * raw = (const __m256i *) x;
    // Signed saturation keeps the sign, and -0 becomes negative as in the reference.
    const __m256i sign = _mm256_packs_epi16(
        _mm256_packs_epi32(_mm256_loadu_si256(raw), _mm256_loadu_si256(raw + 1)),
        _mm256_packs_epi32(_mm256_loadu_si256(raw + 2), _mm256_loadu_si256(raw + 3)));
    const __m256i negative = _mm256_cmpgt_epi8(_mm256_setzero_si256(), sign);
    // half - 1 - rank is the complement of half + rank.
    const __m256i positive = _mm256_or_si256(ranks_avx2(a, gain, bits), _mm256_set1_epi8((char) (1 << (bits - 1))));
    const __m256i flip     = _mm256_and_si256(negative, _mm256_set1_epi8((char) ((1 << bits) - 1)));
    return _mm256_permutevar8x32_epi32(
        _mm256_xor_si256(positive, flip), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

TQ_INLINE TQ_AVX2 void pack_avx2(const __m256i * index, uint8_t * qs, int bits, int block) {
    switch (bits) {
        case 2: tq_turbo2_pack_avx2(index, qs, block); break;
        case 3: tq_turbo3_pack_avx2(index, qs, block); break;
        default: tq_turbo4_pack_avx2(index, qs, block); break;
    }
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

TQ_INLINE TQ_AVX2 void prepare_avx2(block_work * w, const float * x, int block) {
    w->x      = x;
    w->up     = 1.0f;
    w->square = magnitudes_avx2(x, w->a, block);
    if (!tq_is_plain(w->square)) {
        w->up     = tq_norm_block(x, w->clean, block);
        w->x      = w->clean;
        w->square = magnitudes_avx2(w->clean, w->a, block);
    }
    w->norm = _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(w->square)));
}

TQ_INLINE TQ_AVX2 void search_avx2(block_work * w, int bits, int block) {
    __m256 cross_lanes[TQ_GRID_POINTS], own_lanes[TQ_GRID_POINTS];
    for (int g = 0; g < TQ_GRID_POINTS; g++) {
        w->gain[g] = tq_gain(bits, block) / (grid[g] * w->norm);
    }
    for (int g = 0; g < TQ_GRID_POINTS; g += TQ_STRIDE) {
        try_gains_avx2(w->a, w->gain + g, bits, block, cross_lanes + g, own_lanes + g);
    }
    tq_grid_sums_avx2(cross_lanes, w->cross);
    tq_grid_sums_avx2(own_lanes, w->own);
}

TQ_INLINE TQ_AVX2 void finish_avx2(const block_work * w, uint8_t * out, int bits, int block) {
    const int      best = tq_best_point(w->cross, w->own);
    const uint16_t d    = tq_stored_scale(w->square, w->cross[best], w->up);
    if (d == 0 || w->up == 0.0f) {
        memset(out, 0, TQ_ROW_BYTES(bits, block));
        return;
    }
    __m256i index[TQ_MAX_BLOCK / 32];
    TQ_UNROLL
    for (int b = 0; b < block / 32; b++) {
        index[b] = indices_avx2(w->a + 32 * b, w->x + 32 * b, _mm256_set1_ps(w->gain[best]), bits);
    }
    memcpy(out, &d, sizeof d);
    pack_avx2(index, out + 2, bits, block);
}

TQ_INLINE TQ_AVX2 void quantize_blocks_avx2(
    const float * x, uint8_t * out, int64_t count, int bits, int block) {
    block_work work[2];
    for (int64_t i = 0; i < count; i += 2) {
        const int pair = count - i < 2 ? 1 : 2;
        for (int j = 0; j < pair; j++) {
            prepare_avx2(&work[j], x + (i + j) * block, block);
        }
        for (int j = 0; j < pair; j++) {
            search_avx2(&work[j], bits, block);
        }
        for (int j = 0; j < pair; j++) {
            finish_avx2(&work[j], out + (i + j) * TQ_ROW_BYTES(bits, block), bits, block);
        }
    }
}

// ---- decode and dot -------------------------------------------------------------------------------

TQ_INLINE TQ_AVX2 __m256i levels_avx2(const uint8_t * qs, int bits, int block, int b) {
    const __m256i index = bits == 2   ? tq_turbo2_unpack_avx2(qs, block, b)
                          : bits == 3 ? tq_turbo3_unpack_avx2(qs, block, b)
                                      : tq_turbo4_unpack_avx2(qs, block, b);
    return _mm256_shuffle_epi8(broadcast_table(levels_table[bits - 2]), index);
}

TQ_INLINE TQ_AVX2 void dequantize_block_avx2(const uint8_t * in, float * y, int bits, int block) {
    const __m256 scale = _mm256_set1_ps(tq_fp16_to_f32_f16c(tq_load_u16(in)) * TQ_SCALE_DOWN);
    TQ_UNROLL
    for (int b = 0; b < block / 32; b++) {
        const __m256i level = levels_avx2(in + 2, bits, block, b);
        __m128i       part  = _mm256_castsi256_si128(level);
        TQ_UNROLL
        for (int i = 0; i < 32; i += 8) {
            const __m256 whole = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(part));
            _mm256_storeu_ps(y + 32 * b + i, _mm256_mul_ps(scale, whole));
            part = i == 8 ? _mm256_extracti128_si256(level, 1) : _mm_unpackhi_epi64(part, part);
        }
    }
}

TQ_INLINE TQ_AVX2_DOT float dot_row_avx2(
    int n, const uint8_t * x, const tq_block_q8_0 * y, int bits, int block, int bytes) {
    __m256 sum = _mm256_setzero_ps();
    for (int i = 0; i < n / block; i++, x += bytes, y += block / 32) {
        __m256 inner = _mm256_setzero_ps();
        TQ_UNROLL
        for (int b = 0; b < block / 32; b++) {
            // |q| fits an unsigned byte even for -128, and a pair of products stays below 2^15.
            const __m256i level = levels_avx2(x + 2, bits, block, b);
            const __m256i q     = _mm256_loadu_si256((const __m256i *) y[b].qs);
            const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(level, q));
            const __m256i whole = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
            const __m256  scale = _mm256_set1_ps(tq_fp16_to_f32_f16c(y[b].d));
            inner               = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(whole), inner);
        }
        const __m256 scale = _mm256_set1_ps(tq_fp16_to_f32_f16c(tq_load_u16(x)) * TQ_SCALE_DOWN);
        sum                = _mm256_fmadd_ps(scale, inner, sum);
    }
    return tq_sum_avx2(sum);
}

static bool supported(void) {
    // F16C came with AVX in every CPU that has AVX2, and older clangs do not know its name here.
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

#define TQ_KV_TYPE(ENUM, id, name, family, bits, block, bytes)      \
    TQ_DEFINE_CODEC(avx2, TQ_AVX2, name, bits, block, bytes)        \
    TQ_DEFINE_DOT(avx2, TQ_AVX2_DOT, name, bits, block, bytes)
#include "../types.def"

const tq_codec_impl tq_impl_avx2 = {
    "avx2",
    supported,
    {
#define TQ_KV_TYPE(ENUM, id, name, family, bits, block, bytes) TQ_LIST_OPS(avx2, avx2, name)
#include "../types.def"
    },
};

#endif
