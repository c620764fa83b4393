// Random-weight models, for tests and for planning: any shape, no download. Written through the gguf C API,
// tensor by tensor in slices of rows, so that memory stays small whatever the size of the file.
#include "status.hpp"
#include "synth.hpp"

#include "ggml-cpp.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <random>

namespace {

using tq::synth_params;
using tq::synth_tensor;

constexpr size_t slice_values = size_t(1) << 20;

std::string human(uint64_t bytes) {
    char text[32];
    std::snprintf(text, sizeof text, bytes < (1u << 30) ? "%.1f MiB" : "%.2f GiB",
            (double) bytes / (bytes < (1u << 30) ? 1024.0*1024.0 : 1024.0*1024.0*1024.0));
    return text;
}

// splitmix64; the sum of four 16-bit parts is normal enough (excess kurtosis -0.3), needs no libm, and so
// gives the same file on every machine.
struct normal_source {
    uint64_t state;

    float next(float deviation) {
        uint64_t z = state += 0x9e3779b97f4a7c15;
        z = (z ^ (z >> 30))*0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27))*0x94d049bb133111eb;
        z ^= z >> 31;
        const int sum = (int) ((z & 0xffff) + (z >> 16 & 0xffff) + (z >> 32 & 0xffff) + (z >> 48)) - 2*0xffff;
        // a sum of four uniforms on 0..65535 has the deviation 65536/sqrt(3)
        return (float) sum*(1.7320508f/65536.0f)*deviation;
    }
};

struct layout {
    std::vector<synth_tensor> tensors;
    ggml_context_ptr          ctx;
    gguf_context_ptr          gguf;
    uint64_t                  meta_bytes = 0, bytes = 0;

    explicit layout(const synth_params & p) : tensors(synth_tensors(p)), gguf(gguf_init_empty()) {
        ctx.reset(ggml_init({ (tensors.size() + 1)*ggml_tensor_overhead(), nullptr, true }));
        if (!ctx || !gguf) {
            throw std::bad_alloc();
        }
        synth_metadata(gguf.get(), p);
        for (const auto & t : tensors) {
            ggml_tensor * shape = ggml_new_tensor(ctx.get(), t.type, (int) t.ne.size(), t.ne.data());
            ggml_set_name(shape, t.name.c_str());
            gguf_add_tensor(gguf.get(), shape);
            bytes += GGML_PAD(ggml_nbytes(shape), gguf_get_alignment(gguf.get()));
        }
        meta_bytes = gguf_get_meta_size(gguf.get());
        bytes += meta_bytes;
    }
};

// The file under a temporary name: removed unless it was completed.
struct partial_file {
    std::filesystem::path target, temporary;
    FILE *                file;

    partial_file(const char * path) : target(std::filesystem::u8path(path)), temporary(target) {
        temporary += "." + std::to_string(std::random_device()()) + ".partial";
        file = std::fopen(temporary.string().c_str(), "wb");
        if (!file) {
            fail("creating");
        }
    }

    ~partial_file() {
        if (file) {
            std::fclose(file);
            std::error_code ignored;
            std::filesystem::remove(temporary, ignored);
        }
    }

    [[noreturn]] void fail(const char * what) const {
        throw tq::failure(TQ_INVALID, std::string(what) + " " + temporary.string() + ": " + std::strerror(errno));
    }

    void write(const void * data, size_t size) {
        if (std::fwrite(data, 1, size, file) != size) {
            fail("writing");
        }
    }

    void complete() {
        if (std::fflush(file) != 0) {
            fail("writing");
        }
        std::error_code error;
        std::filesystem::rename(temporary, target, error);
        if (error) {
            throw tq::failure(TQ_INVALID, "renaming " + temporary.string() + " to " + target.string() + ": " + error.message());
        }
        std::fclose(file); // everything is flushed: cannot fail any more
        file = nullptr;
    }
};

void needs_room(const char * path, uint64_t bytes) {
    auto            folder = std::filesystem::u8path(path).parent_path();
    std::error_code error;
    const auto      space = std::filesystem::space(folder.empty() ? "." : folder, error);
    // where the question cannot be asked, the write itself will tell
    if (!error && space.available < bytes) {
        throw tq::failure(TQ_INVALID, std::string("writing ") + path + ": the model takes " + human(bytes) + ", but only " +
                human(space.available) + " are free there");
    }
}

template <typename Progress> void write_tensor(partial_file & out, const synth_tensor & t, size_t alignment, normal_source & source,
        Progress && progress) {
    const int64_t columns = t.ne[0];
    int64_t       rows    = 1;
    for (size_t d = 1; d < t.ne.size(); d++) {
        rows *= t.ne[d];
    }
    const size_t  row_bytes = ggml_row_size(t.type, columns);
    const int64_t step      = std::max<int64_t>(1, (int64_t) slice_values/columns);
    std::vector<float> values;
    std::vector<char>  packed;
    for (int64_t row = 0; row < rows; row += step) {
        const int64_t n = std::min(step, rows - row);
        values.resize((size_t) (n*columns));
        for (float & value : values) {
            value = t.mean + (t.deviation > 0.0f ? source.next(t.deviation) : 0.0f);
        }
        packed.resize(row_bytes*(size_t) n);
        ggml_quantize_chunk(t.type, values.data(), packed.data(), 0, n, columns, nullptr);
        out.write(packed.data(), packed.size());
        progress(packed.size());
    }
    const size_t size = row_bytes*(size_t) rows;
    const char   zeros[64] = {};
    out.write(zeros, GGML_PAD(size, alignment) - size);
}

} // namespace

extern "C" tq_status tq_model_synth_size(const char * params_json, uint64_t * bytes, tq_text * error) {
    return tq::guard(error, [&] {
        *tq::not_null(bytes, "bytes") = layout(synth_params::parse(tq::not_null(params_json, "params"))).bytes;
    });
}

extern "C" tq_status tq_model_synth(const char * path, const char * params_json, tq_progress_callback progress, void * user,
        tq_text * error) {
    return tq::guard(error, [&] {
        const auto p = synth_params::parse(tq::not_null(params_json, "params"));
        layout     plan(p);
        needs_room(tq::not_null(path, "path"), plan.bytes);
        partial_file out(path);

        uint64_t written = 0;
        auto     advance = [&](size_t size) {
            written += size;
            if (progress && !progress((float) ((double) written/(double) plan.bytes), user)) {
                throw tq::failure(TQ_ABORTED, std::string("writing ") + path + " was stopped");
            }
        };
        std::vector<char> meta(plan.meta_bytes);
        gguf_get_meta_data(plan.gguf.get(), meta.data());
        out.write(meta.data(), meta.size());
        advance(meta.size());

        const size_t  alignment = gguf_get_alignment(plan.gguf.get());
        normal_source source { p.seed };
        for (const auto & t : plan.tensors) {
            write_tensor(out, t, alignment, source, advance);
        }
        out.complete();
    });
}
