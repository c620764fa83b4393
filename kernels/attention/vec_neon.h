// The vector layer on NEON. See vec_scalar.h for what each function does.
#ifndef TQ_VEC_H
#define TQ_VEC_H

#include <arm_neon.h>

typedef float32x4_t vf;
#define VF            4
#define VF_PV_VECTORS 4

TQ_VEC vf   vf_set1(float x) { return vdupq_n_f32(x); }
TQ_VEC vf   vf_load(const float * p) { return vld1q_f32(p); }
TQ_VEC void vf_store(float * p, vf a) { vst1q_f32(p, a); }
TQ_VEC vf   vf_add(vf a, vf b) { return vaddq_f32(a, b); }
TQ_VEC vf   vf_sub(vf a, vf b) { return vsubq_f32(a, b); }
TQ_VEC vf   vf_mul(vf a, vf b) { return vmulq_f32(a, b); }
TQ_VEC vf   vf_div(vf a, vf b) { return vdivq_f32(a, b); }
TQ_VEC vf   vf_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
TQ_VEC vf   vf_max(vf a, vf b) { return vmaxnmq_f32(a, b); }
TQ_VEC vf   vf_round(vf a) { return vrndnq_f32(a); }
TQ_VEC vf   vf_scale2(vf a, vf n) {
    // The saturating shift turns negative numbers to 0, so powers below the normal range count as zero.
    const uint32x4_t power = vqshluq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23);
    return vmulq_f32(a, vreinterpretq_f32_u32(power));
}
TQ_VEC vf vf_abs(vf a) { return vabsq_f32(a); }
TQ_VEC vf vf_copysign(vf a, vf sign) { return vbslq_f32(vdupq_n_u32(0x80000000u), sign, a); }
TQ_VEC vf vf_finite(vf a) {
    const uint32x4_t good = vcleq_f32(vabsq_f32(a), vdupq_n_f32(3.402823466e38f));
    return vreinterpretq_f32_u32(vandq_u32(good, vreinterpretq_u32_f32(a)));
}
TQ_VEC vf vf_half(const void * p) {
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8((const uint8_t *) p)));
}
TQ_VEC float vf_hmax(vf a) { return vmaxvq_f32(a); }
TQ_VEC float vf_hsum(vf a) { return vaddvq_f32(a); }
TQ_VEC void  vf_hsum4(vf a, vf b, vf c, vf d, float * out) {
    vst1q_f32(out, vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)));
}

#endif
