// What single operators of the engine are run with: sizes that are checked, tensors, a graph of one operator.
#pragma once

#include "status.hpp"

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml-cpp.h"

#include <initializer_list>
#include <string>
#include <vector>

namespace tq::probe {

// No probe needs more; it also keeps every product below in range.
constexpr size_t max_values = size_t(1) << 31;

inline size_t product(const char * what, std::initializer_list<size_t> factors) {
    size_t total = 1;
    for (size_t factor : factors) {
        if (factor == 0 || factor > max_values / total) {
            throw tq::failure(TQ_INVALID, std::string(what) + ": a size is 0 or the whole exceeds 2^31 values");
        }
        total *= factor;
    }
    return total;
}

inline ggml_type type_of(int32_t id) {
    uint32_t block, bytes;
    if (!tq_type_layout(id, &block, &bytes)) {
        throw tq::failure(TQ_INVALID, "no such type: " + std::to_string(id));
    }
    return (ggml_type) id;
}

inline void needs_blocks(ggml_type type, size_t n, const std::string & what) {
    if (n % ggml_blck_size(type) != 0) {
        throw tq::failure(TQ_INVALID, what + " = " + std::to_string(n) + ": " + ggml_type_name(type) + " needs a multiple of " +
                std::to_string(ggml_blck_size(type)));
    }
}

inline void needs_threads(int32_t n_threads) {
    if (n_threads < 1 || n_threads > GGML_MAX_N_THREADS) {
        throw tq::failure(TQ_INVALID, "n_threads = " + std::to_string(n_threads) + ": expected 1.." +
                std::to_string(GGML_MAX_N_THREADS));
    }
}

// What no attention can be without, whatever its types.
inline void check_attention(const tq_attention_shape & s, bool has_mask) {
    product("q", { s.head_dim_k, s.n_queries, s.n_heads, s.n_sequences });
    product("k", { s.head_dim_k, s.n_keys, s.n_kv_heads, s.n_sequences });
    product("v", { s.head_dim_v, s.n_keys, s.n_kv_heads, s.n_sequences });
    product("out", { s.head_dim_v, s.n_queries, s.n_heads, s.n_sequences });
    product("mask", { s.n_keys, s.n_queries, s.n_sequences });
    if (s.n_heads % s.n_kv_heads != 0) {
        throw tq::failure(TQ_INVALID, std::to_string(s.n_heads) + " heads are not a multiple of " +
                std::to_string(s.n_kv_heads) + " KV heads");
    }
    if (s.max_bias > 0.0f && !has_mask) {
        throw tq::failure(TQ_INVALID, "max_bias needs a mask: ALiBi is a slope on the mask's values");
    }
    needs_blocks(type_of(s.type_k), s.head_dim_k, "head_dim_k");
    needs_blocks(type_of(s.type_v), s.head_dim_v, "head_dim_v");
}

inline ggml_context_ptr shapes() {
    constexpr size_t nodes = 16;
    ggml_context_ptr ctx(ggml_init({ nodes*ggml_tensor_overhead() + ggml_graph_overhead_custom(nodes, false), nullptr, true }));
    if (!ctx) {
        throw std::bad_alloc();
    }
    return ctx;
}

inline ggml_backend_buffer_ptr allocate(ggml_context * ctx, ggml_backend_buffer_type_t type) {
    ggml_backend_buffer_ptr buffer(ggml_backend_alloc_ctx_tensors_from_buft(ctx, type));
    if (!buffer) {
        throw std::bad_alloc();
    }
    return buffer;
}

// FLASH_ATTN_EXT and its inputs: Q, K and V with heads before rows, as caches have them.
struct attention {
    ggml_tensor * q;
    ggml_tensor * k;
    ggml_tensor * v;
    ggml_tensor * mask;  // or null
    ggml_tensor * sinks; // or null
    ggml_tensor * op;

    attention(ggml_context * ctx, const tq_attention_shape & s, bool has_mask, bool has_sinks) {
        q     = ggml_new_tensor_4d(ctx, GGML_TYPE_F32, s.head_dim_k, s.n_heads, s.n_queries, s.n_sequences);
        k     = ggml_new_tensor_4d(ctx, type_of(s.type_k), s.head_dim_k, s.n_kv_heads, s.n_keys, s.n_sequences);
        v     = ggml_new_tensor_4d(ctx, type_of(s.type_v), s.head_dim_v, s.n_kv_heads, s.n_keys, s.n_sequences);
        mask  = has_mask ? ggml_new_tensor_4d(ctx, GGML_TYPE_F16, s.n_keys, s.n_queries, 1, s.n_sequences) : nullptr;
        sinks = has_sinks ? ggml_new_tensor_1d(ctx, GGML_TYPE_F32, s.n_heads) : nullptr;
        op = ggml_flash_attn_ext(ctx, ggml_permute(ctx, q, 0, 2, 1, 3), ggml_permute(ctx, k, 0, 2, 1, 3),
                ggml_permute(ctx, v, 0, 2, 1, 3), mask, s.scale, s.max_bias, s.logit_softcap);
        ggml_prec_set_acc(op, GGML_PREC_F32); // as llama.cpp's graphs ask
        ggml_flash_attn_ext_add_sinks(op, sinks);
    }

    // Once the tensors are allocated. The pointers are read where there is such a tensor.
    void set_mask_and_sinks(const float * mask_values, const float * sink_values) const {
        if (mask) {
            std::vector<ggml_fp16_t> half(ggml_nelements(mask));
            ggml_fp32_to_fp16_row(mask_values, half.data(), (int64_t) half.size());
            ggml_backend_tensor_set(mask, half.data(), 0, ggml_nbytes(mask));
        }
        if (sinks) {
            ggml_backend_tensor_set(sinks, sink_values, 0, ggml_nbytes(sinks));
        }
    }
};

inline void compute(ggml_backend_t backend, ggml_context * ctx, ggml_tensor * result) {
    ggml_cgraph * graph = ggml_new_graph_custom(ctx, 16, false);
    ggml_build_forward_expand(graph, result);
    const auto status = ggml_backend_graph_compute(backend, graph);
    if (status != GGML_STATUS_SUCCESS) {
        throw tq::failure(TQ_ENGINE, std::string(ggml_op_name(result->op)) + ": " + ggml_status_to_string(status));
    }
}

} // namespace tq::probe
