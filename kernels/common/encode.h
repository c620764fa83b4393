// The parts of the encoder that every implementation shares: constants, and the scalar steps before and
// after the search. See ref.c for the whole definition.
//
// Float arithmetic here and in the implementations must round after every operation; a fused
// multiply-add changes which grid point wins. Compile with -ffp-contract=off; TQ_NO_CONTRACT repeats it
// for compilers that listen.
#ifndef TQ_ENCODE_H
#define TQ_ENCODE_H

#include <stdint.h>

#include "fp16.h"
#include "levels.h"

#if defined(__FAST_MATH__)
#error "the codec needs IEEE arithmetic: compile kernels/ without -ffast-math"
#endif

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

#define TQ_INLINE static inline __attribute__((always_inline))

// Before a loop with a small constant count that must be unrolled for its arrays to live in registers.
#if defined(__clang__)
// Not "unroll": where a count becomes constant only by inlining, clang would unroll for any count before.
#define TQ_UNROLL _Pragma("clang loop unroll(full)")
#else
#define TQ_UNROLL _Pragma("GCC unroll 16")
#endif

#define TQ_MAX_BLOCK 128
// Lanes of a sum: lane j adds elements j, j + 16, j + 32 ... in this order; then lanes j and j + 8 are
// added, j and j + 4, j and j + 2, and the last two.
#define TQ_LANES 16

// Factors tried on the block norm.
#define TQ_GRID_POINTS 9
#define TQ_GRID { 0.80f, 0.85625f, 0.9125f, 0.96875f, 1.025f, 1.08125f, 1.1375f, 1.19375f, 1.25f }

#define TQ_INFINITY_BITS 0x7f800000u
#define TQ_HALF_MAX      65504.0f
// A stored scale is 2^6 times the true one.
#define TQ_SCALE_UP   64.0f
#define TQ_SCALE_DOWN 0.015625f

// Half levels per unit-norm coordinate: 2 f, with f adapted to the block by sqrt(block / 128).
TQ_INLINE float tq_gain(int bits, int block) {
    const float factor = bits == 2 ? TQ_FACTOR_2 : bits == 3 ? TQ_FACTOR_3 : TQ_FACTOR_4;
    return block == 128 ? 2.0f * factor : 1.41421356f * factor;
}

// A sum of squares in this range can neither have overflowed nor lost anything that matters to underflow,
// and it excludes zero blocks, NaN and infinities: such a block is encoded as it is. All others take the
// slow path: non-finite elements replaced, then everything scaled by a power of two.
#define TQ_PLAIN_MIN 0x1p-60f
#define TQ_PLAIN_MAX 0x1p60f

TQ_INLINE int tq_is_plain(float square) {
    return square >= TQ_PLAIN_MIN && square <= TQ_PLAIN_MAX;
}

// Power of two that brings the largest magnitude (given by its bits, finite, not zero) into [1, 4), or
// as far up as a float power reaches for denormals; then no square overflows or vanishes.
TQ_INLINE float tq_norming_power(uint32_t max_bits) {
    const uint32_t exponent = max_bits >> 23;
    const uint32_t clamped  = exponent == 0 ? 1u : exponent == 254u ? 253u : exponent;
    return tq_f32_from_bits((254u - clamped) << 23);
}

// Inverse of a power returned above; exact.
TQ_INLINE float tq_power_inverse(float power) {
    return tq_f32_from_bits((254u << 23) - tq_f32_bits(power));
}

// The slow path's preparation: clean receives x without non-finite elements and normed. NaN counts as 0,
// an infinity as the largest finite float of its sign. Returns the power of two that undoes the norming,
// or 0 for a block of zeros.
static __attribute__((noinline, unused)) float tq_norm_block(const float * x, float * clean, int block) {
    uint32_t max_bits = 0;
    for (int i = 0; i < block; i++) {
        const uint32_t bits = tq_f32_bits(x[i]);
        const uint32_t mag  = bits & 0x7fffffffu;
        const uint32_t safe = mag > TQ_INFINITY_BITS ? 0u : mag == TQ_INFINITY_BITS ? bits - 1u : bits;
        clean[i]            = tq_f32_from_bits(safe);
        max_bits            = (safe & 0x7fffffffu) > max_bits ? safe & 0x7fffffffu : max_bits;
    }
    if (max_bits == 0) {
        return 0.0f;
    }
    const float power = tq_norming_power(max_bits);
    for (int i = 0; i < block; i++) {
        clean[i] *= power;
    }
    return tq_power_inverse(power);
}

// The first grid point with the largest <x,L>^2 / <L,L>. Scores are positive, so their bits order like
// integers; that keeps the choice free of branches, which are unpredictable here (comparing each point as
// it was computed made the encoder 5 to 7 % slower).
TQ_INLINE int tq_best_point(const float * cross, const float * own) {
    uint32_t score[TQ_GRID_POINTS];
    TQ_UNROLL
    for (int g = 0; g < TQ_GRID_POINTS; g++) {
        score[g] = tq_f32_bits(cross[g] * cross[g] / own[g]);
    }
    uint32_t best_score = 0;
    int      best       = 0;
    TQ_UNROLL
    for (int g = 0; g < TQ_GRID_POINTS; g++) {
        best       = score[g] > best_score ? g : best;
        best_score = score[g] > best_score ? score[g] : best_score;
    }
    return best;
}

// The stored scale ||x||^2 / <x, L> * 2^6: up undoes the norming, 1 for a plain block.
TQ_INLINE uint16_t tq_stored_scale(float square, float cross, float up) {
    const float ratio  = square / cross;
    const float scaled = ratio * TQ_SCALE_UP;
    const float scale  = scaled * up;
    return tq_f32_to_fp16(scale > TQ_HALF_MAX ? TQ_HALF_MAX : scale);
}

#endif
