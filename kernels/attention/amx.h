// Products of digits and tiles with AMX: 16 rows of 64 bytes at a time. A tile's rows are up to 8 rows' high digits and
// then the same rows' low digits, so one product makes both, and decode with a group of 8 heads fills it.
#ifndef TQ_ATTENTION_AMX_H
#define TQ_ATTENTION_AMX_H

#include "packed_avx512.h"

// Tile registers: 0 and 1 sums of the first and second 8 rows; 2 and 3 digits of the first, 4 and 5 of the second, each
// for two steps of 64 bytes; 6 the packed side.
typedef struct {
    uint8_t  palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t  rows[16];
} tile_shapes;

// What the thread's tiles are shaped for, and what they were shaped for when the unit began: the matrix products of the
// engine configure theirs once per thread and expect to find that again.
static _Thread_local struct {
    tile_shapes before __attribute__((aligned(64)));
    int         first, second, step;
} tiles;

static void amx_begin(void) {
    _tile_storeconfig(&tiles.before);
    tiles.first = 0;
}

static void amx_end(void) {
    if (tiles.before.palette == 0) {
        _tile_release();
        return;
    }
    // GCC 12 declares only the first 8 bytes as an input of the instruction and drops other stores.
    __asm__ volatile("" : : "r"(&tiles.before) : "memory");
    _tile_loadconfig(&tiles.before);
}

// first, second: rows of the two groups; step: bytes of the digits in one product.
static void amx_shape(int first, int second, int step) {
    if (tiles.first == first && tiles.second == second && tiles.step == step) {
        return;
    }
    tile_shapes s __attribute__((aligned(64)));
    memset(&s, 0, sizeof s);
    s.palette = 1;
    const int other = second > 0 ? second : 1;
    for (int i = 0; i < 7; i++) {
        s.row_bytes[i] = (uint16_t) (i >= 2 && i <= 5 ? step : 64);
        s.rows[i]      = (uint8_t) (i == 6 ? step / 4 : 2 * (i == 0 || i == 2 || i == 3 ? first : other));
    }
    __asm__ volatile("" : : "r"(&s) : "memory");
    _tile_loadconfig(&s);
    tiles.first  = first;
    tiles.second = second;
    tiles.step   = step;
}

static void amx_scores(const tq_attention * a, const tq_scratch * t, int first, int n, int all, int count) {
    const int padded = tq_round_up(a->k.dim, 64), blocks = a->k.dim / a->k.block;
    const int half = n < TQ_HALF_ROWS ? n : TQ_HALF_ROWS, other = n - half;
    const int step = a->k.block < 64 ? a->k.block : 64;
    amx_shape(half, other, step);
    const int8_t * q0 = t->q_digits + (size_t) digit_row(first, all, 0) * (size_t) padded;
    const int8_t * q1 = t->q_digits + (size_t) digit_row(first + half, all, 0) * (size_t) padded;
    int32_t *      c0 = t->c, * c1 = t->c + 256;
    for (int b = 0; b < blocks; b++) {
        const int at = b * a->k.block;
        _tile_loadd(2, q0 + at, padded);
        if (a->k.block > 64) _tile_loadd(3, q0 + at + 64, padded);
        if (other > 0) {
            _tile_loadd(4, q1 + at, padded);
            if (a->k.block > 64) _tile_loadd(5, q1 + at + 64, padded);
        }
        for (int key = 0; key < count; key += 16) {
            const char * k = (const char *) t->k_tile + (size_t) key / 16 * (size_t) padded * 16 + (size_t) at * 16;
            _tile_zero(0);
            _tile_loadd(6, k, 64);
            _tile_dpbsud(0, 2, 6);
            if (other > 0) {
                _tile_zero(1);
                _tile_dpbsud(1, 4, 6);
            }
            if (a->k.block > 64) {
                _tile_loadd(6, k + 1024, 64);
                _tile_dpbsud(0, 3, 6);
                if (other > 0) _tile_dpbsud(1, 5, 6);
            }
            _tile_stored(0, c0, 64);
            if (other > 0) _tile_stored(1, c1, 64);
            for (int i = 0; i < half; i++) {
                put_scores(t, first + i, blocks, b, key, _mm512_load_si512(c0 + 16 * i), _mm512_load_si512(c0 + 16 * (half + i)), t->s + i * TQ_TILE + key);
            }
            for (int i = 0; i < other; i++) {
                put_scores(t, first + half + i, blocks, b, key, _mm512_load_si512(c1 + 16 * i), _mm512_load_si512(c1 + 16 * (other + i)),
                           t->s + (half + i) * TQ_TILE + key);
            }
        }
    }
}

static void amx_values(const tq_attention * a, const tq_scratch * t, int first, int n, int count) {
    const int half = n < TQ_HALF_ROWS ? n : TQ_HALF_ROWS, other = n - half;
    amx_shape(half, other, 64);
    int32_t * c0 = t->c, * c1 = t->c + 256;
    for (int b = 0; b < a->v.dim / a->v.block; b++) {
        const uint8_t * p0 = t->p_digits + (size_t) b * 2 * TQ_ROWS * TQ_TILE;
        const uint8_t * p1 = p0 + (size_t) digit_row(half, n, 0) * TQ_TILE;
        _tile_loadd(2, p0, TQ_TILE);
        if (count > 64) _tile_loadd(3, p0 + 64, TQ_TILE);
        if (other > 0) {
            _tile_loadd(4, p1, TQ_TILE);
            if (count > 64) _tile_loadd(5, p1 + 64, TQ_TILE);
        }
        for (int vector = b * a->v.block / 16; vector < (b + 1) * a->v.block / 16; vector++) {
            const char * v = (const char *) t->v_tile + (size_t) vector * TQ_TILE * 16;
            _tile_zero(0);
            _tile_loadd(6, v, 64);
            _tile_dpbusd(0, 2, 6);
            if (other > 0) {
                _tile_zero(1);
                _tile_dpbusd(1, 4, 6);
            }
            if (count > 64) {
                _tile_loadd(6, v + 1024, 64);
                _tile_dpbusd(0, 3, 6);
                if (other > 0) _tile_dpbusd(1, 5, 6);
            }
            _tile_stored(0, c0, 64);
            if (other > 0) _tile_stored(1, c1, 64);
            float * o = t->o + (size_t) first * (size_t) a->v.dim + 16 * vector;
            for (int i = 0; i < half; i++, o += a->v.dim) {
                put_values(t, b, i, _mm512_load_si512(c0 + 16 * i), _mm512_load_si512(c0 + 16 * (half + i)), o);
            }
            for (int i = 0; i < other; i++, o += a->v.dim) {
                put_values(t, b, half + i, _mm512_load_si512(c1 + 16 * i), _mm512_load_si512(c1 + 16 * (other + i)), o);
            }
        }
    }
}

#endif
