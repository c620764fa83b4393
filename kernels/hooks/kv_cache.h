// What upstream's KV cache asks us (patches/0005-kv-cache-layers.patch): the type of a layer, the
// rotation that goes with it, whether it can be shifted. Internal C++ between llama.cpp and ffi/.
#pragma once

#include "ggml.h"

#include <cstdint>
#include <vector>

// Types of the layers of the context that this thread is about to create. llama.cpp builds its
// caches in a dozen places, all inside the context's constructor and on the caller's thread; a
// scope around that call reaches every one of them without a process-wide setting, so two contexts,
// even two created at once, may differ. Without a scope upstream's behaviour is unchanged.
class tq_kv_types_scope {
public:
    // types: (K, V) per model layer, 2*n_layer ggml_type values; must outlive the scope
    tq_kv_types_scope(const int32_t * types, uint32_t n_layer);
    ~tq_kv_types_scope();

    tq_kv_types_scope(const tq_kv_types_scope &) = delete;
    tq_kv_types_scope & operator=(const tq_kv_types_scope &) = delete;
};

// The type of layer il's K or V: the scope's, or `fallback` where there is none.
ggml_type tq_kv_layer_type(uint32_t il, bool is_k, ggml_type fallback);

// Width of the rotation of one layer's K or V; 0: not rotated.
//   n_rot: upstream's width for the whole cache. Where the layer is of a turbo type the codec version is
//   added to its upper half, which upstream writes into saved states and compares when it reads them.
uint32_t tq_kv_rot_width(const ggml_tensor * cache, uint32_t head_dim, bool is_k, uint32_t & n_rot);

// Notes in the (still empty) rotation tensor what it will be: signed for a turbo cache, plain otherwise.
void tq_kv_rot_mark(ggml_tensor * rot, const ggml_tensor * cache);

// The values of a rotation tensor, row by row.
std::vector<float> tq_kv_rot_data(const ggml_tensor * rot);

// The hint for a product with `rot`: a plain Hadamard matrix, or ours with signs.
ggml_op_hint tq_kv_rot_hint(const ggml_tensor * rot);

// K-shift un-rotates, applies RoPE to the first n_rot dimensions and rotates back. Exact only if the K is
// plain (and of a type RoPE can work on), or if RoPE covers the whole head and the layer has a rotation.
bool tq_kv_can_shift(const ggml_tensor * k, const ggml_tensor * k_rot, uint32_t n_rot, uint32_t head_dim);
