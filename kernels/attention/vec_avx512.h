// The vector layer on AVX-512. See vec_scalar.h for what each function does.
#ifndef TQ_VEC_H
#define TQ_VEC_H

#include <immintrin.h>

typedef __m512 vf;
#define VF 16
// Float kernels: vectors of V's dimensions whose sums are kept in registers, times four rows.
#define VF_PV_VECTORS 4

TQ_VEC vf   vf_set1(float x) { return _mm512_set1_ps(x); }
TQ_VEC vf   vf_load(const float * p) { return _mm512_loadu_ps(p); }
TQ_VEC void vf_store(float * p, vf a) { _mm512_storeu_ps(p, a); }
TQ_VEC vf   vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
TQ_VEC vf   vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
TQ_VEC vf   vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
TQ_VEC vf   vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
TQ_VEC vf   vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
TQ_VEC vf   vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
TQ_VEC vf   vf_round(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
TQ_VEC vf   vf_scale2(vf a, vf n) { return _mm512_scalef_ps(a, n); }
TQ_VEC vf   vf_abs(vf a) { return _mm512_abs_ps(a); }
TQ_VEC vf   vf_copysign(vf a, vf sign) {
    const __m512i bit = _mm512_set1_epi32((int) 0x80000000u);
    return _mm512_castsi512_ps(_mm512_or_si512(
        _mm512_andnot_si512(bit, _mm512_castps_si512(a)), _mm512_and_si512(bit, _mm512_castps_si512(sign))));
}
TQ_VEC vf vf_finite(vf a) {
    const __mmask16 bad = _mm512_fpclass_ps_mask(a, 0x99);  // NaN, infinities
    return _mm512_mask_mov_ps(a, bad, _mm512_setzero_ps());
}
TQ_VEC vf    vf_half(const void * p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) p)); }
TQ_VEC float vf_hmax(vf a) { return _mm512_reduce_max_ps(a); }
TQ_VEC float vf_hsum(vf a) { return _mm512_reduce_add_ps(a); }
TQ_VEC void  vf_hsum4(vf a, vf b, vf c, vf d, float * out) {
    // Fold to four lanes each, transpose, add.
    const __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    const __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    const __m512 x  = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
    const __m512 y  = _mm512_add_ps(x, _mm512_permute_ps(x, 0x4e));
    const __m512 z  = _mm512_add_ps(y, _mm512_permute_ps(y, 0xb1));
    // The sum of each of the four in every lane of its quarter.
    const __m512i first = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
    _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_permutexvar_ps(first, z)));
}

#endif
