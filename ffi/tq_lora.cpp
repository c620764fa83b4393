// LoRA adapters: W + scale*alpha/rank*B*A in place of W. llama.cpp's loader asserts on metadata of a wrong type, allocates before
// it looks whether the data are there, and leaves some shapes to be asserted on while a graph is built, where nothing can be
// caught; so a file is checked here before that loader sees it.
#include "handles.hpp"
#include "status.hpp"

#include "ggml-cpp.h"
#include "gguf.h"
#include "llama-adapter.h"
#include "llama-model.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <mutex>

using json = nlohmann::ordered_json;

struct tq_lora {
    struct free_file { void operator()(FILE * f) const { std::fclose(f); } };

    const tq_model *      model;
    llama_adapter_lora *  raw;
    float                 alpha;
    std::string           fingerprint;
};

namespace {

using file_ptr = std::unique_ptr<FILE, tq_lora::free_file>;

[[noreturn]] void refuse(const std::string & why) {
    throw tq::failure(TQ_LOAD, why);
}

int64_t key_of(const gguf_context * file, const std::string & key, gguf_type type) {
    const int64_t id = gguf_find_key(file, key.c_str());
    if (id >= 0 && gguf_get_kv_type(file, id) != type) {
        refuse("its " + key + " is of the type " + gguf_type_name(gguf_get_kv_type(file, id)) + ", not " + gguf_type_name(type));
    }
    return id;
}

std::string text_of(const gguf_context * file, const std::string & key) {
    const int64_t id = key_of(file, key, GGUF_TYPE_STRING);
    return id < 0 ? "" : gguf_get_val_str(file, id);
}

// Returns alpha.
float check_metadata(const gguf_context * file, const llama_model & model) {
    const std::string type = text_of(file, "general.type");
    if (type != "adapter") {
        refuse(type.empty() || type == "model" ? "this is a model, not an adapter; serve it with --model"
                                               : "this is no adapter, its general.type is `" + type + "`");
    }
    const std::string kind = text_of(file, "adapter.type");
    if (kind != "lora") {
        refuse("this is an adapter of the type `" + kind + "`, not `lora`");
    }
    const std::string arch = text_of(file, "general.architecture"), own = llm_arch_name(model.arch);
    if (arch != own) {
        refuse("it was made for the architecture `" + arch + "`, the model is `" + own + "`");
    }
    float alpha = 0; // llama.cpp's: the scale alone counts
    if (const int64_t id = key_of(file, "adapter.lora.alpha", GGUF_TYPE_FLOAT32); id >= 0) {
        alpha = gguf_get_val_f32(file, id);
    }
    if (!std::isfinite(alpha)) {
        refuse("its adapter.lora.alpha is not finite");
    }
    for (const char * key : { "general.name", "adapter.lora.task_name", "adapter.lora.prompt_prefix" }) {
        text_of(file, key);
    }
    if (const int64_t id = key_of(file, "adapter.alora.invocation_tokens", GGUF_TYPE_ARRAY); id >= 0) {
        if (gguf_get_arr_type(file, id) != GGUF_TYPE_UINT32) {
            refuse("its adapter.alora.invocation_tokens are not of the type u32");
        }
        const auto * tokens = (const uint32_t *) gguf_get_arr_data(file, id);
        const auto n_vocab = (uint32_t) llama_vocab_n_tokens(llama_model_get_vocab(&model));
        for (size_t i = 0; i < gguf_get_arr_n(file, id); i++) {
            if (tokens[i] >= n_vocab) {
                refuse("its invocation token " + std::to_string(tokens[i]) + " is not in the model's vocabulary of " + std::to_string(n_vocab));
            }
        }
    }
    return alpha;
}

std::string shape_of(const ggml_tensor & t) {
    std::string text = "[" + std::to_string(t.ne[0]);
    for (int i = 1; i < ggml_n_dims(&t); i++) {
        text += ", " + std::to_string(t.ne[i]);
    }
    return text + "]";
}

// A and B of one matrix of the model.
struct pair_of_factors {
    const ggml_tensor * a = nullptr;
    const ggml_tensor * b = nullptr;
};

void check_pair(const llama_model & model, const std::string & name, const pair_of_factors & factors) {
    const auto [a, b] = factors;
    if (!a || !b) {
        refuse("`" + name + "` has a " + (a ? "lora_a" : "lora_b") + " but no " + (a ? "lora_b" : "lora_a"));
    }
    const ggml_tensor * w = model.get_tensor(name.c_str());
    if (!w) {
        refuse("it changes `" + name + "`, which the model does not have; it was made for another model");
    }
    for (const auto * t : { a, b }) {
        // what llama.cpp's converter writes; every device multiplies these
        if (t->type != GGML_TYPE_F32 && t->type != GGML_TYPE_F16 && t->type != GGML_TYPE_BF16 && t->type != GGML_TYPE_Q8_0) {
            refuse("`" + std::string(t->name) + "` is of the type " + ggml_type_name(t->type) + "; f32, f16, bf16 and q8_0 are possible");
        }
    }
    const bool embedding = name == "token_embd.weight";
    if (embedding && model.output && name == ggml_get_name(model.output)) {
        refuse("it changes `" + name + "`, which is also the output of this model; merge it with llama-export-lora");
    }
    if (w->type == GGML_TYPE_NVFP4 || w->type == GGML_TYPE_F8_E4M3) {
        refuse("it changes `" + name + "`, whose type " + ggml_type_name(w->type) + " takes no adapter");
    }
    const int64_t rank = b->ne[0];
    // an embedding is looked up, so its factors lie the other way round
    const bool fits = embedding ? a->ne[0] == rank && a->ne[1] == w->ne[1] && b->ne[1] == w->ne[0]
                                : a->ne[0] == w->ne[0] && a->ne[1] == rank && b->ne[1] == w->ne[1];
    const bool deep = a->ne[2] == w->ne[2] && b->ne[2] == w->ne[2] && a->ne[3] == 1 && b->ne[3] == 1 && w->ne[3] == 1;
    if (rank < 1 || !fits || !deep) {
        refuse("its factors " + shape_of(*a) + " and " + shape_of(*b) + " do not fit `" + name + "` of the model, " + shape_of(*w) +
                "; it was made for another model");
    }
}

void check_tensors(const gguf_context * file, ggml_context * shapes, const llama_model & model, uint64_t file_size) {
    auto ends_with = [](const std::string & text, const std::string & end) {
        return text.size() > end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
    };
    std::map<std::string, pair_of_factors> pairs;
    for (auto * t = ggml_get_first_tensor(shapes); t; t = ggml_get_next_tensor(shapes, t)) {
        const std::string name = ggml_get_name(t);
        if (ends_with(name, ".lora_a")) {
            pairs[name.substr(0, name.size() - 7)].a = t;
        } else if (ends_with(name, ".lora_b")) {
            pairs[name.substr(0, name.size() - 7)].b = t;
        } else if (!ends_with(name, "_norm.weight")) { // llama.cpp skips those
            refuse("its tensor `" + name + "` is neither a lora_a nor a lora_b");
        }
        const uint64_t begin = gguf_get_data_offset(file) + gguf_get_tensor_offset(file, gguf_find_tensor(file, name.c_str()));
        const uint64_t size = ggml_nbytes(t);
        if (begin > file_size || size > file_size - begin) {
            refuse("it is cut short: `" + name + "` of " + std::to_string(size) + " bytes is not in it");
        }
    }
    if (pairs.empty()) {
        refuse("it changes nothing: there is no lora_a and lora_b in it");
    }
    for (const auto & [name, factors] : pairs) {
        check_pair(model, name, factors);
    }
}

// Tells adapters of the same shape apart: FNV-1a over the metadata and, in words of 8 bytes, over all weights.
std::string fingerprint(const llama_adapter_lora & adapter) {
    uint64_t hash = 0xcbf29ce484222325;
    auto add = [&](uint64_t word) { hash = (hash ^ word)*0x100000001b3; };
    auto add_text = [&](const std::string & text) {
        for (const char c : text) {
            add((uint8_t) c);
        }
        add(0);
    };
    for (const auto & [key, value] : std::map<std::string, std::string>(adapter.gguf_kv.begin(), adapter.gguf_kv.end())) {
        add_text(key);
        add_text(value);
    }
    std::vector<uint64_t> data;
    for (const auto & [name, weight] : std::map<std::string, llama_adapter_lora_weight>(adapter.ab_map.begin(), adapter.ab_map.end())) {
        add_text(name);
        for (const auto * t : { weight.a, weight.b }) {
            const size_t size = ggml_nbytes(t);
            data.assign((size + 7)/8, 0);
            ggml_backend_tensor_get(t, data.data(), 0, size);
            for (const uint64_t word : data) {
                add(word);
                hash ^= hash >> 29; // high bits of a word reach the low ones
            }
        }
    }
    char text[17];
    std::snprintf(text, sizeof(text), "%016llx", (unsigned long long) hash);
    return text;
}

std::string meta_of(const llama_adapter_lora & adapter, const char * key) {
    const auto found = adapter.gguf_kv.find(key);
    return found == adapter.gguf_kv.end() ? "" : found->second;
}

uint64_t size_of(FILE * file) {
    if (std::fseek(file, 0, SEEK_END) != 0) {
        refuse("its size cannot be read");
    }
    const long size = std::ftell(file);
    std::rewind(file);
    return size < 0 ? 0 : (uint64_t) size;
}

} // namespace

extern "C" tq_status tq_lora_load(tq_model * model, const char * path, tq_lora ** out, tq_text * error) {
    return tq::guard(error, [&] {
        auto & m = *tq::not_null(model, "model")->raw;
        if (m.no_alloc()) {
            throw tq::failure(TQ_UNSUPPORTED, "the model was loaded without its weights; an adapter needs them");
        }
        const file_ptr file(ggml_fopen(tq::not_null(path, "path"), "rb"));
        if (!file) {
            refuse("it cannot be opened");
        }
        const uint64_t file_size = size_of(file.get());

        tq::error_log log;
        tq::abort_as_error aborts;
        float alpha;
        {
            ggml_context * shapes = nullptr;
            const gguf_context_ptr gguf { gguf_init_from_file_ptr(file.get(), { /*.no_alloc =*/ true, /*.ctx =*/ &shapes }) };
            const ggml_context_ptr owned { shapes };
            if (!gguf) {
                refuse("it cannot be read" + (log.text().empty() ? "" : ": " + log.text()));
            }
            alpha = check_metadata(gguf.get(), m);
            check_tensors(gguf.get(), shapes, m, file_size);
        }
        std::rewind(file.get());

        auto lora = std::make_unique<tq_lora>();
        std::unique_lock alone(model->adapters);
        lora->raw = llama_adapter_lora_init_from_file_ptr(&m, file.get());
        if (!lora->raw) {
            refuse(log.text().empty() ? "the engine gave no reason" : log.text());
        }
        lora->model = model;
        lora->alpha = alpha;
        alone.unlock();
        try {
            lora->fingerprint = fingerprint(*lora->raw);
        } catch (...) {
            tq_lora_free(lora.release());
            throw;
        }
        *out = lora.release();
    });
}

extern "C" void tq_lora_free(tq_lora * lora) {
    if (lora) {
        const std::unique_lock alone(lora->model->adapters);
        llama_adapter_lora_free(lora->raw);
    }
    delete lora;
}

extern "C" tq_status tq_lora_describe(const tq_lora * lora, tq_text * out, tq_text * error) {
    return tq::guard(error, [&] {
        const auto & raw = *tq::not_null(lora, "lora")->raw;
        json buffers = json::object();
        for (const auto & buffer : raw.bufs) {
            const char * name = ggml_backend_buffer_name(buffer.get());
            buffers[name] = buffers.value(name, (size_t) 0) + ggml_backend_buffer_get_size(buffer.get());
        }
        tq::put_text(out, json {
            { "name",              meta_of(raw, "general.name") },
            { "task_name",         meta_of(raw, "adapter.lora.task_name") },
            { "prompt_prefix",     meta_of(raw, "adapter.lora.prompt_prefix") },
            { "alpha",             lora->alpha },
            { "invocation_tokens", raw.alora_invocation_tokens },
            { "tensors",           raw.ab_map.size() },
            { "buffers",           buffers },
            { "fingerprint",       lora->fingerprint },
        }.dump(-1, ' ', false, json::error_handler_t::replace));
    });
}

extern "C" tq_status tq_context_set_loras(tq_context * context, tq_lora * const * loras, const float * scales, size_t count, tq_text * error) {
    return tq::guard(error, [&] {
        tq::not_null(context, "context");
        std::vector<llama_adapter_lora *> raw(count);
        std::vector<float> own(scales, scales + count);
        for (size_t i = 0; i < count; i++) {
            if (tq::not_null(loras[i], "lora")->model != context->model) {
                throw tq::failure(TQ_INVALID, "an adapter was loaded for another model than the context's");
            }
            if (!std::isfinite(own[i])) {
                throw tq::failure(TQ_INVALID, "the scale of an adapter is not finite");
            }
            raw[i] = loras[i]->raw;
        }
        llama_set_adapters_lora(context->raw.get(), raw.data(), count, own.data());
    });
}
