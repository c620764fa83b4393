#ifndef TQ_TURBO3_AVX512_H
#define TQ_TURBO3_AVX512_H

#include "avx2.h"

// Indices of elements 32 b .. 32 b + 31, one per byte: the plane word is the mask register as it is.
TQ_INLINE TQ_AVX512 __m256i tq_turbo3_unpack_avx512(const uint8_t * qs, int block, int b) {
    const __m256i low  = tq_turbo2_unpack_avx2(qs, block, b);
    const __m256i four = _mm256_maskz_set1_epi8(tq_load_u32(qs + block / 4 + 4 * b), 4);
    return _mm256_or_si256(low, four);
}

#endif
