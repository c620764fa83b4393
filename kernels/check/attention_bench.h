// Times one thread's work: nanoseconds per (key, KV head) of the cache, for all query heads of the group. The answer is
// compared with the scalar implementation's first. Implementations take turns within each repetition.
#ifndef TQ_CHECK_ATTENTION_BENCH_H
#define TQ_CHECK_ATTENTION_BENCH_H

#include "attention_case.h"
#include "timing.h"

#define ATTENTION_REPEAT 15

static side_type side_named(const char * name) {
    for (int i = 0; i < SIDES; i++) {
        if (strcmp(side_names[i], name) == 0) return (side_type) i;
    }
    fprintf(stderr, "unknown type %s\n", name);
    exit(2);
}

// Rows decoded by the active codec, as in the engine; the check's are decoded by the definition.
static void decode_fast(tq_kv_side * side) {
    if (side->packing == TQ_PACKED_TURBO) {
        const int t    = turbo_index(side->bits == 2 ? SIDE_TURBO2 : side->bits == 3 ? SIDE_TURBO3 : SIDE_TURBO4, side->dim);
        side->to_float = tq_codec_active()->ops[t].dequantize_row;
    }
}

static attention_data make_bench(const attention_case * c) {
    attention_data d = make_attention(c);
    decode_fast(&d.a.k);
    decode_fast(&d.a.v);
    return d;
}

static int bench_one(const attention_case * c) {
    attention_data d   = make_bench(c);
    const size_t   all = d.out_rows * (size_t) c->dv;
    float *        first = malloc(all * sizeof *first);
    static double  times[8][ATTENTION_REPEAT];
    prepared       p[8];
    int            status = 0;
    for (int i = 0; tq_attention_impl_at(i); i++) {
        const tq_attention_impl * impl = tq_attention_impl_at(i);
        if (!impl->supported()) continue;
        p[i] = prepare(impl, &d);
        run_prepared(impl, &d, &p[i]);
        double e2 = 0.0, w2 = 0.0;
        for (size_t j = 0; j < all; j++) {
            const float got = ((const float *) d.a.dst)[j];
            if (i == 0) first[j] = got;
            e2 += (double) (got - first[j]) * (double) (got - first[j]);
            w2 += (double) first[j] * (double) first[j];
        }
        if (!(e2 <= 1e-6 * w2)) {
            printf("%s: wrong answer, not timed\n", impl->name);
            status = 1;
        }
    }
    for (int rep = 0; rep < ATTENTION_REPEAT && status == 0; rep++) {
        for (int i = 0; tq_attention_impl_at(i); i++) {
            if (!tq_attention_impl_at(i)->supported() || (i == 0 && rep % 5)) continue;
            const double start = seconds();
            run_prepared(tq_attention_impl_at(i), &d, &p[i]);
            times[i][rep] = (seconds() - start) * 1e9 / ((double) c->n_kv * c->n_head_kv);
            if (i == 0) for (int j = 1; j < 5; j++) times[0][rep + j] = times[0][rep];
        }
    }
    for (int i = 0; tq_attention_impl_at(i) && status == 0; i++) {
        if (!tq_attention_impl_at(i)->supported()) continue;
        qsort(times[i], ATTENTION_REPEAT, sizeof(double), by_value);
        printf("%-8s %s/%s d%d group %d, %d queries: %9.1f ns (%.1f)\n", tq_attention_impl_at(i)->name, side_names[c->k], side_names[c->v],
               c->dk, c->n_head / c->n_head_kv, c->n_q, times[i][ATTENTION_REPEAT / 2], times[i][0]);
        free_prepared(&p[i]);
    }
    free(first);
    free_attention(&d);
    return status;
}

static attention_case bench_case(const char * k, const char * v, int n_q) {
    return (attention_case) { .k = side_named(k), .v = side_named(v), .dk = 128, .dv = 128, .n_head = 4, .n_head_kv = 1, .n_q = n_q,
        .n_kv = 2048, .n_seq = 1, .n_seq_kv = 1, .mask = MASK_CAUSAL, .mask_heads = 1, .sharp = 1.5f };
}

// [K V [N_Q [GROUP [HEAD_DIM]]]]
static int attention_bench(int argc, char ** argv) {
    static const char * const pairs[][2] = { { "turbo4", "turbo4" }, { "turbo3", "turbo3" }, { "turbo2", "turbo2" }, { "q8_0", "turbo4" }, { "f16", "f16" } };
    int status = 0;
    if (argc >= 2) {
        attention_case c = bench_case(argv[0], argv[1], argc > 2 ? atoi(argv[2]) : 1);
        if (argc > 3) c.n_head = atoi(argv[3]);
        if (argc > 4) c.dk = c.dv = atoi(argv[4]);
        return bench_one(&c);
    }
    for (int i = 0; i < 5; i++) {
        for (int n_q = 1; n_q <= 128; n_q *= 128) {
            const attention_case c = bench_case(pairs[i][0], pairs[i][1], n_q);
            status |= bench_one(&c);
        }
    }
    return status;
}

static int attention_once(int argc, char ** argv) {
    if (argc < 4) return fprintf(stderr, "--count IMPL K V N_Q [TIMES [N_KV]]\n"), 2;
    if (!tq_attention_force(argv[0])) return fprintf(stderr, "%s: not here\n", argv[0]), 2;
    attention_case c = bench_case(argv[1], argv[2], atoi(argv[3]));
    if (argc > 5) c.n_kv = atoi(argv[5]);
    attention_data d = make_bench(&c);
    for (int i = argc > 4 ? atoi(argv[4]) : 1; i > 0; i--) run_attention(tq_attention_active(), &d);
    free_attention(&d);
    return 0;
}

#endif
