// Attention problems with seeded data, for the check and the benchmark.
#ifndef TQ_CHECK_ATTENTION_CASE_H
#define TQ_CHECK_ATTENTION_CASE_H

#include <stdio.h>
#include <stdlib.h>

#include "../attention/attention.h"
#include "../common/codec.h"
#include "guarded.h"
#include "vectors.h"

typedef enum { SIDE_F16, SIDE_Q8_0, SIDE_TURBO2, SIDE_TURBO3, SIDE_TURBO4, SIDES } side_type;

static const char * const side_names[SIDES] = { "f16", "q8_0", "turbo2", "turbo3", "turbo4" };

typedef enum {
    MASK_NONE,
    MASK_CAUSAL,
    MASK_HOLES,       // causal, and a third of the keys hidden from each query, whole tiles among them
    MASK_BLIND,       // every third query sees nothing at all
} mask_kind;

typedef struct {
    side_type k, v;
    int       dk, dv, n_head, n_head_kv, n_q, n_kv, n_seq, n_seq_kv;
    mask_kind mask;
    int       mask_heads;
    float     max_bias, softcap;
    int       sinks;
    float     sharp;  // factor on the logits: about their standard deviation
} attention_case;

typedef struct {
    tq_attention a;
    guarded      storage[8];
    int          stored;
    size_t       out_rows;
} attention_data;

static void f16_row_to_float(const void * row, float * out, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        out[i] = tq_fp16_to_f32(((const uint16_t *) row)[i]);
    }
}

static void q8_0_row_to_float(const void * row, float * out, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const tq_block_q8_0 * block = (const tq_block_q8_0 *) row + i / 32;
        out[i] = tq_fp16_to_f32(block->d) * (float) block->qs[i % 32];
    }
}

static void to_q8_0(const float * x, void * row, int n) {
    for (int b = 0; b < n / 32; b++) {
        tq_block_q8_0 * out  = (tq_block_q8_0 *) row + b;
        float           most = 0.0f;
        for (int i = 0; i < 32; i++) most = fabsf(x[32 * b + i]) > most ? fabsf(x[32 * b + i]) : most;
        out->d = tq_f32_to_fp16(most / 127.0f);
        for (int i = 0; i < 32; i++) out->qs[i] = (int8_t) (most > 0.0f ? rintf(x[32 * b + i] * 127.0f / most) : 0.0f);
    }
}

static int turbo_index(side_type type, int dim) {
    const int bits = type == SIDE_TURBO2 ? 2 : type == SIDE_TURBO3 ? 3 : 4;
    for (int t = 0; t < tq_type_count(); t++) {
        if (tq_type_at(t)->bits == bits && tq_type_at(t)->block == (dim % 128 == 0 ? 128 : 64)) return t;
    }
    return -1;
}

static size_t side_bytes(side_type type, int dim) {
    if (type == SIDE_F16) return 2 * (size_t) dim;
    if (type == SIDE_Q8_0) return (size_t) dim / 32 * sizeof(tq_block_q8_0);
    const tq_type_info * info = tq_type_at(turbo_index(type, dim));
    return (size_t) (dim / info->block * info->bytes);
}

static void encode_side(side_type type, const float * x, void * row, int dim) {
    if (type == SIDE_F16) {
        for (int i = 0; i < dim; i++) ((uint16_t *) row)[i] = tq_f32_to_fp16(x[i]);
    } else if (type == SIDE_Q8_0) {
        to_q8_0(x, row, dim);
    } else {
        tq_codec_active()->ops[turbo_index(type, dim)].quantize_row(x, row, dim);
    }
}

// Exactly as many bytes as asked for, so that a read beyond the last one is seen.
static char * store(attention_data * d, size_t bytes) {
    d->storage[d->stored] = guarded_new(bytes);
    return d->storage[d->stored++].at;
}

// Keys and values whose norms differ from key to key, as real ones do.
static void make_side(attention_data * d, tq_kv_side * side, side_type type, int dim, const attention_case * c, rng * r) {
    const size_t row = side_bytes(type, dim), rows = (size_t) c->n_seq_kv * (size_t) c->n_kv * (size_t) c->n_head_kv;
    char *       at  = store(d, row * rows);
    float *      x   = malloc((size_t) dim * sizeof *x);
    side->data        = at;
    side->dim         = dim;
    side->head_stride = row;
    side->key_stride  = row * (size_t) c->n_head_kv;
    side->seq_stride  = side->key_stride * (size_t) c->n_kv;
    for (size_t i = 0; i < rows; i++) {
        fill_gauss(x, dim, r);
        const float norm = 1.0f + 0.6f * rng_uniform(r);
        for (int j = 0; j < dim; j++) x[j] *= norm;
        encode_side(type, x, at + i * row, dim);
    }
    free(x);
    side->packing = type == SIDE_F16 ? TQ_PACKED_NONE : type == SIDE_Q8_0 ? TQ_PACKED_Q8_0 : TQ_PACKED_TURBO;
    if (type >= SIDE_TURBO2) {
        const int t     = turbo_index(type, dim);
        side->bits      = tq_type_at(t)->bits;
        side->block     = tq_type_at(t)->block;
        side->to_float  = tq_codec_impl_at(0)->ops[t].dequantize_row;
    } else {
        side->bits     = 8;
        side->block    = 32;
        side->to_float = type == SIDE_F16 ? f16_row_to_float : q8_0_row_to_float;
    }
}

static int hidden(const attention_case * c, int seq, int q, int key) {
    const int now = c->n_kv - c->n_q + q;
    switch (c->mask) {
        case MASK_NONE: return 0;
        case MASK_CAUSAL: return key > now;
        case MASK_HOLES: return key > now || (key / 7 + q + seq) % 3 == 0 || (key / 160) % 2 == 1;
        case MASK_BLIND: return q % 3 == 1 || key > now;
    }
    return 0;
}

static void make_mask(attention_data * d, const attention_case * c) {
    tq_attention * a   = &d->a;
    const size_t   row = (size_t) c->n_kv * 2;
    uint16_t *     at  = (uint16_t *) (void *) store(d, row * (size_t) c->n_q * (size_t) c->mask_heads * (size_t) c->n_seq);
    a->mask             = (const char *) at;
    a->mask_stride      = row;
    a->mask_head_stride = row * (size_t) c->n_q;
    a->mask_seq_stride  = a->mask_head_stride * (size_t) c->mask_heads;
    a->mask_heads       = c->mask_heads;
    a->mask_seqs        = c->n_seq;
    for (int seq = 0; seq < c->n_seq; seq++) {
        for (int h = 0; h < c->mask_heads; h++) {
            for (int q = 0; q < c->n_q; q++) {
                for (int key = 0; key < c->n_kv; key++) {
                    const float bias = c->max_bias > 0.0f ? (float) (key - (c->n_kv - c->n_q + q)) : 0.0f;
                    *at++ = tq_f32_to_fp16(hidden(c, seq, q, key) ? -INFINITY : bias + 0.25f * (float) h);
                }
            }
        }
    }
}

static attention_data make_attention(const attention_case * c) {
    attention_data d;
    memset(&d, 0, sizeof d);
    rng            r = rng_new(5);
    tq_attention * a = &d.a;
    a->n_q       = c->n_q;
    a->n_head    = c->n_head;
    a->n_seq     = c->n_seq;
    a->n_kv      = c->n_kv;
    a->n_head_kv = c->n_head_kv;
    a->n_seq_kv  = c->n_seq_kv;
    a->scale     = c->sharp / sqrtf((float) c->dk);
    a->max_bias  = c->max_bias;
    a->softcap   = c->softcap;
    const size_t rows = (size_t) c->n_seq * (size_t) c->n_q * (size_t) c->n_head;
    float *      q    = (float *) store(&d, rows * (size_t) c->dk * sizeof(float));
    fill_gauss(q, (int) (rows * (size_t) c->dk), &r);
    // Heads outside, queries inside, as the engine has them.
    a->q             = (const char *) q;
    a->q_stride      = (size_t) c->dk * sizeof(float);
    a->q_head_stride = a->q_stride * (size_t) c->n_q;
    a->q_seq_stride  = a->q_head_stride * (size_t) c->n_head;
    make_side(&d, &a->k, c->k, c->dk, c, &r);
    make_side(&d, &a->v, c->v, c->dv, c, &r);
    if (c->mask != MASK_NONE) {
        make_mask(&d, c);
    }
    if (c->sinks) {
        float * sinks = (float *) store(&d, (size_t) c->n_head * sizeof(float));
        for (int h = 0; h < c->n_head; h++) sinks[h] = 3.0f * rng_uniform(&r);
        a->sinks = sinks;
    }
    d.out_rows    = rows;
    a->dst        = store(&d, rows * (size_t) c->dv * sizeof(float));
    a->dst_stride = (size_t) c->dv * sizeof(float);
    return d;
}

static void free_attention(attention_data * d) {
    for (int i = 0; i < d->stored; i++) guarded_free(&d->storage[i]);
}

typedef struct {
    tq_attention_plan plan;
    guarded           scratch_memory, partial_memory;
    char *            scratch;
    float *           partials;
} prepared;

// Memory for one thread that does all the work.
static prepared prepare(const tq_attention_impl * impl, const attention_data * d) {
    prepared p;
    tq_attention_make_plan(&d->a, impl, &p.plan);
    p.scratch_memory = guarded_new((p.plan.scratch_bytes + 63) / 64 * 64);
    p.partial_memory = guarded_new(p.plan.partial_bytes);
    p.scratch        = p.scratch_memory.at;
    p.partials       = (float *) (void *) p.partial_memory.at;
    return p;
}

static void free_prepared(prepared * p) {
    guarded_free(&p->scratch_memory);
    guarded_free(&p->partial_memory);
}

// Unit by unit: the work is cut without regard to the number of threads.
static void run_prepared(const tq_attention_impl * impl, const attention_data * d, const prepared * p) {
    for (int u = 0; u < p->plan.n_units; u++) {
        impl->run_unit(&d->a, &p->plan, u, p->scratch, p->partials);
    }
    if (p->plan.n_splits > 1) {
        impl->reduce(&d->a, &p->plan, 0, (int64_t) d->out_rows, p->partials);
    }
}

static void run_attention(const tq_attention_impl * impl, const attention_data * d) {
    prepared p = prepare(impl, d);
    memset(p.scratch, 0xff, p.plan.scratch_bytes);  // NaN: nothing may be read before it is written
    memset(p.partials, 0xff, p.plan.partial_bytes);
    run_prepared(impl, d, &p);
    free_prepared(&p);
}

#endif
