// Products of digits and tiles with the dot-product instructions of AVX-512 VNNI.
#ifndef TQ_ATTENTION_VNNI_H
#define TQ_ATTENTION_VNNI_H

#include "packed_avx512.h"

typedef int32_t sums16 __attribute__((vector_size(64)));

// One row's digits times two vectors of a tile. Named members of the type that the instruction works on: with arrays of
// them, or with __m512i (eight 64-bit lanes to the compiler), GCC 12 copies every sum in every step.
typedef struct {
    const uint8_t * high, * low;
    sums16          high0, high1, low0, low1;
} vnni_row;

TQ_VEC __m512i four_bytes(const uint8_t * p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm512_set1_epi32(four);
}

TQ_VEC void vnni_start(vnni_row * r) {
    r->high0 = r->high1 = r->low0 = r->low1 = (sums16) _mm512_setzero_si512();
}

// Of K the tile is unsigned, of V the digits.
TQ_VEC sums16 vnni_dot(sums16 sum, __m512i tile, __m512i digit, bool is_k) {
    return (sums16) (is_k ? _mm512_dpbusd_epi32((__m512i) sum, tile, digit) : _mm512_dpbusd_epi32((__m512i) sum, digit, tile));
}

TQ_VEC void vnni_step(vnni_row * r, __m512i x0, __m512i x1, int at, bool is_k) {
    const __m512i high = four_bytes(r->high + 4 * at);
    r->high0           = vnni_dot(r->high0, x0, high, is_k);
    r->high1           = vnni_dot(r->high1, x1, high, is_k);
    const __m512i low  = four_bytes(r->low + 4 * at);
    r->low0            = vnni_dot(r->low0, x0, low, is_k);
    r->low1            = vnni_dot(r->low1, x1, low, is_k);
}

// Steps from .. to - 1 for n rows (at most 4) side by side; the second vector of the tile lies `apart` behind the first.
TQ_VEC void vnni_products(vnni_row * r0, vnni_row * r1, vnni_row * r2, vnni_row * r3, int n, const __m512i * tile, int apart, int from, int to,
                          bool is_k) {
    vnni_start(r0);
    vnni_start(r1);
    vnni_start(r2);
    vnni_start(r3);
    for (int at = from; at < to; at++) {
        const __m512i x0 = _mm512_load_si512(tile + at), x1 = _mm512_load_si512(tile + apart + at);
        vnni_step(r0, x0, x1, at, is_k);
        if (n > 1) vnni_step(r1, x0, x1, at, is_k);
        if (n > 2) vnni_step(r2, x0, x1, at, is_k);
        if (n > 3) vnni_step(r3, x0, x1, at, is_k);
    }
}

TQ_VEC vnni_row row_of_digits(const void * digits, int r, int all, int stride) {
    vnni_row row;
    row.high = (const uint8_t *) digits + (size_t) digit_row(r, all, 0) * (size_t) stride;
    row.low  = (const uint8_t *) digits + (size_t) digit_row(r, all, 1) * (size_t) stride;
    return row;
}

// ---- K ----------------------------------------------------------------------------------------------

TQ_VEC void put_score_pair(const tq_scratch * t, const vnni_row * row, int r, int i, int blocks, int b, int key) {
    float * s = t->s + i * TQ_TILE + key;
    put_scores(t, r, blocks, b, key, (__m512i) row->high0, (__m512i) row->low0, s);
    put_scores(t, r, blocks, b, key + 16, (__m512i) row->high1, (__m512i) row->low1, s + 16);
}

// Rows i .. i + n - 1 with 32 keys. first: number in the unit, of `all`, of row 0.
TQ_VEC void scores_block(const tq_attention * a, const tq_scratch * t, int first, int all, int i, int n, int key) {
    const int       padded = tq_round_up(a->k.dim, 64), blocks = a->k.dim / a->k.block, steps = a->k.block / 4;
    const __m512i * tile   = (const __m512i *) t->k_tile + key / 16 * (padded / 4);
    const int       last   = first + i + n - 1, r = first + i;
    vnni_row        r0 = row_of_digits(t->q_digits, r, all, padded), r1 = row_of_digits(t->q_digits, r + 1 < last ? r + 1 : last, all, padded);
    vnni_row        r2 = row_of_digits(t->q_digits, r + 2 < last ? r + 2 : last, all, padded), r3 = row_of_digits(t->q_digits, last, all, padded);
    for (int b = 0; b < blocks; b++) {
        vnni_products(&r0, &r1, &r2, &r3, n, tile, padded / 4, b * steps, (b + 1) * steps, true);
        put_score_pair(t, &r0, r, i, blocks, b, key);
        if (n > 1) put_score_pair(t, &r1, r + 1, i + 1, blocks, b, key);
        if (n > 2) put_score_pair(t, &r2, r + 2, i + 2, blocks, b, key);
        if (n > 3) put_score_pair(t, &r3, r + 3, i + 3, blocks, b, key);
    }
}

static void vnni_scores(const tq_attention * a, const tq_scratch * t, int first, int n, int all, int count) {
    for (int i = 0; i < n; i += 4) {
        for (int key = 0; key < count; key += 32) {
            switch (n - i) {
                case 1: scores_block(a, t, first, all, i, 1, key); break;
                case 2: scores_block(a, t, first, all, i, 2, key); break;
                case 3: scores_block(a, t, first, all, i, 3, key); break;
                default: scores_block(a, t, first, all, i, 4, key); break;
            }
        }
    }
}

// ---- V ----------------------------------------------------------------------------------------------

TQ_VEC void put_value_pair(const tq_attention * a, const tq_scratch * t, const vnni_row * row, int first, int i, int b, int vector) {
    float * o = t->o + (size_t) (first + i) * (size_t) a->v.dim + 16 * vector;
    put_values(t, b, i, (__m512i) row->high0, (__m512i) row->low0, o);
    put_values(t, b, i, (__m512i) row->high1, (__m512i) row->low1, o + 16);
}

// Rows i .. i + n - 1 of `rows` times two vectors of 16 dimensions.
TQ_VEC void values_block(const tq_attention * a, const tq_scratch * t, int first, int rows, int i, int n, int vector, int groups) {
    const int       b      = 16 * vector / a->v.block, last = i + n - 1;
    const uint8_t * digits = t->p_digits + (size_t) b * 2 * TQ_ROWS * TQ_TILE;
    vnni_row        r0 = row_of_digits(digits, i, rows, TQ_TILE), r1 = row_of_digits(digits, i + 1 < last ? i + 1 : last, rows, TQ_TILE);
    vnni_row        r2 = row_of_digits(digits, i + 2 < last ? i + 2 : last, rows, TQ_TILE), r3 = row_of_digits(digits, last, rows, TQ_TILE);
    vnni_products(&r0, &r1, &r2, &r3, n, (const __m512i *) t->v_tile + vector * (TQ_TILE / 4), TQ_TILE / 4, 0, groups, false);
    put_value_pair(a, t, &r0, first, i, b, vector);
    if (n > 1) put_value_pair(a, t, &r1, first, i + 1, b, vector);
    if (n > 2) put_value_pair(a, t, &r2, first, i + 2, b, vector);
    if (n > 3) put_value_pair(a, t, &r3, first, i + 3, b, vector);
}

static void vnni_values(const tq_attention * a, const tq_scratch * t, int first, int n, int count) {
    const int groups = (count + 3) / 4;
    for (int i = 0; i < n; i += 4) {
        for (int vector = 0; vector < a->v.dim / 16; vector += 2) {
            switch (n - i) {
                case 1: values_block(a, t, first, n, i, 1, vector, groups); break;
                case 2: values_block(a, t, first, n, i, 2, vector, groups); break;
                case 3: values_block(a, t, first, n, i, 3, vector, groups); break;
                default: values_block(a, t, first, n, i, 4, vector, groups); break;
            }
        }
    }
}

#endif
