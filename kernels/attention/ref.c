// The definition of attention that every implementation is compared with: float64, one key after the other.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../common/fp16.h"
#include "attention.h"

static const char * row_of(const tq_attention * a, const tq_kv_side * side, int seq, int head, int key) {
    return side->data + (size_t) key * side->key_stride + (size_t) (head / (a->n_head / a->n_head_kv)) * side->head_stride +
           (size_t) (seq / (a->n_seq / a->n_seq_kv)) * side->seq_stride;
}

static double masked(const tq_attention * a, int seq, int q, int head, int key) {
    if (a->mask == NULL) {
        return 0.0;
    }
    uint16_t half;
    memcpy(&half,
           a->mask + (size_t) key * 2 + (size_t) q * a->mask_stride + (size_t) (head % a->mask_heads) * a->mask_head_stride +
               (size_t) (seq % a->mask_seqs) * a->mask_seq_stride,
           sizeof half);
    return (double) tq_fp16_to_f32(half) * (double) tq_alibi_slope(head, a->n_head, a->max_bias);
}

static void one_row(const tq_attention * a, int seq, int q, int head, float * row, double * logit, double * out) {
    const float * query = (const float *) (a->q + (size_t) q * a->q_stride + (size_t) head * a->q_head_stride + (size_t) seq * a->q_seq_stride);
    double top = a->sinks ? (double) a->sinks[head] : -INFINITY;
    for (int key = 0; key < a->n_kv; key++) {
        const double mask = masked(a, seq, q, head, key);
        if (mask == -INFINITY) {
            logit[key] = -INFINITY;
            continue;
        }
        a->k.to_float(row_of(a, &a->k, seq, head, key), row, a->k.dim);
        double dot = 0.0;
        for (int i = 0; i < a->k.dim; i++) {
            dot += (double) query[i] * (double) row[i];
        }
        dot *= (double) a->scale;
        if (a->softcap != 0.0f) {
            dot = (double) a->softcap * tanh(dot / (double) a->softcap);
        }
        logit[key] = dot + mask;
        top        = logit[key] > top ? logit[key] : top;
    }
    double sum = a->sinks ? exp((double) a->sinks[head] - top) : 0.0;
    memset(out, 0, (size_t) a->v.dim * sizeof *out);
    for (int key = 0; key < a->n_kv; key++) {
        if (logit[key] == -INFINITY) {
            continue;
        }
        const double p = exp(logit[key] - top);
        sum += p;
        a->v.to_float(row_of(a, &a->v, seq, head, key), row, a->v.dim);
        for (int i = 0; i < a->v.dim; i++) {
            out[i] += p * (double) row[i];
        }
    }
    for (int i = 0; i < a->v.dim && sum != 0.0; i++) {
        out[i] /= sum;
    }
}

void tq_attention_reference(const tq_attention * a, double * out) {
    float *  row   = malloc((size_t) (a->k.dim > a->v.dim ? a->k.dim : a->v.dim) * sizeof *row);
    double * logit = malloc((size_t) a->n_kv * sizeof *logit);
    for (int seq = 0; row && logit && seq < a->n_seq; seq++) {
        for (int q = 0; q < a->n_q; q++) {
            for (int head = 0; head < a->n_head; head++) {
                one_row(a, seq, q, head, row, logit, out + (((size_t) seq * (size_t) a->n_q + (size_t) q) * (size_t) a->n_head + (size_t) head) * (size_t) a->v.dim);
            }
        }
    }
    free(row);
    free(logit);
}
