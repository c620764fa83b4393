// Operators of the built engine, run alone: what tests and `turboquant verify` compare with a reference.
#include "probe.hpp"

#include "ggml-cpu.h"

#include <nlohmann/json.hpp>

#include <vector>

using json = nlohmann::ordered_json;
using namespace tq::probe;

namespace {

// The conversion that the engine itself uses for cache rows and for queries (it may differ from the
// portable reference in how it rounds ties).
ggml_from_float_t encoder(ggml_type type) {
    ggml_cpu_init();
    auto from_float = ggml_get_type_traits_cpu(type)->from_float;
    if (!from_float) {
        throw tq::failure(TQ_UNSUPPORTED, std::string("the CPU cannot convert rows to ") + ggml_type_name(type));
    }
    return from_float;
}

void needs_dot(ggml_type type, size_t n, const std::string & what) {
    needs_blocks(type, n, what);
    const auto * traits = ggml_get_type_traits_cpu(type);
    if (!traits->vec_dot) {
        throw tq::failure(TQ_UNSUPPORTED, std::string("the CPU has no dot product for ") + ggml_type_name(type));
    }
    needs_blocks(traits->vec_dot_type, n, what);
    encoder(traits->vec_dot_type);
}

ggml_backend_ptr cpu_backend(int32_t n_threads) {
    needs_threads(n_threads);
    ggml_backend_ptr backend(ggml_backend_cpu_init());
    if (!backend) {
        throw tq::failure(TQ_ENGINE, "the CPU backend did not start");
    }
    ggml_backend_cpu_set_n_threads(backend.get(), n_threads);
    return backend;
}

// Writes x [dim, rows, heads, sequences] into a tensor [dim, heads, rows, sequences] of any type.
void fill_swapped(ggml_tensor * tensor, const float * x) {
    const auto    from_float = encoder(tensor->type);
    const int64_t dim = tensor->ne[0], heads = tensor->ne[1], rows = tensor->ne[2], sequences = tensor->ne[3];
    std::vector<char> row(ggml_row_size(tensor->type, dim));
    for (int64_t s = 0; s < sequences; s++) {
        for (int64_t h = 0; h < heads; h++) {
            for (int64_t r = 0; r < rows; r++, x += dim) {
                from_float(x, row.data(), dim);
                ggml_backend_tensor_set(tensor, row.data(), h*tensor->nb[1] + r*tensor->nb[2] + s*tensor->nb[3], row.size());
            }
        }
    }
}

// That the CPU can compute it from floats.
void check(const tq_attention_shape & s, bool has_mask) {
    check_attention(s, has_mask);
    needs_dot(type_of(s.type_k), s.head_dim_k, "head_dim_k");
    encoder(type_of(s.type_k));
    encoder(type_of(s.type_v));
    if (s.type_v != GGML_TYPE_F32 && !ggml_get_type_traits(type_of(s.type_v))->to_float) {
        throw tq::failure(TQ_UNSUPPORTED, std::string("attention cannot read values of type ") +
                ggml_type_name(type_of(s.type_v)));
    }
}

// The buffer types in which a CPU tensor may lie, in the order in which the model loader tries them.
std::vector<ggml_backend_buffer_type_t> cpu_buffer_types() {
    std::vector<ggml_backend_buffer_type_t> list;
    auto * dev = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    if (!dev) {
        throw tq::failure(TQ_ENGINE, "no CPU device is registered");
    }
    auto * extra = (ggml_backend_dev_get_extra_bufts_t) ggml_backend_reg_get_proc_address(
            ggml_backend_dev_backend_reg(dev), "ggml_backend_dev_get_extra_bufts");
    for (auto * type = extra ? extra(dev) : nullptr; type && *type; type++) {
        list.push_back(*type);
    }
    list.push_back(ggml_backend_cpu_buffer_type());
    return list;
}

// As the model loader asks: does the device multiply by a matrix that lies in such a buffer?
bool multiplies(ggml_backend_buffer_type_t buffer_type, ggml_type type, size_t m, size_t k) {
    auto   ctx = shapes();
    auto * a   = ggml_new_tensor_2d(ctx.get(), type, k, m);
    auto * b   = ggml_new_tensor_2d(ctx.get(), GGML_TYPE_F32, k, 512);
    ggml_backend_buffer_ptr dummy(ggml_backend_buft_alloc_buffer(buffer_type, 0));
    a->buffer = dummy.get();
    return ggml_backend_dev_supports_op(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU), ggml_mul_mat(ctx.get(), a, b));
}

std::vector<ggml_backend_buffer_type_t> matmul_buffers(int32_t type, size_t m, size_t k) {
    product("a", { m, k });
    needs_dot(type_of(type), k, "k");
    std::vector<ggml_backend_buffer_type_t> list;
    for (auto buffer_type : cpu_buffer_types()) {
        if (multiplies(buffer_type, type_of(type), m, k)) {
            list.push_back(buffer_type);
        }
    }
    return list;
}

} // namespace

extern "C" tq_status tq_probe_quantize(int32_t type, const float * x, size_t n, uint8_t * out, size_t capacity, size_t * written,
        tq_text * error) {
    return tq::guard(error, [&] {
        product("the row", { n });
        needs_blocks(type_of(type), n, "n");
        const size_t size = ggml_row_size(type_of(type), (int64_t) n);
        *tq::not_null(written, "written") = size;
        if (capacity < size) {
            throw tq::failure(TQ_INVALID, std::to_string(capacity) + " bytes of room, " + std::to_string(size) + " needed");
        }
        encoder(type_of(type))(tq::not_null(x, "x"), tq::not_null(out, "out"), (int64_t) n);
    });
}

extern "C" tq_status tq_probe_dequantize(int32_t type, const uint8_t * in, size_t n, float * x, tq_text * error) {
    return tq::guard(error, [&] {
        product("the row", { n });
        needs_blocks(type_of(type), n, "n");
        ggml_cpu_init();
        if (type == GGML_TYPE_F32) {
            std::memcpy(tq::not_null(x, "x"), tq::not_null(in, "in"), n*sizeof(float));
            return;
        }
        auto to_float = ggml_get_type_traits(type_of(type))->to_float;
        if (!to_float) {
            throw tq::failure(TQ_UNSUPPORTED, std::string("the engine cannot read ") + ggml_type_name(type_of(type)));
        }
        to_float(tq::not_null(in, "in"), tq::not_null(x, "x"), (int64_t) n);
    });
}

extern "C" tq_status tq_probe_attention(const tq_attention_shape * shape, const float * q, const float * k, const float * v,
        const float * mask, const float * sinks, float * out, tq_text * error) {
    return tq::guard(error, [&] {
        const auto & s = *tq::not_null(shape, "shape");
        tq::not_null(q, "q"), tq::not_null(k, "k"), tq::not_null(v, "v"), tq::not_null(out, "out");
        check(s, mask != nullptr);
        auto backend = cpu_backend(s.n_threads);
        auto owner   = shapes();
        auto * ctx   = owner.get();

        const attention graph(ctx, s, mask != nullptr, sinks != nullptr);

        auto buffer = allocate(ctx, ggml_backend_cpu_buffer_type());
        fill_swapped(graph.q, q);
        fill_swapped(graph.k, k);
        fill_swapped(graph.v, v);
        graph.set_mask_and_sinks(mask, sinks);
        compute(backend.get(), ctx, graph.op);
        ggml_backend_tensor_get(graph.op, out, 0, ggml_nbytes(graph.op));
    });
}

extern "C" tq_status tq_probe_matmul_buffers(int32_t type, size_t m, size_t k, tq_text * out, tq_text * error) {
    return tq::guard(error, [&] {
        json list = json::array();
        for (auto buffer_type : matmul_buffers(type, m, k)) {
            list.push_back(ggml_backend_buft_name(buffer_type));
        }
        tq::put_text(out, list.dump());
    });
}

extern "C" tq_status tq_probe_matmul(int32_t type, const char * buffer, size_t m, size_t n, size_t k, const float * a,
        const float * b, float * c, int32_t n_threads, tq_text * error) {
    return tq::guard(error, [&] {
        tq::not_null(a, "a"), tq::not_null(b, "b"), tq::not_null(c, "c");
        product("b", { n, k });
        product("c", { n, m });
        ggml_backend_buffer_type_t chosen = nullptr;
        for (auto buffer_type : matmul_buffers(type, m, k)) {
            if (!buffer || std::strcmp(ggml_backend_buft_name(buffer_type), buffer) == 0) {
                chosen = buffer_type;
                break;
            }
        }
        if (!chosen) {
            throw tq::failure(TQ_UNSUPPORTED, std::string("the CPU cannot multiply by ") + ggml_type_name(type_of(type)) +
                    " in buffer type " + (buffer ? buffer : "CPU"));
        }
        const auto from_float = encoder(type_of(type));
        auto backend = cpu_backend(n_threads);
        auto weights = shapes(), rest = shapes();

        auto * ta = ggml_new_tensor_2d(weights.get(), type_of(type), k, m);
        auto * tb = ggml_new_tensor_2d(rest.get(), GGML_TYPE_F32, k, n);
        auto weights_buffer = allocate(weights.get(), chosen);
        ggml_backend_buffer_set_usage(weights_buffer.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
        auto * tc = ggml_mul_mat(rest.get(), ta, tb);
        auto rest_buffer = allocate(rest.get(), ggml_backend_cpu_buffer_type());

        // Repacking buffers take a whole tensor at once.
        std::vector<char> packed(ggml_nbytes(ta));
        for (size_t row = 0; row < m; row++) {
            from_float(a + row*k, packed.data() + row*ta->nb[1], (int64_t) k);
        }
        ggml_backend_tensor_set(ta, packed.data(), 0, packed.size());
        ggml_backend_tensor_set(tb, b, 0, ggml_nbytes(tb));
        compute(backend.get(), rest.get(), tc);
        ggml_backend_tensor_get(tc, c, 0, ggml_nbytes(tc));
    });
}
