// Process-wide: backend registration, the log, devices.
#include "handles.hpp"
#include "status.hpp"

#include "build-info.h"
#include "common/codec.h"
#include "ggml-backend.h"
#include "hooks/faults.h"
#include "log.h"
#include "mtmd-helper.h"

#include <nlohmann/json.hpp>

#include <cstdio>
#include <mutex>

#if defined(__linux__)
#include <signal.h>
#include <unistd.h>
#endif

using json = nlohmann::ordered_json;

namespace {

tq_log_callback log_sink      = nullptr;
void *          log_sink_user = nullptr;

// A thread's texts may be gone before other thread-local objects are, whose end still logs: that has nowhere to go.
thread_local bool texts_are_gone = false;

struct text_of_thread {
    std::string text;
    ~text_of_thread() { texts_are_gone = true; }
};

// A line may arrive in pieces (GGML_LOG_LEVEL_CONT); each thread assembles its own.
thread_local text_of_thread log_text;
thread_local ggml_log_level log_line_level = GGML_LOG_LEVEL_INFO;

thread_local std::string * error_lines = nullptr;

thread_local bool abort_throws = false;

// Called by ggml_abort. The assertions of loading and creating stand in C++ code, which unwinds.
void on_abort(const char * message) {
    if (abort_throws) {
        throw tq::failure(TQ_ENGINE, message);
    }
    std::fprintf(stderr, "%s\n", message);
}

tq_log_level level_of(ggml_log_level level) {
    switch (level) {
        case GGML_LOG_LEVEL_ERROR: return TQ_LOG_ERROR;
        case GGML_LOG_LEVEL_WARN:  return TQ_LOG_WARN;
        case GGML_LOG_LEVEL_INFO:  return TQ_LOG_INFO;
        default:                   return TQ_LOG_DEBUG;
    }
}

void flush_line() {
    std::string & log_line = log_text.text;
    while (!log_line.empty() && (log_line.back() == '\n' || log_line.back() == '\r')) {
        log_line.pop_back();
    }
    if (log_line.empty()) {
        return;
    }
    if (error_lines && log_line_level == GGML_LOG_LEVEL_ERROR) {
        if (!error_lines->empty()) {
            *error_lines += "; ";
        }
        *error_lines += log_line;
    }
    if (log_sink) {
        log_sink(level_of(log_line_level), log_line.c_str(), log_sink_user);
    }
    log_line.clear();
}

void on_log(ggml_log_level level, const char * text, void * /*user*/) {
    if (texts_are_gone) {
        return;
    }
    if (level != GGML_LOG_LEVEL_CONT) {
        flush_line();
        log_line_level = level;
    }
    std::string & log_line = log_text.text;
    log_line += text;
    if (!log_line.empty() && log_line.back() == '\n') {
        flush_line();
    }
}

const char * kind_of(ggml_backend_dev_t dev) {
    switch (ggml_backend_dev_type(dev)) {
        case GGML_BACKEND_DEVICE_TYPE_CPU:  return "cpu";
        case GGML_BACKEND_DEVICE_TYPE_GPU:  return "gpu";
        case GGML_BACKEND_DEVICE_TYPE_IGPU: return "igpu";
        default:                            return "accel";
    }
}

#if defined(__linux__)
struct sigaction before_bus;

// Only what a signal handler may call.
void on_bus(int, siginfo_t * info, void *) {
    if (info->si_code == BUS_ADRERR) {
        static const char text[] =
            "error: a file that is mapped into memory became shorter while it was in use: a model file was overwritten or "
            "truncated. Replace model files by renaming a new one over them, or load them with --no-mmap.\n";
        if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0) {
            // there is nobody to tell
        }
    }
    // the access is tried again, and what happens then is what would have happened without this
    sigaction(SIGBUS, &before_bus, nullptr);
}
#endif

} // namespace

namespace tq {

thread_local std::string error_buffer;

abort_as_error::abort_as_error() {
    abort_throws = true;
}

abort_as_error::~abort_as_error() {
    abort_throws = false;
}

error_log::error_log() {
    error_buffer.clear();
    error_lines = &error_buffer;
}

error_log::~error_log() {
    error_lines = nullptr;
}

std::string error_log::text() const {
    return error_buffer;
}

} // namespace tq

extern "C" void tq_text_free(tq_text * text) {
    if (text) {
        std::free(text->data);
        text->data = nullptr;
        text->len  = 0;
    }
}

extern "C" tq_status tq_process_init(tq_log_callback log, void * user, tq_text * error) {
    return tq::guard(error, [&] {
        log_sink      = log;
        log_sink_user = user;
        llama_log_set(on_log, nullptr);
        mtmd_helper_log_set(on_log, nullptr);
        ggml_set_abort_callback(on_abort);
        common_log_set_verbosity_thold(-1); // common's own logger prints by itself; what matters comes back as errors
        llama_backend_init();
        ggml_backend_load_all();
        if (ggml_backend_dev_count() == 0) {
            throw tq::failure(TQ_ENGINE, "the engine was built without any backend");
        }
    });
}

extern "C" tq_status tq_process_explain_faults(tq_text * error) {
    return tq::guard(error, [&] {
#if defined(__linux__)
        static std::once_flag once;
        std::call_once(once, [] {
            struct sigaction action = {};
            action.sa_sigaction = on_bus;
            action.sa_flags     = SA_SIGINFO | SA_ONSTACK;
            sigemptyset(&action.sa_mask);
            if (sigaction(SIGBUS, &action, &before_bus) != 0) {
                throw tq::failure(TQ_ENGINE, "the system refuses a handler of SIGBUS");
            }
        });
#endif
    });
}

extern "C" void tq_process_exit(int32_t code) {
    std::_Exit(code);
}

extern "C" tq_status tq_process_describe(tq_text * out, tq_text * error) {
    return tq::guard(error, [&] {
        json backends = json::array();
        for (size_t i = 0; i < ggml_backend_reg_count(); i++) {
            backends.push_back(ggml_backend_reg_name(ggml_backend_reg_get(i)));
        }
        json features = json::object();
        if (auto * reg = ggml_backend_reg_by_name("CPU")) {
            auto * get = (ggml_backend_get_features_t) ggml_backend_reg_get_proc_address(reg, "ggml_backend_get_features");
            for (auto * f = get ? get(reg) : nullptr; f && f->name; f++) {
                features[f->name] = f->value;
            }
        }
        tq::put_text(out, json {
            { "llama_cpp",     llama_version() },
            { "compiler",      llama_compiler() },
            { "target",        llama_build_target() },
            { "codec_version", TQ_CODEC_VERSION },
            { "codec",         tq_codec_active()->name },
            { "backends",      backends },
            { "cpu_features",  features },
        }.dump());
    });
}

extern "C" tq_status tq_devices(tq_text * out, tq_text * error) {
    return tq::guard(error, [&] {
        json list = json::array();
        for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
            auto * dev = ggml_backend_dev_get(i);
            size_t free = 0, total = 0;
            ggml_backend_dev_memory(dev, &free, &total);
            const char * backend = ggml_backend_reg_name(ggml_backend_dev_backend_reg(dev));
            list.push_back({
                { "name",         ggml_backend_dev_name(dev) },
                { "description",  ggml_backend_dev_description(dev) },
                { "kind",         kind_of(dev) },
                { "backend",      backend },
                { "faults",       tq_faults(backend) },
                { "memory_free",  free },
                { "memory_total", total },
            });
        }
        tq::put_text(out, list.dump());
    });
}

extern "C" tq_status tq_device_runs_attention(size_t device, int32_t type_k, int32_t type_v, uint32_t head_dim_k,
        uint32_t head_dim_v, bool * runs, tq_text * error) {
    return tq::guard(error, [&] {
        if (device >= ggml_backend_dev_count()) {
            throw tq::failure(TQ_INVALID, "device " + std::to_string(device) + " does not exist");
        }
        auto * dev = ggml_backend_dev_get(device);
        for (int32_t type : { type_k, type_v }) {
            if (type < 0 || type >= GGML_TYPE_COUNT || ggml_blck_size((ggml_type) type) == 0) {
                throw tq::failure(TQ_INVALID, "no such type: " + std::to_string(type));
            }
        }
        *runs = false;
        if (head_dim_k % ggml_blck_size((ggml_type) type_k) != 0 || head_dim_v % ggml_blck_size((ggml_type) type_v) != 0) {
            return;
        }
        ggml_init_params params = { 32*ggml_tensor_overhead(), nullptr, true };
        std::unique_ptr<ggml_context, decltype(&ggml_free)> ctx(ggml_init(params), ggml_free);
        const int64_t n_kv = 256, n_heads = 2;
        auto * q    = ggml_new_tensor_3d(ctx.get(), GGML_TYPE_F32, head_dim_k, 1, n_heads);
        auto * k    = ggml_new_tensor_3d(ctx.get(), (ggml_type) type_k, head_dim_k, n_kv, n_heads);
        auto * v    = ggml_new_tensor_3d(ctx.get(), (ggml_type) type_v, head_dim_v, n_kv, n_heads);
        auto * mask = ggml_new_tensor_2d(ctx.get(), GGML_TYPE_F16, n_kv, 1);
        auto * attn = ggml_flash_attn_ext(ctx.get(), q, k, v, mask, 1.0f, 0.0f, 0.0f);
        auto writes = [&](ggml_type type, uint32_t head_dim) {
            auto * cache = ggml_new_tensor_2d(ctx.get(), type, n_heads*head_dim, n_kv);
            auto * rows  = ggml_new_tensor_2d(ctx.get(), GGML_TYPE_F32, n_heads*head_dim, 1);
            auto * ids   = ggml_new_tensor_1d(ctx.get(), GGML_TYPE_I64, 1);
            return ggml_backend_dev_supports_op(dev, ggml_set_rows(ctx.get(), cache, rows, ids));
        };
        *runs = ggml_backend_dev_supports_op(dev, attn) && writes((ggml_type) type_k, head_dim_k) && writes((ggml_type) type_v, head_dim_v);
    });
}

extern "C" int32_t tq_type_id(const char * name) {
    for (int id = 0; name && id < GGML_TYPE_COUNT; id++) {
        const char * known = ggml_type_name((ggml_type) id);
        if (known && ggml_blck_size((ggml_type) id) > 0 && std::strcmp(known, name) == 0) {
            return id;
        }
    }
    return -1;
}

extern "C" bool tq_type_layout(int32_t type, uint32_t * block, uint32_t * bytes) {
    if (type < 0 || type >= GGML_TYPE_COUNT || ggml_blck_size((ggml_type) type) == 0) {
        return false;
    }
    *block = (uint32_t) ggml_blck_size((ggml_type) type);
    *bytes = (uint32_t) ggml_type_size((ggml_type) type);
    return true;
}
