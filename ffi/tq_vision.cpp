// Images: the projector of a model, texts with images in them, embeddings into the cache. What a picture file is made of
// is not read here.
#include "handles.hpp"
#include "status.hpp"

#include "llama-cpp.h"
#include "mtmd-helper.h"
#include "mtmd.h"

#include <nlohmann/json.hpp>

#include <cstring>

using json = nlohmann::ordered_json;

struct tq_projector {
    mtmd::context_ptr raw;
    const tq_model *  model;
};

struct tq_chunks {
    mtmd::input_chunks_ptr              raw { mtmd_input_chunks_init() }; // null once stripped
    std::vector<mtmd::input_chunk_ptr>  shapes; // the same without pixels
    std::vector<bool>                   non_causal;
    bool                                mrope = false;

    const mtmd_input_chunk * image(size_t i) const {
        if (i >= shapes.size() || mtmd_input_chunk_get_type(shapes[i].get()) != MTMD_INPUT_CHUNK_TYPE_IMAGE) {
            throw tq::failure(TQ_INVALID, "chunk " + std::to_string(i) + " of " + std::to_string(shapes.size()) + " is no image");
        }
        return shapes[i].get();
    }
};

namespace {

mtmd_context_params settings(const tq_projector_params & p) {
    auto params = mtmd_context_params_default();
    params.use_gpu          = p.use_gpu;
    params.print_timings    = false;
    params.n_threads        = p.n_threads;
    params.warmup           = p.warmup;
    params.image_min_tokens = p.image_min_tokens;
    params.image_max_tokens = p.image_max_tokens;
    return params;
}

// What went wrong, in the words of the log.
[[noreturn]] void fail(tq_status status, const std::string & what, const tq::error_log & log) {
    throw tq::failure(status, what + (log.text().empty() ? "the engine gave no reason" : log.text()));
}

// Attention of every token of a batch to all of them, while it lives.
class without_causal_mask {
public:
    without_causal_mask(llama_context * context, bool on) : context(on ? context : nullptr) { set(false); }
    ~without_causal_mask() { set(true); }
    without_causal_mask(const without_causal_mask &) = delete;

private:
    void set(bool causal) {
        if (context) {
            llama_set_causal_attn(context, causal);
        }
    }
    llama_context * context;
};

} // namespace

extern "C" tq_status tq_projector_load(const tq_model * model, const char * path, const tq_projector_params * params,
        tq_projector ** out, tq_text * error) {
    return tq::guard(error, [&] {
        tq::not_null(model, "model");
        tq::error_log log;
        tq::abort_as_error aborts;
        auto projector = std::make_unique<tq_projector>();
        projector->model = model;
        projector->raw.reset(mtmd_init_from_file(tq::not_null(path, "path"), model->raw, settings(*tq::not_null(params, "params"))));
        if (!projector->raw) {
            fail(TQ_LOAD, "", log);
        }
        *out = projector.release();
    });
}

extern "C" void tq_projector_free(tq_projector * projector) {
    delete projector;
}

extern "C" tq_status tq_projector_describe(const tq_projector * projector, tq_text * out, tq_text * error) {
    return tq::guard(error, [&] {
        const auto * raw = tq::not_null(projector, "projector")->raw.get();
        tq::put_text(out, json {
            { "images", mtmd_support_vision(raw) },
            { "audio",  mtmd_support_audio(raw) },
            { "mrope",  mtmd_decode_use_mrope(raw) },
            { "n_embd", llama_model_n_embd_inp(projector->model->raw) },
        }.dump());
    });
}

extern "C" tq_status tq_projector_memory(const char * path, const tq_projector_params * params, tq_text * out, tq_text * error) {
    return tq::guard(error, [&] {
        tq::error_log log;
        tq::abort_as_error aborts;
        const auto usage = mtmd_get_memory_usage(tq::not_null(path, "path"), settings(*tq::not_null(params, "params")));
        if (usage.backend_mem_usage.empty()) {
            fail(TQ_LOAD, "", log);
        }
        json devices = json::object();
        for (const auto & [device, bytes] : usage.backend_mem_usage) {
            const char * name = ggml_backend_dev_name(device);
            devices[name] = devices.value(name, (size_t) 0) + bytes;
        }
        tq::put_text(out, json {
            { "devices",          devices },
            { "image_max_tokens", usage.image_max_tokens > 0 ? json(usage.image_max_tokens) : json() },
            { "non_causal",       usage.use_non_causal },
        }.dump());
    });
}

extern "C" tq_status tq_projector_prepare(const tq_projector * projector, const tq_image * image, tq_chunks ** out, tq_text * error) {
    return tq::guard(error, [&] {
        const auto * raw = tq::not_null(projector, "projector")->raw.get();
        const auto & pixels = *tq::not_null(image, "image");
        tq::error_log log;
        tq::abort_as_error aborts; // preparing an image computes nothing that other threads wait for
        const mtmd::bitmap_ptr bitmap(mtmd_bitmap_init(pixels.width, pixels.height, tq::not_null(pixels.rgb, "pixels")));
        const mtmd_bitmap * bitmaps[] = { bitmap.get() };
        const char * marker = mtmd_get_marker(raw);
        const mtmd_input_text text { marker, std::strlen(marker), /* add_special */ false, /* parse_special */ true };
        auto chunks = std::make_unique<tq_chunks>();
        if (mtmd_tokenize(raw, chunks->raw.get(), &text, bitmaps, 1) != 0) {
            fail(TQ_INVALID, "the image cannot be prepared for this model: ", log);
        }
        chunks->mrope = mtmd_decode_use_mrope(raw);
        for (size_t i = 0; i < mtmd_input_chunks_size(chunks->raw.get()); i++) {
            const auto * chunk = mtmd_input_chunks_get(chunks->raw.get(), i);
            const bool is_text = mtmd_input_chunk_get_type(chunk) == MTMD_INPUT_CHUNK_TYPE_TEXT;
            chunks->shapes.emplace_back(is_text ? mtmd_input_chunk_copy(chunk) : mtmd_input_chunk_get_placeholder(chunk));
            tq::not_null(chunks->shapes.back().get(), "a chunk of the image");
            chunks->non_causal.push_back(!is_text && mtmd_decode_use_non_causal(raw, chunk));
        }
        *out = chunks.release();
    });
}

extern "C" void tq_chunks_free(tq_chunks * chunks) {
    delete chunks;
}

extern "C" void tq_chunks_strip(tq_chunks * chunks) {
    chunks->raw.reset();
}

extern "C" tq_status tq_chunks_describe(const tq_chunks * chunks, tq_text * out, tq_text * error) {
    return tq::guard(error, [&] {
        json list = json::array();
        for (size_t i = 0; i < tq::not_null(chunks, "chunks")->shapes.size(); i++) {
            const auto * chunk = chunks->shapes[i].get();
            if (mtmd_input_chunk_get_type(chunk) == MTMD_INPUT_CHUNK_TYPE_TEXT) {
                size_t n = 0;
                const auto * tokens = mtmd_input_chunk_get_tokens_text(chunk, &n);
                list.push_back({ { "tokens", std::vector<llama_token>(tokens, tokens + n) } });
            } else {
                list.push_back({
                    { "n_tokens",    mtmd_input_chunk_get_n_tokens(chunks->image(i)) },
                    { "n_positions", mtmd_input_chunk_get_n_pos(chunk) },
                    { "non_causal",  (bool) chunks->non_causal[i] },
                });
            }
        }
        tq::put_text(out, list.dump());
    });
}

extern "C" tq_status tq_chunks_positions(const tq_chunks * chunks, size_t chunk, int32_t first, int32_t * positions,
        size_t capacity, tq_text * error) {
    return tq::guard(error, [&] {
        const auto * image = tq::not_null(chunks, "chunks")->image(chunk);
        const size_t n = mtmd_input_chunk_get_n_tokens(image);
        if (capacity != n*(chunks->mrope ? 4 : 1)) {
            throw tq::failure(TQ_INVALID, "room for " + std::to_string(capacity) + " positions of " + std::to_string(n) + " tokens");
        }
        if (!chunks->mrope) {
            for (size_t i = 0; i < n; i++) {
                positions[i] = first + (int32_t) i;
            }
            return;
        }
        std::vector<mtmd_decoder_pos> relative(n);
        mtmd_helper_image_get_decoder_pos(mtmd_input_chunk_get_tokens_image(image), first, relative.data());
        for (size_t i = 0; i < n; i++) {
            positions[i      ] = (int32_t) relative[i].t;
            positions[i + n  ] = (int32_t) relative[i].y;
            positions[i + n*2] = (int32_t) relative[i].x;
            positions[i + n*3] = (int32_t) relative[i].z;
        }
    });
}

extern "C" tq_status tq_projector_encode(tq_projector * projector, const tq_chunks * chunks, size_t chunk, float * embeddings,
        size_t capacity, tq_text * error) {
    return tq::guard(error, [&] {
        auto * raw = tq::not_null(projector, "projector")->raw.get();
        const auto * shape = tq::not_null(chunks, "chunks")->image(chunk);
        const size_t n = mtmd_input_chunk_get_n_tokens(shape)*(size_t) llama_model_n_embd_inp(projector->model->raw);
        if (capacity != n) {
            throw tq::failure(TQ_INVALID, "room for " + std::to_string(capacity) + " of " + std::to_string(n) + " values");
        }
        const auto * pixels = mtmd_input_chunks_get(tq::not_null(chunks->raw.get(), "pixels of the image"), chunk);
        tq::error_log log;
        if (mtmd_encode_chunk(raw, pixels) != 0) {
            fail(TQ_ENGINE, "encoding an image failed: ", log);
        }
        const float * values = tq::not_null(mtmd_get_output_embd(raw), "output of the projector");
        std::copy(values, values + n, embeddings);
    });
}

extern "C" tq_status tq_context_decode_embeddings(tq_context * context, const tq_embeddings * embeddings, tq_text * error) {
    return tq::guard(error, [&] {
        const auto & e = *tq::not_null(embeddings, "embeddings");
        auto * ctx = tq::not_null(context, "context")->raw.get();
        const size_t n_embd = (size_t) llama_model_n_embd_inp(context->model->raw);
        const size_t most   = e.non_causal ? llama_n_ubatch(ctx) : llama_n_batch(ctx);
        if (e.n_tokens == 0 || e.n_values != e.n_tokens*n_embd) {
            throw tq::failure(TQ_INVALID, std::to_string(e.n_values) + " values for " + std::to_string(e.n_tokens) +
                    " embeddings of " + std::to_string(n_embd));
        }
        if (e.n_tokens > most) {
            throw tq::failure(TQ_INVALID, "an image of " + std::to_string(e.n_tokens) + " tokens is more than the " +
                    std::to_string(most) + " that are computed at once" + (e.non_causal ? " (raise n_ubatch)" : ""));
        }
        if (e.sequence < 0 || e.sequence >= (int32_t) llama_n_seq_max(ctx)) {
            throw tq::failure(TQ_INVALID, "sequence " + std::to_string(e.sequence) + " does not exist");
        }
        const auto rope = llama_model_rope_type(context->model->raw);
        const bool mrope = rope == LLAMA_ROPE_TYPE_MROPE || rope == LLAMA_ROPE_TYPE_IMROPE;
        if (e.n_sections != (mrope ? 4 : 1)) {
            throw tq::failure(TQ_INVALID, "positions of " + std::to_string(e.n_sections) + " sections do not fit this model");
        }
        llama_batch_ext_ptr batch(llama_batch_ext_init(ctx));
        for (size_t i = 0; i < e.n_tokens; i++) {
            const int32_t at = llama_batch_ext_add_embd(batch.get(), e.sequence, { e.values + i*n_embd, 1, n_embd });
            if (at < 0) {
                throw tq::failure(TQ_INVALID, "the engine refused embedding " + std::to_string(i) + ": code " + std::to_string(at));
            }
            llama_pos position[4] = {};
            for (size_t section = 0; section < e.n_sections; section++) {
                position[section] = e.positions[section*e.n_tokens + i];
            }
            llama_batch_ext_set_pos(batch.get(), at, position);
        }
        tq::error_log log;
        std::shared_lock adapters(context->model->adapters);
        const without_causal_mask mask(ctx, e.non_causal);
        const int32_t status = llama_process(ctx, LLAMA_PROCESS_TYPE_DECODE, batch.get());
        switch (status) {
            case 0:  return;
            case 1:  throw tq::failure(TQ_FULL, "no room in the KV cache for " + std::to_string(e.n_tokens) + " more tokens");
            case 2:  throw tq::failure(TQ_ABORTED, "decoding was stopped");
            default: fail(TQ_ENGINE, "decoding an image failed with code " + std::to_string(status) + ": ", log);
        }
    });
}
