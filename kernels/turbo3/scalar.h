#ifndef TQ_TURBO3_SCALAR_H
#define TQ_TURBO3_SCALAR_H

#include <stdint.h>

#include "../turbo2/scalar.h"

static inline int tq_turbo3_index(const uint8_t * qs, int block, int e) {
    const uint8_t * qh = qs + block / 4;
    return tq_turbo2_index(qs, block, e) | (qh[e / 8] >> (e % 8) & 1) << 2;
}

static inline void tq_turbo3_pack(const uint8_t * index, uint8_t * qs, int block) {
    uint8_t * qh = qs + block / 4;
    tq_turbo2_pack(index, qs, block);
    for (int i = 0; i < block / 8; i++) {
        int byte = 0;
        for (int k = 0; k < 8; k++) {
            byte |= (index[8 * i + k] >> 2) << k;
        }
        qh[i] = (uint8_t) byte;
    }
}

#endif
