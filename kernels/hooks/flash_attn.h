// The CPU backend's way into kernels/attention (patches/0007): FLASH_ATTN_EXT over a compressed K or V.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ggml_compute_params;
struct ggml_tensor;

#ifdef __cplusplus
extern "C" {
#endif

// Computes the op and returns true, or returns false and has done nothing: both sides are plain floats, or
// tq_flash_attn_use_upstream(true). All threads of the op decide alike.
bool tq_flash_attn_ext(const struct ggml_compute_params * params, struct ggml_tensor * dst);

// Bytes of work memory for n_tasks threads; 0 when upstream's kernel will compute the op.
size_t tq_flash_attn_work_size(const struct ggml_tensor * dst, int n_tasks);

// Leaves compressed caches to upstream's generic kernel as well: for comparisons. Process-wide; not while a graph is
// being computed.
void tq_flash_attn_use_upstream(bool upstream);
bool tq_flash_attn_uses_upstream(void);

// Ops with a compressed K or V since the process started: computed here, and left to upstream.
void tq_flash_attn_counts(uint64_t * fused, uint64_t * upstream);

#ifdef __cplusplus
}
#endif
