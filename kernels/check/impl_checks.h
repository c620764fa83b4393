// Checks that compare one implementation with the reference, over types, lengths, offsets and inputs.
#ifndef TQ_CHECK_IMPL_H
#define TQ_CHECK_IMPL_H

#include <stdlib.h>

#include "../common/codec.h"
#include "report.h"
#include "vectors.h"

#define MAX_LENGTH 576
#define GUARD      64
#define GUARD_BYTE 0xa5

static const int lengths[] = { 64, 128, 192, 256, 320, 384, 448, 512, 576 };
#define LENGTHS ((int) (sizeof lengths / sizeof lengths[0]))

// First thing that went wrong in a check; empty while all is well.
typedef struct {
    char text[160];
    int  cases;
} finding;

#define NOTE(f, ...)                                            \
    do {                                                        \
        if ((f)->text[0] == 0) {                                \
            snprintf((f)->text, sizeof (f)->text, __VA_ARGS__); \
        }                                                       \
    } while (0)

static void conclude(const finding * f, const char * who, const char * check) {
    report(f->text[0] == 0, who, check, "%s%s%d cases", f->text, f->text[0] ? "; " : "", f->cases);
}

// A row of `length` values whose blocks run through the vector kinds, starting with `kind`.
static void fill_row(float * x, int length, int block, int kind, uint64_t seed) {
    rng r = rng_new(seed);
    for (int i = 0; i < length / block; i++) {
        vector_kinds[(kind + i) % VECTOR_KINDS].fill(x + i * block, block, &r);
    }
}

// Exactly sized, so that a sanitizer sees a read past the end; offset bytes in front.
static void * exact(size_t size, size_t offset, void ** base) {
    *base = malloc(size + offset);
    return (char *) *base + offset;
}

typedef void (*case_fn)(
    const tq_codec_ops * ops, const tq_codec_ops * ref, const tq_type_info * type, int length, int kind, int offset,
    finding * f);

static int row_bytes(const tq_type_info * type, int length) {
    return length / type->block * type->bytes;
}

static void encode_case(
    const tq_codec_ops * ops, const tq_codec_ops * ref, const tq_type_info * type, int length, int kind, int offset,
    finding * f) {
    void *  base;
    float * x     = exact(sizeof(float) * (size_t) length, sizeof(float) * (size_t) offset, &base);
    int     bytes = row_bytes(type, length);
    uint8_t want[MAX_LENGTH], got[MAX_LENGTH + 2 * GUARD];
    fill_row(x, length, type->block, kind, (uint64_t) (1000 * kind + length));
    memset(got, GUARD_BYTE, sizeof got);
    uint8_t * out = got + GUARD - offset;
    ref->quantize_row(x, want, length);
    ops->quantize_row(x, out, length);
    if (memcmp(want, out, (size_t) bytes) != 0) {
        NOTE(f, "%s %s length %d: bytes differ", type->name, vector_kinds[kind].name, length);
    }
    for (int i = 0; i < GUARD - offset; i++) {
        if (got[i] != GUARD_BYTE || out[bytes + i] != GUARD_BYTE) {
            NOTE(f, "%s length %d: wrote outside the row", type->name, length);
        }
    }
    free(base);
}

static void decode_case(
    const tq_codec_ops * ops, const tq_codec_ops * ref, const tq_type_info * type, int length, int kind, int offset,
    finding * f) {
    void *    base;
    int       bytes = row_bytes(type, length);
    uint8_t * row   = exact((size_t) bytes, (size_t) offset, &base);
    float     want[MAX_LENGTH], got[MAX_LENGTH + 2 * GUARD];
    rng       r = rng_new((uint64_t) (7000 * kind + length));
    // Any bytes are a valid row as long as the scale is finite.
    for (int i = 0; i < bytes; i++) row[i] = (uint8_t) (rng_next(&r) >> 32);
    for (int i = 0; i < bytes; i += type->bytes) row[i + 1] &= kind % 2 ? 0x3b : 0xfb;
    memset(got, GUARD_BYTE, sizeof got);
    float * out = got + GUARD - offset;
    ref->dequantize_row(row, want, length);
    ops->dequantize_row(row, out, length);
    if (memcmp(want, out, sizeof(float) * (size_t) length) != 0) {
        NOTE(f, "%s length %d: decoded bits differ", type->name, length);
    }
    for (int i = 0; i < GUARD - offset; i++) {
        float untouched;
        memset(&untouched, GUARD_BYTE, sizeof untouched);
        if (memcmp(got + i, &untouched, 4) != 0 || memcmp(out + length + i, &untouched, 4) != 0) {
            NOTE(f, "%s length %d: wrote outside the row", type->name, length);
        }
    }
    free(base);
}

// q8_0 as the engine makes it, plus the -128 that it never makes.
static void fill_query(tq_block_q8_0 * q, int length, rng * r) {
    for (int b = 0; b < length / 32; b++) {
        q[b].d = tq_f32_to_fp16(fabsf(rng_gauss(r)) * 0.01f);
        for (int i = 0; i < 32; i++) q[b].qs[i] = (int8_t) (rng_next(r) >> 56);
    }
    q[0].qs[0] = -128;
}

static void dot_case(
    const tq_codec_ops * ops, const tq_codec_ops * ref, const tq_type_info * type, int length, int kind, int offset,
    finding * f) {
    if (!vector_kinds[kind].finite) {
        return;
    }
    void *          row_base, *query_base;
    uint8_t *       row = exact((size_t) row_bytes(type, length), (size_t) offset, &row_base);
    tq_block_q8_0 * q   = exact(sizeof(tq_block_q8_0) * (size_t) length / 32, 2 * (size_t) offset, &query_base);
    float           x[MAX_LENGTH], want = 0.0f, got = 0.0f;
    rng             r = rng_new((uint64_t) (3000 * kind + length));
    fill_row(x, length, type->block, 0, (uint64_t) length);
    vector_kinds[kind].fill(x, type->block, &r);
    fill_query(q, length, &r);
    ref->quantize_row(x, row, length);
    ref->vec_dot(length, &want, 0, row, 0, q, 0, 1);
    ops->vec_dot(length, &got, 0, row, 0, q, 0, 1);
    ref->dequantize_row(row, x, length);
    double kk = 0.0, qq = 0.0, exact_sum = 0.0;
    for (int i = 0; i < length; i++) {
        const double value = (double) tq_fp16_to_f32(q[i / 32].d) * q[i / 32].qs[i % 32];
        kk += (double) x[i] * x[i];
        qq += value * value;
        exact_sum += value * x[i];
    }
    const double bound = 1e-5 * sqrt(kk) * sqrt(qq);
    if (!(fabs((double) got - want) <= bound) || !(fabs((double) want - exact_sum) <= bound)) {
        NOTE(f, "%s %s length %d: %g, reference %g, exact %g", type->name, vector_kinds[kind].name, length, (double) got,
             (double) want, exact_sum);
    }
    free(row_base);
    free(query_base);
}

// Whatever one block holds, it decodes to finite values and its neighbours decode as if it were not there.
static void isolation_case(
    const tq_codec_ops * ops, const tq_codec_ops * ref, const tq_type_info * type, int length, int kind, int offset,
    finding * f) {
    (void) ref, (void) offset;
    const int blocks = length / type->block, hurt = blocks / 2;
    float     x[MAX_LENGTH], y[MAX_LENGTH];
    uint8_t   calm[MAX_LENGTH], row[MAX_LENGTH];
    rng       r = rng_new((uint64_t) (500 * kind + length));
    fill_gauss(x, length, &r);
    ops->quantize_row(x, calm, length);
    vector_kinds[kind].fill(x + hurt * type->block, type->block, &r);
    ops->quantize_row(x, row, length);
    ops->dequantize_row(row, y, length);
    for (int i = 0; i < blocks; i++) {
        if (i != hurt && memcmp(calm + i * type->bytes, row + i * type->bytes, (size_t) type->bytes) != 0) {
            NOTE(f, "%s: a %s block changed its neighbour", type->name, vector_kinds[kind].name);
        }
    }
    const int zero = vector_kinds[kind].fill == fill_zero || vector_kinds[kind].fill == fill_all_nan;
    for (int i = 0; i < length; i++) {
        if (!isfinite(y[i])) {
            NOTE(f, "%s: a %s block decodes to %g", type->name, vector_kinds[kind].name, (double) y[i]);
        }
        if (zero && i / type->block == hurt && y[i] != 0.0f) {
            NOTE(f, "%s: a %s block decodes to %g, not 0", type->name, vector_kinds[kind].name, (double) y[i]);
        }
    }
}

static const struct {
    const char * name;
    case_fn      run;
} impl_checks[] = {
    { "encode_equals_reference", encode_case },
    { "decode_equals_reference_bit_for_bit", decode_case },
    { "dot_within_1e-5_of_reference", dot_case },
    { "blocks_are_isolated_and_finite", isolation_case },
};

#define IMPL_CHECKS ((int) (sizeof impl_checks / sizeof impl_checks[0]))

static void check_impl(const tq_codec_impl * impl) {
    const tq_codec_impl * reference = tq_codec_impl_at(0);
    for (int c = 0; c < IMPL_CHECKS; c++) {
        if (!tq_codec_impl_supported(impl)) {
            skip(impl->name, impl_checks[c].name, "not supported by this CPU");
            continue;
        }
        finding f = { { 0 }, 0 };
        for (int t = 0; t < tq_type_count(); t++) {
            const tq_type_info * type = tq_type_at(t);
            for (int n = 0; n < LENGTHS; n++) {
                for (int kind = 0; kind < VECTOR_KINDS && lengths[n] % type->block == 0; kind++) {
                    for (int offset = 0; offset < 4; offset++, f.cases++) {
                        impl_checks[c].run(&impl->ops[t], &reference->ops[t], type, lengths[n], kind, offset, &f);
                    }
                }
            }
        }
        conclude(&f, impl->name, impl_checks[c].name);
    }
}

#endif
