// Target attributes of the x86 files. One portable build holds every implementation, so features are
// switched on per function, never per file.
#ifndef TQ_X86_H
#define TQ_X86_H

#include <immintrin.h>

#include "encode.h"
#include "layout.h"

// Encode and decode leave FMA out of the target, so no compiler flag can fuse their products and sums.
#define TQ_AVX2     __attribute__((target("avx2,f16c")))
#define TQ_AVX2_DOT __attribute__((target("avx2,f16c,fma")))
#define TQ_AVX512   __attribute__((target("avx2,f16c,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))

// Grid points tried side by side.
#define TQ_STRIDE 3
TQ_STATIC_ASSERT(TQ_GRID_POINTS % TQ_STRIDE == 0, "the grid divides into strides");

// Unaligned 16-bit load: blocks are only 2-byte aligned, and a caller may give less.
TQ_INLINE uint16_t tq_load_u16(const uint8_t * p) {
    uint16_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

TQ_INLINE uint32_t tq_load_u32(const uint8_t * p) {
    uint32_t value;
    memcpy(&value, p, sizeof value);
    return value;
}

TQ_INLINE TQ_AVX2 float tq_fp16_to_f32_f16c(uint16_t half) {
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(half)));
}

// The last three steps of the tree of encode.h: lanes j and j + 4, j and j + 2, the last two.
TQ_INLINE TQ_AVX2 float tq_sum_avx2(__m256 eight) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two  = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

// The same for all grid points, four vectors transposed at a time: half the shuffles.
TQ_INLINE TQ_AVX2 void tq_grid_sums_avx2(const __m256 * lanes, float * sums) {
    int g = 0;
    TQ_UNROLL
    for (; g + 4 <= TQ_GRID_POINTS; g += 4) {
        const __m256 * v = lanes + g;
        // [four of 0 | four of 1], [four of 2 | four of 3]
        const __m256 a = _mm256_add_ps(
            _mm256_permute2f128_ps(v[0], v[1], 0x20), _mm256_permute2f128_ps(v[0], v[1], 0x31));
        const __m256 b = _mm256_add_ps(
            _mm256_permute2f128_ps(v[2], v[3], 0x20), _mm256_permute2f128_ps(v[2], v[3], 0x31));
        // [two of 0, two of 2 | two of 1, two of 3]
        const __m256 two = _mm256_add_ps(
            _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(a), _mm256_castps_pd(b))),
            _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(a), _mm256_castps_pd(b))));
        const __m256 one   = _mm256_add_ps(two, _mm256_permute_ps(two, 0xb1));
        const __m128 even  = _mm256_castps256_ps128(one);
        const __m128 odd   = _mm256_extractf128_ps(one, 1);
        _mm_storeu_ps(sums + g, _mm_blend_ps(even, odd, 0xa));
    }
    for (; g < TQ_GRID_POINTS; g++) {
        sums[g] = tq_sum_avx2(lanes[g]);
    }
}

#endif
