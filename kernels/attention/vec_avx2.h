// The vector layer on AVX2 with FMA and F16C. See vec_scalar.h for what each function does.
#ifndef TQ_VEC_H
#define TQ_VEC_H

#include <immintrin.h>

typedef __m256 vf;
#define VF            8
#define VF_PV_VECTORS 2

TQ_VEC vf   vf_set1(float x) { return _mm256_set1_ps(x); }
TQ_VEC vf   vf_load(const float * p) { return _mm256_loadu_ps(p); }
TQ_VEC void vf_store(float * p, vf a) { _mm256_storeu_ps(p, a); }
TQ_VEC vf   vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
TQ_VEC vf   vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
TQ_VEC vf   vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
TQ_VEC vf   vf_div(vf a, vf b) { return _mm256_div_ps(a, b); }
TQ_VEC vf   vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
TQ_VEC vf   vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
TQ_VEC vf   vf_round(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
TQ_VEC vf   vf_scale2(vf a, vf n) {
    // Powers below the normal range count as zero.
    const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    const __m256  keep  = _mm256_cmp_ps(n, _mm256_set1_ps(-126.0f), _CMP_GE_OQ);
    return _mm256_and_ps(keep, _mm256_mul_ps(a, _mm256_castsi256_ps(power)));
}
TQ_VEC vf vf_abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
TQ_VEC vf vf_copysign(vf a, vf sign) {
    const __m256 bit = _mm256_set1_ps(-0.0f);
    return _mm256_or_ps(_mm256_andnot_ps(bit, a), _mm256_and_ps(bit, sign));
}
TQ_VEC vf vf_finite(vf a) {
    const __m256 good = _mm256_cmp_ps(vf_abs(a), _mm256_set1_ps(3.402823466e38f), _CMP_LE_OQ);
    return _mm256_and_ps(good, a);
}
TQ_VEC vf    vf_half(const void * p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) p)); }
TQ_VEC float vf_hmax(vf a) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 two  = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}
TQ_VEC float vf_hsum(vf a) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 two  = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
TQ_VEC void vf_hsum4(vf a, vf b, vf c, vf d, float * out) {
    const __m256 all = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1)));
}

#endif
