// AVX2, FMA and F16C. No integer kernels: without VNNI an 8-bit dot product takes as many instructions as the
// floats', 16 per 128 values either way.
#include "../common/encode.h"

#if defined(__x86_64__)

#include "target.h"
TQ_TARGET_BEGIN("avx2,fma,f16c")

#define TQ_VEC    TQ_INLINE
#define TQ_TILE   64
#define TQ_PACKED 0

#include "vec_avx2.h"

#include "unit.h"

TQ_TARGET_END

static bool supported(void) {
    __builtin_cpu_init();
    // clang 14 cannot be asked for f16c, which every CPU with AVX2 has.
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

const tq_attention_impl tq_attention_avx2 = { "avx2", supported, TQ_TILE, TQ_PACKED, run_unit, reduce };

#endif
