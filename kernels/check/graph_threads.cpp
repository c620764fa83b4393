// A layer's graph (projection, rotation, rows into a compressed cache, attention, projection) computed by the engine's CPU
// backend and its thread pool: with every number of threads the bits that one thread makes, two graphs at once on shared
// weights, and a graph that is cancelled from another thread. Links ggml with our hooks, no model; made for
// ThreadSanitizer (scripts/sanitize.sh).
#include "common/codec.h"
#include "common/rotate.h"

#include "ggml-cpu.h"
#include "ggml.h"

#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr int64_t head_dim = 128, n_head = 4, n_head_kv = 2, n_embd = 256, n_kv = 700;

struct free_context { void operator()(ggml_context * c) const { ggml_free(c); } };
struct free_pool { void operator()(ggml_threadpool * p) const { ggml_threadpool_free(p); } };
using context_ptr = std::unique_ptr<ggml_context, free_context>;
using pool_ptr    = std::unique_ptr<ggml_threadpool, free_pool>;

context_ptr new_context(size_t bytes) {
    return context_ptr(ggml_init({ bytes, nullptr, false }));
}

void fill(ggml_tensor * t, uint32_t seed) {
    std::vector<float> values((size_t) ggml_nelements(t));
    for (float & value : values) {
        seed  = seed*1664525u + 1013904223u;
        value = (float) (seed >> 8)/(float) (1 << 23) - 1.0f;
    }
    if (t->type == GGML_TYPE_F32) {
        std::memcpy(t->data, values.data(), ggml_nbytes(t));
    } else {
        ggml_get_type_traits(t->type)->from_float_ref(values.data(), t->data, ggml_nelements(t));
    }
}

// What contexts of one model share: never written after this.
struct weights {
    context_ptr   ctx = new_context(4u << 20);
    ggml_tensor * wq  = ggml_new_tensor_2d(ctx.get(), GGML_TYPE_Q8_0, n_embd, n_head*head_dim);
    ggml_tensor * wkv = ggml_new_tensor_2d(ctx.get(), GGML_TYPE_Q8_0, n_embd, n_head_kv*head_dim);
    ggml_tensor * wo  = ggml_new_tensor_2d(ctx.get(), GGML_TYPE_F16, n_head*head_dim, n_embd);
    ggml_tensor * rot = ggml_new_tensor_2d(ctx.get(), GGML_TYPE_F32, head_dim, head_dim);

    weights() {
        fill(wq, 1), fill(wkv, 2), fill(wo, 6);
        tq_rotation_matrix((float *) rot->data, (int) head_dim);
    }
};

// One step of n_tokens tokens at the end of a cache of these types.
struct layer {
    context_ptr   ctx = new_context(24u << 20);
    ggml_tensor * k_cache;
    ggml_tensor * v_cache;
    ggml_tensor * out;
    ggml_cgraph * graph;

    layer(const weights & w, ggml_type k_type, ggml_type v_type, int64_t n_tokens) {
        auto * c = ctx.get();
        auto * x = ggml_new_tensor_2d(c, GGML_TYPE_F32, n_embd, n_tokens);
        fill(x, 3);
        k_cache = ggml_new_tensor_2d(c, k_type, n_head_kv*head_dim, n_kv);
        v_cache = ggml_new_tensor_2d(c, v_type, n_head_kv*head_dim, n_kv);
        fill(k_cache, 4), fill(v_cache, 5);
        auto * rows = ggml_new_tensor_1d(c, GGML_TYPE_I64, n_tokens);
        auto * mask = ggml_new_tensor_2d(c, GGML_TYPE_F16, n_kv, n_tokens);
        for (int64_t i = 0; i < n_tokens; i++) {
            const int64_t at = n_kv - n_tokens + i;
            ((int64_t *) rows->data)[i] = at;
            for (int64_t key = 0; key < n_kv; key++) {
                ((ggml_fp16_t *) mask->data)[i*n_kv + key] = ggml_fp32_to_fp16(key > at ? -INFINITY : 0.0f);
            }
        }
        auto rotated = [&](ggml_tensor * t) {
            auto * r = ggml_mul_mat(c, w.rot, t);
            ggml_mul_mat_set_hint(r, GGML_HINT_SRC0_IS_SIGNED_HADAMARD);
            return r;
        };
        auto * q  = rotated(ggml_reshape_3d(c, ggml_mul_mat(c, w.wq, x), head_dim, n_head, n_tokens));
        auto * kv = rotated(ggml_reshape_3d(c, ggml_mul_mat(c, w.wkv, x), head_dim, n_head_kv, n_tokens));
        kv = ggml_reshape_2d(c, kv, n_head_kv*head_dim, n_tokens);
        auto heads = [&](ggml_tensor * cache) {
            auto * written = ggml_set_rows(c, cache, kv, rows);
            return ggml_view_3d(c, written, head_dim, n_kv, n_head_kv, cache->nb[1], ggml_row_size(cache->type, head_dim), 0);
        };
        auto * k = heads(k_cache);
        auto * v = heads(v_cache);
        auto * attn = ggml_flash_attn_ext(c, ggml_permute(c, q, 0, 2, 1, 3), k, v, mask, 1.0f/std::sqrt((float) head_dim), 0.0f, 0.0f);
        out   = ggml_mul_mat(c, w.wo, ggml_reshape_2d(c, rotated(attn), n_head*head_dim, n_tokens));
        graph = ggml_new_graph(c);
        ggml_build_forward_expand(graph, out);
    }

    ggml_status compute(ggml_threadpool * pool, int n_threads, std::atomic<bool> * stop = nullptr) {
        ggml_cplan plan = ggml_graph_plan(graph, n_threads, pool);
        std::vector<uint8_t> work(plan.work_size);
        plan.work_data           = work.data();
        plan.abort_callback      = stop ? [](void * flag) { return ((std::atomic<bool> *) flag)->load(std::memory_order_relaxed); } : (ggml_abort_callback) nullptr;
        plan.abort_callback_data = stop;
        return ggml_graph_compute(graph, &plan);
    }

    std::vector<uint8_t> result() const {
        const auto * bytes = (const uint8_t *) out->data;
        return { bytes, bytes + ggml_nbytes(out) };
    }
};

pool_ptr new_pool(int n_threads) {
    auto params = ggml_threadpool_params_default(n_threads);
    params.poll = 0; // waiting threads sleep: there are more of them here than cores
    return pool_ptr(ggml_threadpool_new(&params));
}

int failed = 0, passed = 0;

void report(bool ok, const std::string & what) {
    std::printf("%-4s %s\n", ok ? "ok" : "FAIL", what.c_str());
    (ok ? passed : failed)++;
}

void check_types(const weights & w, ggml_type k, ggml_type v, int64_t n_tokens) {
    layer alone(w, k, v, n_tokens);
    alone.compute(new_pool(1).get(), 1);
    const auto expected = alone.result();
    const std::string name = std::string(ggml_type_name(k)) + "/" + ggml_type_name(v) + ", " + std::to_string(n_tokens) + " tokens";
    for (int n_threads : { 2, 3 }) {
        // one pool for several steps, and steps with fewer threads than it has, as a context computes
        const pool_ptr pool = new_pool(n_threads);
        bool same = true;
        for (int step = 0; step < 2; step++) {
            layer it(w, k, v, n_tokens);
            same = it.compute(pool.get(), step % 2 ? n_threads - 1 : n_threads) == GGML_STATUS_SUCCESS && it.result() == expected && same;
        }
        report(same, name + ": " + std::to_string(n_threads) + " threads");
    }
    bool same[2] = {};
    auto together = [&](int i) {
        const pool_ptr pool = new_pool(3);
        layer it(w, k, v, n_tokens);
        same[i] = it.compute(pool.get(), 3) == GGML_STATUS_SUCCESS && it.result() == expected;
    };
    std::thread other(together, 1);
    together(0);
    other.join();
    report(same[0] && same[1], name + ": two contexts at once");

    std::atomic<bool> stop { false };
    const pool_ptr    pool = new_pool(3);
    layer             stopped(w, k, v, n_tokens);
    std::thread       canceller([&] { stop.store(true, std::memory_order_relaxed); });
    const ggml_status status = stopped.compute(pool.get(), 3, &stop);
    canceller.join();
    stop = false;
    // whatever was left undone is done again
    const bool again = stopped.compute(pool.get(), 3, &stop) == GGML_STATUS_SUCCESS && stopped.result() == expected;
    report((status == GGML_STATUS_SUCCESS || status == GGML_STATUS_ABORTED) && again, name + ": cancelled by another thread");
}

} // namespace

int main() {
    ggml_cpu_init();
    const weights w;
    const auto turbo = [](int bits) {
        for (int i = 0; const tq_type_info * info = tq_type_at(i); i++) {
            if (info->block == head_dim && info->bits == bits) {
                return (ggml_type) info->id;
            }
        }
        return GGML_TYPE_COUNT;
    };
    const struct { ggml_type k, v; } pairs[] = {
        { turbo(4), turbo(4) }, { GGML_TYPE_Q8_0, turbo(3) }, { turbo(2), GGML_TYPE_F16 }, { GGML_TYPE_F16, turbo(4) },
    };
    for (const auto & [k, v] : pairs) {
        check_types(w, k, v, 1);
        check_types(w, k, v, 37);
    }
    std::printf("%d passed, %d failed, 0 skipped\n", passed, failed);
    return failed != 0;
}
