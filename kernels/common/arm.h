// What the aarch64 files share: target attributes and the CPU's features. NEON is baseline there; the dot-product
// instructions are switched on per function, so that one portable build holds both implementations.
#ifndef TQ_ARM_H
#define TQ_ARM_H

#include <arm_neon.h>
#include <stdbool.h>
#include <string.h>

#if defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#include "encode.h"

// Before version 16, clang declares these instructions' intrinsics only where the whole file may use them.
#if defined(__clang__) && __clang_major__ < 16 && !defined(__ARM_FEATURE_DOTPROD)
#define TQ_HAVE_DOTPROD 0
#else
#define TQ_HAVE_DOTPROD 1
#endif

#if defined(__ARM_FEATURE_DOTPROD)
#define TQ_DOTPROD
#elif defined(__clang__)
#define TQ_DOTPROD __attribute__((target("dotprod")))
#else
#define TQ_DOTPROD __attribute__((target("arch=armv8.2-a+dotprod")))
#endif

static inline bool tq_has_dotprod(void) {
#if !TQ_HAVE_DOTPROD
    return false;
#elif defined(__ARM_FEATURE_DOTPROD)
    return true;
#elif defined(__linux__) && defined(HWCAP_ASIMDDP)
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#elif defined(__APPLE__)
    int    has  = 0;
    size_t size = sizeof has;
    return sysctlbyname("hw.optional.arm.FEAT_DotProd", &has, &size, NULL, 0) == 0 && has != 0;
#else
    return false;
#endif
}

// Unaligned load of an fp16: blocks are only 2-byte aligned, and a caller may give less.
TQ_INLINE float tq_load_fp16_neon(const void * p) {
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(half))), 0);
}

#endif
