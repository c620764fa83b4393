// Where everything of a unit lies in a thread's scratch memory. One function lays it out, so that the plan's size and
// the kernel's pointers cannot disagree.
#ifndef TQ_ATTENTION_SCRATCH_H
#define TQ_ATTENTION_SCRATCH_H

#include "attention.h"

// Rows (query, head) that go through the kernels together. AMX takes them in two groups of 8, whose two digits fill
// the 16 rows of a tile.
#define TQ_ROWS      16
#define TQ_HALF_ROWS 8

typedef struct {
    float *   q;         // [row][k.dim] f32 times scale, when K is read as floats
    int8_t *  q_digits;  // [group of 8][digit][row of group][dk_padded], when K is packed
    float *   q_scale;   // [row] value of a unit of the digits, times scale
    int32_t * q_offset;  // [row][block of K]: 128 * sum of the query's integers, the price of unsigned levels
    float *   slope;     // [row]
    float *   m;         // [row] running maximum of the logits, base 2
    float *   l;         // [row] running sum of exp2(logit - m)
    float *   o;         // [row][v.dim] running sum of exp2(logit - m) * v, dimensions in the V kernel's order
    uint8_t * seen;      // [query]: how much of this tile of keys the mask shows (unit.h)
    void *    k_tile;
    float *   k_scale;   // [block of K][key]
    void *    v_tile;
    float *   v_scale;   // [block of V][key]
    float *   s;         // [row of 16][key] logits, then probabilities
    uint8_t * p_digits;  // [block of V][group of 8][digit][row of group][key]
    float *   weight;    // [block of V][row of 16] what the tile's sum is multiplied with
    float *   fade;      // [row of 16] what the running sum is multiplied with
    int32_t * c;         // two tiles of AMX
} tq_scratch;

static inline int tq_round_up(int value, int unit) {
    return (value + unit - 1) / unit * unit;
}

typedef struct {
    char * base;  // NULL: only count
    size_t used;
} tq_arena;

static inline void * tq_take(tq_arena * arena, size_t bytes) {
    void * here = arena->base ? arena->base + arena->used : NULL;
    arena->used += (bytes + 63) / 64 * 64;
    return here;
}

// Returns the bytes used; base may be NULL to learn the size.
static inline size_t tq_scratch_layout(const tq_attention * a, int rows, int queries, int tile_keys, char * base, tq_scratch * t) {
    tq_arena     at       = { base, 0 };
    const size_t all      = (size_t) tq_round_up(rows, TQ_ROWS);
    const size_t keys     = (size_t) tile_keys;
    const size_t dk       = (size_t) tq_round_up(a->k.dim, 64);
    const size_t dv       = (size_t) tq_round_up(a->v.dim, 64);
    const size_t k_blocks = a->k.packing != TQ_PACKED_NONE ? (size_t) (a->k.dim / a->k.block) : 1;
    const size_t v_blocks = a->v.packing != TQ_PACKED_NONE ? (size_t) (a->v.dim / a->v.block) : 1;

    t->q        = (float *) tq_take(&at, all * dk * sizeof(float));
    t->q_digits = (int8_t *) tq_take(&at, all * dk * 2);
    t->q_scale  = (float *) tq_take(&at, all * sizeof(float));
    t->q_offset = (int32_t *) tq_take(&at, all * k_blocks * sizeof(int32_t));
    t->slope    = (float *) tq_take(&at, all * sizeof(float));
    t->m        = (float *) tq_take(&at, all * sizeof(float));
    t->l        = (float *) tq_take(&at, all * sizeof(float));
    t->o        = (float *) tq_take(&at, all * dv * sizeof(float));
    t->seen     = (uint8_t *) tq_take(&at, (size_t) queries);
    t->k_tile   = tq_take(&at, keys * dk * (a->k.packing != TQ_PACKED_NONE ? 1 : sizeof(float)));
    t->k_scale  = (float *) tq_take(&at, k_blocks * keys * sizeof(float));
    t->v_tile   = tq_take(&at, keys * dv * (a->v.packing != TQ_PACKED_NONE ? 1 : sizeof(float)));
    t->v_scale  = (float *) tq_take(&at, v_blocks * keys * sizeof(float));
    t->s        = (float *) tq_take(&at, TQ_ROWS * keys * sizeof(float));
    t->p_digits = (uint8_t *) tq_take(&at, v_blocks * TQ_ROWS * 2 * keys);
    t->weight   = (float *) tq_take(&at, v_blocks * TQ_ROWS * sizeof(float));
    t->fade     = (float *) tq_take(&at, TQ_ROWS * sizeof(float));
    t->c        = (int32_t *) tq_take(&at, 4 * 256 * sizeof(int32_t));
    return at.used;
}

#endif
