// AVX2 with AVX-VNNI: the dot products of AVX-512 VNNI in 256 bits, for CPUs without AVX-512 (Intel from the 12th
// generation on).
#include "../common/encode.h"
#include "impl.h"

#if TQ_KNOWS_VNNI_AND_AMX

#include "target.h"
TQ_TARGET_BEGIN("avx2,fma,f16c,avxvnni")

#define TQ_VEC    TQ_INLINE
#define TQ_TILE   128  // 64, which would fit a smaller L1 cache, is 7 % slower with many queries, the same with one
#define TQ_PACKED 1

#include "vec_avx2.h"

#include "packed_avx_vnni.h"

static void packed_begin(void) {}

static void packed_end(void) {}

// The type that the dot product has inside: of sums kept as __m256i, GCC 12 keeps both types alive and stores one of them
// to the stack in every step, which costs 40 %.
typedef int32_t v8si __attribute__((vector_size(32)));

// One row's digits times two vectors of a tile, `apart` from each other.
typedef struct {
    const __m256i * tile;
    const void *    high, * low;
    v8si            high0, high1, low0, low1;
} product;

TQ_VEC void start_product(product * p) {
    p->high0 = p->high1 = p->low0 = p->low1 = (v8si) _mm256_setzero_si256();
}

TQ_VEC __m256i four_bytes(const void * digits, int at) {
    int32_t four;
    memcpy(&four, (const char *) digits + 4 * at, sizeof four);
    return _mm256_set1_epi32(four);
}

// Of K the tile is unsigned, of V the digits.
TQ_VEC v8si dot(v8si sum, __m256i tile, __m256i digit, bool is_k) {
    return (v8si) (is_k ? _mm256_dpbusd_avx_epi32((__m256i) sum, tile, digit) : _mm256_dpbusd_avx_epi32((__m256i) sum, digit, tile));
}

TQ_VEC void step(product * p, int at, int apart, bool is_k) {
    const __m256i x0 = _mm256_load_si256(p->tile + at), x1 = _mm256_load_si256(p->tile + apart + at);
    const __m256i high = four_bytes(p->high, at);
    p->high0 = dot(p->high0, x0, high, is_k);
    p->high1 = dot(p->high1, x1, high, is_k);
    const __m256i low = four_bytes(p->low, at);
    p->low0 = dot(p->low0, x0, low, is_k);
    p->low1 = dot(p->low1, x1, low, is_k);
}

// Steps from .. to - 1 of n products side by side. A dot product takes 5 cycles and two can start in each: the 12 sums
// of three products reach 2.0 per cycle (Golden Cove), the 8 of two 1.6 to 1.8, and four would not fit 16 registers.
TQ_VEC void products(product * p0, product * p1, product * p2, int n, int from, int to, int apart, bool is_k) {
    start_product(p0);
    start_product(p1);
    start_product(p2);
    for (int at = from; at < to; at++) {
        step(p0, at, apart, is_k);
        if (n > 1) step(p1, at, apart, is_k);
        if (n > 2) step(p2, at, apart, is_k);
    }
}

// Rows taken together of `left`. Even four are better taken as three and one than as twice two: 4 % of the whole.
TQ_VEC int rows_at_once(int left) {
    return left < 3 ? left : 3;
}

// ---- K ----------------------------------------------------------------------------------------------

// 8 integer products of a row with a block of K, to logits.
TQ_VEC void put_scores(const tq_scratch * t, int r, int blocks, int b, int key, v8si high, v8si low, float * s) {
    const __m256i whole = (__m256i) ((high << 8) + low - t->q_offset[r * blocks + b]);
    const __m256  scale = _mm256_mul_ps(_mm256_set1_ps(t->q_scale[r]), _mm256_load_ps(t->k_scale + b * TQ_TILE + key));
    const __m256  value = _mm256_cvtepi32_ps(whole);
    _mm256_store_ps(s, b == 0 ? _mm256_mul_ps(scale, value) : _mm256_fmadd_ps(scale, value, _mm256_load_ps(s)));
}

typedef struct {
    const tq_attention * a;
    const tq_scratch *   t;
    int                  first, all, padded, blocks;  // first: number in the unit, of `all`, of the first row
} scores_job;

TQ_VEC product product_of_row(const scores_job * job, int i) {
    product p;
    p.high = job->t->q_digits + (size_t) digit_row(job->first + i, job->all, 0) * (size_t) job->padded;
    p.low  = job->t->q_digits + (size_t) digit_row(job->first + i, job->all, 1) * (size_t) job->padded;
    return p;
}

TQ_VEC void put_product(const scores_job * job, int i, int b, int key, const product * p) {
    float * s = job->t->s + i * TQ_TILE + key;
    put_scores(job->t, job->first + i, job->blocks, b, key, p->high0, p->low0, s);
    put_scores(job->t, job->first + i, job->blocks, b, key + 8, p->high1, p->low1, s + 8);
}

// n rows with 16 keys at a time, or one row with twice 16.
TQ_VEC void scores_of_rows(const scores_job * job, int i, int n, int count) {
    const __m256i * tile = (const __m256i *) job->t->k_tile;
    const int       down = n > 1, right = n > 1 ? 0 : 16, taken = n > 1 ? n : 2, steps = job->a->k.block / 4, apart = job->padded / 4;
    product         p0 = product_of_row(job, i), p1 = product_of_row(job, i + down), p2 = product_of_row(job, i + 2 * down);
    for (int key = 0; key < count; key += 16 + right) {
        p0.tile = p2.tile = tile + key / 8 * apart;
        p1.tile = tile + (key + right) / 8 * apart;
        for (int b = 0; b < job->blocks; b++) {
            products(&p0, &p1, &p2, taken, b * steps, (b + 1) * steps, apart, true);
            put_product(job, i, b, key, &p0);
            put_product(job, i + down, b, key + right, &p1);
            if (n > 2) put_product(job, i + 2, b, key, &p2);
        }
    }
}

static void packed_scores(const tq_attention * a, const tq_scratch * t, int first, int n, int all, int count) {
    const scores_job job = { a, t, first, all, tq_round_up(a->k.dim, 64), a->k.dim / a->k.block };
    for (int i = 0; i < n; i += rows_at_once(n - i)) {
        switch (rows_at_once(n - i)) {
            case 1: scores_of_rows(&job, i, 1, count); break;
            case 2: scores_of_rows(&job, i, 2, count); break;
            default: scores_of_rows(&job, i, 3, count); break;
        }
    }
}

// ---- V ----------------------------------------------------------------------------------------------

// Sums of a row over the keys of a tile, for 8 dimensions, into its running sum.
TQ_VEC void put_values(const tq_scratch * t, int b, int i, v8si high, v8si low, float * o) {
    const __m256 value = _mm256_cvtepi32_ps((__m256i) ((high << 8) + low));
    const __m256 old   = _mm256_mul_ps(_mm256_set1_ps(t->fade[i]), _mm256_loadu_ps(o));
    _mm256_storeu_ps(o, _mm256_fmadd_ps(_mm256_set1_ps(t->weight[b * TQ_ROWS + i]), value, old));
}

typedef struct {
    const tq_attention * a;
    const tq_scratch *   t;
    int                  first, rows, groups;  // groups of four keys
} values_job;

TQ_VEC product product_of_weights(const values_job * job, int b, int i) {
    const uint8_t * digits = job->t->p_digits + (size_t) b * 2 * TQ_ROWS * TQ_TILE;
    product         p;
    p.high = digits + digit_row(i, job->rows, 0) * TQ_TILE;
    p.low  = digits + digit_row(i, job->rows, 1) * TQ_TILE;
    return p;
}

TQ_VEC void put_sums(const values_job * job, int b, int i, int vector, const product * p) {
    float * o = job->t->o + (size_t) (job->first + i) * (size_t) job->a->v.dim + 8 * vector;
    put_values(job->t, b, i, p->high0, p->low0, o);
    put_values(job->t, b, i, p->high1, p->low1, o + 8);
}

// n rows times 16 dimensions at a time, or one row times twice 16.
TQ_VEC void values_of_rows(const values_job * job, int i, int n) {
    const __m256i * tile = (const __m256i *) job->t->v_tile;
    const int       down = n > 1, right = n > 1 ? 0 : 2, taken = n > 1 ? n : 2, apart = TQ_TILE / 4, vectors = job->a->v.block / 8;
    for (int b = 0; b < job->a->v.dim / job->a->v.block; b++) {
        product p0 = product_of_weights(job, b, i), p1 = product_of_weights(job, b, i + down), p2 = product_of_weights(job, b, i + 2 * down);
        for (int v = b * vectors; v < (b + 1) * vectors; v += 2 + right) {
            p0.tile = p2.tile = tile + v * apart;
            p1.tile = tile + (v + right) * apart;
            products(&p0, &p1, &p2, taken, 0, job->groups, apart, false);
            put_sums(job, b, i, v, &p0);
            put_sums(job, b, i + down, v + right, &p1);
            if (n > 2) put_sums(job, b, i + 2, v, &p2);
        }
    }
}

static void packed_values(const tq_attention * a, const tq_scratch * t, int first, int n, int count) {
    const values_job job = { a, t, first, n, (count + 3) / 4 };
    for (int i = 0; i < n; i += rows_at_once(n - i)) {
        switch (rows_at_once(n - i)) {
            case 1: values_of_rows(&job, i, 1); break;
            case 2: values_of_rows(&job, i, 2); break;
            default: values_of_rows(&job, i, 3); break;
        }
    }
}

#include "unit.h"

TQ_TARGET_END

#include <cpuid.h>

static bool supported(void) {
    // avx2's check includes what the system saves of the registers. __builtin_cpu_supports knows AVX-VNNI from GCC 13
    // on only.
    unsigned a, b, c, d;
    return tq_attention_avx2.supported() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 4));
}

const tq_attention_impl tq_attention_avx_vnni = { "avx_vnni", supported, TQ_TILE, TQ_PACKED, run_unit, reduce };

#endif
