// What the integer kernels of every architecture share: how packed rows are read, and which of their constants are
// known at compile time.
#ifndef TQ_ATTENTION_PACKED_H
#define TQ_ATTENTION_PACKED_H

#include "../common/levels.h"
#include "attention.h"
#include "scratch.h"

#define TQ_QUERY_MOST 32512.0f  // 127 * 256: the signed digits -128 .. 127 reach it

// Rows first, first + 1, ... of a tile. Beyond the last row it is repeated: its weight will be zero.
typedef struct {
    const char * base;
    size_t       stride;
    int          last;
} row_cursor;

TQ_VEC const char * row_at(const row_cursor * rows, int key) {
    return rows->base + (size_t) (key < rows->last ? key : rows->last) * rows->stride;
}

TQ_VEC size_t block_bytes(const tq_kv_side * side) {
    return side->packing == TQ_PACKED_Q8_0 ? 34 : 2 + (size_t) (side->block * side->bits / 8);
}

TQ_VEC float scale_factor(const tq_kv_side * side) {
    return side->packing == TQ_PACKED_Q8_0 ? 1.0f : TQ_SCALE_DOWN;
}

// call(q8, bits, block) with the packing's constants.
#define TQ_FOR_PACKING(side, call)                                                          \
    if ((side)->packing == TQ_PACKED_Q8_0) {                                                \
        call(true, 8, 32);                                                                  \
    } else if ((side)->block == 128) {                                                      \
        switch ((side)->bits) {                                                             \
            case 2: call(false, 2, 128); break;                                             \
            case 3: call(false, 3, 128); break;                                             \
            default: call(false, 4, 128); break;                                            \
        }                                                                                   \
    } else {                                                                                \
        switch ((side)->bits) {                                                             \
            case 2: call(false, 2, 64); break;                                              \
            case 3: call(false, 3, 64); break;                                              \
            default: call(false, 4, 64); break;                                             \
        }                                                                                   \
    }

#endif
