// IEEE half <-> float in integer code, the same bits as F16C and NEON produce (round to nearest even,
// denormals kept). The SIMD files use the instructions; the reference and the shared scalar steps use this.
#ifndef TQ_FP16_H
#define TQ_FP16_H

#include <stdint.h>
#include <string.h>

static inline uint32_t tq_f32_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float tq_f32_from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float tq_fp16_to_f32(uint16_t half) {
    const uint32_t sign     = (uint32_t) (half & 0x8000u) << 16;
    const uint32_t exponent = (half >> 10) & 0x1fu;
    const uint32_t mantissa = half & 0x3ffu;
    if (exponent == 0) {
        // Zero or denormal: mantissa * 2^-24, exact in a float.
        return tq_f32_from_bits(tq_f32_bits((float) mantissa * 0x1p-24f) | sign);
    }
    if (exponent == 31) {
        // Infinity, or NaN made quiet.
        return tq_f32_from_bits(sign | 0x7f800000u | (mantissa << 13) | (mantissa != 0 ? 0x400000u : 0u));
    }
    return tq_f32_from_bits(sign | ((exponent + 112u) << 23) | (mantissa << 13));
}

static inline uint16_t tq_f32_to_fp16(float value) {
    const uint32_t bits = tq_f32_bits(value);
    const uint32_t sign = (bits >> 16) & 0x8000u;
    const uint32_t mag  = bits & 0x7fffffffu;
    uint32_t       half;
    if (mag > 0x7f800000u) {
        half = 0x7e00u | ((mag >> 13) & 0x3ffu);
    } else if (mag >= 0x477ff000u) {
        half = 0x7c00u;  // 65520 and above round to infinity
    } else if (mag >= 0x38800000u) {
        half = (mag - 0x38000000u + 0xfffu + ((mag >> 13) & 1u)) >> 13;
    } else if (mag <= 0x33000000u) {
        half = 0u;  // 2^-25 ties to zero
    } else {
        // Denormal: shift the full mantissa right so that the unit is 2^-24, ties to even.
        const uint32_t full  = (mag & 0x7fffffu) | 0x800000u;
        const uint32_t shift = 126u - (mag >> 23);
        const uint32_t kept  = full >> shift;
        const uint32_t rest  = full & ((1u << shift) - 1u);
        const uint32_t mid   = 1u << (shift - 1u);
        half                 = kept + (rest > mid || (rest == mid && (kept & 1u)) ? 1u : 0u);
    }
    return (uint16_t) (sign | half);
}

#endif
