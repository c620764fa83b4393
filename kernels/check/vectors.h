// Seeded inputs for the checks, the same bits on every machine: integer generators, IEEE basic
// operations and sqrt only, never libm's log or cos.
#ifndef TQ_CHECK_VECTORS_H
#define TQ_CHECK_VECTORS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "../common/encode.h"

typedef struct {
    uint64_t state;
    float    spare;
    int      has_spare;
} rng;

static inline rng rng_new(uint64_t seed) {
    return (rng) { seed, 0.0f, 0 };
}

// splitmix64
static inline uint64_t rng_next(rng * r) {
    uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);
    z          = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z          = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

// Uniform in [-1, 1), a multiple of 2^-23: the rule of the golden blocks.
static inline float rng_uniform(rng * r) {
    return (float) ((int32_t) (rng_next(r) >> 40) - (1 << 23)) * 0x1p-23f;
}

// Natural logarithm of v > 0 by an atanh series.
static inline double plain_log(double v) {
    int    exponent;
    double m = frexp(v, &exponent);
    if (m < 0.70710678118654752) {
        m *= 2.0;
        exponent--;
    }
    const double t = (m - 1.0) / (m + 1.0);
    double       power = t, sum = 0.0;
    for (int k = 1; k < 40; k += 2) {
        sum += power / k;
        power *= t * t;
    }
    return 2.0 * sum + exponent * 0.69314718055994531;
}

// Standard normal, Marsaglia's polar method.
static inline float rng_gauss(rng * r) {
    if (r->has_spare) {
        r->has_spare = 0;
        return r->spare;
    }
    double a, b, s;
    do {
        a = (double) (int64_t) (rng_next(r) >> 11) * 0x1p-52 - 1.0;
        b = (double) (int64_t) (rng_next(r) >> 11) * 0x1p-52 - 1.0;
        s = a * a + b * b;
    } while (s >= 1.0 || s == 0.0);
    const double factor = sqrt(-2.0 * plain_log(s) / s);
    r->spare            = (float) (b * factor);
    r->has_spare        = 1;
    return (float) (a * factor);
}

// ---- the kinds of vectors every implementation has to agree on ------------------------------------

typedef void (*fill_fn)(float * x, int n, rng * r);

static void fill_gauss(float * x, int n, rng * r) {
    for (int i = 0; i < n; i++) x[i] = rng_gauss(r);
}
static void fill_scaled(float * x, int n, rng * r, float scale) {
    for (int i = 0; i < n; i++) x[i] = rng_gauss(r) * scale;
}
static void fill_zero(float * x, int n, rng * r) {
    (void) r;
    memset(x, 0, sizeof *x * (size_t) n);
}
static void fill_minus_zero(float * x, int n, rng * r) {
    for (int i = 0; i < n; i++) x[i] = i % 3 ? -0.0f : rng_gauss(r);
}
static void fill_constant(float * x, int n, rng * r) {
    const float value = rng_gauss(r);
    for (int i = 0; i < n; i++) x[i] = value;
}
static void fill_alternating(float * x, int n, rng * r) {
    const float value = rng_gauss(r);
    for (int i = 0; i < n; i++) x[i] = i % 2 ? -value : value;
}
static void fill_one_hot(float * x, int n, rng * r) {
    fill_zero(x, n, r);
    x[rng_next(r) % (uint64_t) n] = rng_gauss(r);
}
static void fill_ramp(float * x, int n, rng * r) {
    const float slope = rng_uniform(r);
    for (int i = 0; i < n; i++) x[i] = slope * (float) (i - n / 3);
}
static void fill_heavy_tails(float * x, int n, rng * r) {
    for (int i = 0; i < n; i++) {
        const float g = rng_gauss(r);
        x[i]          = g * g * g * g * g;
    }
}
static void fill_shifted(float * x, int n, rng * r) {
    for (int i = 0; i < n; i++) x[i] = 10.0f + rng_gauss(r);
}
static void fill_tiny(float * x, int n, rng * r) { fill_scaled(x, n, r, 1e-30f); }
static void fill_huge(float * x, int n, rng * r) { fill_scaled(x, n, r, 1e30f); }
static void fill_denormal(float * x, int n, rng * r) { fill_scaled(x, n, r, 1e-41f); }
static void fill_half_denormal(float * x, int n, rng * r) { fill_scaled(x, n, r, 3e-6f); }
static void fill_half_limit(float * x, int n, rng * r) { fill_scaled(x, n, r, 1e5f); }
static void fill_float_limit(float * x, int n, rng * r) { fill_scaled(x, n, r, 6e37f); }
static void fill_wide_range(float * x, int n, rng * r) {
    for (int i = 0; i < n; i++) x[i] = rng_gauss(r) * (i % 2 ? 1e-30f : 1e20f);
}
static void fill_nan(float * x, int n, rng * r) {
    fill_gauss(x, n, r);
    for (int i = 0; i < 3; i++) x[rng_next(r) % (uint64_t) n] = tq_f32_from_bits(i % 2 ? 0xffc01234u : 0x7fc00000u);
}
static void fill_all_nan(float * x, int n, rng * r) {
    (void) r;
    for (int i = 0; i < n; i++) x[i] = tq_f32_from_bits(0x7f800001u);
}
static void fill_infinity(float * x, int n, rng * r) {
    fill_gauss(x, n, r);
    for (int i = 0; i < 3; i++) x[rng_next(r) % (uint64_t) n] = tq_f32_from_bits(i % 2 ? 0xff800000u : 0x7f800000u);
}
static void fill_any_bits(float * x, int n, rng * r) {
    for (int i = 0; i < n; i++) x[i] = tq_f32_from_bits((uint32_t) rng_next(r));
}

typedef struct {
    const char * name;
    fill_fn      fill;
    int          finite;
} vector_kind;

static const vector_kind vector_kinds[] = {
    { "gauss", fill_gauss, 1 },
    { "zero", fill_zero, 1 },
    { "minus_zero", fill_minus_zero, 1 },
    { "constant", fill_constant, 1 },
    { "alternating", fill_alternating, 1 },
    { "one_hot", fill_one_hot, 1 },
    { "ramp", fill_ramp, 1 },
    { "heavy_tails", fill_heavy_tails, 1 },
    { "shifted", fill_shifted, 1 },
    { "tiny", fill_tiny, 1 },
    { "huge", fill_huge, 1 },
    { "denormal", fill_denormal, 1 },
    { "half_denormal", fill_half_denormal, 1 },
    { "half_limit", fill_half_limit, 1 },
    { "float_limit", fill_float_limit, 1 },
    { "wide_range", fill_wide_range, 1 },
    { "nan", fill_nan, 0 },
    { "all_nan", fill_all_nan, 0 },
    { "infinity", fill_infinity, 0 },
    { "any_bits", fill_any_bits, 0 },
};

#define VECTOR_KINDS ((int) (sizeof vector_kinds / sizeof vector_kinds[0]))

#endif
