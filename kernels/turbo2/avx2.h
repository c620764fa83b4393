#ifndef TQ_TURBO2_AVX2_H
#define TQ_TURBO2_AVX2_H

#include "../common/x86.h"

// Two-bit fields of elements 32 b .. 32 b + 31, one per byte.
TQ_INLINE TQ_AVX2 __m256i tq_turbo2_unpack_avx2(const uint8_t * qs, int block, int b) {
    __m256i v;
    if (block == 128) {
        v = _mm256_srli_epi16(_mm256_loadu_si256((const __m256i *) qs), 2 * b);
    } else {
        // Quarters are 16 wide: fields 2 b and 2 b + 1 of the same 16 bytes.
        const __m128i raw = _mm_loadu_si128((const __m128i *) qs);
        v = _mm256_set_m128i(_mm_srli_epi16(raw, 4 * b + 2), _mm_srli_epi16(raw, 4 * b));
    }
    return _mm256_and_si256(v, _mm256_set1_epi8(3));
}

// Packs the low two bits of each index; index[b] holds elements 32 b .. 32 b + 31, all below 4.
TQ_INLINE TQ_AVX2 void tq_turbo2_pack_avx2(const __m256i * index, uint8_t * qs, int block) {
    if (block == 128) {
        const __m256i low  = _mm256_or_si256(index[0], _mm256_slli_epi16(index[1], 2));
        const __m256i high = _mm256_or_si256(index[2], _mm256_slli_epi16(index[3], 2));
        _mm256_storeu_si256((__m256i *) qs, _mm256_or_si256(low, _mm256_slli_epi16(high, 4)));
    } else {
        const __m256i v    = _mm256_or_si256(index[0], _mm256_slli_epi16(index[1], 4));
        const __m128i even = _mm256_castsi256_si128(v);
        const __m128i odd  = _mm256_extracti128_si256(v, 1);
        _mm_storeu_si128((__m128i *) qs, _mm_or_si128(even, _mm_slli_epi16(odd, 2)));
    }
}

#endif
