// Checks every implementation of attention on this CPU against the float64 definition. No engine needed.
//
//   attention_check            all cases
//   attention_check --quick    about a tenth of them, for an emulator
//   attention_check --bench    nanoseconds per key and KV head, and the ratio to the scalar implementation
//   attention_check --instructions [FILE]   instructions per key and KV head, compared with those recorded in FILE
//   attention_check --count IMPL K V N_Q [TIMES [N_KV]]   runs one case, for profiles and emulators that count
#include "attention_count.h"

// Of an output row: |out - reference| / |reference|. Queries and weights are integers of 16 bits, relative to the largest
// of the query and of the row's tile, so either rounding error is uniform with a step of 2^-15 of that at most; on average
// over the terms this stays below 3e-4 of the row's norm in every case here.
#define MOST_RELATIVE_ERROR 3e-4
#define MOST_LOST_COSINE    5e-8

typedef struct {
    double error, lost;
    int    bad_zero, rows;
} deviation;

static void compare_row(const double * want, const float * got, int dim, deviation * worst) {
    double dot = 0.0, w2 = 0.0, g2 = 0.0, e2 = 0.0;
    for (int i = 0; i < dim; i++) {
        dot += want[i] * (double) got[i];
        w2  += want[i] * want[i];
        g2  += (double) got[i] * (double) got[i];
        e2  += (want[i] - (double) got[i]) * (want[i] - (double) got[i]);
    }
    worst->rows++;
    if (w2 == 0.0) {
        worst->bad_zero += g2 != 0.0;
        return;
    }
    const double error = sqrt(e2 / w2), lost = 1.0 - dot / sqrt(w2 * g2);
    // Written so that NaN counts as worst.
    worst->error = error <= worst->error ? worst->error : error;
    worst->lost  = lost <= worst->lost ? worst->lost : lost;
}

static void check_case(const tq_attention_impl * impl, const attention_case * c) {
    attention_data d    = make_attention(c);
    double *       want = malloc(d.out_rows * (size_t) c->dv * sizeof *want);
    deviation      worst = { 0.0, 0.0, 0, 0 };
    char           name[128];
    snprintf(name, sizeof name, "%s/%s d%d/%d h%d/%d q%d kv%d", side_names[c->k], side_names[c->v], c->dk, c->dv, c->n_head, c->n_head_kv,
             c->n_q, c->n_kv);
    tq_attention_reference(&d.a, want);
    run_attention(impl, &d);
    for (size_t r = 0; r < d.out_rows; r++) {
        compare_row(want + r * (size_t) c->dv, (const float *) d.a.dst + r * (size_t) c->dv, c->dv, &worst);
    }
    const int ok = worst.error < MOST_RELATIVE_ERROR && worst.lost < MOST_LOST_COSINE && worst.bad_zero == 0;
    report(ok, impl->name, name, "error %.1e, 1 - cosine %.1e%s%s%s%s", worst.error, worst.lost, c->mask == MASK_HOLES ? ", holes" : "",
           c->softcap != 0.0f ? ", softcap" : "", c->max_bias != 0.0f ? ", ALiBi" : "", c->sinks ? ", sinks" : "");
    free(want);
    free_attention(&d);
}

static const attention_case usual = {
    .k = SIDE_TURBO4, .v = SIDE_TURBO4, .dk = 128, .dv = 128, .n_head = 4, .n_head_kv = 1, .n_q = 1, .n_kv = 300,
    .n_seq = 1, .n_seq_kv = 1, .mask = MASK_CAUSAL, .mask_heads = 1, .sharp = 1.5f,
};

// Every pair of types, with few and with many queries.
static void check_pairs(const tq_attention_impl * impl, int step) {
    static const int dims[] = { 64, 128, 192, 256 };
    int              n      = 0;
    for (int k = 0; k < SIDES; k++) {
        for (int v = 0; v < SIDES; v++) {
            for (int i = 0; i < 4; i++) {
                attention_case c = usual;
                c.k              = (side_type) k;
                c.v              = (side_type) v;
                c.dk = c.dv = dims[i];
                c.n_q       = (k + v + i) % 2 ? 1 : 37;
                c.n_kv      = 257 + 13 * k + v;
                if (n++ % step == 0) check_case(impl, &c);
            }
        }
    }
}

static void check_shapes(const tq_attention_impl * impl, int step) {
    static const int pairs[][2] = { { 64, 64 }, { 128, 128 }, { 192, 128 }, { 256, 256 }, { 320, 256 }, { 512, 512 }, { 576, 512 }, { 64, 192 } };
    static const int groups[]   = { 1, 2, 3, 4, 5, 6, 7, 8, 12, 16 };
    static const int queries[]  = { 1, 2, 3, 8, 31, 64, 130, 512 };
    static const int keys[]     = { 1, 2, 15, 16, 17, 63, 64, 127, 128, 129, 255, 1025 };
    int              n          = 0;
    for (int i = 0; i < 8; i++) {
        attention_case c = usual;
        c.dk = pairs[i][0], c.dv = pairs[i][1], c.k = i % 2 ? SIDE_TURBO3 : SIDE_TURBO4, c.v = i % 3 ? SIDE_TURBO4 : SIDE_TURBO2;
        c.n_q = 1 + 5 * (i % 2);
        if (n++ % step == 0) check_case(impl, &c);
    }
    for (int i = 0; i < 10; i++) {
        attention_case c = usual;
        c.n_head_kv = 2, c.n_head = 2 * groups[i], c.n_q = 1 + i % 3;
        // Few rows have kernels of their own: the first groups are in every run.
        if (n++ % step == 0 || i < 3) check_case(impl, &c);
    }
    for (int i = 0; i < 8; i++) {
        attention_case c = usual;
        c.n_q = queries[i], c.n_kv = queries[i] + 100, c.n_head = 2;
        if (n++ % step == 0) check_case(impl, &c);
    }
    for (int i = 0; i < 12; i++) {
        attention_case c = usual;
        c.n_kv = keys[i], c.k = (side_type) (i % SIDES), c.v = (side_type) ((i + 2) % SIDES);
        if (n++ % step == 0) check_case(impl, &c);
    }
}

static void check_masks(const tq_attention_impl * impl, int step) {
    int n = 0;
    for (int mask = MASK_NONE; mask <= MASK_BLIND; mask++) {
        for (int extra = 0; extra < 6; extra++) {
            attention_case c = usual;
            c.mask     = (mask_kind) mask;
            c.n_head   = 6, c.n_head_kv = 2, c.n_q = extra % 2 ? 9 : 1, c.n_kv = 700;
            c.softcap  = extra == 1 || extra == 2 ? 2.0f : 0.0f;
            c.max_bias = mask != MASK_NONE && (extra == 2 || extra == 3) ? 8.0f : 0.0f;
            c.sinks    = extra >= 3;
            if (extra == 4) c.n_seq = 4, c.n_seq_kv = 4;
            if (extra == 5) c.n_seq = 4, c.n_seq_kv = 2, c.mask_heads = 3;
            if (n++ % step == 0) check_case(impl, &c);
        }
    }
    // One key with nearly all the weight, and far more keys with nearly none, which together count.
    attention_case c = usual;
    c.sharp = 12.0f, c.n_kv = 3000, c.v = SIDE_TURBO2;
    check_case(impl, &c);
    c.sharp = 0.02f, c.k = SIDE_F16;
    check_case(impl, &c);
}

// A long flat tail behind one sharp key: rounding must not lose the tail.
static void check_tail(const tq_attention_impl * impl) {
    attention_case c = usual;
    c.k = SIDE_F16, c.n_head = 1, c.n_kv = 20000, c.mask = MASK_NONE, c.sharp = 1.0f;
    attention_data d = make_attention(&c);
    uint16_t *     k = (uint16_t *) (void *) (uintptr_t) d.a.k.data;
    float *        q = (float *) (void *) (uintptr_t) d.a.q;
    // The product is 16 for key 0 and 0 for the others: 9e6 against 20000 times 1.
    memset(k, 0, (size_t) c.n_kv * 256);
    for (int i = 0; i < 128; i++) q[i] = 1.0f;
    for (int i = 0; i < 128; i++) k[i] = tq_f32_to_fp16(16.0f / (128.0f * d.a.scale));
    // All values of the tail are the same, so that it adds up: .2 % of the weight.
    const size_t row = d.a.v.key_stride;
    char *       v   = (char *) (uintptr_t) d.a.v.data;
    for (int key = 2; key < c.n_kv; key++) memcpy(v + (size_t) key * row, v + row, row);
    double    want[128];
    deviation worst = { 0.0, 0.0, 0, 0 };
    tq_attention_reference(&d.a, want);
    run_attention(impl, &d);
    compare_row(want, (const float *) d.a.dst, 128, &worst);
    report(worst.error < 2e-4, impl->name, "flat_tail_behind_a_peak_counts", "error %.1e", worst.error);
    free_attention(&d);
}

// What is masked may be anything; what is not finite in a query makes that query's rows NaN and no other's.
static void check_not_finite(const tq_attention_impl * impl) {
    for (int k = 0; k < SIDES; k++) {
        attention_case c = usual;
        c.k = (side_type) k, c.v = (side_type) ((k + 1) % SIDES), c.n_q = 3, c.n_head = 2, c.n_kv = 200, c.mask = MASK_BLIND;
        attention_data d = make_attention(&c);
        uint16_t *     mask = (uint16_t *) (uintptr_t) d.a.mask;
        for (int q = 0; q < 3; q++) mask[q * c.n_kv + 5] = tq_f32_to_fp16(-INFINITY);
        double * want = malloc(d.out_rows * 128 * sizeof *want);
        float *  query = (float *) (void *) (uintptr_t) d.a.q;
        tq_attention_reference(&d.a, want);
        // Key 5 is masked: its scale, or first value, is NaN in K and infinite in V.
        const uint16_t nan = 0x7e00, infinite = 0x7c00;
        memcpy((char *) (uintptr_t) d.a.k.data + 5 * d.a.k.key_stride, &nan, 2);
        memcpy((char *) (uintptr_t) d.a.v.data + 5 * d.a.v.key_stride, &infinite, 2);
        query[0 * 3 * 128 + 2 * 128 + 7] = NAN;  // head 0, query 2
        run_attention(impl, &d);
        const float * out   = (const float *) d.a.dst;
        deviation     worst = { 0.0, 0.0, 0, 0 };
        for (int row = 0; row < 6; row++) {
            if (row != 4) compare_row(want + row * 128, out + row * 128, 128, &worst);
        }
        const int ok = worst.error < MOST_RELATIVE_ERROR && worst.bad_zero == 0 && out[4 * 128] != out[4 * 128];
        report(ok, impl->name, "nan_stays_where_it_is", "%s/%s error %.1e", side_names[c.k], side_names[c.v], worst.error);
        free(want);
        free_attention(&d);
    }
}

// Zero rows, as in a cache that was never written, and norms at the ends of fp16.
static void check_extremes(const tq_attention_impl * impl) {
    static const float norms[] = { 0.0f, 1e-4f, 6e4f };
    for (int i = 0; i < 3; i++) {
        attention_case c = usual;
        c.mask = MASK_NONE;
        attention_data d = make_attention(&c);
        float          x[128];
        rng            r = rng_new(3);
        for (int key = 0; key < c.n_kv; key++) {
            fill_gauss(x, 128, &r);
            for (int j = 0; j < 128; j++) x[j] *= norms[i] / 11.3f;
            encode_side(c.v, x, (char *) (uintptr_t) d.a.v.data + (size_t) key * d.a.v.key_stride, 128);
        }
        double    want[4 * 128];
        deviation worst = { 0.0, 0.0, 0, 0 };
        tq_attention_reference(&d.a, want);
        run_attention(impl, &d);
        for (int row = 0; row < 4; row++) compare_row(want + row * 128, (const float *) d.a.dst + row * 128, 128, &worst);
        report(worst.error < MOST_RELATIVE_ERROR && worst.bad_zero == 0, impl->name, "norms_of_values", "norm %g: error %.1e", (double) norms[i], worst.error);
        free_attention(&d);
    }
}

// A query's row has the same bits whether its neighbours are computed with it or not, as long as the cache is not split.
static void check_alone_and_together(const tq_attention_impl * impl) {
    for (int k = 0; k < SIDES; k++) {
        attention_case c = usual;
        c.k = (side_type) k, c.v = (side_type) ((k + 2) % SIDES), c.n_q = 21, c.n_kv = 250;
        attention_data d   = make_attention(&c);
        const size_t   row = 4 * 128;
        float *        all = malloc(21 * row * sizeof *all);
        run_attention(impl, &d);
        memcpy(all, d.a.dst, 21 * row * sizeof *all);
        int          differ   = 0;
        const char * q        = d.a.q;
        const char * mask     = d.a.mask;
        const size_t out_rows = d.out_rows;
        d.a.n_q               = 1;
        d.out_rows            = out_rows / 21;
        for (int i = 0; i < 21; i++) {
            d.a.q    = q + (size_t) i * d.a.q_stride;
            d.a.mask = mask + (size_t) i * d.a.mask_stride;
            run_attention(impl, &d);
            differ += memcmp(all + (size_t) i * row, d.a.dst, row * sizeof *all) != 0;
        }
        report(differ == 0, impl->name, "same_bits_alone_and_in_a_batch", "%s/%s: %d of 21 queries differ", side_names[c.k], side_names[c.v], differ);
        free(all);
        free_attention(&d);
    }
}

static void check_impl(const tq_attention_impl * impl, int step) {
    if (!impl->supported()) {
        skip(impl->name, "all", "this CPU does not run it");
        return;
    }
    check_pairs(impl, step);
    check_shapes(impl, step);
    check_masks(impl, step);
    check_tail(impl);
    check_not_finite(impl);
    check_extremes(impl);
    check_alone_and_together(impl);
}

int main(int argc, char ** argv) {
    int step = 1;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bench") == 0) return attention_bench(argc - i - 1, argv + i + 1);
        if (strcmp(argv[i], "--instructions") == 0) return attention_instructions(argv[i + 1]);
        if (strcmp(argv[i], "--count") == 0) return attention_once(argc - i - 1, argv + i + 1);
        if (strcmp(argv[i], "--quick") == 0) step = 11;  // no divisor of the number of dimensions, so all come up
        else return fprintf(stderr, "unknown option %s\n", argv[i]), 2;
    }
    for (int i = 0; tq_attention_impl_at(i); i++) {
        check_impl(tq_attention_impl_at(i), step);
    }
    printf("%d passed, %d failed, %d skipped\n", counts.passed, counts.failed, counts.skipped);
    return counts.failed != 0;
}
