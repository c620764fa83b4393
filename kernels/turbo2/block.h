// turbo2: 2-bit indices into TQ_LEVELS_2 and one fp16 scale.
//
// Bits 2k..2k+1 of byte i of qs belong to element i + k*block/4, k = 0..3: for a block of 128, four
// shifts of the same 32 bytes are the four runs of 32 elements that meet the four q8_0 blocks of a query.
// Value of an element: (fp16_to_f32(d) * 2^-6) * TQ_LEVELS_2[index], in this order.
// d is the bit pattern of an IEEE half (ggml_half). Blocks are only 2-byte aligned in a row.
#ifndef TQ_TURBO2_BLOCK_H
#define TQ_TURBO2_BLOCK_H

#include "../common/layout.h"

typedef struct {
    uint16_t d;
    uint8_t  qs[128 / 4];
} tq_block_turbo2;

typedef struct {
    uint16_t d;
    uint8_t  qs[64 / 4];
} tq_block_turbo2_64;

TQ_STATIC_ASSERT(sizeof(tq_block_turbo2)    == 2 + 128 * 2 / 8, "turbo2: a scale, the indices, nothing else");
TQ_STATIC_ASSERT(sizeof(tq_block_turbo2_64) == 2 +  64 * 2 / 8, "turbo2_64: a scale, the indices, nothing else");
TQ_STATIC_ASSERT(offsetof(tq_block_turbo2, qs) == 2, "turbo2: qs follows the scale");

#endif
