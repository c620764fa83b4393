// Checks of the definition itself: the numbers of the codec, the rotation, the packing, the conversions.
// Encodes are the same bytes everywhere, so these run on the fastest implementation.
#ifndef TQ_CHECK_QUALITY_H
#define TQ_CHECK_QUALITY_H

#include "../common/rotate.h"
#include "../turbo2/scalar.h"
#include "../turbo3/scalar.h"
#include "../turbo4/scalar.h"
#include "impl_checks.h"

// Expected E|x - x^|^2 / |x|^2 of the encoder (norm search, unbiased scale) on Gaussian directions.
static double expected_distortion(const tq_type_info * type) {
    const int wide = type->block == 128;
    return type->bits == 4 ? (wide ? .0079 : .0071) : type->bits == 3 ? (wide ? .0328 : .0304) : (wide ? .1294 : .1255);
}

static double dot(const float * a, const float * b, int n) {
    double sum = 0.0;
    for (int i = 0; i < n; i++) sum += (double) a[i] * b[i];
    return sum;
}

static double error_of(const float * x, const float * y, int n) {
    double sum = 0.0;
    for (int i = 0; i < n; i++) sum += ((double) x[i] - y[i]) * ((double) x[i] - y[i]);
    return sum / dot(x, x, n);
}

static void round_trip(const tq_codec_ops * ops, const tq_type_info * type, const float * x, float * y) {
    uint8_t row[TQ_MAX_BLOCK];
    ops->quantize_row(x, row, type->block);
    ops->dequantize_row(row, y, type->block);
}

static void check_distortion(const tq_codec_impl * impl, int vectors) {
    double last[2] = { 0.0, 0.0 };
    for (int t = 0; t < tq_type_count(); t++) {
        const tq_type_info * type = tq_type_at(t);
        const int            n    = type->block;
        rng                  r    = rng_new(42);
        double               total = 0.0, worst_slope = 0.0, near = 0.0, near_square = 0.0, far_square = 0.0;
        for (int v = 0; v < vectors; v++) {
            float x[TQ_MAX_BLOCK], y[TQ_MAX_BLOCK], q[TQ_MAX_BLOCK];
            fill_gauss(x, n, &r);
            fill_gauss(q, n, &r);
            round_trip(&impl->ops[t], type, x, y);
            total += error_of(x, y, n);
            worst_slope    = fmax(worst_slope, fabs(dot(x, y, n) / dot(x, x, n) - 1.0));
            const double e = dot(q, y, n) - dot(q, x, n);
            far_square += e * e / dot(x, x, n) / dot(q, q, n);
            // A query that resembles the key, as attention's winners do: here a biased scale would show.
            for (int i = 0; i < n; i++) q[i] += x[i];
            const double b = (dot(q, y, n) - dot(q, x, n)) / dot(x, x, n);
            near += b;
            near_square += b * b;
        }
        const double d = total / vectors, want = expected_distortion(type);
        report(fabs(d / want - 1.0) < 0.02, type->name, "distortion_within_2_percent", "D %.5f, expected %.4f, %+.2f %%",
               d, want, 100.0 * (d / want - 1.0));
        double * wider = &last[n == 64];
        report(*wider < d, type->name, "distortion_falls_with_bits", "%.5f after %.5f", d, *wider);
        *wider = d;
        report(worst_slope < 0.001, type->name, "slope_is_one", "worst deviation %.2e", worst_slope);
        const double mean = near / vectors, deviation = sqrt((near_square / vectors - mean * mean) / vectors);
        report(fabs(mean) < 3.0 * deviation, type->name, "inner_product_unbiased", "mean %+.2e, %.2f standard errors", mean,
               mean / deviation);
        const double ratio = far_square / vectors * n / d;
        // 1.05 at 20,000 vectors; two standard errors more when there are fewer.
        const double limit = 1.03 + 2.0 * sqrt(2.0 / vectors);
        report(ratio < limit, type->name, "inner_product_error_bounded", "%.4f of D/d, limit %.3f", ratio, limit);
    }
}

static void check_rotation(const tq_codec_impl * impl) {
    static float matrix[256 * 256];
    double       involution = 0.0, norm = 0.0, agreement = 0.0;
    rng          r = rng_new(7);
    for (int n = 64; n <= TQ_ROTATE_MAX; n *= 2) {
        float x[TQ_ROTATE_MAX], y[TQ_ROTATE_MAX], z[TQ_ROTATE_MAX];
        for (int v = 0; v < 50; v++) {
            fill_gauss(x, n, &r);
            tq_rotate_f32(x, y, n);
            norm = fmax(norm, fabs(sqrt(dot(y, y, n) / dot(x, x, n)) - 1.0));
            memcpy(z, y, sizeof z);
            tq_rotate_f32(z, z, n);
            involution = fmax(involution, sqrt(error_of(x, z, n)));
        }
        if (n <= 256) {
            tq_rotation_matrix(matrix, n);
            for (int i = 0; i < n; i++) {
                const float e = (float) dot(matrix + i * n, x, n) - y[i];
                agreement     = fmax(agreement, fabs((double) e) / sqrt(dot(x, x, n)));
            }
        }
    }
    report(involution < 1e-6, "rotation", "twice_is_identity", "%.2e", involution);
    report(norm < 1e-6, "rotation", "keeps_the_norm", "%.2e", norm);
    report(agreement < 1e-6, "rotation", "matrix_equals_transform", "%.2e", agreement);

    // Structured vectors must end up no worse than a third above the random case.
    static const fill_fn      fills[] = { fill_constant, fill_alternating, fill_ramp, fill_shifted };
    static const char * const names[] = { "constant", "alternating", "ramp", "shifted" };
    for (int t = 0; t < tq_type_count(); t++) {
        const tq_type_info * type = tq_type_at(t);
        double               worst = 0.0;
        const char *         which = "";
        for (int k = 0; k < 4 + 6; k++) {
            float x[TQ_MAX_BLOCK], y[TQ_MAX_BLOCK], z[TQ_MAX_BLOCK];
            if (k < 4) {
                fills[k](x, type->block, &r);
            } else {
                // Slow waves: half a period to three over the block.
                for (int i = 0; i < type->block; i++) x[i] = (float) cos(M_PI * (i + .5) * (k - 3) / type->block);
            }
            tq_rotate_f32(x, y, type->block);
            round_trip(&impl->ops[t], type, y, z);
            const double d = error_of(y, z, type->block);
            which          = d > worst ? (k < 4 ? names[k] : "wave") : which;
            worst          = fmax(worst, d);
        }
        const double limit = 1.33 * expected_distortion(type);
        report(worst < limit, type->name, "structured_vectors_spread", "worst D %.4f (%s), limit %.4f", worst, which,
               limit);
    }
}

static void check_packing(void) {
    finding f = { { 0 }, 0 };
    rng     r = rng_new(9);
    for (int round = 0; round < 200; round++) {
        for (int t = 0; t < tq_type_count(); t++, f.cases++) {
            const tq_type_info * type = tq_type_at(t);
            const int            n    = type->block;
            uint8_t              index[TQ_MAX_BLOCK], qs[TQ_MAX_BLOCK];
            for (int i = 0; i < n; i++) index[i] = (uint8_t) (rng_next(&r) >> (64 - type->bits));
            (type->bits == 2 ? tq_turbo2_pack : type->bits == 3 ? tq_turbo3_pack : tq_turbo4_pack)(index, qs, n);
            for (int i = 0; i < n; i++) {
                const int got = (type->bits == 2   ? tq_turbo2_index
                                 : type->bits == 3 ? tq_turbo3_index
                                                   : tq_turbo4_index)(qs, n, i);
                if (got != index[i]) NOTE(&f, "%s element %d", type->name, i);
            }
        }
    }
    conclude(&f, "layout", "pack_then_unpack_is_exact");
}

static void check_half(void) {
    finding f = { { 0 }, 0 };
    for (uint32_t h = 0; h < 0x10000u; h++, f.cases++) {
        const float value = tq_fp16_to_f32((uint16_t) h);
        if (value == value && tq_f32_to_fp16(value) != h) NOTE(&f, "%04x does not come back", h);
        if ((h & 0x7fffu) < 0x7bffu) {
            // Between neighbours: the middle goes to the even one, its float neighbours to the nearer one.
            const float    next   = tq_fp16_to_f32((uint16_t) (h + 1));
            const float    middle = (value + next) * 0.5f;
            const uint16_t even   = (uint16_t) (h + (h & 1u));
            if (tq_f32_to_fp16(middle) != even) NOTE(&f, "tie above %04x", h);
            if (tq_f32_to_fp16(nextafterf(middle, value)) != h) NOTE(&f, "below the tie above %04x", h);
            if (tq_f32_to_fp16(nextafterf(middle, next)) != h + 1) NOTE(&f, "above the tie above %04x", h);
        }
    }
    conclude(&f, "fp16", "conversions_round_to_nearest_even");
}

static void check_registry(void) {
    finding f = { { 0 }, 0 };
    for (int t = 0; t < tq_type_count(); t++, f.cases++) {
        const tq_type_info * type = tq_type_at(t);
        int                  count;
        float                factor;
        const int8_t *       level = tq_levels(type->bits, &count, &factor);
        const float *        book  = tq_codebook(type->bits, NULL);
        if (tq_type_by_id(type->id) != type) NOTE(&f, "%s not found by id", type->name);
        if (type->bytes != 2 + type->block * type->bits / 8) NOTE(&f, "%s bytes", type->name);
        for (int i = 0; i < count; i++) {
            if (level[i] != -level[count - 1 - i]) NOTE(&f, "%d bit levels are not symmetric", type->bits);
            if (i >= count / 2 && fabsf((float) level[i] - factor * book[i - count / 2]) > 1.0f)
                NOTE(&f, "%d bit level %d is far from its codebook entry", type->bits, i);
        }
    }
    if (tq_type_by_id(99) || tq_type_at(-1) || tq_type_at(tq_type_count()) || tq_levels(5, NULL, NULL))
        NOTE(&f, "unknown type answered");
    const tq_codec_impl * active = tq_codec_active();
    if (!tq_codec_force("scalar") || tq_codec_active() != tq_codec_impl_at(0) || tq_codec_force("none"))
        NOTE(&f, "forcing an implementation");
    if (!tq_codec_force(active->name) || tq_codec_active() != active) NOTE(&f, "restoring an implementation");
    conclude(&f, "registry", "types_levels_and_dispatch");
}

#endif
