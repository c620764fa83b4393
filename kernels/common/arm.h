// Target attributes of the aarch64 file. NEON is baseline there; the dot-product instructions are
// switched on per function, so that one portable build holds both implementations.
#ifndef TQ_ARM_H
#define TQ_ARM_H

#include <arm_neon.h>

#include "encode.h"

#if defined(__ARM_FEATURE_DOTPROD)
#define TQ_DOTPROD
#elif defined(__clang__)
#define TQ_DOTPROD __attribute__((target("dotprod")))
#else
#define TQ_DOTPROD __attribute__((target("arch=armv8.2-a+dotprod")))
#endif

// Unaligned load of an fp16: blocks are only 2-byte aligned, and a caller may give less.
TQ_INLINE float tq_load_fp16_neon(const void * p) {
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(half))), 0);
}

#endif
