// Products of digits and tiles with NEON's dot-product instructions (armv8.2 dotprod).
//
// Queries and probabilities are 16-bit integers in two signed 8-bit digits, x = 256 high + low: one product takes two
// dot products and its error is that of the cache, not of the arithmetic. A sum of n products is at most
// n * 128 * 128 per digit: 2^21 for a block of 128 dimensions or a tile of 128 keys, and 2^29 + 2^21 once the digits
// are joined, so nothing overflows 32 bits.
//
// Digits lie as the kernel reads them, four rows at a time: [rows by 4][16 of depth][row of 4][digit][16]. The last
// rows may be fewer than four and lie as close. Signed digits and levels need no offsets, and the weights' range is each
// row's own: of the scratch memory, q_offset is not used.
#ifndef TQ_ATTENTION_DOTPROD_H
#define TQ_ATTENTION_DOTPROD_H

#include "packed_neon.h"

_Static_assert(TQ_TILE <= 128 && TQ_TILE % 16 == 0, "the sum over a tile of V fits 32 bits and has whole vectors of weights");

// ---- digits ------------------------------------------------------------------------------------------

// Rows among which row r of n lies.
TQ_VEC int rows_beside(int r, int n) {
    const int left = n - r / 4 * 4;
    return left < 4 ? left : 4;
}

// The digits of the first 16 values of row r; those of the next 16 are 32 * rows_beside(r, n) further.
TQ_VEC int8_t * digits_at(int8_t * base, int depth, int r) {
    return base + r / 4 * 4 * 2 * depth + r % 4 * 32;
}

TQ_VEC void put_digits(int8_t * to, const int32x4_t * x) {
    const int16x8_t a = vuzp1q_s16(vreinterpretq_s16_s32(x[0]), vreinterpretq_s16_s32(x[1]));
    const int16x8_t b = vuzp1q_s16(vreinterpretq_s16_s32(x[2]), vreinterpretq_s16_s32(x[3]));
    // The rounded upper byte, and the lower byte read as signed: what is left.
    vst1q_s8(to, vrshrn_high_n_s16(vrshrn_n_s16(a, 8), b, 8));
    vst1q_s8(to + 16, vuzp1q_s8(vreinterpretq_s8_s16(a), vreinterpretq_s8_s16(b)));
}

static void packed_query(const tq_attention * a, const float * q, float scale, int r, int rows, const tq_scratch * t) {
    int8_t *   to   = digits_at(t->q_digits, a->k.dim, r);
    uint32x4_t bits = vdupq_n_u32(0);
    for (int i = 0; i < a->k.dim; i += 4) {
        bits = vmaxq_u32(bits, vreinterpretq_u32_f32(vf_abs(vf_load(q + i))));
    }
    const uint32_t most_bits = vmaxvq_u32(bits);
    const float    most      = tq_f32_from_bits(most_bits);
    const bool     finite    = most_bits < TQ_INFINITY_BITS;
    // The row of a query that is not finite is NaN already (unit.h).
    t->q_scale[r]   = finite ? most / TQ_QUERY_MOST * scale : 0.0f;
    const vf factor = vf_set1(finite && most > 0.0f ? TQ_QUERY_MOST / most : 0.0f);
    for (int i = 0; i < a->k.dim; i += 16, to += 32 * rows_beside(r, rows)) {
        int32x4_t x[4];
        TQ_UNROLL
        for (int j = 0; j < 4; j++) {
            x[j] = vcvtnq_s32_f32(vf_mul(factor, vf_finite(vf_load(q + i + 4 * j))));
        }
        put_digits(to, x);
    }
}

// Weights of row i of n, probability times scale, as two digits per block of V; `weight` is the tile's. Relative to the
// largest of the row: relative to the largest scale of the tile, a row whose mass is on keys with small values would
// leave half of its bits unused, and signed digits have one less than AVX-512's. Scales are never negative.
static void packed_weights(const tq_attention * a, const float * s, int width, float weight, int i, int n, const tq_scratch * t) {
    for (int b = 0; b < a->v.dim / a->v.block; b++) {
        const float * scale = t->v_scale + b * TQ_TILE;
        int8_t *      to    = digits_at((int8_t *) t->p_digits + b * 2 * TQ_ROWS * TQ_TILE, TQ_TILE, i);
        float         w[TQ_TILE];
        vf            peak[2] = { vf_set1(0.0f), vf_set1(0.0f) };
        for (int key = 0; key < width; key += 16) {
            TQ_UNROLL
            for (int j = 0; j < 4; j++) {
                const vf x = vf_mul(vf_load(s + key + 4 * j), vf_load(scale + key + 4 * j));
                vf_store(w + key + 4 * j, x);
                peak[j % 2] = vf_max(peak[j % 2], x);
            }
        }
        const float most = vf_hmax(vf_max(peak[0], peak[1]));
        const vf factor = vf_set1(most > TQ_LEAST_WEIGHT ? TQ_QUERY_MOST / most : 0.0f);
        for (int key = 0; key < width; key += 16, to += 32 * rows_beside(i, n)) {
            int32x4_t x[4];
            TQ_UNROLL
            for (int j = 0; j < 4; j++) {
                x[j] = vcvtnq_s32_f32(vf_mul(factor, vf_load(w + key + 4 * j)));
            }
            put_digits(to, x);
        }
        t->weight[b * TQ_ROWS + i] = weight * most / TQ_QUERY_MOST;
    }
}

// ---- products ----------------------------------------------------------------------------------------

// sum[row][vector][digit] over `chunks` times 16 of depth: n rows of digits y times `pairs` pairs of vectors of a tile,
// `stride` bytes apart. Rows and pairs are chosen for 12 or 16 sums, enough to keep four units busy.
TQ_VEC void products(const int8_t * x, int stride, int pairs, const int8_t * y, int n, int chunks, int32x4_t (*sum)[8][2]) {
    TQ_UNROLL
    for (int r = 0; r < n; r++) {
        TQ_UNROLL
        for (int v = 0; v < 2 * pairs; v++) {
            sum[r][v][0] = sum[r][v][1] = vdupq_n_s32(0);
        }
    }
    for (int c = 0; c < chunks; c++) {
        int8x16_t digits[4][2];
        TQ_UNROLL
        for (int r = 0; r < n; r++) {
            digits[r][0] = vld1q_s8(y + 32 * r);
            digits[r][1] = vld1q_s8(y + 32 * r + 16);
        }
#define LANE(lane)                                                                          \
    TQ_UNROLL                                                                               \
    for (int v = 0; v < 2 * pairs; v++) {                                                   \
        const int8x16_t four = vld1q_s8(x + v / 2 * stride + lane * TQ_PAIR_BYTES + v % 2 * 16); \
        TQ_UNROLL                                                                           \
        for (int r = 0; r < n; r++) {                                                       \
            sum[r][v][0] = vdotq_laneq_s32(sum[r][v][0], four, digits[r][0], lane);         \
            sum[r][v][1] = vdotq_laneq_s32(sum[r][v][1], four, digits[r][1], lane);         \
        }                                                                                   \
    }
        LANE(0)
        LANE(1)
        LANE(2)
        LANE(3)
#undef LANE
        x += 4 * TQ_PAIR_BYTES;
        y += 32 * n;
    }
}

// The digits joined.
TQ_VEC vf whole(const int32x4_t * sum) {
    return vcvtq_f32_s32(vaddq_s32(vshlq_n_s32(sum[0], 8), sum[1]));
}

// n rows with `pairs` times 8 keys, whose K starts at x and whose digits at y. Everything comes in locals: the compiler
// must take any store for a change of what *a and *t hold.
TQ_VEC void scores_block(const int8_t * x, const int8_t * y, const float * q_scale, const float * k_scale, int dim, int block, int n,
                         int pairs, float * s) {
    for (int from = 0; from < dim; from += block) {
        int32x4_t sum[4][8][2];
        products(x + from * TQ_PAIR, TQ_PAIR * dim, pairs, y + from * 2 * n, n, block / 16, sum);
        TQ_UNROLL
        for (int v = 0; v < 2 * pairs; v++) {
            const vf scale = vf_load(k_scale + 4 * v);
            TQ_UNROLL
            for (int r = 0; r < n; r++) {
                float *  to    = s + r * TQ_TILE + 4 * v;
                const vf value = vf_mul(vf_mul(vf_set1(q_scale[r]), scale), whole(sum[r][v]));
                vf_store(to, from == 0 ? value : vf_add(value, vf_load(to)));
            }
        }
        k_scale += TQ_TILE;
    }
}

TQ_VEC void scores_of_rows(const tq_attention * a, const tq_scratch * t, int first, int i, int n, int pairs, int count) {
    const int      dim = a->k.dim, block = a->k.block;
    const int8_t * x       = (const int8_t *) t->k_tile;
    const int8_t * y       = digits_at(t->q_digits, dim, first + i);
    const float *  k_scale = t->k_scale;
    const float *  q_scale = t->q_scale + first + i;
    float *        s       = t->s + i * TQ_TILE;
    for (int key = 0; key < count; key += pairs * TQ_PAIR) {
        if (dim == block) {
            scores_block(x + key * dim, y, q_scale, k_scale + key, block, block, n, pairs, s + key);
        } else {
            scores_block(x + key * dim, y, q_scale, k_scale + key, dim, block, n, pairs, s + key);
        }
    }
}

static void packed_scores(const tq_attention * a, const tq_scratch * t, int first, int n, int all, int count) {
    (void) all;
    for (int i = 0; i < n; i += 4) {
        switch (n - i) {
            case 1: scores_of_rows(a, t, first, i, 1, 4, count); break;
            case 2: scores_of_rows(a, t, first, i, 2, 2, count); break;
            case 3: scores_of_rows(a, t, first, i, 3, 1, count); break;
            default: scores_of_rows(a, t, first, i, 4, 1, count); break;
        }
    }
}

// n rows with all dimensions of V, `pairs` times 8 at a time.
TQ_VEC void values_of_rows(const tq_attention * a, const tq_scratch * t, int first, int i, int n, int pairs, int count) {
    const int      dims = a->v.dim, block = a->v.block, chunks = (count + 15) / 16;
    const int8_t * x      = (const int8_t *) t->v_tile;
    const int8_t * y      = digits_at((int8_t *) t->p_digits, TQ_TILE, i);
    const float *  weight = t->weight + i;
    float *        o      = t->o + (first + i) * dims;
    const float *  fade   = t->fade + i;
    for (int from = 0; from < dims; from += block) {
        for (int dim = from; dim < from + block; dim += pairs * TQ_PAIR) {
            int32x4_t sum[4][8][2];
            products(x + dim * TQ_TILE, TQ_PAIR * TQ_TILE, pairs, y, n, chunks, sum);
            TQ_UNROLL
            for (int r = 0; r < n; r++) {
                TQ_UNROLL
                for (int v = 0; v < 2 * pairs; v++) {
                    float * to = o + r * dims + dim + 4 * v;
                    vf_store(to, vf_fma(vf_set1(weight[r]), whole(sum[r][v]), vf_mul(vf_set1(fade[r]), vf_load(to))));
                }
            }
        }
        y += 2 * TQ_ROWS * TQ_TILE;
        weight += TQ_ROWS;
    }
}

static void packed_values(const tq_attention * a, const tq_scratch * t, int first, int n, int count) {
    for (int i = 0; i < n; i += 4) {
        switch (n - i) {
            case 1: values_of_rows(a, t, first, i, 1, 4, count); break;
            case 2: values_of_rows(a, t, first, i, 2, 2, count); break;
            case 3: values_of_rows(a, t, first, i, 3, 1, count); break;
            default: values_of_rows(a, t, first, i, 4, 1, count); break;
        }
    }
}

static void packed_output(const tq_kv_side * side, const float * o, float factor, float * out) {
    for (int i = 0; i < side->dim; i += 4) {
        vf_store(out + i, vf_mul(vf_set1(factor), vf_load(o + i)));
    }
}

static void packed_begin(void) {}

static void packed_end(void) {}

#endif
