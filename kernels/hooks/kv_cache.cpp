#include "hooks/kv_cache.h"

#include "common/codec.h"
#include "common/rotate.h"

#include <cmath>

namespace {

thread_local const int32_t * scope_types   = nullptr;
thread_local uint32_t        scope_n_layer = 0;

constexpr uint32_t codec_version_shift = 16;
constexpr int32_t  mark_signed         = 1; // op_params[0] of a rotation tensor; a leaf has no other use for it

} // namespace

tq_kv_types_scope::tq_kv_types_scope(const int32_t * types, uint32_t n_layer) {
    scope_types   = types;
    scope_n_layer = n_layer;
}

tq_kv_types_scope::~tq_kv_types_scope() {
    scope_types   = nullptr;
    scope_n_layer = 0;
}

ggml_type tq_kv_layer_type(uint32_t il, bool is_k, ggml_type fallback) {
    if (!scope_types || il >= scope_n_layer) {
        return fallback;
    }
    return (ggml_type) scope_types[2*il + (is_k ? 0 : 1)];
}

uint32_t tq_kv_rot_width(const ggml_tensor * cache, uint32_t head_dim, bool is_k, uint32_t & n_rot) {
    const uint32_t upstream = n_rot & ((1u << codec_version_shift) - 1);
    if (!cache) {
        return 0;
    }
    if (const tq_type_info * turbo = tq_type_by_id(cache->type)) {
        n_rot |= (uint32_t) TQ_CODEC_VERSION << codec_version_shift;
        return turbo->block;
    }
    if (upstream || !ggml_is_quantized(cache->type) || head_dim % 64 != 0) {
        return upstream;
    }
    // a quantized layer in a cache whose types are given per layer: upstream's own widths
    uint32_t width = 64;
    while (is_k && head_dim % (2*width) == 0) {
        width *= 2;
    }
    return width;
}

void tq_kv_rot_mark(ggml_tensor * rot, const ggml_tensor * cache) {
    rot->op_params[0] = tq_type_by_id(cache->type) ? mark_signed : 0;
}

std::vector<float> tq_kv_rot_data(const ggml_tensor * rot) {
    const int n = (int) rot->ne[0];
    std::vector<float> data((size_t) n*n);
    if (rot->op_params[0] == mark_signed) {
        tq_rotation_matrix(data.data(), n);
        return data;
    }
    // Walsh-Hadamard in Sylvester's order: entry (i, j) is negative when i & j has an odd number of ones
    const float scale = 1.0/sqrtf(n);
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++) {
            data[(size_t) i*n + j] = __builtin_parity(i & j) ? -scale : scale;
        }
    }
    return data;
}

ggml_op_hint tq_kv_rot_hint(const ggml_tensor * rot) {
    return rot->op_params[0] == mark_signed ? GGML_HINT_SRC0_IS_SIGNED_HADAMARD : GGML_HINT_SRC0_IS_HADAMARD;
}

bool tq_kv_can_shift(const ggml_tensor * k, const ggml_tensor * k_rot, uint32_t n_rot, uint32_t head_dim) {
    if (!ggml_is_quantized(k->type)) {
        return k->type == GGML_TYPE_F16 || k->type == GGML_TYPE_F32; // RoPE in place aborts on any other type (bf16)
    }
    return k_rot && n_rot == head_dim;
}
