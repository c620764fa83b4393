// One unit of attention, written once over a vector layer (vec_*.h). The including file sets the target, defines
//   TQ_TILE        keys decoded at a time, a multiple of TQ_CHUNK
//   TQ_PACKED      1 if it has integer kernels for packed rows (the functions packed_*), else 0
// and includes its vector layer and its integer kernels first.
#ifndef TQ_ATTENTION_UNIT_H
#define TQ_ATTENTION_UNIT_H

#include <math.h>
#include <string.h>

#include "float_rows.h"
#include "impl.h"
#include "scratch.h"
#include "softmax.h"

// Where a unit number leads.
typedef struct {
    int seq, head_kv, q_first, q_count, split, key_first, key_last;
} unit_range;

static unit_range unit_range_of(const tq_attention * a, const tq_attention_plan * plan, int unit) {
    unit_range u;
    u.split = unit % plan->n_splits;
    unit /= plan->n_splits;
    // Later queries of a prompt see more keys: the longest units first, so that no thread ends on one.
    const int tile = plan->n_q_tiles - 1 - unit / (a->n_head_kv * a->n_seq);
    unit %= a->n_head_kv * a->n_seq;
    u.head_kv   = unit % a->n_head_kv;
    u.seq       = unit / a->n_head_kv;
    u.q_first   = tile * plan->q_tile;
    u.q_count   = a->n_q - u.q_first < plan->q_tile ? a->n_q - u.q_first : plan->q_tile;
    u.key_first = u.split * plan->split_keys;
    u.key_last  = a->n_kv - u.key_first < plan->split_keys ? a->n_kv : u.key_first + plan->split_keys;
    return u;
}

static const float * query_row(const tq_attention * a, const unit_range * u, int group, int row) {
    const size_t q = (size_t) (u->q_first + row / group), head = (size_t) (u->head_kv * group + row % group);
    return (const float *) (a->q + q * a->q_stride + head * a->q_head_stride + (size_t) u->seq * a->q_seq_stride);
}

// The mask of a query for a head, from key 0 on.
static const char * mask_row(const tq_attention * a, const unit_range * u, int query, int head) {
    return a->mask + (size_t) (u->q_first + query) * a->mask_stride +
           (size_t) (head % a->mask_heads) * a->mask_head_stride + (size_t) (u->seq % a->mask_seqs) * a->mask_seq_stride;
}

static const char * kv_rows(const tq_attention * a, const tq_kv_side * side, const unit_range * u, int key) {
    const int seq = u->seq / (a->n_seq / a->n_seq_kv);
    return side->data + (size_t) key * side->key_stride + (size_t) u->head_kv * side->head_stride + (size_t) seq * side->seq_stride;
}

static void start_rows(const tq_attention * a, const tq_attention_plan * plan, const unit_range * u, const tq_scratch * t) {
    const int rows = u->q_count * plan->group;
    // Logits are kept in base 2. Under a softcap the factor comes after the tanh.
    const float scale = a->softcap != 0.0f ? a->scale / a->softcap : a->scale * TQ_LOG2E;
    for (int r = 0; r < rows; r++) {
        t->slope[r] = tq_alibi_slope(u->head_kv * plan->group + r % plan->group, a->n_head, a->max_bias) * TQ_LOG2E;
        t->m[r]     = -INFINITY;
        const float * from = query_row(a, u, plan->group, r);
        // The row of a query that is not finite must not look like a number.
        t->l[r] = all_finite(from, a->k.dim) ? 0.0f : NAN;
        if (a->k.packing == TQ_PACKED_NONE) {
            float * to = t->q + (size_t) r * (size_t) a->k.dim;
            for (int i = 0; i < a->k.dim; i += VF) {
                vf_store(to + i, vf_mul(vf_set1(scale), vf_load(from + i)));
            }
        }
    }
#if TQ_PACKED
    if (a->k.packing != TQ_PACKED_NONE) {
        for (int r = 0; r < rows; r++) {
            packed_query(a, query_row(a, u, plan->group, r), scale, r, rows, t);
        }
    }
#endif
    memset(t->o, 0, (size_t) rows * (size_t) a->v.dim * sizeof(float));
}

// What of a tile of keys each query sees. Returns how many of its keys anybody sees, counted from its first to the last
// seen one; 0: none. Masks that differ between heads are only told apart where they are applied.
static int look_at_mask(const tq_attention * a, const unit_range * u, int key, int count, uint8_t * seen) {
    if (a->mask == NULL || a->mask_heads != 1) {
        memset(seen, a->mask == NULL ? TQ_SEES_ALL : TQ_SEES_SOME, (size_t) u->q_count);
        return count;
    }
    int last = 0;
    for (int q = 0; q < u->q_count; q++) {
        const char * mask = mask_row(a, u, q, 0) + 2 * (size_t) key;
        seen[q]           = mask_sight(mask, count);
        if (seen[q] == TQ_SEES_ALL) {
            last = count;
        } else if (seen[q] == TQ_SEES_SOME) {
            last = last_seen(mask, last, count);
        }
    }
    return last;
}

static void softmax_rows(const tq_attention * a, const tq_attention_plan * plan, const unit_range * u, const tq_scratch * t, int first,
                         int rows, int key, int count) {
    const int width = tq_round_up(count, TQ_CHUNK);
    for (int i = 0; i < rows; i++) {
        const int     r     = first + i;
        const int     query = r / plan->group;
        const uint8_t sight = t->seen[query];
        const char *  mask  = NULL;
        uint16_t      padded[TQ_TILE];
        if (sight == TQ_SEES_SOME || (count < width && sight != TQ_SEES_NONE)) {
            mask = a->mask ? mask_row(a, u, query, u->head_kv * plan->group + r % plan->group) + 2 * (size_t) key : NULL;
            if (count < width) {
                mask = pad_mask(mask, count, width, padded);
            }
        }
        float * s = t->s + i * TQ_TILE;
        float   weight;
        if (sight == TQ_SEES_NONE) {
            weight     = 0.0f;
            t->fade[i] = 1.0f;
            memset(s, 0, (size_t) width * sizeof(float));
        } else {
            weight = softmax_row(s, mask, width, t->slope[r], a->softcap, &t->m[r], &t->l[r], &t->fade[i]);
        }
        if (a->v.packing == TQ_PACKED_NONE) {
            scale_row(s, width, weight);
            continue;
        }
#if TQ_PACKED
        packed_weights(a, s, width, weight, i, rows, t);
#endif
    }
}

static void tile_of_rows(const tq_attention * a, const tq_attention_plan * plan, const unit_range * u, const tq_scratch * t, int key, int count) {
    const int rows = u->q_count * plan->group;
    for (int first = 0; first < rows; first += TQ_ROWS) {
        const int n   = rows - first < TQ_ROWS ? rows - first : TQ_ROWS;
        bool      any = false;
        for (int q = first / plan->group; q <= (first + n - 1) / plan->group; q++) {
            any |= t->seen[q] != TQ_SEES_NONE;
        }
        if (!any) {
            continue;
        }
        if (a->k.packing == TQ_PACKED_NONE) {
            float_scores(t->q + (size_t) first * (size_t) a->k.dim, n, (const float *) t->k_tile, a->k.dim, count, t->s);
        }
#if TQ_PACKED
        else {
            packed_scores(a, t, first, n, rows, count);
        }
#endif
        softmax_rows(a, plan, u, t, first, n, key, count);
        if (a->v.packing == TQ_PACKED_NONE) {
            float_values(t->s, n, t->fade, (const float *) t->v_tile, a->v.dim, count, t->o + (size_t) first * (size_t) a->v.dim);
        }
#if TQ_PACKED
        else {
            packed_values(a, t, first, n, count);
        }
#endif
    }
}

static void decode_side(const tq_kv_side * side, const char * rows, int count, bool is_k, const tq_scratch * t) {
    if (side->packing == TQ_PACKED_NONE) {
        float_rows(side, rows, count, (float *) (is_k ? t->k_tile : t->v_tile));
        return;
    }
#if TQ_PACKED
    if (is_k) {
        packed_k_tile(side, rows, count, t);
    } else {
        packed_v_tile(side, rows, count, t);
    }
#endif
}

// Adds the sink to a row's maximum and sum, and returns the factor for its values: the sink has none.
static float with_sink(const tq_attention * a, int head, float m, float l) {
    if (a->sinks == NULL) {
        return l > 0.0f || l != l ? 1.0f / l : 0.0f;
    }
    const float sink = a->sinks[head] * TQ_LOG2E;
    const float top  = sink > m ? sink : m;
    if (top == -INFINITY) {
        return 0.0f;
    }
    const float fade = exp2f(m - top);
    return fade / (l * fade + exp2f(sink - top));
}

static void finish_rows(const tq_attention * a, const tq_attention_plan * plan, const unit_range * u, const tq_scratch * t, float * partials) {
    const int dv = a->v.dim;
    for (int r = 0; r < u->q_count * plan->group; r++) {
        const int     head   = u->head_kv * plan->group + r % plan->group;
        const int64_t out    = ((int64_t) u->seq * a->n_q + u->q_first + r / plan->group) * a->n_head + head;
        float *       to     = (float *) (a->dst + (size_t) out * a->dst_stride);
        float         factor = 1.0f;
        if (plan->n_splits > 1) {
            float * part = partials + ((size_t) out * (size_t) plan->n_splits + (size_t) u->split) * TQ_PARTIAL_FLOATS(dv);
            part[0]      = t->m[r];
            part[1]      = t->l[r];
            to           = part + 2;
        } else {
            factor = with_sink(a, head, t->m[r], t->l[r]);
        }
        const float * o = t->o + (size_t) r * (size_t) dv;
#if TQ_PACKED
        if (a->v.packing != TQ_PACKED_NONE) {
            packed_output(&a->v, o, factor, to);
            continue;
        }
#endif
        for (int i = 0; i < dv; i++) {
            to[i] = o[i] * factor;
        }
    }
}

// A part of the cache that nobody sees adds nothing. Sequences that share a cache have many of them, as each sees only its own keys.
static void skip_rows(const tq_attention * a, const tq_attention_plan * plan, const unit_range * u, float * partials) {
    for (int r = 0; r < u->q_count * plan->group; r++) {
        const int     head = u->head_kv * plan->group + r % plan->group;
        const int64_t out  = ((int64_t) u->seq * a->n_q + u->q_first + r / plan->group) * a->n_head + head;
        float *       part = partials + ((size_t) out * (size_t) plan->n_splits + (size_t) u->split) * TQ_PARTIAL_FLOATS(a->v.dim);
        part[0]            = -INFINITY;
        part[1]            = 0.0f;
    }
}

static void begin_rows(const tq_attention * a, const tq_attention_plan * plan, const unit_range * u, const tq_scratch * t) {
#if TQ_PACKED
    packed_begin();
#endif
    start_rows(a, plan, u, t);
}

static void run_unit(const tq_attention * problem, const tq_attention_plan * plan, int unit, char * scratch, float * partials) {
    const tq_attention   seen_by = tq_attention_as_read(problem, TQ_PACKED);
    const tq_attention * a       = &seen_by;
    const unit_range     u       = unit_range_of(a, plan, unit);
    tq_scratch           t;
    tq_scratch_layout(a, plan->q_tile * plan->group, plan->q_tile, TQ_TILE, scratch, &t);
    bool begun = false;
    for (int key = u.key_first; key < u.key_last; key += TQ_TILE) {
        const int count = u.key_last - key < TQ_TILE ? u.key_last - key : TQ_TILE;
        const int seen  = look_at_mask(a, &u, key, count, t.seen);
        if (seen == 0) {
            continue;
        }
        if (!begun) {
            begin_rows(a, plan, &u, &t);
            begun = true;
        }
        decode_side(&a->k, kv_rows(a, &a->k, &u, key), seen, true, &t);
        decode_side(&a->v, kv_rows(a, &a->v, &u, key), seen, false, &t);
        tile_of_rows(a, plan, &u, &t, key, seen);
    }
    if (!begun && plan->n_splits > 1) {
        skip_rows(a, plan, &u, partials);
        return;
    }
    if (!begun) {
        begin_rows(a, plan, &u, &t);
    }
    finish_rows(a, plan, &u, &t, partials);
#if TQ_PACKED
    packed_end();
#endif
}

static void reduce(const tq_attention * a, const tq_attention_plan * plan, int64_t first, int64_t last, const float * partials) {
    const int    dv     = a->v.dim;
    const size_t stride = TQ_PARTIAL_FLOATS(dv);
    for (int64_t row = first; row < last; row++) {
        const float * parts = partials + (size_t) row * (size_t) plan->n_splits * stride;
        float *       to    = (float *) (a->dst + (size_t) row * a->dst_stride);
        float         m     = -INFINITY;
        for (int p = 0; p < plan->n_splits; p++) {
            m = parts[(size_t) p * stride] > m ? parts[(size_t) p * stride] : m;
        }
        float l = 0.0f;
        memset(to, 0, (size_t) dv * sizeof(float));
        for (int p = 0; p < plan->n_splits; p++) {
            const float * part = parts + (size_t) p * stride;
            if (part[0] == -INFINITY && part[1] == 0.0f) {
                continue;
            }
            const float weight = exp2f(part[0] - m);
            l += part[1] * weight;
            const vf w = vf_set1(weight);
            for (int i = 0; i < dv; i += VF) {
                vf_store(to + i, vf_fma(w, vf_load(part + 2 + i), vf_load(to + i)));
            }
        }
        const vf factor = vf_set1(with_sink(a, (int) (row % a->n_head), m, l));
        for (int i = 0; i < dv; i += VF) {
            vf_store(to + i, vf_mul(factor, vf_load(to + i)));
        }
    }
}

#endif
