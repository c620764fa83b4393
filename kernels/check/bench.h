// Nanoseconds per 128 values. Implementations and operations take turns within each repetition, so a
// disturbance hits all of them; the median of the repetitions is printed with its spread.
#ifndef TQ_CHECK_BENCH_H
#define TQ_CHECK_BENCH_H

#include <stdlib.h>

#include "impl_checks.h"
#include "timing.h"

#define BENCH_VALUES 16384  // a few L1-sized rows, inside L2
#define BENCH_REPEAT 21

enum { BENCH_ENCODE, BENCH_DECODE, BENCH_DOT, BENCH_OPS };

typedef struct {
    float         x[BENCH_VALUES], y[BENCH_VALUES];
    uint8_t       rows[BENCH_VALUES], expected[BENCH_VALUES];
    tq_block_q8_0 query[BENCH_VALUES / 32];
    float         sink;
} bench_data;

// Dots run over heads of 128 values, as attention does.
static void bench_run(int op, const tq_codec_ops * ops, const tq_type_info * type, bench_data * d) {
    if (op == BENCH_ENCODE) {
        ops->quantize_row(d->x, d->rows, BENCH_VALUES);
    } else if (op == BENCH_DECODE) {
        ops->dequantize_row(d->rows, d->y, BENCH_VALUES);
    } else {
        for (int i = 0; i < BENCH_VALUES / 128; i++) {
            float s;
            ops->vec_dot(128, &s, 0, d->rows + row_bytes(type, 128 * i), 0, d->query, 0, 1);
            d->sink += s;
        }
    }
}

static double time_once(int op, const tq_codec_ops * ops, const tq_type_info * type, bench_data * d) {
    const int    rounds = op == BENCH_ENCODE ? 4 : 16;
    const double start  = seconds();
    for (int i = 0; i < rounds; i++) bench_run(op, ops, type, d);
    return (seconds() - start) * 1e9 / rounds / (BENCH_VALUES / 128);
}

static int bench(void) {
    static double times[16][BENCH_OPS][BENCH_REPEAT];
    bench_data *  d = malloc(sizeof *d);
    rng           r = rng_new(11);
    fill_gauss(d->x, BENCH_VALUES, &r);
    fill_query(d->query, BENCH_VALUES, &r);
    d->sink = 0.0f;
    printf("%-12s %-10s %22s %22s %22s   ns per 128 values, median (min)\n", "", "", "encode", "decode", "dot");
    for (int t = 0; t < tq_type_count(); t++) {
        const tq_type_info * type = tq_type_at(t);
        const int            size = row_bytes(type, BENCH_VALUES);
        tq_codec_impl_at(0)->ops[t].quantize_row(d->x, d->expected, BENCH_VALUES);
        for (int rep = -1; rep < BENCH_REPEAT; rep++) {
            for (int i = 0; i < tq_codec_impl_count(); i++) {
                const tq_codec_impl * impl = tq_codec_impl_at(i);
                if (!tq_codec_impl_supported(impl)) continue;
                for (int op = 0; op < BENCH_OPS; op++) {
                    const double ns = time_once(op, &impl->ops[t], type, d);
                    if (rep >= 0) times[i][op][rep] = ns;
                }
                if (memcmp(d->rows, d->expected, (size_t) size) != 0) {
                    printf("%s %s: wrong bytes, not timed\n", impl->name, type->name);
                    free(d);
                    return 1;
                }
            }
        }
        for (int i = 0; i < tq_codec_impl_count(); i++) {
            if (!tq_codec_impl_supported(tq_codec_impl_at(i))) continue;
            printf("%-12s %-10s", tq_codec_impl_at(i)->name, type->name);
            for (int op = 0; op < BENCH_OPS; op++) {
                qsort(times[i][op], BENCH_REPEAT, sizeof(double), by_value);
                printf("   %9.1f (%7.1f)", times[i][op][BENCH_REPEAT / 2], times[i][op][0]);
            }
            printf("\n");
        }
    }
    free(d);
    return 0;
}

#endif
