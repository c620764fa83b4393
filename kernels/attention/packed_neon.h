// Tiles of packed rows for NEON's dot products: bytes in the order in which a product by lane wants them, four bytes of
// one sum side by side, two vectors that are used together next to each other.
//
//   K tile  [8 keys][4 dimensions: dim/4][key of 8][dim % 4]       level, signed
//   V tile  [8 dimensions][4 keys: key/4][dimension of 8][key % 4]
//
// So both are read by one kernel (dotprod.h): K's outputs are keys and its depth dimensions, V's the other way round.
// Rows are turned while still packed, so a 4-bit row costs half the shuffles of a byte row and a 2-bit row a quarter.
#ifndef TQ_PACKED_NEON_H
#define TQ_PACKED_NEON_H

#include "packed.h"

typedef enum { SIDE_OF_K, SIDE_OF_V } kv_side_name;

// Outputs of a pair of vectors, and bytes of the pair for four of depth.
#define TQ_PAIR       8
#define TQ_PAIR_BYTES 32

// ---- levels ------------------------------------------------------------------------------------------

// Tables for look-ups by a nibble. Two bits and less: the nibble holds two fields, of[i] is the table of field i, and
// no instruction has to part them. Three bits: val[1] is used where the plane's bit is set.
typedef struct {
    int8x16x2_t of[2];
} level_tables;

TQ_VEC level_tables level_tables_of(int bits) {
    static const int8_t  two[16] = TQ_LEVELS_2, three[16] = TQ_LEVELS_3, four[16] = TQ_LEVELS_4;
    static const uint8_t field[2][16] = { { 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3 },
                                          { 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3 } };
    const int8x16_t levels = vld1q_s8(bits == 2 ? two : bits == 3 ? three : four);
    level_tables    t;
    TQ_UNROLL
    for (int i = 0; i < 2; i++) {
        const uint8x16_t index = vld1q_u8(field[i]);
        t.of[i].val[0]         = bits == 4 ? levels : vqtbl1q_s8(levels, index);
        t.of[i].val[1]         = vqtbl1q_s8(levels, vorrq_u8(index, vdupq_n_u8(4)));
    }
    return t;
}

// Field f of each byte, looked up; on: all ones where the plane's bit is set.
TQ_VEC int8x16_t levels_of(const level_tables * t, uint8x16_t packed, int bits, int f, uint8x16_t on) {
    if (bits == 8) {
        return vreinterpretq_s8_u8(packed);
    }
    const bool       upper  = bits == 4 ? f == 1 : f >= 2;
    const uint8x16_t nibble = upper ? vshrq_n_u8(packed, 4) : vandq_u8(packed, vdupq_n_u8(15));
    if (bits == 3) {
        return vqtbl2q_s8(t->of[f % 2], vbslq_u8(vdupq_n_u8(16), on, nibble));
    }
    return vqtbl1q_s8(t->of[bits == 4 ? 0 : f % 2].val[0], nibble);
}

// ---- turning -----------------------------------------------------------------------------------------

TQ_VEC uint8x16_t low_dwords(uint8x16_t a, uint8x16_t b) {
    return vreinterpretq_u8_u32(vzip1q_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)));
}

TQ_VEC uint8x16_t high_dwords(uint8x16_t a, uint8x16_t b) {
    return vreinterpretq_u8_u32(vzip2q_u32(vreinterpretq_u32_u8(a), vreinterpretq_u32_u8(b)));
}

TQ_VEC uint8x16_t low_halves(uint8x16_t a, uint8x16_t b) {
    return vreinterpretq_u8_u64(vzip1q_u64(vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)));
}

TQ_VEC uint8x16_t high_halves(uint8x16_t a, uint8x16_t b) {
    return vreinterpretq_u8_u64(vzip2q_u64(vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)));
}

TQ_VEC uint8x16_t low_words(uint8x16_t a, uint8x16_t b) {
    return vreinterpretq_u8_u16(vzip1q_u16(vreinterpretq_u16_u8(a), vreinterpretq_u16_u8(b)));
}

TQ_VEC uint8x16_t high_words(uint8x16_t a, uint8x16_t b) {
    return vreinterpretq_u8_u16(vzip2q_u16(vreinterpretq_u16_u8(a), vreinterpretq_u16_u8(b)));
}

// Four rows of 16 bytes: v[j] becomes bytes 4 j .. 4 j + 3 of every row, row by row for K, byte by byte for V.
TQ_VEC void turn(uint8x16_t * v, kv_side_name side) {
    if (side == SIDE_OF_K) {
        const uint8x16_t ab0 = low_dwords(v[0], v[1]), ab1 = high_dwords(v[0], v[1]);
        const uint8x16_t cd0 = low_dwords(v[2], v[3]), cd1 = high_dwords(v[2], v[3]);
        v[0] = low_halves(ab0, cd0), v[1] = high_halves(ab0, cd0);
        v[2] = low_halves(ab1, cd1), v[3] = high_halves(ab1, cd1);
    } else {
        const uint8x16_t ab0 = vzip1q_u8(v[0], v[1]), ab1 = vzip2q_u8(v[0], v[1]);
        const uint8x16_t cd0 = vzip1q_u8(v[2], v[3]), cd1 = vzip2q_u8(v[2], v[3]);
        v[0] = low_words(ab0, cd0), v[1] = high_words(ab0, cd0);
        v[2] = low_words(ab1, cd1), v[3] = high_words(ab1, cd1);
    }
}

// All ones where the bit of vector c's element is set: dimensions 4 c .. 4 c + 3 of four keys. plane: the turned planes.
TQ_VEC uint8x16_t plane_mask(const uint8x16_t * plane, int c, kv_side_name side) {
    // Byte c / 2 of every key; the lower or the upper half of its bits.
    uint8x16_t byte, bit;
    if (side == SIDE_OF_K) {
        static const uint8_t first[16] = { 0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12 };
        byte = vqtbl1q_u8(plane[c / 8], vaddq_u8(vld1q_u8(first), vdupq_n_u8((uint8_t) (c % 8 / 2))));
        bit  = vreinterpretq_u8_u32(vdupq_n_u32(c % 2 == 0 ? 0x08040201u : 0x80402010u));
    } else {
        static const uint8_t lower[16] = { 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 8, 8, 8, 8 };
        byte = vqtbl1q_u8(plane[c / 8], vreinterpretq_u8_u32(vdupq_n_u32(0x03020100u + 0x04040404u * (uint32_t) (c % 8 / 2))));
        bit  = c % 2 == 0 ? vld1q_u8(lower) : vshlq_n_u8(vld1q_u8(lower), 4);
    }
    return vtstq_u8(byte, bit);
}

// ---- tiles -------------------------------------------------------------------------------------------

// One block of four keys; p: their rows' blocks. Vector c of four dimensions goes where the tile's layout has it.
TQ_VEC void block_of(const level_tables * tables, const uint8_t * const * p, int bits, int block, kv_side_name side, int8_t * out) {
    const int  width  = bits == 3 ? 2 : bits;
    const int  bytes  = block * width / 8;
    uint8x16_t plane[4];
    if (bits == 3) {
        TQ_UNROLL
        for (int i = 0; i < 4; i++) {
            const uint8_t * at = p[i] + 2 + bytes;
            plane[i]           = block == 128 ? vld1q_u8(at) : vcombine_u8(vld1_u8(at), vdup_n_u8(0));
        }
        turn(plane, side);
    }
    TQ_UNROLL
    for (int from = 0; from < bytes; from += 16) {
        uint8x16_t packed[4];
        TQ_UNROLL
        for (int i = 0; i < 4; i++) {
            packed[i] = vld1q_u8(p[i] + 2 + from);
        }
        turn(packed, side);
        TQ_UNROLL
        for (int j = 0; j < 4; j++) {
            TQ_UNROLL
            for (int f = 0; f < 8 / width; f++) {
                const int        c  = (f * bytes + from) / 4 + j;
                const uint8x16_t on = bits == 3 ? plane_mask(plane, c, side) : vdupq_n_u8(0);
                int8_t *         to = out + (side == SIDE_OF_K ? c * TQ_PAIR_BYTES : c / 2 * TQ_PAIR * TQ_TILE + c % 2 * 16);
                vst1q_s8(to, levels_of(tables, packed[j], bits, f, on));
            }
        }
    }
}

// The scales of four rows' blocks; what is not finite counts as 0.
TQ_VEC vf scales_of(const uint8_t * const * p, float factor) {
    uint16_t half[4];
    TQ_UNROLL
    for (int i = 0; i < 4; i++) {
        memcpy(&half[i], p[i], 2);
    }
    return vf_mul(vf_set1(factor), vf_finite(vf_half(half)));
}

// Keys up to a multiple of `unit`, the number that the kernel takes at a time.
TQ_VEC void tile_of(const tq_kv_side * side, const row_cursor * rows, int count, int unit, int8_t * tile, float * scale, kv_side_name name,
                    int bits, int block) {
    const level_tables tables = level_tables_of(bits);
    const size_t       stride = block_bytes(side);
    const float        factor = scale_factor(side);
    for (int key = 0; key < count; key += unit) {
        for (int four = key; four < key + unit; four += 4) {
            const uint8_t * p[4];
            TQ_UNROLL
            for (int i = 0; i < 4; i++) {
                p[i] = (const uint8_t *) row_at(rows, four + i);
            }
            int8_t * out = name == SIDE_OF_K ? tile + four / TQ_PAIR * TQ_PAIR * side->dim + four % TQ_PAIR * 4
                                             : tile + four / 4 * TQ_PAIR_BYTES;
            for (int b = 0; b < side->dim / block; b++) {
                block_of(&tables, p, bits, block, name, out + b * block * (name == SIDE_OF_K ? TQ_PAIR : TQ_TILE));
                vf_store(scale + b * TQ_TILE + four, scales_of(p, factor));
                TQ_UNROLL
                for (int i = 0; i < 4; i++) {
                    p[i] += stride;
                }
            }
        }
    }
}

static void packed_k_tile(const tq_kv_side * side, const char * base, int count, const tq_scratch * t) {
    const row_cursor rows = { base, side->key_stride, count - 1 };
#define CALL(q8, bits, block) tile_of(side, &rows, count, TQ_PAIR, (int8_t *) t->k_tile, t->k_scale, SIDE_OF_K, bits, block)
    TQ_FOR_PACKING(side, CALL)
#undef CALL
}

static void packed_v_tile(const tq_kv_side * side, const char * base, int count, const tq_scratch * t) {
    const row_cursor rows = { base, side->key_stride, count - 1 };
#define CALL(q8, bits, block) tile_of(side, &rows, count, 16, (int8_t *) t->v_tile, t->v_scale, SIDE_OF_V, bits, block)
    TQ_FOR_PACKING(side, CALL)
#undef CALL
    // Keys beyond count have the weight zero whatever stands here, as long as it is a number.
    for (int b = 0; b < side->dim / side->block; b++) {
        for (int key = tq_round_up(count, 16); key < TQ_TILE; key += 4) {
            vf_store(t->v_scale + b * TQ_TILE + key, vf_set1(0.0f));
        }
    }
}

#endif
