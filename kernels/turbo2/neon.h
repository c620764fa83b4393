#ifndef TQ_TURBO2_NEON_H
#define TQ_TURBO2_NEON_H

#include "../common/arm.h"

// Two-bit fields of elements 32 b .. 32 b + 31, one per byte.
TQ_INLINE uint8x16x2_t tq_turbo2_unpack_neon(const uint8_t * qs, int block, int b) {
    const int    quarter = block / 4;
    uint8x16x2_t v;
    for (int i = 0; i < 2; i++) {
        const int first = 32 * b + 16 * i;
        // A negative count shifts right; it is a constant once the loop is unrolled.
        const int8x16_t  right = vdupq_n_s8((int8_t) (-2 * (first / quarter)));
        const uint8x16_t raw   = vld1q_u8(qs + first % quarter);
        v.val[i]               = vandq_u8(vshlq_u8(raw, right), vdupq_n_u8(3));
    }
    return v;
}

// Packs the low two bits of each index, all below 4; index[i] holds elements 16 i .. 16 i + 15.
TQ_INLINE void tq_turbo2_pack_neon(const uint8x16_t * index, uint8_t * qs, int block) {
    const int quarter = block / 4 / 16;
    for (int i = 0; i < quarter; i++) {
        uint8x16_t v = vsliq_n_u8(index[i], index[i + quarter], 2);
        v            = vsliq_n_u8(v, index[i + 2 * quarter], 4);
        v            = vsliq_n_u8(v, index[i + 3 * quarter], 6);
        vst1q_u8(qs + 16 * i, v);
    }
}

#endif
