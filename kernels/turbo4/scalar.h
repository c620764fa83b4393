#ifndef TQ_TURBO4_SCALAR_H
#define TQ_TURBO4_SCALAR_H

#include <stdint.h>

static inline int tq_turbo4_index(const uint8_t * qs, int block, int e) {
    const int half = block / 2;
    return e < half ? qs[e] & 15 : qs[e - half] >> 4;
}

static inline void tq_turbo4_pack(const uint8_t * index, uint8_t * qs, int block) {
    const int half = block / 2;
    for (int i = 0; i < half; i++) {
        qs[i] = (uint8_t) (index[i] | index[i + half] << 4);
    }
}

#endif
