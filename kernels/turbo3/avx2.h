#ifndef TQ_TURBO3_AVX2_H
#define TQ_TURBO3_AVX2_H

#include "../turbo2/avx2.h"

// Indices of elements 32 b .. 32 b + 31, one per byte.
TQ_INLINE TQ_AVX2 __m256i tq_turbo3_unpack_avx2(const uint8_t * qs, int block, int b) {
    // Spread byte i of the 32-bit plane word over lanes 8 i .. 8 i + 7 and test one bit in each.
    const __m256i spread = _mm256_setr_epi64x(
        0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit  = _mm256_set1_epi64x((long long) 0x8040201008040201u);
    const __m256i word = _mm256_set1_epi32((int) tq_load_u32(qs + block / 4 + 4 * b));
    const __m256i on   = _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(word, spread), bit), bit);
    const __m256i high = _mm256_and_si256(on, _mm256_set1_epi8(4));
    return _mm256_or_si256(tq_turbo2_unpack_avx2(qs, block, b), high);
}

TQ_INLINE TQ_AVX2 void tq_turbo3_pack_avx2(const __m256i * index, uint8_t * qs, int block) {
    __m256i low[TQ_MAX_BLOCK / 32];
    for (int b = 0; b < block / 32; b++) {
        const uint32_t plane = (uint32_t) _mm256_movemask_epi8(_mm256_slli_epi16(index[b], 5));
        memcpy(qs + block / 4 + 4 * b, &plane, sizeof plane);
        low[b] = _mm256_and_si256(index[b], _mm256_set1_epi8(3));
    }
    tq_turbo2_pack_avx2(low, qs, block);
}

#endif
