// Single operators on any device, on packed rows: what `turboquant verify` runs on a graphics processor.
#include "probe.hpp"

#include <nlohmann/json.hpp>

#include <memory>
#include <vector>

using json = nlohmann::ordered_json;
using namespace tq::probe;

struct tq_probe {
    ggml_backend_dev_t device;
    ggml_backend_ptr   backend;
};

namespace {

bool runs(const tq_probe & probe, const ggml_tensor * op) {
    return ggml_backend_dev_supports_op(probe.device, op);
}

ggml_backend_buffer_ptr allocate_on(const tq_probe & probe, ggml_context * ctx) {
    auto buffer = allocate(ctx, ggml_backend_get_default_buffer_type(probe.backend.get()));
    // what an operator leaves unwritten is NaN in f32 and in f16
    ggml_backend_buffer_clear(buffer.get(), 0xff);
    return buffer;
}

// As compute, with what the engine has to say about a failure: a Metal kernel's compiler, for example.
void compute_and_tell(const tq_probe & probe, ggml_context * ctx, ggml_tensor * result) {
    tq::error_log log;
    try {
        compute(probe.backend.get(), ctx, result);
    } catch (const tq::failure & e) {
        const std::string words = log.text();
        throw tq::failure(e.status, e.what() + (words.empty() ? "" : ": " + words));
    }
}

// Row numbers as the operator wants them.
ggml_tensor * new_ids(ggml_context * ctx, bool wide, size_t n) {
    return ggml_new_tensor_1d(ctx, wide ? GGML_TYPE_I64 : GGML_TYPE_I32, (int64_t) n);
}

void set_ids(ggml_tensor * tensor, const int32_t * ids, size_t n, size_t bound) {
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || (size_t) ids[i] >= bound) {
            throw tq::failure(TQ_INVALID, "row " + std::to_string(ids[i]) + " of " + std::to_string(bound));
        }
    }
    if (tensor->type == GGML_TYPE_I32) {
        ggml_backend_tensor_set(tensor, ids, 0, n*sizeof(int32_t));
        return;
    }
    const std::vector<int64_t> wide(ids, ids + n);
    ggml_backend_tensor_set(tensor, wide.data(), 0, n*sizeof(int64_t));
}

void check_rows(const tq_rows_shape & s) {
    product("the source", { s.n, s.rows_from });
    product("the destination", { s.n, s.rows_to });
    needs_blocks(type_of(s.type_from), s.n, "n");
    needs_blocks(type_of(s.type_to), s.n, "n");
    const bool counts_fit = s.op == TQ_ROWS_COPY ? s.rows_from == s.rows_to : true;
    if (!counts_fit) {
        throw tq::failure(TQ_INVALID, "a copy of " + std::to_string(s.rows_from) + " rows to " + std::to_string(s.rows_to));
    }
    // ggml.c asserts these
    const bool plain_from = s.type_from == GGML_TYPE_F32 || s.type_from == GGML_TYPE_F16;
    if (s.op == TQ_ROWS_SET && !plain_from) {
        throw tq::failure(TQ_INVALID, std::string("SET_ROWS from ") + ggml_type_name(type_of(s.type_from)));
    }
    if (s.op == TQ_ROWS_GET && s.type_to != GGML_TYPE_F32) {
        throw tq::failure(TQ_INVALID, std::string("GET_ROWS to ") + ggml_type_name(type_of(s.type_to)));
    }
}

} // namespace

extern "C" tq_status tq_kernel_registry(tq_text * out, tq_text * error) {
    return tq::guard(error, [&] {
        json heads = json::array(), plain = json::array();
#define TQ_METAL_HEAD(library, dk, dv) heads.push_back({ dk, dv });
#define TQ_METAL_PLAIN(name) plain.push_back(#name);
#include "metal/kernels.def"
        tq::put_text(out, json { { "heads", heads }, { "plain", plain } }.dump());
    });
}

extern "C" tq_status tq_probe_open(size_t device, int32_t n_threads, tq_probe ** out, tq_text * error) {
    return tq::guard(error, [&] {
        if (device >= ggml_backend_dev_count()) {
            throw tq::failure(TQ_INVALID, "device " + std::to_string(device) + " does not exist");
        }
        needs_threads(n_threads);
        auto probe = std::make_unique<tq_probe>();
        probe->device = ggml_backend_dev_get(device);
        tq::error_log log;
        probe->backend.reset(ggml_backend_dev_init(probe->device, nullptr));
        if (!probe->backend) {
            throw tq::failure(TQ_ENGINE, std::string(ggml_backend_dev_name(probe->device)) + " did not start: " + log.text());
        }
        auto * set_n_threads = (ggml_backend_set_n_threads_t) ggml_backend_reg_get_proc_address(
                ggml_backend_dev_backend_reg(probe->device), "ggml_backend_set_n_threads");
        if (set_n_threads) {
            set_n_threads(probe->backend.get(), n_threads);
        }
        *tq::not_null(out, "out") = probe.release();
    });
}

extern "C" void tq_probe_close(tq_probe * probe) {
    delete probe;
}

extern "C" tq_status tq_probe_rows(tq_probe * probe, const tq_rows_shape * shape, const uint8_t * from, const int32_t * ids,
        uint8_t * to, bool * ran, tq_text * error) {
    return tq::guard(error, [&] {
        const auto & s = *tq::not_null(shape, "shape");
        tq::not_null(probe, "probe"), tq::not_null(from, "from"), tq::not_null(to, "to"), tq::not_null(ran, "ran");
        check_rows(s);
        auto owner = shapes();
        auto * ctx = owner.get();
        auto * src = ggml_new_tensor_2d(ctx, type_of(s.type_from), (int64_t) s.n, (int64_t) s.rows_from);
        ggml_tensor * dst = nullptr, * numbers = nullptr, * op = nullptr;
        size_t n_ids = 0, bound = 0;
        switch (s.op) {
            case TQ_ROWS_SET:
                n_ids   = s.rows_from, bound = s.rows_to;
                numbers = new_ids(ctx, s.wide_ids, n_ids);
                dst     = ggml_new_tensor_2d(ctx, type_of(s.type_to), (int64_t) s.n, (int64_t) s.rows_to);
                op      = ggml_set_rows(ctx, dst, src, numbers);
                break;
            case TQ_ROWS_COPY:
                dst = ggml_new_tensor_2d(ctx, type_of(s.type_to), (int64_t) s.n, (int64_t) s.rows_to);
                op  = ggml_cpy(ctx, src, dst);
                break;
            case TQ_ROWS_GET:
                n_ids   = s.rows_to, bound = s.rows_from;
                numbers = new_ids(ctx, false, n_ids);
                op = dst = ggml_get_rows(ctx, src, numbers);
                break;
            default:
                throw tq::failure(TQ_INVALID, "no such operator: " + std::to_string((int) s.op));
        }
        *ran = runs(*probe, op);
        if (!*ran) {
            return;
        }
        auto buffer = allocate_on(*probe, ctx);
        ggml_backend_tensor_set(src, from, 0, ggml_nbytes(src));
        if (s.op != TQ_ROWS_GET) {
            ggml_backend_tensor_set(dst, to, 0, ggml_nbytes(dst));
        }
        if (numbers) {
            set_ids(numbers, tq::not_null(ids, "ids"), n_ids, bound);
        }
        compute_and_tell(*probe, ctx, op);
        ggml_backend_tensor_get(dst, to, 0, ggml_nbytes(dst));
    });
}

extern "C" tq_status tq_probe_attend(tq_probe * probe, const tq_attention_shape * shape, const float * q, const uint8_t * k,
        const uint8_t * v, const float * mask, const float * sinks, float * out, bool * ran, tq_text * error) {
    return tq::guard(error, [&] {
        const auto & s = *tq::not_null(shape, "shape");
        tq::not_null(probe, "probe"), tq::not_null(q, "q"), tq::not_null(k, "k"), tq::not_null(v, "v");
        tq::not_null(out, "out"), tq::not_null(ran, "ran");
        check_attention(s, mask != nullptr);
        auto owner = shapes();
        auto * ctx = owner.get();
        const attention graph(ctx, s, mask != nullptr, sinks != nullptr);
        *ran = runs(*probe, graph.op);
        if (!*ran) {
            return;
        }
        auto buffer = allocate_on(*probe, ctx);
        ggml_backend_tensor_set(graph.q, q, 0, ggml_nbytes(graph.q));
        ggml_backend_tensor_set(graph.k, k, 0, ggml_nbytes(graph.k));
        ggml_backend_tensor_set(graph.v, v, 0, ggml_nbytes(graph.v));
        graph.set_mask_and_sinks(mask, sinks);
        compute_and_tell(*probe, ctx, graph.op);
        ggml_backend_tensor_get(graph.op, out, 0, ggml_nbytes(graph.op));
    });
}
