// turbo3: 3-bit indices into TQ_LEVELS_3 and one fp16 scale, in the order d, qs, qh.
//
// qs holds the low two bits of each index, laid out as in turbo2: bits 2k..2k+1 of byte i belong to
// element i + k*block/4. qh is the plane of the high bit: element e is bit e%8 of byte e/8, so 32
// consecutive elements are one 32-bit word (a mask register on AVX-512, movemask's own order on AVX2).
// Value of an element: (fp16_to_f32(d) * 2^-6) * TQ_LEVELS_3[index], in this order.
// d is the bit pattern of an IEEE half (ggml_half). Blocks are only 2-byte aligned in a row.
#ifndef TQ_TURBO3_BLOCK_H
#define TQ_TURBO3_BLOCK_H

#include "../common/layout.h"

typedef struct {
    uint16_t d;
    uint8_t  qs[128 / 4];
    uint8_t  qh[128 / 8];
} tq_block_turbo3;

typedef struct {
    uint16_t d;
    uint8_t  qs[64 / 4];
    uint8_t  qh[64 / 8];
} tq_block_turbo3_64;

TQ_STATIC_ASSERT(sizeof(tq_block_turbo3)    == 2 + 128 * 3 / 8, "turbo3: a scale, the indices, nothing else");
TQ_STATIC_ASSERT(sizeof(tq_block_turbo3_64) == 2 +  64 * 3 / 8, "turbo3_64: a scale, the indices, nothing else");
TQ_STATIC_ASSERT(offsetof(tq_block_turbo3, qh) == 2 + 128 / 4, "turbo3: qh follows qs");
TQ_STATIC_ASSERT(offsetof(tq_block_turbo3_64, qh) == 2 + 64 / 4, "turbo3_64: qh follows qs");

#endif
