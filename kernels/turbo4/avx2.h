#ifndef TQ_TURBO4_AVX2_H
#define TQ_TURBO4_AVX2_H

#include "../common/x86.h"

// Indices of elements 32 b .. 32 b + 31, one per byte.
TQ_INLINE TQ_AVX2 __m256i tq_turbo4_unpack_avx2(const uint8_t * qs, int block, int b) {
    const int half = block / 2;
    __m256i   v    = _mm256_loadu_si256((const __m256i *) (qs + 32 * b % half));
    if (32 * b >= half) {
        v = _mm256_srli_epi16(v, 4);
    }
    return _mm256_and_si256(v, _mm256_set1_epi8(15));
}

// index[b] holds elements 32 b .. 32 b + 31.
TQ_INLINE TQ_AVX2 void tq_turbo4_pack_avx2(const __m256i * index, uint8_t * qs, int block) {
    for (int i = 0; i < block / 64; i++) {
        const __m256i v = _mm256_or_si256(index[i], _mm256_slli_epi16(index[i + block / 64], 4));
        _mm256_storeu_si256((__m256i *) (qs + 32 * i), v);
    }
}

#endif
