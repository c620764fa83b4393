// Loading and describing models; tokens.
#include "handles.hpp"
#include "status.hpp"

#include "llama-hparams.h"
#include "llama-model.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <map>

using json = nlohmann::ordered_json;

namespace {

json describe_layer(const llama_model & model, uint32_t il) {
    const auto & h = model.hparams;
    const bool recurrent = h.is_recr(il);
    // as llama_model::create_memory filters them: layers of a draft head belong to a context of their own
    const bool trunk = il < h.n_layer() || h.n_layer() == 0 || h.router_layer >= 0;
    const bool attention = trunk && h.has_kv(il) && h.n_head_kv(il) > 0 && (!recurrent || model.arch == LLM_ARCH_FALCON_H1);
    return {
        { "kv",              attention },
        { "recurrent",       trunk && recurrent },
        { "recurrent_bytes", trunk && recurrent ? sizeof(float)*((uint64_t) h.n_embd_r() + h.n_embd_s()) : 0 },
        { "swa",             h.is_swa(il) },
        { "rope",            h.has_rope(il) },
        { "n_rot",           h.n_rot(il) },
        { "n_head",          h.n_head(il) },
        { "n_head_kv",       h.n_head_kv(il) },
        { "head_dim_k",      h.n_embd_head_k(il) },
        { "head_dim_v",      h.n_embd_head_v(il) },
        { "device",          ggml_backend_dev_name(model.dev_layer(il)) },
    };
}

// Tells models of the same shape apart (a fine-tune from its base): metadata and one small tensor of weights.
std::string fingerprint(const llama_model & model) {
    uint64_t hash = 0xcbf29ce484222325; // FNV-1a
    auto add = [&](const void * data, size_t size) {
        for (size_t i = 0; i < size; i++) {
            hash = (hash ^ ((const uint8_t *) data)[i])*0x100000001b3;
        }
    };
    for (const auto & [key, value] : std::map<std::string, std::string>(model.gguf_kv.begin(), model.gguf_kv.end())) {
        add(key.data(), key.size() + 1);
        add(value.data(), value.size() + 1);
    }
    if (const auto * norm = model.output_norm; norm && norm->buffer && !model.no_alloc()) {
        std::vector<uint8_t> data(ggml_nbytes(norm));
        ggml_backend_tensor_get(norm, data.data(), 0, data.size());
        add(data.data(), data.size());
    }
    char text[17];
    std::snprintf(text, sizeof(text), "%016llx", (unsigned long long) hash);
    return text;
}

const char * pooling_name(enum llama_pooling_type type) {
    switch (type) {
        case LLAMA_POOLING_TYPE_MEAN: return "mean";
        case LLAMA_POOLING_TYPE_CLS:  return "cls";
        case LLAMA_POOLING_TYPE_LAST: return "last";
        case LLAMA_POOLING_TYPE_RANK: return "rank";
        default:                      return "none";
    }
}

} // namespace

extern "C" tq_status tq_model_load(const char * path, const tq_model_params * params, tq_model ** out, tq_text * error) {
    return tq::guard(error, [&] {
        tq::not_null(path, "path");
        tq::not_null(params, "params");
        auto mp = llama_model_default_params();
        mp.n_gpu_layers = params->n_gpu_layers;
        mp.load_mode    = params->no_alloc || !params->use_mmap ? LLAMA_LOAD_MODE_NONE : LLAMA_LOAD_MODE_MMAP;
        mp.no_alloc     = params->no_alloc;

        struct progress_state {
            tq_progress_callback callback;
            void *               user;
            bool                 stopped;
        } progress { params->progress, params->progress_user, false };
        mp.progress_callback_user_data = &progress;
        mp.progress_callback = [](float value, void * user) {
            auto * state = (progress_state *) user;
            state->stopped = state->callback && !state->callback(value, state->user);
            return !state->stopped;
        };

        tq::error_log log;
        tq::abort_as_error aborts;
        llama_model * raw = llama_model_load_from_file(path, mp);
        if (!raw) {
            if (progress.stopped) {
                throw tq::failure(TQ_ABORTED, "loading was stopped");
            }
            throw tq::failure(TQ_LOAD, log.text().empty() ? "the engine gave no reason" : log.text());
        }
        *out = new tq_model { raw };
    });
}

extern "C" void tq_model_free(tq_model * model) {
    if (model) {
        llama_model_free(model->raw);
        delete model;
    }
}

extern "C" tq_status tq_model_describe(const tq_model * model, tq_text * out, tq_text * error) {
    return tq::guard(error, [&] {
        const auto & m = *tq::not_null(model, "model")->raw;
        const auto & h = m.hparams;
        const auto * v = model->vocab();

        json layers = json::array();
        for (uint32_t il = 0; il < h.n_layer_all; il++) {
            layers.push_back(describe_layer(m, il));
        }
        char desc[256] = {};
        llama_model_desc(&m, desc, sizeof(desc));
        tq::put_text(out, json {
            { "architecture",  llm_arch_name(m.arch) },
            { "name",          m.name },
            { "description",   desc },
            { "n_params",      llama_model_n_params(&m) },
            { "size",          llama_model_size(&m) },
            { "fingerprint",   fingerprint(m) },
            { "n_ctx_train",   h.n_ctx_train },
            { "n_embd",        h.n_embd },
            { "n_embd_out",    llama_model_n_embd_out(&m) },
            { "n_layer",       h.n_layer() },
            { "n_layer_all",   h.n_layer_all },
            { "n_vocab",       llama_vocab_n_tokens(v) },
            { "n_swa",         h.swa_type == LLAMA_SWA_TYPE_NONE ? 0 : h.n_swa },
            { "swa",           h.swa_type != LLAMA_SWA_TYPE_NONE },
            { "mla",           h.is_mla() },
            { "indexer",       h.indexer_head_size > 0 },
            { "recurrent",     llama_model_is_recurrent(&m) },
            { "hybrid",        llama_model_is_hybrid(&m) },
            { "encoder",       llama_model_has_encoder(&m) },
            { "decoder",       llama_model_has_decoder(&m) },
            { "softcap",       h.attn_soft_cap },
            { "can_shift",     h.rope_type != LLAMA_ROPE_TYPE_NONE && h.n_pos_per_embd() == 1 },
            { "layers",        layers },
            { "bos",           llama_vocab_bos(v) },
            { "eos",           llama_vocab_eos(v) },
            { "eot",           llama_vocab_eot(v) },
            { "add_bos",       llama_vocab_get_add_bos(v) },
            { "chat_template", llama_model_chat_template(&m, nullptr) != nullptr },
            { "pooling",       pooling_name(h.pooling_type) },
            { "n_cls_out",     llama_model_n_cls_out(&m) },
            { "fim",           json {
                { "prefix",    llama_vocab_fim_pre(v) },
                { "suffix",    llama_vocab_fim_suf(v) },
                { "middle",    llama_vocab_fim_mid(v) },
                { "pad",       llama_vocab_fim_pad(v) },
                { "repo",      llama_vocab_fim_rep(v) },
                { "separator", llama_vocab_fim_sep(v) },
            } },
        }.dump(-1, ' ', false, json::error_handler_t::replace));
    });
}

extern "C" tq_status tq_model_weights(const tq_model * model, tq_text * out, tq_text * error) {
    return tq::guard(error, [&] {
        const auto & m = *tq::not_null(model, "model")->raw;
        if (!m.no_alloc()) {
            throw tq::failure(TQ_INVALID, "the sizes of tensors are read from a model that was loaded without its weights");
        }
        std::vector<size_t> layers(m.hparams.n_layer_all, 0);
        size_t input = 0, output = 0, tied = 0;
        bool head = false, embedded = false;
        for (const auto & [name, tensor] : m.tensors_by_name) {
            // as the buffer lays it out: repacked weights can be larger than in the file
            const size_t bytes = tensor->buffer ? ggml_backend_buft_get_alloc_size(ggml_backend_buffer_get_type(tensor->buffer), tensor)
                                                : ggml_nbytes(tensor);
            unsigned layer = 0;
            if (std::sscanf(name.c_str(), "blk.%u.", &layer) == 1 && layer < layers.size()) {
                layers[layer] += bytes;
            } else if (name == "token_embd.weight") {
                // a device that computes the output has a copy of its own, under the same name
                input += embedded ? 0 : bytes;
                tied   = bytes;
                embedded = true;
            } else if (name.rfind("token_embd", 0) == 0) {
                input += bytes;
            } else if (name.rfind("per_layer_token_embd", 0) == 0 || name.rfind("position_embd", 0) == 0 || name.rfind("token_types", 0) == 0) {
                input += bytes;
            } else {
                output += bytes;
                head = head || name == "output.weight";
            }
        }
        tq::put_text(out, json { { "input", input }, { "layers", layers }, { "output", output }, { "tied", head ? 0 : tied } }.dump());
    });
}

extern "C" tq_status tq_model_metadata(const tq_model * model, tq_text * out, tq_text * error) {
    return tq::guard(error, [&] {
        json values = json::object();
        const auto * m = tq::not_null(model, "model")->raw;
        auto read = [](auto && call) {
            std::vector<char> buffer(256);
            int32_t len = call(buffer.data(), buffer.size());
            if (len >= (int32_t) buffer.size()) {
                buffer.resize(len + 1);
                len = call(buffer.data(), buffer.size());
            }
            return std::string(buffer.data(), std::max(len, 0));
        };
        for (int32_t i = 0; i < llama_model_meta_count(m); i++) {
            const auto key = read([&](char * b, size_t n) { return llama_model_meta_key_by_index(m, i, b, n); });
            values[key] = read([&](char * b, size_t n) { return llama_model_meta_val_str_by_index(m, i, b, n); });
        }
        tq::put_text(out, values.dump(-1, ' ', false, json::error_handler_t::replace));
    });
}

extern "C" tq_status tq_model_tokenize(const tq_model * model, const char * text, size_t len, bool add_special,
        bool parse_special, int32_t * tokens, size_t capacity, size_t * count, tq_text * error) {
    return tq::guard(error, [&] {
        if (len > INT32_MAX || capacity > INT32_MAX) {
            throw tq::failure(TQ_INVALID, "text of " + std::to_string(len) + " bytes is too long to tokenize at once");
        }
        const int32_t n = llama_tokenize(tq::not_null(model, "model")->vocab(), text, (int32_t) len, tokens, (int32_t) capacity,
                add_special, parse_special);
        if (n == INT32_MIN) {
            throw tq::failure(TQ_INVALID, "the text has more tokens than can be counted");
        }
        *count = (size_t) std::abs(n);
    });
}

extern "C" tq_status tq_model_piece(const tq_model * model, int32_t token, bool special, tq_text * piece, tq_text * error) {
    return tq::guard(error, [&] {
        const auto * vocab = tq::not_null(model, "model")->vocab();
        if (token < 0 || token >= llama_vocab_n_tokens(vocab)) {
            throw tq::failure(TQ_INVALID, "token " + std::to_string(token) + " is not in the vocabulary of " +
                    std::to_string(llama_vocab_n_tokens(vocab)));
        }
        std::string text(64, '\0');
        int32_t n = llama_token_to_piece(vocab, token, text.data(), (int32_t) text.size(), 0, special);
        if (n < 0) {
            text.resize((size_t) -n);
            n = llama_token_to_piece(vocab, token, text.data(), (int32_t) text.size(), 0, special);
        }
        text.resize((size_t) std::max(n, 0));
        tq::put_text(piece, text);
    });
}

extern "C" bool tq_model_is_eog(const tq_model * model, int32_t token) {
    return token >= 0 && token < llama_vocab_n_tokens(model->vocab()) && llama_vocab_is_eog(model->vocab(), token);
}

extern "C" bool tq_model_is_control(const tq_model * model, int32_t token) {
    return token >= 0 && token < llama_vocab_n_tokens(model->vocab()) && llama_vocab_is_control(model->vocab(), token);
}
