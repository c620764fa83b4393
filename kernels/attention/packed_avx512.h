// Integer kernels of AVX-512 (F, BW, VL, DQ, VNNI): tiles of packed rows become bytes in the order in which dot-product
// instructions want them, four bytes of one sum side by side.
//
//   K tile  [16 keys][4 dimensions: dim/4][key of 16][dim % 4]   level + 128, unsigned
//   V tile  [16 dimensions][4 keys: key/4][position][key % 4]    level, signed
//
// Rows are transposed while still packed, so a 4-bit row costs half the shuffles of a byte row and a 2-bit row a
// quarter. The shuffles of V stay inside 128-bit lanes, so its dimensions come in a permuted order, which packed_output
// undoes once per row: position 16 j + 4 l + i of 64 holds dimension 16 l + 4 j + i.
#ifndef TQ_PACKED_AVX512_H
#define TQ_PACKED_AVX512_H

#include "../common/levels.h"
#include "packed.h"

// ---- levels and fields -----------------------------------------------------------------------------

TQ_VEC __m512i byte_table(const int8_t levels[16], int add) {
    uint8_t bytes[16];
    for (int i = 0; i < 16; i++) {
        bytes[i] = (uint8_t) (levels[i] + add);
    }
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *) bytes));
}

TQ_VEC __m512i level_table(int bits, int add) {
    static const int8_t two[16] = TQ_LEVELS_2, three[16] = TQ_LEVELS_3, four[16] = TQ_LEVELS_4;
    return byte_table(bits == 2 ? two : bits == 3 ? three : four, add);
}

TQ_VEC __m512i pair_of(const char * low, const char * high) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *) low)),
                              _mm256_loadu_si256((const __m256i *) high), 1);
}

TQ_VEC __m512i quad_of(const char * a, const char * b, const char * c, const char * d) {
    const __m256i low  = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *) a)),
                                                 _mm_loadu_si128((const __m128i *) b), 1);
    const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *) c)),
                                                 _mm_loadu_si128((const __m128i *) d), 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

// In every 128-bit lane: four vectors of four dwords, transposed.
TQ_VEC void transpose_lanes(__m512i * v) {
    const __m512i a = _mm512_unpacklo_epi32(v[0], v[1]), b = _mm512_unpackhi_epi32(v[0], v[1]);
    const __m512i c = _mm512_unpacklo_epi32(v[2], v[3]), d = _mm512_unpackhi_epi32(v[2], v[3]);
    v[0] = _mm512_unpacklo_epi64(a, c);
    v[1] = _mm512_unpackhi_epi64(a, c);
    v[2] = _mm512_unpacklo_epi64(b, d);
    v[3] = _mm512_unpackhi_epi64(b, d);
}

// out[j] = dword j of 32 bytes at `offset` of 16 rows.
TQ_VEC void columns_of_32(const row_cursor * rows, int key, size_t offset, __m512i * out) {
    __m512i a[4], b[4];
    TQ_UNROLL
    for (int i = 0; i < 4; i++) {
        a[i] = pair_of(row_at(rows, key + i) + offset, row_at(rows, key + 4 + i) + offset);
        b[i] = pair_of(row_at(rows, key + 8 + i) + offset, row_at(rows, key + 12 + i) + offset);
    }
    transpose_lanes(a);
    transpose_lanes(b);
    TQ_UNROLL
    for (int i = 0; i < 4; i++) {
        out[i]     = _mm512_shuffle_i32x4(a[i], b[i], 0x88);
        out[4 + i] = _mm512_shuffle_i32x4(a[i], b[i], 0xdd);
    }
}

// out[j] = dword j of 16 bytes at `offset` of 16 rows.
TQ_VEC void columns_of_16(const row_cursor * rows, int key, size_t offset, __m512i * out) {
    TQ_UNROLL
    for (int i = 0; i < 4; i++) {
        out[i] = quad_of(row_at(rows, key + i) + offset, row_at(rows, key + 4 + i) + offset, row_at(rows, key + 8 + i) + offset,
                         row_at(rows, key + 12 + i) + offset);
    }
    transpose_lanes(out);
}

// out[j] = dword j of 8 bytes at `offset` of 16 rows.
TQ_VEC void columns_of_8(const row_cursor * rows, int key, size_t offset, __m512i * out) {
    uint32_t word[2][16];
    for (int i = 0; i < 16; i++) {
        memcpy(&word[0][i], row_at(rows, key + i) + offset, 4);
        memcpy(&word[1][i], row_at(rows, key + i) + offset + 4, 4);
    }
    out[0] = _mm512_loadu_si512(word[0]);
    out[1] = _mm512_loadu_si512(word[1]);
}

// The scales of 16 rows at `offset`; what is not finite counts as 0.
TQ_VEC __m512 scales_of(const row_cursor * rows, int key, size_t offset, float factor) {
    uint16_t half[16];
    for (int i = 0; i < 16; i++) {
        memcpy(&half[i], row_at(rows, key + i) + offset, 2);
    }
    return _mm512_mul_ps(_mm512_set1_ps(factor), vf_finite(vf_half(half)));
}

// ---- K ----------------------------------------------------------------------------------------------

// Adds 4 to the indices whose bit in the plane is set. Dword t of `plane` holds the plane of key t; the vector's bytes
// are elements `first` .. first + 3 (of the plane's 32) of each key.
TQ_VEC __m512i with_plane_of_keys(__m512i index, __m512i plane, int first) {
    const __m512i pick = _mm512_add_epi8(_mm512_set1_epi8((char) (first / 8)),
                                         _mm512_broadcast_i32x4(_mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12)));
    const __m512i bit  = _mm512_set1_epi32(first % 8 == 0 ? 0x08040201 : (int) 0x80402010);
    const __mmask64 on = _mm512_test_epi8_mask(_mm512_shuffle_epi8(plane, pick), bit);
    return _mm512_mask_add_epi8(index, on, index, _mm512_set1_epi8(4));
}

// One block of 16 keys to block/4 dword columns.
TQ_VEC void k_block(const row_cursor * rows, int key, size_t offset, int bits, int block, __m512i * out) {
    const __m512i levels = level_table(bits, 128);
    const int     fields = 8 / (bits == 3 ? 2 : bits);       // per byte
    const int     bytes  = block / fields;                   // of indices, 16, 32 or 64
    const __m512i mask   = _mm512_set1_epi8(bits == 4 ? 15 : 3);
    const int     columns = bytes / 4;
    __m512i       packed[16], plane[4];
    if (bytes == 16) {
        columns_of_16(rows, key, offset + 2, packed);
    } else {
        for (int i = 0; i < bytes; i += 32) {
            columns_of_32(rows, key, offset + 2 + (size_t) i, packed + i / 4);
        }
    }
    if (bits == 3) {
        if (block == 128) {
            columns_of_16(rows, key, offset + 2 + (size_t) bytes, plane);
        } else {
            columns_of_8(rows, key, offset + 2 + (size_t) bytes, plane);
        }
    }
    TQ_UNROLL
    for (int f = 0; f < fields; f++) {
        TQ_UNROLL
        for (int j = 0; j < columns; j++) {
            const int column = f * columns + j;
            __m512i   index  = _mm512_and_si512(_mm512_srli_epi16(packed[j], (unsigned) (f * (bits == 4 ? 4 : 2))), mask);
            if (bits == 3) {
                index = with_plane_of_keys(index, plane[4 * column / 32], 4 * column % 32);
            }
            _mm512_store_si512(out + column, _mm512_shuffle_epi8(levels, index));
        }
    }
}

TQ_VEC void k_block_q8_0(const row_cursor * rows, int key, size_t offset, __m512i * out) {
    __m512i columns[8];
    columns_of_32(rows, key, offset + 2, columns);
    TQ_UNROLL
    for (int j = 0; j < 8; j++) {
        _mm512_store_si512(out + j, _mm512_xor_si512(columns[j], _mm512_set1_epi8((char) 0x80)));
    }
}

TQ_VEC void k_tile_of(const tq_kv_side * side, const row_cursor * rows, int count, const tq_scratch * t, bool q8, int bits, int block) {
    const size_t stride  = block_bytes(side);
    const int    columns = tq_round_up(side->dim, 64) / 4;
    for (int key = 0; key < count; key += 16) {
        __m512i * out = (__m512i *) t->k_tile + key / 16 * columns;
        for (int b = 0; b < side->dim / block; b++, out += block / 4) {
            const size_t offset = (size_t) b * stride;
            if (q8) {
                k_block_q8_0(rows, key, offset, out);
            } else {
                k_block(rows, key, offset, bits, block, out);
            }
            _mm512_store_ps(t->k_scale + b * TQ_TILE + key, scales_of(rows, key, offset, scale_factor(side)));
        }
    }
}

// ---- V ----------------------------------------------------------------------------------------------

// Bytes of four rows, interleaved in every 128-bit lane: out[j] holds bytes 4 j .. 4 j + 3 of each lane, four keys each.
TQ_VEC void interleave4(__m512i a, __m512i b, __m512i c, __m512i d, __m512i * out) {
    const __m512i ab0 = _mm512_unpacklo_epi8(a, b), ab1 = _mm512_unpackhi_epi8(a, b);
    const __m512i cd0 = _mm512_unpacklo_epi8(c, d), cd1 = _mm512_unpackhi_epi8(c, d);
    out[0] = _mm512_unpacklo_epi16(ab0, cd0);
    out[1] = _mm512_unpackhi_epi16(ab0, cd0);
    out[2] = _mm512_unpacklo_epi16(ab1, cd1);
    out[3] = _mm512_unpackhi_epi16(ab1, cd1);
}

// Dword n = byte n of `bytes` (8 or 16) at p[0..3], four keys each.
TQ_VEC __m512i interleave_planes(const char * const * p, int bytes) {
    __m128i row[4];
    for (int i = 0; i < 4; i++) {
        row[i] = bytes == 16 ? _mm_loadu_si128((const __m128i *) p[i]) : _mm_loadl_epi64((const __m128i *) p[i]);
    }
    const __m128i ab0 = _mm_unpacklo_epi8(row[0], row[1]), ab1 = _mm_unpackhi_epi8(row[0], row[1]);
    const __m128i cd0 = _mm_unpacklo_epi8(row[2], row[3]), cd1 = _mm_unpackhi_epi8(row[2], row[3]);
    const __m256i low  = _mm256_set_m128i(_mm_unpackhi_epi16(ab0, cd0), _mm_unpacklo_epi16(ab0, cd0));
    const __m256i high = _mm256_set_m128i(_mm_unpackhi_epi16(ab1, cd1), _mm_unpacklo_epi16(ab1, cd1));
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

// As with_plane_of_keys, for the bytes of V: lane l, byte 4 i + key is element 64 half + 16 l + 4 j + i.
TQ_VEC __m512i with_plane_of_dims(__m512i index, __m512i plane, int half, int j) {
    const int     base = 8 * half + j / 2;
    const __m512i pick = _mm512_setr_epi32(base, base, base, base, base + 2, base + 2, base + 2, base + 2, base + 4, base + 4, base + 4,
                                           base + 4, base + 6, base + 6, base + 6, base + 6);
    const __m512i bit = j % 2 == 0 ? _mm512_broadcast_i32x4(_mm_setr_epi32(0x01010101, 0x02020202, 0x04040404, 0x08080808))
                                   : _mm512_broadcast_i32x4(_mm_setr_epi32(0x10101010, 0x20202020, 0x40404040, (int) 0x80808080));
    const __mmask64 on = _mm512_test_epi8_mask(_mm512_permutexvar_epi32(pick, plane), bit);
    return _mm512_mask_add_epi8(index, on, index, _mm512_set1_epi8(4));
}

// Eight keys of one block. Vector v of 16 dimensions goes to out[v * TQ_TILE / 4 + group of keys].
TQ_VEC void v_block(const row_cursor * rows, int key, size_t offset, int bits, int block, __m512i * out) {
    const __m512i levels = level_table(bits, 0);
    const int     width  = bits == 4 ? 4 : 2;
    const int     bytes  = block * width / 8;
    const __m512i mask   = _mm512_set1_epi8(bits == 4 ? 15 : 3);
    const char *  p[8];
    TQ_UNROLL
    for (int i = 0; i < 8; i++) {
        p[i] = row_at(rows, key + i) + offset + 2;
    }
    __m512i plane[2];
    if (bits == 3) {
        const char * high[8];
        TQ_UNROLL
        for (int i = 0; i < 8; i++) {
            high[i] = p[i] + bytes;
        }
        plane[0] = interleave_planes(high, block / 8);
        plane[1] = interleave_planes(high + 4, block / 8);
    }
    // wide[g][j]: bytes of the four keys of group g from which the fields of position j are taken.
    __m512i wide[2][4];
    if (bytes == 64) {
        TQ_UNROLL
        for (int g = 0; g < 2; g++) {
            const char ** q = p + 4 * g;
            interleave4(_mm512_loadu_si512(q[0]), _mm512_loadu_si512(q[1]), _mm512_loadu_si512(q[2]), _mm512_loadu_si512(q[3]), wide[g]);
        }
    } else if (bytes == 32) {
        __m512i both[4];
        interleave4(pair_of(p[0], p[4]), pair_of(p[1], p[5]), pair_of(p[2], p[6]), pair_of(p[3], p[7]), both);
        TQ_UNROLL
        for (int j = 0; j < 4; j++) {
            wide[0][j] = _mm512_shuffle_i64x2(both[j], both[j], 0x44);
            wide[1][j] = _mm512_shuffle_i64x2(both[j], both[j], 0xee);
        }
    } else {
        __m512i both[4];
        interleave4(quad_of(p[0], p[4], p[0], p[4]), quad_of(p[1], p[5], p[1], p[5]), quad_of(p[2], p[6], p[2], p[6]),
                    quad_of(p[3], p[7], p[3], p[7]), both);
        TQ_UNROLL
        for (int j = 0; j < 4; j++) {
            wide[0][j] = _mm512_shuffle_i64x2(both[j], both[j], 0x00);
            wide[1][j] = _mm512_shuffle_i64x2(both[j], both[j], 0x55);
        }
    }
    TQ_UNROLL
    for (int h = 0; h < block / 64; h++) {
        // Lane l of half h holds elements from 64 h + 16 l on; this is where its field sits in a byte.
        const long long f0 = width * ((64 * h) / bytes), f1 = width * ((64 * h + 16) / bytes);
        const long long f2 = width * ((64 * h + 32) / bytes), f3 = width * ((64 * h + 48) / bytes);
        const __m512i   shift = _mm512_setr_epi64(f0, f0, f1, f1, f2, f2, f3, f3);
        TQ_UNROLL
        for (int g = 0; g < 2; g++) {
            TQ_UNROLL
            for (int j = 0; j < 4; j++) {
                __m512i index = _mm512_and_si512(_mm512_srlv_epi64(wide[g][j], shift), mask);
                if (bits == 3) {
                    index = with_plane_of_dims(index, plane[g], h, j);
                }
                _mm512_store_si512(out + (4 * h + j) * (TQ_TILE / 4) + g, _mm512_shuffle_epi8(levels, index));
            }
        }
    }
}

// Position 16 m + 4 lane + i of a block of 32 holds dimension 16 (lane % 2) + 4 (2 m + lane / 2) + i.
TQ_VEC void v_block_q8_0(const row_cursor * rows, int key, size_t offset, __m512i * out) {
    const char * p[8];
    TQ_UNROLL
    for (int i = 0; i < 8; i++) {
        p[i] = row_at(rows, key + i) + offset + 2;
    }
    __m512i both[4];
    interleave4(pair_of(p[0], p[4]), pair_of(p[1], p[5]), pair_of(p[2], p[6]), pair_of(p[3], p[7]), both);
    TQ_UNROLL
    for (int m = 0; m < 2; m++) {
        _mm512_store_si512(out + m * (TQ_TILE / 4), _mm512_shuffle_i64x2(both[2 * m], both[2 * m + 1], 0x44));
        _mm512_store_si512(out + m * (TQ_TILE / 4) + 1, _mm512_shuffle_i64x2(both[2 * m], both[2 * m + 1], 0xee));
    }
}

TQ_VEC void v_tile_of(const tq_kv_side * side, const row_cursor * rows, int count, const tq_scratch * t, bool q8, int bits, int block) {
    const size_t stride = block_bytes(side);
    for (int b = 0; b < side->dim / block; b++) {
        const size_t offset = (size_t) b * stride;
        __m512i *    out    = (__m512i *) t->v_tile + b * block / 16 * (TQ_TILE / 4);
        for (int key = 0; key < count; key += 8) {
            if (q8) {
                v_block_q8_0(rows, key, offset, out + key / 4);
            } else {
                v_block(rows, key, offset, bits, block, out + key / 4);
            }
        }
        float * scale = t->v_scale + b * TQ_TILE;
        for (int key = 0; key < tq_round_up(count, 64); key += 16) {
            // Beyond count, weights are zero whatever stands here, as long as it is a number.
            _mm512_store_ps(scale + key, key < count ? scales_of(rows, key, offset, scale_factor(side)) : _mm512_setzero_ps());
        }
    }
}

#include "packed_tiles.h"

// ---- rows -------------------------------------------------------------------------------------------

static void packed_query(const tq_attention * a, const float * q, float scale, int r, int rows, const tq_scratch * t) {
    const int dim = a->k.dim, padded = tq_round_up(dim, 64), blocks = dim / a->k.block;
    int8_t *  high = t->q_digits + (size_t) digit_row(r, rows, 0) * (size_t) padded;
    int8_t *  low  = t->q_digits + (size_t) digit_row(r, rows, 1) * (size_t) padded;
    __m512i   bits = _mm512_setzero_si512();
    for (int i = 0; i < dim; i += 16) {
        bits = _mm512_max_epu32(bits, _mm512_and_si512(_mm512_loadu_si512(q + i), _mm512_set1_epi32(0x7fffffff)));
    }
    const float most   = _mm512_reduce_max_ps(_mm512_castsi512_ps(bits));
    const bool  finite = _mm512_reduce_max_epu32(bits) < TQ_INFINITY_BITS;
    // The row of a query that is not finite is NaN already (unit.h).
    t->q_scale[r]       = finite ? most / TQ_QUERY_MOST * scale : 0.0f;
    const __m512 factor = _mm512_set1_ps(finite && most > 0.0f ? TQ_QUERY_MOST / most : 0.0f);
    for (int b = 0; b < blocks; b++) {
        __m512i sum = _mm512_setzero_si512();
        for (int i = b * a->k.block; i < (b + 1) * a->k.block; i += 16) {
            const __m512i x = _mm512_cvtps_epi32(_mm512_mul_ps(factor, vf_finite(_mm512_loadu_ps(q + i))));
            const __m512i h = _mm512_srai_epi32(_mm512_add_epi32(x, _mm512_set1_epi32(128)), 8);
            const __m512i l = _mm512_sub_epi32(x, _mm512_slli_epi32(h, 8));
            sum             = _mm512_add_epi32(sum, x);
            _mm_storeu_si128((__m128i *) (high + i), _mm512_cvtepi32_epi8(h));
            _mm_storeu_si128((__m128i *) (low + i), _mm512_cvtepi32_epi8(l));
        }
        t->q_offset[r * blocks + b] = 128 * _mm512_reduce_add_epi32(sum);
    }
    memset(high + dim, 0, (size_t) (padded - dim));
    memset(low + dim, 0, (size_t) (padded - dim));
}

// 16 integer products of a row with a block of K, to logits.
TQ_VEC void put_scores(const tq_scratch * t, int r, int blocks, int b, int key, __m512i high, __m512i low, float * s) {
    const __m512i whole = _mm512_sub_epi32(_mm512_add_epi32(_mm512_slli_epi32(high, 8), low), _mm512_set1_epi32(t->q_offset[r * blocks + b]));
    const __m512  scale = _mm512_mul_ps(_mm512_set1_ps(t->q_scale[r]), _mm512_load_ps(t->k_scale + b * TQ_TILE + key));
    const __m512  value = _mm512_cvtepi32_ps(whole);
    _mm512_store_ps(s, b == 0 ? _mm512_mul_ps(scale, value) : _mm512_fmadd_ps(scale, value, _mm512_load_ps(s)));
}

// Weights of row i of n as two digits per block of V, for `width` keys, a multiple of 64; `weight` is the tile's. The
// largest weight of the row becomes TQ_WEIGHT_MOST, so that the rounding depends on this row alone: a query gets the same
// bits in a batch and alone.
static void packed_weights(const tq_attention * a, const float * s, int width, float weight, int i, int n, const tq_scratch * t) {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i byte  = _mm512_set1_epi16(255);
    for (int b = 0; b < a->v.dim / a->v.block; b++) {
        const float * scale = t->v_scale + b * TQ_TILE;
        uint8_t *     high  = t->p_digits + ((size_t) b * 2 * TQ_ROWS + (size_t) digit_row(i, n, 0)) * TQ_TILE;
        uint8_t *     low   = t->p_digits + ((size_t) b * 2 * TQ_ROWS + (size_t) digit_row(i, n, 1)) * TQ_TILE;
        __m512        w[TQ_TILE / 16], peak = _mm512_setzero_ps();
        TQ_UNROLL
        for (int j = 0; j < TQ_TILE / 16; j++) {
            w[j] = 16 * j < width ? _mm512_mul_ps(_mm512_load_ps(s + 16 * j), _mm512_load_ps(scale + 16 * j)) : _mm512_setzero_ps();
            peak = _mm512_max_ps(w[j], peak);
        }
        const float  most   = _mm512_reduce_max_ps(peak);
        const __m512 factor = _mm512_set1_ps(most > TQ_LEAST_WEIGHT ? TQ_WEIGHT_MOST / most : 0.0f);
        TQ_UNROLL
        for (int j = 0; j < TQ_TILE / 16; j += 4) {
            if (16 * j < width) {
                __m512i x[4];
                TQ_UNROLL
                for (int m = 0; m < 4; m++) {
                    x[m] = _mm512_cvtps_epi32(_mm512_mul_ps(factor, w[j + m]));
                }
                const __m512i y = _mm512_packus_epi32(x[0], x[1]), z = _mm512_packus_epi32(x[2], x[3]);
                const __m512i h = _mm512_packus_epi16(_mm512_srli_epi16(y, 8), _mm512_srli_epi16(z, 8));
                const __m512i l = _mm512_packus_epi16(_mm512_and_si512(y, byte), _mm512_and_si512(z, byte));
                _mm512_store_si512(high + 16 * j, _mm512_permutexvar_epi32(order, h));
                _mm512_store_si512(low + 16 * j, _mm512_permutexvar_epi32(order, l));
            }
        }
        t->weight[b * TQ_ROWS + i] = weight * most / TQ_WEIGHT_MOST;
    }
}

// Sums of a row over the keys of a tile, for 16 dimensions, into its running sum.
TQ_VEC void put_values(const tq_scratch * t, int b, int i, __m512i high, __m512i low, float * o) {
    const __m512 value = _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32(high, 8), low));
    const __m512 old   = _mm512_mul_ps(_mm512_set1_ps(t->fade[i]), _mm512_loadu_ps(o));
    _mm512_storeu_ps(o, _mm512_fmadd_ps(_mm512_set1_ps(t->weight[b * TQ_ROWS + i]), value, old));
}

static void packed_output(const tq_kv_side * side, const float * o, float factor, float * out) {
    const __m128 by   = _mm_set1_ps(factor);
    const bool   q8   = side->packing == TQ_PACKED_Q8_0;
    for (int p = 0; p < side->dim; p += 4) {
        const int lane = p / 4 % 4, j = p / 16;
        const int dim  = q8 ? p / 32 * 32 + 16 * (lane % 2) + 4 * (2 * (j % 2) + lane / 2) : p / 64 * 64 + 16 * lane + 4 * (j % 4);
        _mm_storeu_ps(out + dim, _mm_mul_ps(by, _mm_loadu_ps(o + p)));
    }
}

#endif
