#ifndef TQ_TURBO4_NEON_H
#define TQ_TURBO4_NEON_H

#include "../common/arm.h"

// Indices of elements 32 b .. 32 b + 31, one per byte.
TQ_INLINE uint8x16x2_t tq_turbo4_unpack_neon(const uint8_t * qs, int block, int b) {
    const int       half = block / 2;
    const uint8_t * p    = qs + 32 * b % half;
    uint8x16x2_t    v    = { { vld1q_u8(p), vld1q_u8(p + 16) } };
    for (int i = 0; i < 2; i++) {
        v.val[i] = 32 * b < half ? vandq_u8(v.val[i], vdupq_n_u8(15)) : vshrq_n_u8(v.val[i], 4);
    }
    return v;
}

// index[i] holds elements 16 i .. 16 i + 15.
TQ_INLINE void tq_turbo4_pack_neon(const uint8x16_t * index, uint8_t * qs, int block) {
    const int half = block / 2 / 16;
    for (int i = 0; i < half; i++) {
        vst1q_u8(qs + 16 * i, vsliq_n_u8(index[i], index[i + half], 4));
    }
}

#endif
