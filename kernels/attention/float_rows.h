// The kernels for rows read as floats: f16, and every type an implementation has no integer kernel for.
#ifndef TQ_ATTENTION_FLOAT_ROWS_H
#define TQ_ATTENTION_FLOAT_ROWS_H

#include "attention.h"

// 0 * x is NaN where x is not finite. dim is a multiple of 16.
static bool all_finite(const float * x, int dim) {
    vf zero[16 / VF];
    TQ_UNROLL
    for (int j = 0; j < 16 / VF; j++) {
        zero[j] = vf_set1(0.0f);
    }
    for (int i = 0; i < dim; i += 16) {
        TQ_UNROLL
        for (int j = 0; j < 16 / VF; j++) {
            zero[j] = vf_fma(vf_load(x + i + j * VF), vf_set1(0.0f), zero[j]);
        }
    }
    TQ_UNROLL
    for (int j = 1; j < 16 / VF; j++) {
        zero[0] = vf_add(zero[0], zero[j]);
    }
    return vf_hsum(zero[0]) == 0.0f;
}

// count rows to [key][dim]. What is not finite becomes 0: a masked row may hold anything, and 0 * NaN would leak.
static void float_rows(const tq_kv_side * side, const char * rows, int count, float * out) {
    for (int key = 0; key < count; key++) {
        float * to = out + (size_t) key * (size_t) side->dim;
        side->to_float(rows + (size_t) key * side->key_stride, to, side->dim);
        if (all_finite(to, side->dim)) {
            continue;
        }
        for (int i = 0; i < side->dim; i += VF) {
            vf_store(to + i, vf_finite(vf_load(to + i)));
        }
    }
}

// Products of n query rows with 4 keys, for n <= 2.
TQ_VEC void float_scores_block(const float * q, int n, const float * k, int dim, float * s) {
    vf sum[2][4];
    TQ_UNROLL
    for (int i = 0; i < n; i++) {
        TQ_UNROLL
        for (int j = 0; j < 4; j++) {
            sum[i][j] = vf_set1(0.0f);
        }
    }
    for (int d = 0; d < dim; d += VF) {
        TQ_UNROLL
        for (int i = 0; i < n; i++) {
            const vf x = vf_load(q + i * dim + d);
            TQ_UNROLL
            for (int j = 0; j < 4; j++) {
                sum[i][j] = vf_fma(x, vf_load(k + j * dim + d), sum[i][j]);
            }
        }
    }
    TQ_UNROLL
    for (int i = 0; i < n; i++) {
        vf_hsum4(sum[i][0], sum[i][1], sum[i][2], sum[i][3], s + i * TQ_TILE);
    }
}

// s[row][key] of a tile; a multiple of 4 keys is computed, what is beyond count is masked later.
static void float_scores(const float * q, int n, const float * k, int dim, int count, float * s) {
    for (int key = 0; key < count; key += 4) {
        int i = 0;
        for (; i + 2 <= n; i += 2) {
            float_scores_block(q + i * dim, 2, k + key * dim, dim, s + i * TQ_TILE + key);
        }
        if (i < n) {
            float_scores_block(q + i * dim, 1, k + key * dim, dim, s + i * TQ_TILE + key);
        }
    }
}

// o = fade o + p V for n <= 4 rows and `vectors` vectors of dimensions.
TQ_VEC void float_values_block(const float * p, int n, const float * fade, const float * v, int dim, int count, int vectors, float * o) {
    vf sum[4][VF_PV_VECTORS];
    TQ_UNROLL
    for (int i = 0; i < n; i++) {
        TQ_UNROLL
        for (int j = 0; j < vectors; j++) {
            sum[i][j] = vf_mul(vf_set1(fade[i]), vf_load(o + i * dim + j * VF));
        }
    }
    for (int key = 0; key < count; key++) {
        TQ_UNROLL
        for (int j = 0; j < vectors; j++) {
            const vf x = vf_load(v + key * dim + j * VF);
            TQ_UNROLL
            for (int i = 0; i < n; i++) {
                sum[i][j] = vf_fma(vf_set1(p[i * TQ_TILE + key]), x, sum[i][j]);
            }
        }
    }
    TQ_UNROLL
    for (int i = 0; i < n; i++) {
        TQ_UNROLL
        for (int j = 0; j < vectors; j++) {
            vf_store(o + i * dim + j * VF, sum[i][j]);
        }
    }
}

TQ_VEC void float_values_rows(const float * p, int n, const float * fade, const float * v, int dim, int count, float * o) {
    int d = 0;
    for (; d + VF_PV_VECTORS * VF <= dim; d += VF_PV_VECTORS * VF) {
        float_values_block(p, n, fade, v + d, dim, count, VF_PV_VECTORS, o + d);
    }
    for (; d < dim; d += VF) {
        float_values_block(p, n, fade, v + d, dim, count, 1, o + d);
    }
}

static void float_values(const float * p, int n, const float * fade, const float * v, int dim, int count, float * o) {
    int i = 0;
    for (; i + 4 <= n; i += 4) {
        float_values_rows(p + i * TQ_TILE, 4, fade + i, v, dim, count, o + i * dim);
    }
    for (; i < n; i++) {
        float_values_rows(p + i * TQ_TILE, 1, fade + i, v, dim, count, o + i * dim);
    }
}

#endif
