// Products of digits and tiles with the dot-product instructions of AVX-512 VNNI.
#ifndef TQ_ATTENTION_VNNI_H
#define TQ_ATTENTION_VNNI_H

#include "packed_avx512.h"

// Sums have the type that the dot product has inside: as __m512i, GCC 12 keeps both types of each alive and stores one of
// them to the stack in every step.
typedef int32_t v16si __attribute__((vector_size(64)));

TQ_VEC __m512i four_bytes(const void * p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm512_set1_epi32(four);
}

// n rows (at most 4) with 16 or 32 keys. first: the rows' number in the unit, of `all`.
TQ_VEC void scores_block(const tq_attention * a, const tq_scratch * t, int first, int all, int i, int n, int key, int vectors) {
    const int       padded = tq_round_up(a->k.dim, 64), blocks = a->k.dim / a->k.block;
    const __m512i * k      = (const __m512i *) t->k_tile + key / 16 * (padded / 4);
    const int8_t *  q[4][2];
    for (int r = 0; r < n; r++) {
        q[r][0] = t->q_digits + (size_t) digit_row(first + i + r, all, 0) * (size_t) padded;
        q[r][1] = t->q_digits + (size_t) digit_row(first + i + r, all, 1) * (size_t) padded;
    }
    for (int b = 0; b < blocks; b++) {
        v16si sum[4][2][2];
        for (int r = 0; r < n; r++) {
            for (int v = 0; v < vectors; v++) {
                sum[r][v][0] = sum[r][v][1] = (v16si) _mm512_setzero_si512();
            }
        }
        for (int c = b * a->k.block / 4; c < (b + 1) * a->k.block / 4; c++) {
            __m512i x[2];
            for (int v = 0; v < vectors; v++) {
                x[v] = _mm512_load_si512(k + v * (padded / 4) + c);
            }
            TQ_UNROLL
            for (int r = 0; r < n; r++) {
                TQ_UNROLL
                for (int d = 0; d < 2; d++) {
                    const __m512i y = four_bytes(q[r][d] + 4 * c);
                    for (int v = 0; v < vectors; v++) {
                        sum[r][v][d] = (v16si) _mm512_dpbusd_epi32((__m512i) sum[r][v][d], x[v], y);
                    }
                }
            }
        }
        for (int r = 0; r < n; r++) {
            for (int v = 0; v < vectors; v++) {
                put_scores(t, first + i + r, blocks, b, key + 16 * v, (__m512i) sum[r][v][0], (__m512i) sum[r][v][1],
                           t->s + (i + r) * TQ_TILE + key + 16 * v);
            }
        }
    }
}

static void vnni_scores(const tq_attention * a, const tq_scratch * t, int first, int n, int all, int count) {
    for (int i = 0; i < n; i += 4) {
        for (int key = 0; key < count; key += 32) {
            switch (n - i) {
                case 1: scores_block(a, t, first, all, i, 1, key, 2); break;
                case 2: scores_block(a, t, first, all, i, 2, key, 2); break;
                case 3: scores_block(a, t, first, all, i, 3, key, 2); break;
                default: scores_block(a, t, first, all, i, 4, key, 2); break;
            }
        }
    }
}

// n rows (at most 4) times two vectors of 16 dimensions.
TQ_VEC void values_block(const tq_attention * a, const tq_scratch * t, int first, int rows, int i, int n, int vector, int groups) {
    const int       b = 16 * vector / a->v.block;
    const __m512i * v = (const __m512i *) t->v_tile + vector * (TQ_TILE / 4);
    const uint8_t * p[4][2];
    v16si           sum[4][2][2];
    for (int r = 0; r < n; r++) {
        for (int d = 0; d < 2; d++) {
            p[r][d]      = t->p_digits + ((size_t) b * 2 * TQ_ROWS + (size_t) digit_row(i + r, rows, d)) * TQ_TILE;
            sum[r][0][d] = sum[r][1][d] = (v16si) _mm512_setzero_si512();
        }
    }
    for (int g = 0; g < groups; g++) {
        const __m512i x0 = _mm512_load_si512(v + g), x1 = _mm512_load_si512(v + TQ_TILE / 4 + g);
        TQ_UNROLL
        for (int r = 0; r < n; r++) {
            TQ_UNROLL
            for (int d = 0; d < 2; d++) {
                const __m512i y = four_bytes(p[r][d] + 4 * g);
                sum[r][0][d]    = (v16si) _mm512_dpbusd_epi32((__m512i) sum[r][0][d], y, x0);
                sum[r][1][d]    = (v16si) _mm512_dpbusd_epi32((__m512i) sum[r][1][d], y, x1);
            }
        }
    }
    for (int r = 0; r < n; r++) {
        float * o = t->o + (size_t) (first + i + r) * (size_t) a->v.dim + 16 * vector;
        put_values(t, b, i + r, (__m512i) sum[r][0][0], (__m512i) sum[r][0][1], o);
        put_values(t, b, i + r, (__m512i) sum[r][1][0], (__m512i) sum[r][1][1], o + 16);
    }
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
