// What the implementation files and plan.c share.
#ifndef TQ_ATTENTION_IMPL_H
#define TQ_ATTENTION_IMPL_H

#include "attention.h"

// Does this compiler know the targets avxvnni and amx-int8? Apple counts its clang differently.
#if !defined(__x86_64__)
#define TQ_KNOWS_VNNI_AND_AMX 0
#elif defined(__apple_build_version__)
#define TQ_KNOWS_VNNI_AND_AMX (__clang_major__ >= 13)
#elif defined(__clang__)
#define TQ_KNOWS_VNNI_AND_AMX (__clang_major__ >= 12)
#else
#define TQ_KNOWS_VNNI_AND_AMX (__GNUC__ >= 11)
#endif

// A part's result for one row: maximum, sum, and v.dim weighted values in the order of the output.
#define TQ_PARTIAL_FLOATS(dim) (2 + (size_t) (dim))

// The problem as an implementation without integer kernels sees it: every row through to_float.
static inline tq_attention tq_attention_as_read(const tq_attention * a, bool reads_packed) {
    tq_attention seen = *a;
    if (!reads_packed) {
        seen.k.packing = seen.v.packing = TQ_PACKED_NONE;
    }
    return seen;
}

extern const tq_attention_impl tq_attention_scalar;
#if defined(__x86_64__)
extern const tq_attention_impl tq_attention_avx2;
#if TQ_KNOWS_VNNI_AND_AMX
extern const tq_attention_impl tq_attention_avx_vnni;
#endif
extern const tq_attention_impl tq_attention_avx512;
#if TQ_KNOWS_VNNI_AND_AMX
extern const tq_attention_impl tq_attention_amx;
#endif
#elif defined(__aarch64__)
extern const tq_attention_impl tq_attention_neon;
extern const tq_attention_impl tq_attention_neon_dotprod;
#endif

#endif
