// NEON without the dot-product instructions. No integer kernels: widening multiplies take as many instructions as the
// floats' multiply-adds.
#include "../common/encode.h"

#if defined(__aarch64__)

#define TQ_VEC    TQ_INLINE
#define TQ_TILE   64
#define TQ_PACKED 0

#include "vec_neon.h"

#include "unit.h"

static bool supported(void) {
    return true;
}

const tq_attention_impl tq_attention_neon = { "neon", supported, TQ_TILE, TQ_PACKED, run_unit, reduce };

#endif
