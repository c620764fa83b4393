// What single operators of the engine are run with: sizes that are checked, tensors, a graph of one operator.
#pragma once

#include "status.hpp"

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml-cpp.h"

#include <initializer_list>
#include <string>

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

inline void compute(ggml_backend_t backend, ggml_context * ctx, ggml_tensor * result) {
    ggml_cgraph * graph = ggml_new_graph_custom(ctx, 16, false);
    ggml_build_forward_expand(graph, result);
    const auto status = ggml_backend_graph_compute(backend, graph);
    if (status != GGML_STATUS_SUCCESS) {
        throw tq::failure(TQ_ENGINE, std::string(ggml_op_name(result->op)) + ": " + ggml_status_to_string(status));
    }
}

} // namespace tq::probe
