#ifndef TQ_TURBO2_SCALAR_H
#define TQ_TURBO2_SCALAR_H

#include <stdint.h>

static inline int tq_turbo2_index(const uint8_t * qs, int block, int e) {
    const int quarter = block / 4;
    return qs[e % quarter] >> (2 * (e / quarter)) & 3;
}

// Packs the low two bits of each index.
static inline void tq_turbo2_pack(const uint8_t * index, uint8_t * qs, int block) {
    const int quarter = block / 4;
    for (int i = 0; i < quarter; i++) {
        int byte = 0;
        for (int k = 0; k < 4; k++) {
            byte |= (index[i + k * quarter] & 3) << (2 * k);
        }
        qs[i] = (uint8_t) byte;
    }
}

#endif
