// The Metal backend's way to the turbo kernels (patches/0009): what it can run, and how a block is dispatched. Plain
// questions about tensors, no Metal: tests/metal asks them on Linux.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ggml.h"

#ifdef __cplusplus
extern "C" {
#endif

// Does the op read or write a turbo tensor (views aside)? Then tq_metal_supports_op decides alone: upstream's lists for
// GET_ROWS and MUL_MAT name what they cannot do, and an unknown type would be accepted and abort.
bool tq_metal_concerns(const struct ggml_tensor * op);
// simdgroups: the GPU has simdgroup reductions and matrices (Apple7, that is M1 or A14, and later).
bool tq_metal_supports_op(const struct ggml_tensor * op, bool simdgroups);

// FLASH_ATTN_EXT with a turbo K or V.
bool tq_metal_attention(const struct ggml_tensor * op);

// Threads that encode one block of a destination type: a simdgroup for ours, one thread for upstream's.
int32_t tq_metal_threads_per_block(enum ggml_type type);

#ifdef __cplusplus
}
#endif
