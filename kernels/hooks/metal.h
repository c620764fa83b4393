// The Metal backend's way to the turbo kernels (patches/0009): what it can run, and how a block is dispatched.
// tests/metal asks on Linux.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "ggml.h"

#ifdef __cplusplus
extern "C" {
#endif

struct ggml_metal_device;

// Does the op read or write a turbo tensor (views aside)? Then tq_metal_supports_op decides alone: upstream's lists for
// GET_ROWS and MUL_MAT name what they cannot do, and an unknown type would be accepted and abort.
bool tq_metal_concerns(const struct ggml_tensor * op);
// Makes the op's pipelines: while a graph is encoded it is too late to say that one cannot be made.
bool tq_metal_supports_op(struct ggml_metal_device * dev, const struct ggml_tensor * op);

// A library that the GPU's compiler refuses: true when it is ours, and Metal can go on without it. Its kernels are
// refused from then on, for the reason `error`.
bool tq_metal_without_library(const char * library, const char * error);

// FLASH_ATTN_EXT with a turbo K or V.
bool tq_metal_attention(const struct ggml_tensor * op);

// Threads that encode one block of a destination type: a simdgroup for ours, one thread for upstream's.
int32_t tq_metal_threads_per_block(enum ggml_type type);

#ifdef __cplusplus
}
#endif
