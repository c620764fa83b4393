// The codec of the turbo KV cache types: blocks, implementations, dispatch.
//
// Rows given to the encoder are already rotated (rotate.h). A block of n values x becomes one fp16
// scale d and n indices; its value is (fp16_to_f32(d) * 2^-6) * level, level an int8 from levels.h.
// The 2^-6 keeps d inside fp16's normal range for block norms of about 5e-4 .. 5e5.
//
// Every implementation produces the same bytes for the same input, decodes to the same bits, and its
// dot product differs from the reference only by the order of float additions. ref.c is the definition.
#ifndef TQ_CODEC_H
#define TQ_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../turbo2/block.h"
#include "../turbo3/block.h"
#include "../turbo4/block.h"

// Changes whenever the same bytes would decode differently (levels, packing, signs of the rotation);
// written into saved states so that an old cache is refused instead of misread.
#define TQ_CODEC_VERSION 1

#ifdef __cplusplus
extern "C" {
#endif

// ggml's q8_0 block, the form in which queries meet packed keys. Restated so that the kernels need no
// engine header; the engine side asserts that both agree.
typedef struct {
    uint16_t d;
    int8_t   qs[32];
} tq_block_q8_0;

// Position of a type in the tables below.
enum {
#define TQ_KV_TYPE(ENUM, id, name, family, bits, block, bytes) TQ_INDEX_##ENUM,
#include "../types.def"
    TQ_KV_TYPE_COUNT
};

// ---- registry --------------------------------------------------------------------------------

typedef struct {
    int          id;
    const char * name;
    const char * family;
    int          bits;
    int          block;
    int          bytes;
} tq_type_info;

int                  tq_type_count(void);
const tq_type_info * tq_type_at(int index);  // NULL when out of range
const tq_type_info * tq_type_by_id(int id);  // NULL when not ours

// Integer levels of a bit width in index order (ascending, symmetric); value ~ level / *factor for a
// unit vector of dimension 128. NULL when bits is not 2, 3 or 4; count and factor may be NULL.
const int8_t * tq_levels(int bits, int * count, float * factor);
// The float codebook they were rounded from, positive half, ascending.
const float * tq_codebook(int bits, int * count);

// ---- implementations --------------------------------------------------------------------------

// k is a number of values, a multiple of the block. x, y and vx need no alignment beyond their type's.
typedef void (*tq_quantize_row_fn)(const float * x, void * y, int64_t k);
typedef void (*tq_dequantize_row_fn)(const void * x, float * y, int64_t k);
// ggml's signature: s receives the dot product of n values; vx is a turbo row, vy a q8_0 row.
// The strides bs, bx, by are unused because nrc is always 1.
typedef void (*tq_vec_dot_fn)(int n, float * s, size_t bs, const void * vx, size_t bx, const void * vy, size_t by, int nrc);

typedef struct {
    tq_quantize_row_fn   quantize_row;
    tq_dequantize_row_fn dequantize_row;
    tq_vec_dot_fn        vec_dot;
} tq_codec_ops;

typedef struct tq_codec_impl {
    const char * name;                   // "scalar", "avx2", "avx512", "neon", "neon_dotprod"
    bool (*supported)(void);             // does this CPU run it?
    tq_codec_ops ops[TQ_KV_TYPE_COUNT];  // by position in types.def
} tq_codec_impl;

// All implementations compiled into this build, slowest first; "scalar" is always number 0.
int                   tq_codec_impl_count(void);
const tq_codec_impl * tq_codec_impl_at(int index);  // NULL when out of range
bool                  tq_codec_impl_supported(const tq_codec_impl * impl);

// The implementation behind the dispatching functions: the best supported one, chosen at first use,
// unless tq_codec_force named another. Both may be called from any thread at any time.
const tq_codec_impl * tq_codec_active(void);
bool                  tq_codec_force(const char * name);  // false: unknown or not supported here

// ---- dispatching functions, with the engine's signatures ----------------------------------------

#define TQ_KV_TYPE(ENUM, id, name, family, bits, block, bytes)                                                       \
    void tq_quantize_row_##name(const float * x, void * y, int64_t k);                                               \
    void tq_dequantize_row_##name(const void * x, float * y, int64_t k);                                             \
    void tq_vec_dot_##name##_q8_0(                                                                                   \
        int n, float * s, size_t bs, const void * vx, size_t bx, const void * vy, size_t by, int nrc);
#include "../types.def"

#ifdef __cplusplus
}
#endif

#define TQ_KV_TYPE(ENUM, id, name, family, bits, block, bytes)                                                       \
    TQ_STATIC_ASSERT(sizeof(tq_block_##name) == (bytes), #name ": block.h and types.def disagree");                 \
    TQ_STATIC_ASSERT((id) >= 100 && (id) < 128, #name ": id out of range");
#include "../types.def"

#endif
