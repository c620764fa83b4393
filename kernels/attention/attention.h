// Fused attention of the CPU over compressed KV caches: out = softmax(scale Q K^T + mask) V, straight from the
// packed rows, for one query (decode) or many (prefill).
//
// Work is cut into units: (sequence, KV head, tile of queries, range of the cache). A unit decodes each tile of keys
// and values once for all query heads of the group and all queries of its tile. Where there are fewer units than a
// machine has cores, the cache is split and the parts are joined by a reduction. How the work is cut depends on the
// shapes alone, never on the number of threads, and parts are joined in order: the result has the same bits for any
// number of threads. It may differ between implementations, and between batch sizes, in the last digits.
//
// No engine header here: the engine's side is hooks/flash_attn.cpp, the test's is check/attention_check.c.
#ifndef TQ_ATTENTION_H
#define TQ_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// How the integer kernels read a row; everything else goes through to_float.
typedef enum {
    TQ_PACKED_NONE,
    TQ_PACKED_Q8_0,
    TQ_PACKED_TURBO,  // bits and block say which
} tq_packing;

// One side of the cache, K or V. Strides in bytes.
typedef struct {
    const char * data;
    size_t       key_stride, head_stride, seq_stride;
    int          dim;          // values per row
    tq_packing   packing;
    int          bits, block;  // of a packed row: index width, values per scale
    void (*to_float)(const void * row, float * out, int64_t n);
} tq_kv_side;

// Values without a mask and without sinks: those pointers are NULL. Strides in bytes.
typedef struct {
    const char * q;  // f32 rows of k.dim values
    size_t       q_stride, q_head_stride, q_seq_stride;
    int          n_q, n_head, n_seq;            // queries per sequence, query heads, sequences
    int          n_kv, n_head_kv, n_seq_kv;     // keys, KV heads, sequences of the cache; the latter two divide the above
    tq_kv_side   k, v;
    const char * mask;  // fp16, n_kv per query, -inf: not seen; added to the scaled product, times the ALiBi slope
    size_t       mask_stride, mask_head_stride, mask_seq_stride;
    int          mask_heads, mask_seqs;         // heads and sequences wrap around these
    const float * sinks;                        // one logit per query head that takes part in the sum only
    float        scale, max_bias, softcap;      // softcap 0: none; max_bias 0: no ALiBi
    char *       dst;  // f32 rows of v.dim values in the order [sequence][query][head]
    size_t       dst_stride;
} tq_attention;

// How a problem is cut. Filled by tq_attention_make_plan.
typedef struct {
    int    group;                      // query heads per KV head
    int    q_tile, n_q_tiles;          // queries of a unit; tiles per sequence
    int    split_keys, n_splits;       // keys of a unit; parts of the cache
    int    n_units;
    size_t scratch_bytes;              // of one thread
    size_t partial_bytes;              // of all units together; 0 when n_splits is 1
} tq_attention_plan;

typedef struct tq_attention_impl {
    const char * name;                 // "scalar", "avx2", "avx_vnni", "avx512", "amx", "neon", "neon_dotprod"
    bool (*supported)(void);           // does this CPU run it?
    int  tile_keys;                    // keys decoded at a time
    bool reads_packed;                 // has integer kernels; otherwise every row goes through to_float
    // Computes unit number `unit`; scratch belongs to the calling thread and is 64-byte aligned.
    void (*run_unit)(const tq_attention * a, const tq_attention_plan * plan, int unit, char * scratch, float * partials);
    // Joins the parts of output rows first .. last - 1 (of n_seq * n_q * n_head); only for n_splits > 1.
    void (*reduce)(const tq_attention * a, const tq_attention_plan * plan, int64_t first, int64_t last, const float * partials);
} tq_attention_impl;

// Can these shapes be computed here? Any K and V with a to_float; dimensions a multiple of 16; K and V with the same
// number of heads.
bool tq_attention_supports(const tq_attention * a);

// Cuts the problem for an implementation. Only shapes and formats are read, no data.
void tq_attention_make_plan(const tq_attention * a, const tq_attention_impl * impl, tq_attention_plan * plan);

// All implementations compiled into this build, slowest first; "scalar" is always number 0.
const tq_attention_impl * tq_attention_impl_at(int index);  // NULL when out of range

// The best implementation this CPU runs, unless tq_attention_force named another. Any thread, any time.
const tq_attention_impl * tq_attention_active(void);
bool                      tq_attention_force(const char * name);  // false: unknown or not supported here

// The definition, in float64 and without tiles: decodes with to_float. out has n_seq * n_q * n_head rows of v.dim.
void tq_attention_reference(const tq_attention * a, double * out);

// ALiBi's slope of a query head, 1 without ALiBi. https://arxiv.org/abs/2108.12409
float tq_alibi_slope(int head, int n_head, float max_bias);

#ifdef __cplusplus
}
#endif

#endif
