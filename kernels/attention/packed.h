// What the integer kernels of every architecture share: the shapes of packed rows and of digits.
//
// Queries and probabilities are 16-bit integers in two 8-bit digits, so one product takes two dot products and its
// error is that of the cache, not of the arithmetic: 8 bits would add 0.5 % to the logits' standard deviation.
#ifndef TQ_ATTENTION_PACKED_H
#define TQ_ATTENTION_PACKED_H

#include "attention.h"
#include "scratch.h"

#define TQ_QUERY_MOST  32512.0f  // 127 * 256: the signed digits -128 .. 127 reach it
#define TQ_WEIGHT_MOST 65535.0f
// The largest weight of a row is smaller only where every key that counts has the value zero; the quotient of the above
// and it must not be infinite.
#define TQ_LEAST_WEIGHT 1e-30f

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

// Calls with the side's packing as constants: (is it q8_0, bits, block).
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

// Rows of the group of 8 that row r of n belongs to.
TQ_VEC int rows_of_group(int r, int n) {
    const int left = n - r / TQ_HALF_ROWS * TQ_HALF_ROWS;
    return left < TQ_HALF_ROWS ? left : TQ_HALF_ROWS;
}

// Offset of a digit of row r of n, in rows.
TQ_VEC int digit_row(int r, int n, int digit) {
    return r / TQ_HALF_ROWS * 2 * TQ_HALF_ROWS + digit * rows_of_group(r, n) + r % TQ_HALF_ROWS;
}

#endif
