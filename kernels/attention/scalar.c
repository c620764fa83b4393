// One lane, no target: runs everywhere.
#include "../common/encode.h"

#define TQ_VEC    TQ_INLINE
#define TQ_TILE   64
#define TQ_PACKED 0

#include "vec_scalar.h"

#include "unit.h"

static bool supported(void) {
    return true;
}

const tq_attention_impl tq_attention_scalar = { "scalar", supported, TQ_TILE, TQ_PACKED, run_unit, reduce };
