// How a problem is cut into units, which implementation runs, and what does not depend on it.

#include <math.h>
#include <string.h>

#include "impl.h"
#include "scratch.h"

// Rows (query, head) of a unit: enough to make the decoding of a tile cheap, few enough for their sums to stay in L2.
#define UNIT_ROWS 128
// Units wanted before the cache is split for more, and the fewest keys worth a part. Constants, so that results do not
// depend on the number of threads.
#define WANTED_UNITS 32
#define FEWEST_KEYS  256

bool tq_attention_supports(const tq_attention * a) {
    return a->k.to_float && a->v.to_float && a->k.dim % 16 == 0 && a->v.dim % 16 == 0 && a->k.dim > 0 && a->v.dim > 0 &&
           a->n_q > 0 && a->n_kv > 0 && a->n_head_kv > 0 && a->n_head % a->n_head_kv == 0 && a->n_seq_kv > 0 &&
           a->n_seq % a->n_seq_kv == 0;
}

void tq_attention_make_plan(const tq_attention * a, const tq_attention_impl * impl, tq_attention_plan * plan) {
    memset(plan, 0, sizeof *plan);
    plan->group     = a->n_head / a->n_head_kv;
    plan->q_tile    = UNIT_ROWS / plan->group > 1 ? UNIT_ROWS / plan->group : 1;
    plan->q_tile    = plan->q_tile < a->n_q ? plan->q_tile : a->n_q;
    plan->n_q_tiles = (a->n_q + plan->q_tile - 1) / plan->q_tile;

    const int whole = a->n_seq * a->n_head_kv * plan->n_q_tiles;
    int       parts = (WANTED_UNITS + whole - 1) / whole;
    const int most  = (a->n_kv + FEWEST_KEYS - 1) / FEWEST_KEYS;
    parts           = parts < most ? parts : most;

    plan->split_keys    = tq_round_up((a->n_kv + parts - 1) / parts, impl->tile_keys);
    plan->n_splits      = (a->n_kv + plan->split_keys - 1) / plan->split_keys;
    plan->n_units       = whole * plan->n_splits;
    const tq_attention seen_by = tq_attention_as_read(a, impl->reads_packed);
    tq_scratch         scratch;
    plan->scratch_bytes = tq_scratch_layout(&seen_by, plan->q_tile * plan->group, plan->q_tile, impl->tile_keys, NULL, &scratch);
    plan->partial_bytes = plan->n_splits == 1 ? 0
                                              : (size_t) a->n_seq * a->n_q * a->n_head * plan->n_splits *
                                                    TQ_PARTIAL_FLOATS(a->v.dim) * sizeof(float);
}

float tq_alibi_slope(int head, int n_head, float max_bias) {
    if (max_bias <= 0.0f) {
        return 1.0f;
    }
    const int   base  = 1 << (int) floor(log2(n_head));
    const float first = powf(2.0f, -max_bias / (float) base);
    const float rest  = powf(2.0f, -max_bias / 2.0f / (float) base);
    return head < base ? powf(first, (float) (head + 1)) : powf(rest, (float) (2 * (head - base) + 1));
}

// Slowest first: the last supported one is the default.
static const tq_attention_impl * const impls[] = {
    &tq_attention_scalar,
#if defined(__x86_64__)
    &tq_attention_avx2,
#if TQ_KNOWS_VNNI_AND_AMX
    &tq_attention_avx_vnni,
#endif
    &tq_attention_avx512,
#if TQ_KNOWS_VNNI_AND_AMX
    &tq_attention_amx,
#endif
#elif defined(__aarch64__)
    &tq_attention_neon,
    &tq_attention_neon_dotprod,
#endif
};

#define IMPL_COUNT ((int) (sizeof impls / sizeof impls[0]))

const tq_attention_impl * tq_attention_impl_at(int index) {
    return index >= 0 && index < IMPL_COUNT ? impls[index] : NULL;
}

// Written at most once by detection and by each tq_attention_force; the tables are constant.
static const tq_attention_impl * active;

const tq_attention_impl * tq_attention_active(void) {
    const tq_attention_impl * impl = __atomic_load_n(&active, __ATOMIC_ACQUIRE);
    if (impl != NULL) {
        return impl;
    }
    for (int i = 0; i < IMPL_COUNT; i++) {
        if (impls[i]->supported()) {
            impl = impls[i];
        }
    }
    // A tq_attention_force that came in between wins.
    const tq_attention_impl * none = NULL;
    if (!__atomic_compare_exchange_n(&active, &none, impl, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        return none;
    }
    return impl;
}

bool tq_attention_force(const char * name) {
    for (int i = 0; name != NULL && i < IMPL_COUNT; i++) {
        if (strcmp(impls[i]->name, name) == 0 && impls[i]->supported()) {
            __atomic_store_n(&active, impls[i], __ATOMIC_RELEASE);
            return true;
        }
    }
    return false;
}
