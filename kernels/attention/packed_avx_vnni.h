// Tiles of packed rows in 256-bit vectors, for the dot products of AVX-VNNI: bytes in the order in which the
// instruction wants them, four bytes of one sum side by side.
//
//   K tile  [8 keys][4 dimensions: dim/4][key of 8][dim % 4]   level + 128, unsigned
//   V tile  [8 dimensions][4 keys: key/4][position][key % 4]   level, signed
//
// Rows are transposed while still packed, as in packed_avx512.h. Every shuffle stays inside a 128-bit lane, so the
// dimensions of V come in a permuted order, the same for every type, which packed_output undoes once per row:
// position 8 j + 4 l + i of 32 holds dimension 16 l + 4 j + i.
#ifndef TQ_PACKED_AVX_VNNI_H
#define TQ_PACKED_AVX_VNNI_H

#include "../common/levels.h"
#include "packed.h"

// ---- levels and fields -----------------------------------------------------------------------------

TQ_VEC __m256i level_table(int bits, int add) {
    static const int8_t two[16] = TQ_LEVELS_2, three[16] = TQ_LEVELS_3, four[16] = TQ_LEVELS_4;
    const __m128i       levels  = _mm_loadu_si128((const __m128i *) (bits == 2 ? two : bits == 3 ? three : four));
    return _mm256_broadcastsi128_si256(_mm_add_epi8(levels, _mm_set1_epi8((char) add)));
}

TQ_VEC __m256i bytes_32(const char * p) {
    return _mm256_loadu_si256((const __m256i *) p);
}

TQ_VEC __m256i bytes_16_16(const char * low, const char * high) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *) low)),
                                   _mm_loadu_si128((const __m128i *) high), 1);
}

TQ_VEC __m256i bytes_8_8(const char * low, const char * high) {
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadl_epi64((const __m128i *) low)),
                                   _mm_loadl_epi64((const __m128i *) high), 1);
}

// Rows key .. key + 7.
TQ_VEC void rows_from(const row_cursor * rows, int key, const char ** p) {
    const char * first = row_at(rows, key);
    if (key + 7 <= rows->last) {
        TQ_UNROLL
        for (int i = 0; i < 8; i++) {
            p[i] = first + (size_t) i * rows->stride;
        }
    } else {
        TQ_UNROLL
        for (int i = 0; i < 8; i++) {
            p[i] = row_at(rows, key + i);
        }
    }
}

// out[j] = dword j of the 16 bytes at p[0 .. 7] + offset.
TQ_VEC void columns_of_16(const char * const * p, size_t offset, __m256i * out) {
    __m256i v[4];
    TQ_UNROLL
    for (int i = 0; i < 4; i++) {
        v[i] = bytes_16_16(p[i] + offset, p[4 + i] + offset);
    }
    const __m256i a = _mm256_unpacklo_epi32(v[0], v[1]), b = _mm256_unpackhi_epi32(v[0], v[1]);
    const __m256i c = _mm256_unpacklo_epi32(v[2], v[3]), d = _mm256_unpackhi_epi32(v[2], v[3]);
    out[0] = _mm256_unpacklo_epi64(a, c);
    out[1] = _mm256_unpackhi_epi64(a, c);
    out[2] = _mm256_unpacklo_epi64(b, d);
    out[3] = _mm256_unpackhi_epi64(b, d);
}

// The same for 8 bytes.
TQ_VEC void columns_of_8(const char * const * p, size_t offset, __m256i * out) {
    __m256i v[4];
    TQ_UNROLL
    for (int i = 0; i < 4; i++) {
        v[i] = bytes_8_8(p[i] + offset, p[4 + i] + offset);
    }
    const __m256i a = _mm256_unpacklo_epi32(v[0], v[1]), c = _mm256_unpacklo_epi32(v[2], v[3]);
    out[0] = _mm256_unpacklo_epi64(a, c);
    out[1] = _mm256_unpackhi_epi64(a, c);
}

// The scales of 8 rows at `offset`; what is not finite counts as 0.
TQ_VEC __m256 scales_of(const char * const * p, size_t offset, float factor) {
    uint16_t half[8];
    TQ_UNROLL
    for (int i = 0; i < 8; i++) memcpy(&half[i], p[i] + offset, 2);
    const __m128i all = _mm_setr_epi16((short) half[0], (short) half[1], (short) half[2], (short) half[3], (short) half[4],
                                       (short) half[5], (short) half[6], (short) half[7]);
    return _mm256_mul_ps(_mm256_set1_ps(factor), vf_finite(_mm256_cvtph_ps(all)));
}

// ---- K ----------------------------------------------------------------------------------------------

// 4 where the bit of the plane is set. Dword t of `plane` holds the plane of key t, of `up` the same moved up by two
// bits; the result's bytes are elements 4 column .. 4 column + 3 (of the plane's 32) of each key.
TQ_VEC __m256i plane_of_keys(__m256i plane, __m256i up, int column) {
    const __m256i pick = _mm256_add_epi8(_mm256_set1_epi8((char) (column / 2)),
                                         _mm256_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12,
                                                          0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12));
    // All bits tested are worth 4 or more: the low half of a byte is tested two bits higher.
    const __m256i bit = _mm256_set1_epi32(column % 2 == 0 ? 0x20100804 : (int) 0x80402010);
    const __m256i on  = _mm256_and_si256(_mm256_shuffle_epi8(column % 2 == 0 ? up : plane, pick), bit);
    return _mm256_min_epu8(on, _mm256_set1_epi8(4));
}

// One block of 8 keys to block/4 columns.
TQ_VEC void k_block(const char * const * p, size_t offset, int bits, int block, __m256i * out) {
    const __m256i levels = level_table(bits, 128);
    const int     width  = bits == 4 ? 4 : 2, fields = 8 / width;
    const int     bytes  = block / fields;  // of indices: 16, 32 or 64
    const __m256i mask   = _mm256_set1_epi8(bits == 4 ? 15 : 3);
    __m256i       plane[4];
    if (bits == 3 && block == 128) {
        columns_of_16(p, offset + 2 + (size_t) bytes, plane);
    } else if (bits == 3) {
        columns_of_8(p, offset + 2 + (size_t) bytes, plane);
    }
    TQ_UNROLL
    for (int i = 0; i < bytes / 16; i++) {
        __m256i packed[4];
        columns_of_16(p, offset + 2 + 16 * (size_t) i, packed);
        TQ_UNROLL
        for (int f = 0; f < fields; f++) {
            TQ_UNROLL
            for (int j = 0; j < 4; j++) {
                const int column = f * bytes / 4 + 4 * i + j;
                __m256i   index  = _mm256_and_si256(_mm256_srli_epi16(packed[j], f * width), mask);
                if (bits == 3) {
                    const __m256i of = plane[column / 8];
                    index = _mm256_or_si256(index, plane_of_keys(of, _mm256_slli_epi16(of, 2), column % 8));
                }
                _mm256_store_si256(out + column, _mm256_shuffle_epi8(levels, index));
            }
        }
    }
}

TQ_VEC void k_block_q8_0(const char * const * p, size_t offset, __m256i * out) {
    TQ_UNROLL
    for (int i = 0; i < 2; i++) {
        __m256i columns[4];
        columns_of_16(p, offset + 2 + 16 * (size_t) i, columns);
        TQ_UNROLL
        for (int j = 0; j < 4; j++) {
            _mm256_store_si256(out + 4 * i + j, _mm256_xor_si256(columns[j], _mm256_set1_epi8((char) 0x80)));
        }
    }
}

TQ_VEC void k_tile_of(const tq_kv_side * side, const row_cursor * rows, int count, const tq_scratch * t, bool q8, int bits, int block) {
    const size_t stride  = block_bytes(side);
    const int    columns = tq_round_up(side->dim, 64) / 4;
    for (int key = 0; key < count; key += 8) {
        __m256i *    out    = (__m256i *) t->k_tile + key / 8 * columns;
        float *      scale  = t->k_scale + key;
        size_t       offset = 0;
        const char * p[8];
        rows_from(rows, key, p);
        for (int b = 0; b < side->dim / block; b++) {
            if (q8) {
                k_block_q8_0(p, offset, out);
            } else {
                k_block(p, offset, bits, block, out);
            }
            _mm256_store_ps(scale, scales_of(p, offset, scale_factor(side)));
            out += block / 4;
            scale += TQ_TILE;
            offset += stride;
        }
    }
}

// ---- V ----------------------------------------------------------------------------------------------

// Bytes of four rows, interleaved in each lane: out[j] holds bytes 4 j .. 4 j + 3 of the lane, four keys each.
TQ_VEC void interleave4(const __m256i * row, __m256i * out) {
    const __m256i ab0 = _mm256_unpacklo_epi8(row[0], row[1]), ab1 = _mm256_unpackhi_epi8(row[0], row[1]);
    const __m256i cd0 = _mm256_unpacklo_epi8(row[2], row[3]), cd1 = _mm256_unpackhi_epi8(row[2], row[3]);
    out[0] = _mm256_unpacklo_epi16(ab0, cd0);
    out[1] = _mm256_unpackhi_epi16(ab0, cd0);
    out[2] = _mm256_unpacklo_epi16(ab1, cd1);
    out[3] = _mm256_unpackhi_epi16(ab1, cd1);
}

// out[c] dword n = byte 4 c + n of `bytes` (8 or 16) at p[0 .. 3] + offset, four keys each.
TQ_VEC void interleave_planes(const char * const * p, size_t offset, int bytes, __m128i * out) {
    __m128i row[4];
    TQ_UNROLL
    for (int i = 0; i < 4; i++) {
        const __m128i * at = (const __m128i *) (p[i] + offset);
        row[i]             = bytes == 16 ? _mm_loadu_si128(at) : _mm_loadl_epi64(at);
    }
    const __m128i ab0 = _mm_unpacklo_epi8(row[0], row[1]), ab1 = _mm_unpackhi_epi8(row[0], row[1]);
    const __m128i cd0 = _mm_unpacklo_epi8(row[2], row[3]), cd1 = _mm_unpackhi_epi8(row[2], row[3]);
    out[0] = _mm_unpacklo_epi16(ab0, cd0);
    out[1] = _mm_unpackhi_epi16(ab0, cd0);
    out[2] = _mm_unpacklo_epi16(ab1, cd1);
    out[3] = _mm_unpackhi_epi16(ab1, cd1);
}

// 4 where the bit is set: lane l, byte 4 i + key is element 16 l + 4 j + i of a plane of 32.
TQ_VEC __m256i plane_of_dims(__m128i plane, int j) {
    const int     low   = j / 2, high = 2 + j / 2;
    const __m256i order = _mm256_setr_epi32(low, low, low, low, high, high, high, high);
    const __m256i byte  = _mm256_permutevar8x32_epi32(_mm256_castsi128_si256(plane), order);
    // To bit 2 from bit i or 4 + i.
    const __m256i moved = j % 2 == 0 ? _mm256_srlv_epi32(_mm256_slli_epi32(byte, 2), _mm256_setr_epi32(0, 1, 2, 3, 0, 1, 2, 3))
                                     : _mm256_srlv_epi32(byte, _mm256_setr_epi32(2, 3, 4, 5, 2, 3, 4, 5));
    return _mm256_and_si256(moved, _mm256_set1_epi8(4));
}

// Four keys of one block. Vector v of 8 dimensions goes to out[v * TQ_TILE / 4].
TQ_VEC void v_block(const char * const * p, size_t offset, int bits, int block, __m256i * out) {
    const __m256i levels = level_table(bits, 0);
    const int     width  = bits == 4 ? 4 : 2;
    const int     bytes  = block * width / 8;
    const __m256i mask   = _mm256_set1_epi8(bits == 4 ? 15 : 3);
    __m128i       plane[4];
    if (bits == 3) {
        interleave_planes(p, offset + 2 + (size_t) bytes, block / 8, plane);
    }
    // Each round takes the bytes that hold `runs` runs of 32 dimensions, the runs `apart`.
    const int rounds = bytes == 64 ? 2 : 1, runs = block / 32 / rounds, apart = rounds;
    TQ_UNROLL
    for (int i = 0; i < rounds; i++) {
        __m256i row[4], wide[4];
        TQ_UNROLL
        for (int key = 0; key < 4; key++) {
            const char * at = p[key] + offset + 2;
            row[key]        = bytes == 16 ? bytes_16_16(at, at) : bytes_32(at + 32 * i);
        }
        interleave4(row, wide);
        TQ_UNROLL
        for (int f = 0; f < runs; f++) {
            TQ_UNROLL
            for (int j = 0; j < 4; j++) {
                // Of 16 bytes each lane takes another field.
                const __m256i field = bytes == 16 ? _mm256_srlv_epi64(wide[j], _mm256_setr_epi64x(4 * f, 4 * f, 4 * f + 2, 4 * f + 2))
                                                  : _mm256_srli_epi16(wide[j], f * width);
                __m256i       index = _mm256_and_si256(field, mask);
                if (bits == 3) {
                    index = _mm256_or_si256(index, plane_of_dims(plane[f], j));
                }
                _mm256_store_si256(out + (4 * (f * apart + i) + j) * (TQ_TILE / 4), _mm256_shuffle_epi8(levels, index));
            }
        }
    }
}

TQ_VEC void v_block_q8_0(const char * const * p, size_t offset, __m256i * out) {
    __m256i row[4], wide[4];
    TQ_UNROLL
    for (int key = 0; key < 4; key++) {
        row[key] = bytes_32(p[key] + offset + 2);
    }
    interleave4(row, wide);
    TQ_UNROLL
    for (int j = 0; j < 4; j++) {
        _mm256_store_si256(out + j * (TQ_TILE / 4), wide[j]);
    }
}

TQ_VEC void v_tile_of(const tq_kv_side * side, const row_cursor * rows, int count, const tq_scratch * t, bool q8, int bits, int block) {
    const size_t stride = block_bytes(side);
    const int    blocks = side->dim / block;
    for (int key = 0; key < count; key += 8) {
        __m256i *    out    = (__m256i *) t->v_tile + key / 4;
        float *      scale  = t->v_scale + key;
        size_t       offset = 0;
        const char * p[8];
        rows_from(rows, key, p);
        for (int b = 0; b < blocks; b++) {
            for (int g = 0; g < 2; g++) {
                if (q8) {
                    v_block_q8_0(p + 4 * g, offset, out + g);
                } else {
                    v_block(p + 4 * g, offset, bits, block, out + g);
                }
            }
            _mm256_store_ps(scale, scales_of(p, offset, scale_factor(side)));
            out += block / 8 * (TQ_TILE / 4);
            scale += TQ_TILE;
            offset += stride;
        }
    }
    // Beyond count, weights are zero whatever stands here, as long as it is a number.
    for (int b = 0; b < blocks; b++) {
        for (int key = tq_round_up(count, 8); key < tq_round_up(count, 64); key += 8) {
            _mm256_store_ps(t->v_scale + b * TQ_TILE + key, _mm256_setzero_ps());
        }
    }
}

#include "packed_tiles.h"

// ---- rows -------------------------------------------------------------------------------------------

TQ_VEC int32_t hsum_int(__m256i a) {
    const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    const __m128i two  = _mm_hadd_epi32(four, four);
    return _mm_cvtsi128_si32(_mm_hadd_epi32(two, two));
}

// Bytes of four vectors of integers that packs has taken to 8 bits, back in order.
TQ_VEC __m256i in_order(__m256i packed) {
    return _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

static void packed_query(const tq_attention * a, const float * q, float scale, int r, int rows, const tq_scratch * t) {
    const int dim = a->k.dim, padded = tq_round_up(dim, 64), blocks = dim / a->k.block;
    int8_t *  high = t->q_digits + (size_t) digit_row(r, rows, 0) * (size_t) padded;
    int8_t *  low  = t->q_digits + (size_t) digit_row(r, rows, 1) * (size_t) padded;
    // The largest of the finite ones, and whether that is all of them: x - x is 0 for a finite x only.
    __m256 peak = _mm256_setzero_ps(), rest = _mm256_setzero_ps();
    for (int i = 0; i < dim; i += 8) {
        const __m256 x = _mm256_loadu_ps(q + i);
        peak           = _mm256_max_ps(peak, vf_abs(vf_finite(x)));
        rest           = _mm256_add_ps(rest, _mm256_sub_ps(x, x));
    }
    const float most   = vf_hmax(peak);
    const bool  finite = vf_hsum(rest) == 0.0f;
    // The row of a query that is not finite is NaN already (unit.h).
    t->q_scale[r]       = finite ? most / TQ_QUERY_MOST * scale : 0.0f;
    const __m256 factor = _mm256_set1_ps(finite && most > 0.0f ? TQ_QUERY_MOST / most : 0.0f);
    for (int b = 0; b < blocks; b++) {
        __m256i sum = _mm256_setzero_si256();
        for (int i = b * a->k.block; i < (b + 1) * a->k.block; i += 32) {
            __m256i h[4], l[4];
            TQ_UNROLL
            for (int j = 0; j < 4; j++) {
                const __m256i x = _mm256_cvtps_epi32(_mm256_mul_ps(factor, vf_finite(_mm256_loadu_ps(q + i + 8 * j))));
                h[j]            = _mm256_srai_epi32(_mm256_add_epi32(x, _mm256_set1_epi32(128)), 8);
                l[j]            = _mm256_sub_epi32(x, _mm256_slli_epi32(h[j], 8));
                sum             = _mm256_add_epi32(sum, x);
            }
            _mm256_storeu_si256((__m256i *) (high + i), in_order(_mm256_packs_epi16(_mm256_packs_epi32(h[0], h[1]), _mm256_packs_epi32(h[2], h[3]))));
            _mm256_storeu_si256((__m256i *) (low + i), in_order(_mm256_packs_epi16(_mm256_packs_epi32(l[0], l[1]), _mm256_packs_epi32(l[2], l[3]))));
        }
        t->q_offset[r * blocks + b] = 128 * hsum_int(sum);
    }
    memset(high + dim, 0, (size_t) (padded - dim));
    memset(low + dim, 0, (size_t) (padded - dim));
}

// Weights of row i of n as two digits per block of V, for `width` keys, a multiple of 64; `weight` is the tile's. The
// largest weight of the row becomes TQ_WEIGHT_MOST, so that the rounding depends on this row alone: a query gets the same
// bits in a batch and alone.
static void packed_weights(const tq_attention * a, const float * s, int width, float weight, int i, int n, const tq_scratch * t) {
    const __m256i byte = _mm256_set1_epi16(255);
    float         product[TQ_TILE] __attribute__((aligned(32)));
    for (int b = 0; b < a->v.dim / a->v.block; b++) {
        const float * scale = t->v_scale + b * TQ_TILE;
        uint8_t *     high  = t->p_digits + ((size_t) b * 2 * TQ_ROWS + (size_t) digit_row(i, n, 0)) * TQ_TILE;
        uint8_t *     low   = t->p_digits + ((size_t) b * 2 * TQ_ROWS + (size_t) digit_row(i, n, 1)) * TQ_TILE;
        __m256        peak  = _mm256_setzero_ps();
        for (int key = 0; key < width; key += 8) {
            const __m256 w = _mm256_mul_ps(_mm256_load_ps(s + key), _mm256_load_ps(scale + key));
            _mm256_store_ps(product + key, w);
            peak = _mm256_max_ps(w, peak);
        }
        const float  most   = vf_hmax(peak);
        const __m256 factor = _mm256_set1_ps(most > TQ_LEAST_WEIGHT ? TQ_WEIGHT_MOST / most : 0.0f);
        for (int key = 0; key < width; key += 32) {
            __m256i w[4];
            TQ_UNROLL
            for (int j = 0; j < 4; j++) {
                w[j] = _mm256_cvtps_epi32(_mm256_mul_ps(factor, _mm256_load_ps(product + key + 8 * j)));
            }
            const __m256i x = _mm256_packus_epi32(w[0], w[1]), y = _mm256_packus_epi32(w[2], w[3]);
            const __m256i h = _mm256_packus_epi16(_mm256_srli_epi16(x, 8), _mm256_srli_epi16(y, 8));
            const __m256i l = _mm256_packus_epi16(_mm256_and_si256(x, byte), _mm256_and_si256(y, byte));
            _mm256_store_si256((__m256i *) (high + key), in_order(h));
            _mm256_store_si256((__m256i *) (low + key), in_order(l));
        }
        t->weight[b * TQ_ROWS + i] = weight * most / TQ_WEIGHT_MOST;
    }
}

static void packed_output(const tq_kv_side * side, const float * o, float factor, float * out) {
    const __m128 by = _mm_set1_ps(factor);
    for (int p = 0; p < side->dim; p += 4) {
        const int lane = p / 4 % 2, j = p / 8 % 4;
        _mm_storeu_ps(out + p / 32 * 32 + 16 * lane + 4 * j, _mm_mul_ps(by, _mm_loadu_ps(o + p)));
    }
}

#endif
