// turbo4: 4-bit indices into TQ_LEVELS_4 and one fp16 scale.
//
// Byte i of qs holds two indices, split in halves: low nibble = element i, high nibble = element
// i + block/2. A load, a mask and a shift give two runs of consecutive elements, no shuffle.
// Value of an element: (fp16_to_f32(d) * 2^-6) * TQ_LEVELS_4[index], in this order.
// d is the bit pattern of an IEEE half (ggml_half). Blocks are only 2-byte aligned in a row.
#ifndef TQ_TURBO4_BLOCK_H
#define TQ_TURBO4_BLOCK_H

#include "../common/layout.h"

typedef struct {
    uint16_t d;
    uint8_t  qs[128 / 2];
} tq_block_turbo4;

typedef struct {
    uint16_t d;
    uint8_t  qs[64 / 2];
} tq_block_turbo4_64;

TQ_STATIC_ASSERT(sizeof(tq_block_turbo4)    == 2 + 128 * 4 / 8, "turbo4: a scale, the indices, nothing else");
TQ_STATIC_ASSERT(sizeof(tq_block_turbo4_64) == 2 +  64 * 4 / 8, "turbo4_64: a scale, the indices, nothing else");
TQ_STATIC_ASSERT(offsetof(tq_block_turbo4, qs) == 2, "turbo4: qs follows the scale");

#endif
