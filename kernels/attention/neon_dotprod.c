// NEON with the dot-product instructions.
#include "../common/encode.h"

#if defined(__aarch64__)

#include "../common/arm.h"
#include "target.h"

#if !defined(__ARM_FEATURE_DOTPROD)
#if defined(__clang__)
TQ_TARGET_BEGIN("dotprod")
#else
TQ_TARGET_BEGIN("arch=armv8.2-a+dotprod")
#endif
#endif

#define TQ_VEC    TQ_INLINE
#define TQ_TILE   128
#define TQ_PACKED TQ_HAVE_DOTPROD

#include "vec_neon.h"

#if TQ_PACKED
#include "dotprod.h"
#endif

#include "unit.h"

#if !defined(__ARM_FEATURE_DOTPROD)
TQ_TARGET_END
#endif

const tq_attention_impl tq_attention_neon_dotprod = { "neon_dotprod", tq_has_dotprod, TQ_TILE, TQ_PACKED, run_unit, reduce };

#endif
