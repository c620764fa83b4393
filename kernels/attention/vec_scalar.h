// The vector layer with one lane, and what each function means:
//   vf_scale2(a, n)  a * 2^n for integral n <= 0; may flush to zero where the power is not a normal float
//   vf_finite(a)     a, or 0 where a is NaN or infinite
//   vf_max(a, b)     the larger; b where a is NaN
//   vf_half(p)       VF IEEE halves, unaligned
//   vf_hsum4         the sums over the lanes of four vectors, to out[0..3]
// Pointers need no alignment.
#ifndef TQ_VEC_H
#define TQ_VEC_H

#include <math.h>

#include "../common/fp16.h"

typedef float vf;
#define VF            1
#define VF_PV_VECTORS 4

TQ_VEC vf    vf_set1(float x) { return x; }
TQ_VEC vf    vf_load(const float * p) { return *p; }
TQ_VEC void  vf_store(float * p, vf a) { *p = a; }
TQ_VEC vf    vf_add(vf a, vf b) { return a + b; }
TQ_VEC vf    vf_sub(vf a, vf b) { return a - b; }
TQ_VEC vf    vf_mul(vf a, vf b) { return a * b; }
TQ_VEC vf    vf_div(vf a, vf b) { return a / b; }
TQ_VEC vf    vf_fma(vf a, vf b, vf c) { return a * b + c; }
TQ_VEC vf    vf_max(vf a, vf b) { return a > b ? a : b; }
TQ_VEC vf    vf_round(vf a) { return rintf(a); }
TQ_VEC vf    vf_scale2(vf a, vf n) { return n >= -126.0f ? a * tq_f32_from_bits((uint32_t) ((int) n + 127) << 23) : 0.0f; }
TQ_VEC vf    vf_abs(vf a) { return fabsf(a); }
TQ_VEC vf    vf_copysign(vf a, vf sign) { return copysignf(a, sign); }
TQ_VEC vf    vf_finite(vf a) { return isfinite(a) ? a : 0.0f; }
TQ_VEC vf    vf_half(const void * p) {
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return tq_fp16_to_f32(half);
}
TQ_VEC float vf_hmax(vf a) { return a; }
TQ_VEC float vf_hsum(vf a) { return a; }
TQ_VEC void  vf_hsum4(vf a, vf b, vf c, vf d, float * out) {
    out[0] = a;
    out[1] = b;
    out[2] = c;
    out[3] = d;
}

#endif
