#ifndef TQ_TURBO3_NEON_H
#define TQ_TURBO3_NEON_H

#include "../turbo2/neon.h"

// 1, 2, 4 .. 128 twice: the bit that each of 16 elements owns in its byte of the plane.
TQ_INLINE uint8x16_t tq_turbo3_bits_neon(void) {
    return vreinterpretq_u8_u64(vdupq_n_u64(UINT64_C(0x8040201008040201)));
}

// Indices of elements 32 b .. 32 b + 31, one per byte.
TQ_INLINE uint8x16x2_t tq_turbo3_unpack_neon(const uint8_t * qs, int block, int b) {
    const uint8_t * plane = qs + block / 4 + 4 * b;
    uint8x16x2_t    v     = tq_turbo2_unpack_neon(qs, block, b);
    for (int i = 0; i < 2; i++) {
        const uint8x16_t bytes = vcombine_u8(vdup_n_u8(plane[2 * i]), vdup_n_u8(plane[2 * i + 1]));
        const uint8x16_t on    = vtstq_u8(bytes, tq_turbo3_bits_neon());
        v.val[i]               = vorrq_u8(v.val[i], vandq_u8(on, vdupq_n_u8(4)));
    }
    return v;
}

TQ_INLINE void tq_turbo3_pack_neon(const uint8x16_t * index, uint8_t * qs, int block) {
    uint8_t *  plane = qs + block / 4;
    uint8x16_t low[TQ_MAX_BLOCK / 16];
    for (int i = 0; i < block / 16; i++) {
        const uint8x16_t on  = vandq_u8(vtstq_u8(index[i], vdupq_n_u8(4)), tq_turbo3_bits_neon());
        plane[2 * i]         = vaddv_u8(vget_low_u8(on));
        plane[2 * i + 1]     = vaddv_u8(vget_high_u8(on));
        low[i]               = vandq_u8(index[i], vdupq_n_u8(3));
    }
    tq_turbo2_pack_neon(low, qs, block);
}

#endif
