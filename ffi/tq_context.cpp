// Contexts: creation with per-layer KV types, decoding, the cache.
#include "handles.hpp"
#include "status.hpp"

#include "hooks/kv_cache.h"
#include "llama-context.h"
#include "llama-ext.h"
#include "llama-memory.h"
#include "llama-model.h"

#include <nlohmann/json.hpp>

using json = nlohmann::ordered_json;

namespace {

bool stop_requested(void * flag) {
    return __atomic_load_n((const int32_t *) flag, __ATOMIC_RELAXED) != 0;
}

void check_type(int32_t type) {
    if (type < 0 || type >= GGML_TYPE_COUNT || ggml_blck_size((ggml_type) type) == 0) {
        throw tq::failure(TQ_INVALID, "no such cache type: " + std::to_string(type));
    }
}

// llama.cpp shifts positions, and copies between streams, only at the next decode. A state saved before that would
// hold moved positions with unmoved K, and a cancelled decode would leave some layers shifted and the rest to be
// shifted again. So what is pending is done at once, and not cancellable.
void apply_pending(tq_context * context) {
    auto * ctx = context->raw.get();
    llama_set_abort_callback(ctx, nullptr, nullptr);
    ctx->memory_update(false);
    tq_context_set_cancel(context, context->cancel);
}

llama_memory_t memory_of(const tq_context * context) {
    return llama_get_memory(context->raw.get());
}

// An engine context with these settings; of a model without weights it plans its memory and allocates no cache.
llama_context * make_context(const tq_model & model, const tq_context_params & p) {
    if (p.n_layer_types != model.raw->hparams.n_layer_all) {
        throw tq::failure(TQ_INVALID, "cache types for " + std::to_string(p.n_layer_types) + " layers, the model has " +
                std::to_string(model.raw->hparams.n_layer_all));
    }
    bool quantized = false;
    for (uint32_t i = 0; i < 2*p.n_layer_types; i++) {
        check_type(tq::not_null(p.layer_types, "layer_types")[i]);
        quantized = quantized || ggml_is_quantized((ggml_type) p.layer_types[i]);
    }
    auto cp = llama_context_default_params();
    cp.n_ctx           = p.n_ctx;
    cp.n_batch         = p.n_batch;
    cp.n_ubatch        = p.n_ubatch;
    cp.n_seq_max       = p.n_seq_max;
    cp.n_threads       = p.n_threads;
    cp.n_threads_batch = p.n_threads_batch;
    // every layer's type comes from the scope below; these only satisfy checks of one type against all layers
    cp.type_k          = GGML_TYPE_F16;
    cp.type_v          = GGML_TYPE_F16;
    // "auto" might turn flash attention off and the V cache around; quantized V cannot follow
    cp.flash_attn_type = quantized ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_AUTO;
    cp.kv_unified      = p.kv_unified;
    cp.swa_full        = p.swa_full;
    cp.offload_kqv     = p.offload_kv;
    cp.embeddings      = p.embeddings;
    // pooling is arithmetic on what comes out, which the caller does; only a classifier is part of the model
    if (p.embeddings) {
        cp.pooling_type = p.rank ? LLAMA_POOLING_TYPE_RANK : LLAMA_POOLING_TYPE_NONE;
    }
    cp.no_perf         = true;

    tq::error_log log;
    tq::abort_as_error aborts;
    tq_kv_types_scope scope(p.layer_types, p.n_layer_types);
    auto * context = llama_init_from_model(model.raw, cp);
    if (!context) {
        throw tq::failure(TQ_ENGINE, log.text().empty() ? "the engine gave no reason" : log.text());
    }
    return context;
}

// {kv, compute, model}: bytes by buffer type
json memory_report(const llama_context * context) {
    json kv = json::object(), compute = json::object(), model = json::object();
    auto add = [](json & sums, ggml_backend_buffer_type_t buft, size_t bytes) {
        if (bytes > 0) {
            const char * name = ggml_backend_buft_name(buft);
            sums[name] = sums.value(name, (size_t) 0) + bytes;
        }
    };
    if (auto * memory = llama_get_memory(context)) {
        for (const auto & [buft, bytes] : memory->memory_breakdown()) {
            add(kv, buft, bytes);
        }
    }
    for (const auto & [buft, data] : llama_get_memory_breakdown(context)) {
        add(compute, buft, data.compute);
        add(model, buft, data.model);
    }
    return { { "kv", kv }, { "compute", compute }, { "model", model } };
}

// Bytes the CPU backend takes on top of the scratch buffers, for its threads to work in: the most that a node of the graph
// needs, as ggml_graph_plan counts it. Nodes of other devices count too, which can only be too much.
size_t work_bytes(ggml_cgraph * graph, int32_t n_threads) {
    return graph ? ggml_graph_plan(graph, n_threads, nullptr).work_size : 0;
}

} // namespace

extern "C" tq_status tq_context_new(tq_model * model, const tq_context_params * params, tq_context ** out, tq_text * error) {
    return tq::guard(error, [&] {
        tq::not_null(model, "model");
        const auto & p = *tq::not_null(params, "params");
        if (model->raw->no_alloc()) {
            throw tq::failure(TQ_INVALID, "the model was loaded without its weights, which is enough to plan and not to compute");
        }
        auto context = std::make_unique<tq_context>();
        context->model = model;
        context->raw.reset(make_context(*model, p));
        // one pool for the life of the context: without it ggml starts and joins threads for every graph
        auto tp = ggml_threadpool_params_default(std::max(p.n_threads, p.n_threads_batch));
        context->threads.reset(ggml_threadpool_new(&tp));
        if (!context->threads) {
            throw tq::failure(TQ_MEMORY, "cannot start " + std::to_string(tp.n_threads) + " threads");
        }
        llama_attach_threadpool(context->raw.get(), context->threads.get(), nullptr);
        *out = context.release();
    });
}

extern "C" tq_status tq_context_plan(tq_model * model, const tq_context_params * params, tq_text * out, tq_text * error) {
    return tq::guard(error, [&] {
        tq::not_null(model, "model");
        const auto & p = *tq::not_null(params, "params");
        if (!model->raw->no_alloc()) {
            throw tq::failure(TQ_INVALID, "planning needs a model that was loaded without its weights");
        }
        const std::unique_ptr<llama_context, tq_context::free_context> context(make_context(*model, p));
        json report = memory_report(context.get());

        // the largest batch is the graph that the engine reserved last; decoding splits the cache among threads instead
        size_t work = work_bytes(context->get_gf_res_reserve()->get_gf(), p.n_threads_batch);
        if (auto * memory = llama_get_memory(context.get())) {
            tq::abort_as_error aborts;
            const auto full = memory->init_full();
            work = std::max(work, work_bytes(context->graph_reserve(p.n_seq_max, p.n_seq_max, p.n_seq_max, full.get(), true), p.n_threads));
        }
        report["work"] = work;
        const auto & h = model->raw->hparams;
        const size_t row = p.embeddings ? h.n_embd_out() : llama_vocab_n_tokens(model->vocab());
        report["output_row"] = sizeof(float)*row;
        tq::put_text(out, report.dump());
    });
}

extern "C" void tq_context_free(tq_context * context) {
    if (context && context->raw) {
        llama_detach_threadpool(context->raw.get());
    }
    delete context;
}

extern "C" uint32_t tq_context_n_ctx(const tq_context * context)     { return llama_n_ctx(context->raw.get()); }
extern "C" uint32_t tq_context_n_ctx_seq(const tq_context * context) { return llama_n_ctx_seq(context->raw.get()); }
extern "C" uint32_t tq_context_n_batch(const tq_context * context)   { return llama_n_batch(context->raw.get()); }

extern "C" void tq_context_set_cancel(tq_context * context, const int32_t * flag) {
    context->cancel = flag;
    llama_set_abort_callback(context->raw.get(), flag ? stop_requested : nullptr, (void *) flag);
}

extern "C" tq_status tq_context_decode(tq_context * context, const tq_batch * batch, tq_text * error) {
    return tq::guard(error, [&] {
        const auto & b = *tq::not_null(batch, "batch");
        auto * ctx = tq::not_null(context, "context")->raw.get();
        if (b.n_tokens == 0) {
            throw tq::failure(TQ_INVALID, "the batch is empty");
        }
        if (b.n_tokens > llama_n_batch(ctx)) {
            throw tq::failure(TQ_INVALID, "the batch has " + std::to_string(b.n_tokens) + " tokens, the context takes " +
                    std::to_string(llama_n_batch(ctx)) + " at once");
        }
        const int32_t n_vocab = llama_vocab_n_tokens(context->model->vocab());
        const int32_t n_seq   = (int32_t) llama_n_seq_max(ctx);
        std::vector<int32_t>        n_seq_id(b.n_tokens, 1);
        std::vector<llama_seq_id>   seq_ids(b.sequences, b.sequences + b.n_tokens);
        std::vector<llama_seq_id *> seq_id(b.n_tokens);
        std::vector<llama_token>    tokens(b.tokens, b.tokens + b.n_tokens);
        std::vector<llama_pos>      positions(b.positions, b.positions + b.n_tokens);
        std::vector<int8_t>         logits(b.wants_logits, b.wants_logits + b.n_tokens);
        for (size_t i = 0; i < b.n_tokens; i++) {
            if (tokens[i] < 0 || tokens[i] >= n_vocab) {
                throw tq::failure(TQ_INVALID, "token " + std::to_string(tokens[i]) + " is not in the vocabulary of " + std::to_string(n_vocab));
            }
            if (seq_ids[i] < 0 || seq_ids[i] >= n_seq) {
                throw tq::failure(TQ_INVALID, "sequence " + std::to_string(seq_ids[i]) + " does not exist; the context has " + std::to_string(n_seq));
            }
            if (positions[i] < 0) {
                throw tq::failure(TQ_INVALID, "position " + std::to_string(positions[i]) + " is negative");
            }
            seq_id[i] = &seq_ids[i];
        }
        llama_batch raw = {};
        raw.n_tokens = (int32_t) b.n_tokens;
        raw.token    = tokens.data();
        raw.pos      = positions.data();
        raw.n_seq_id = n_seq_id.data();
        raw.seq_id   = seq_id.data();
        raw.logits   = logits.data();

        tq::error_log log;
        const int32_t status = llama_decode(ctx, raw);
        const std::string reason = log.text().empty() ? "" : ": " + log.text();
        switch (status) {
            case 0:  return;
            case 1:  throw tq::failure(TQ_FULL, "no room in the KV cache for " + std::to_string(b.n_tokens) + " more tokens");
            case 2:  throw tq::failure(TQ_ABORTED, "decoding was stopped");
            case -1: throw tq::failure(TQ_INVALID, "the engine refused the batch" + reason);
            default: throw tq::failure(TQ_ENGINE, "decoding failed with code " + std::to_string(status) + reason);
        }
    });
}

extern "C" const float * tq_context_logits(tq_context * context, int32_t i) {
    try {
        return llama_get_logits_ith(context->raw.get(), i);
    } catch (...) {
        return nullptr;
    }
}

extern "C" const float * tq_context_embedding(tq_context * context, int32_t i) {
    try {
        return llama_get_embeddings_ith(context->raw.get(), i);
    } catch (...) {
        return nullptr;
    }
}

extern "C" const float * tq_context_rank(tq_context * context, int32_t seq) {
    try {
        return llama_get_embeddings_seq(context->raw.get(), seq);
    } catch (...) {
        return nullptr;
    }
}

extern "C" tq_status tq_context_memory(const tq_context * context, tq_text * out, tq_text * error) {
    return tq::guard(error, [&] { tq::put_text(out, memory_report(tq::not_null(context, "context")->raw.get()).dump()); });
}

// ---- sequences ------------------------------------------------------------------------------------

extern "C" bool tq_context_seq_remove(tq_context * context, int32_t seq, int32_t p0, int32_t p1) {
    return memory_of(context) && llama_memory_seq_rm(memory_of(context), seq, p0, p1);
}

extern "C" tq_status tq_context_seq_copy(tq_context * context, int32_t from, int32_t to, int32_t p0, int32_t p1, tq_text * error) {
    return tq::guard(error, [&] {
        if (memory_of(context)) {
            llama_memory_seq_cp(memory_of(context), from, to, p0, p1);
            apply_pending(context);
        }
    });
}

extern "C" bool tq_context_can_shift(const tq_context * context) {
    return memory_of(context) && llama_memory_can_shift(memory_of(context));
}

extern "C" tq_status tq_context_seq_shift(tq_context * context, int32_t seq, int32_t p0, int32_t p1, int32_t delta, tq_text * error) {
    return tq::guard(error, [&] {
        if (!tq_context_can_shift(context)) {
            throw tq::failure(TQ_UNSUPPORTED, "this cache cannot be shifted: its K is quantized and RoPE does not cover the whole head, "
                    "or the model's positions are not plain. Re-evaluate the tokens instead");
        }
        llama_memory_seq_add(memory_of(context), seq, p0, p1, delta);
        apply_pending(context);
    });
}

extern "C" int32_t tq_context_seq_pos_min(const tq_context * context, int32_t seq) {
    return memory_of(context) ? llama_memory_seq_pos_min(memory_of(context), seq) : -1;
}

extern "C" int32_t tq_context_seq_pos_max(const tq_context * context, int32_t seq) {
    return memory_of(context) ? llama_memory_seq_pos_max(memory_of(context), seq) : -1;
}

extern "C" void tq_context_clear(tq_context * context) {
    if (memory_of(context)) {
        llama_memory_clear(memory_of(context), true);
    }
}

// ---- state ----------------------------------------------------------------------------------------

extern "C" size_t tq_context_state_size(tq_context * context, int32_t seq) {
    try {
        return llama_state_seq_get_size(context->raw.get(), seq);
    } catch (...) {
        return 0;
    }
}

extern "C" tq_status tq_context_state_get(tq_context * context, int32_t seq, uint8_t * data, size_t capacity, size_t * written, tq_text * error) {
    return tq::guard(error, [&] {
        tq::error_log log;
        *written = llama_state_seq_get_data(context->raw.get(), data, capacity, seq);
        if (*written == 0) {
            throw tq::failure(TQ_ENGINE, "saving sequence " + std::to_string(seq) + " failed: " + log.text());
        }
    });
}

extern "C" tq_status tq_context_state_set(tq_context * context, int32_t seq, const uint8_t * data, size_t len, size_t * read, tq_text * error) {
    return tq::guard(error, [&] {
        tq::error_log log;
        *read = llama_state_seq_set_data(context->raw.get(), data, len, seq);
        if (*read == 0) {
            throw tq::failure(TQ_INVALID, "the saved state does not fit this context: " + log.text());
        }
    });
}
