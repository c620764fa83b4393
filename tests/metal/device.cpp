#include "device.h"

#include <cstring>
#include <map>

#include "ggml-metal-fusion.h"
#include "supports_op.h"

// ---- what ggml-metal-device.m defines ------------------------------------------------------------

struct ggml_metal_cv {
    std::map<int, int64_t> values;
};
struct ggml_metal_pipeline {
    std::string            kernel;
    std::map<int, int64_t> constants;
};
struct ggml_metal_library {
    std::map<std::string, std::unique_ptr<ggml_metal_pipeline>> pipelines;
};
struct ggml_metal_encoder {
    const ggml_metal_pipeline *                 pipeline = nullptr;
    std::map<int, std::vector<unsigned char>>   bytes;
    std::map<int, void *>                       buffers;
    size_t                                      shared = 0;
    std::vector<std::function<void()>>          waiting; // since the last barrier
};

static ggml_metal_library        the_library;
static ggml_metal_device         the_device = [] {
    ggml_metal_device d = {};
    d.props.max_theadgroup_memory_size = msl::kMaxTgBytes;
    d.props.has_simdgroup_reduction = d.props.has_simdgroup_mm = d.props.has_unified_memory = true;
    d.props.gpu_family = 7;
    return d;
}();
static std::vector<std::string>  names;

const std::vector<std::string> & dispatched() { return names; }

static const Lacking * lacking = nullptr;
static int             failures = 0;

Lacking::Lacking() {
    lacking = this;
    the_library.pipelines.clear(); // what was made before is no longer there
}
Lacking::~Lacking() {
    lacking = nullptr;
    the_library.pipelines.clear();
}
int failed_pipelines() { return failures; }

static void finish(ggml_metal_encoder * e) {
    for (auto i = e->waiting.rbegin(); i != e->waiting.rend(); ++i) (*i)();
    e->waiting.clear();
}

// Metal numbers constants per library, which is a translation unit here. One that the pipeline does not set is given a
// value that no host would: a kernel of a pipeline must not read it.
static void specialize(const ggml_metal_pipeline & p) {
    const char * tu = msl::m().kernels.at(p.kernel).tu;
    for (const auto & entry : msl::m().constants) {
        const msl::Constant & c = entry.second;
        if (strcmp(c.tu, tu) != 0) continue;
        const auto set = p.constants.find(c.index);
        memset(c.ptr, 0x3b, c.size);
        if (set != p.constants.end()) memcpy(c.ptr, &set->second, c.size);
    }
}

extern "C" {

ggml_metal_cv_t ggml_metal_cv_init(void) { return new ggml_metal_cv; }
void ggml_metal_cv_free(ggml_metal_cv_t cv) { delete cv; }
void ggml_metal_cv_set_int16(ggml_metal_cv_t cv, int16_t value, int32_t i) { cv->values[i] = value; }
void ggml_metal_cv_set_int32(ggml_metal_cv_t cv, int32_t value, int32_t i) { cv->values[i] = value; }
void ggml_metal_cv_set_bool(ggml_metal_cv_t cv, bool value, int32_t i) { cv->values[i] = value; }

void ggml_metal_pipeline_free(ggml_metal_pipeline_t p) { delete p; }
// Pipelines that need many registers have fewer threads, in steps of 32 and no power of two. Upstream's reduction counts
// on all of them.
static int most_threads(const ggml_metal_pipeline * p) {
    if (lacking && lacking->threads && p->kernel.find(lacking->narrow) != std::string::npos) return lacking->threads;
    return p->kernel.find("turbo") == std::string::npos ? msl::kMaxThreads : 864;
}
int ggml_metal_pipeline_max_theads_per_threadgroup(ggml_metal_pipeline_with_params p) { return most_threads(p.pipeline); }

ggml_metal_device_t ggml_metal_library_get_device(ggml_metal_library_t) { return &the_device; }
ggml_metal_pipeline_with_params ggml_metal_library_get_pipeline(ggml_metal_library_t lib, const char * name) {
    const auto found = lib->pipelines.find(name);
    ggml_metal_pipeline_with_params r = {};
    r.pipeline = found == lib->pipelines.end() ? nullptr : found->second.get();
    return r;
}
ggml_metal_pipeline_with_params ggml_metal_library_compile_pipeline(ggml_metal_library_t lib, const char * base, const char * name, ggml_metal_cv_t cv) {
    msl::init();
    if (!msl::m().kernels.count(base)) {
        fprintf(stderr, "the host asks for %s, which no library has\n", base);
        exit(3);
    }
    if (lacking && ((!lacking->kernel.empty() && !strncmp(base, lacking->kernel.c_str(), lacking->kernel.size())) ||
                    lacking->library == msl::m().kernels.at(base).tu)) {
        failures++;
        return {};
    }
    auto p = std::make_unique<ggml_metal_pipeline>();
    p->kernel = base;
    if (cv) p->constants = cv->values;
    lib->pipelines[name] = std::move(p);
    return ggml_metal_library_get_pipeline(lib, name);
}

ggml_metal_encoder_t ggml_metal_encoder_init(ggml_metal_cmd_buf_t, bool) { return new ggml_metal_encoder; }
void ggml_metal_encoder_free(ggml_metal_encoder_t e) { delete e; }
void ggml_metal_encoder_end_encoding(ggml_metal_encoder_t e) { finish(e); }
void ggml_metal_encoder_memory_barrier(ggml_metal_encoder_t e) { finish(e); }
void ggml_metal_encoder_debug_group_push(ggml_metal_encoder_t, const char *) {}
void ggml_metal_encoder_debug_group_pop(ggml_metal_encoder_t) {}
void ggml_metal_encoder_set_pipeline(ggml_metal_encoder_t e, ggml_metal_pipeline_with_params p) { e->pipeline = p.pipeline; }
void ggml_metal_encoder_set_bytes(ggml_metal_encoder_t e, void * data, size_t size, int i) {
    e->bytes[i].assign((unsigned char *) data, (unsigned char *) data + size);
    e->buffers.erase(i);
}
void ggml_metal_encoder_set_buffer(ggml_metal_encoder_t e, ggml_metal_buffer_id b, int i) {
    e->buffers[i] = (char *) b.metal + b.offs;
    e->bytes.erase(i);
}
void ggml_metal_encoder_set_threadgroup_memory_size(ggml_metal_encoder_t e, size_t size, int) { e->shared = size; }
void ggml_metal_encoder_dispatch_threadgroups(ggml_metal_encoder_t e, int g0, int g1, int g2, int t0, int t1, int t2) {
    e->waiting.push_back([pipeline = e->pipeline, bytes = e->bytes, buffers = e->buffers, shared = e->shared, g0, g1, g2, t0, t1, t2]() mutable {
        if (t0*t1*t2 > most_threads(pipeline)) {
            fprintf(stderr, "%s: %d x %d x %d threads, its pipeline has %d\n", pipeline->kernel.c_str(), t0, t1, t2, most_threads(pipeline));
            exit(3);
        }
        specialize(*pipeline);
        names.push_back(pipeline->kernel);
        msl::Launch launch(pipeline->kernel.c_str());
        for (auto & b : bytes) launch.buffer(b.first, b.second.data());
        for (auto & b : buffers) launch.buffer(b.first, b.second);
        if (shared) launch.threadgroup(0, shared);
        launch.dispatch({ (uint32_t) g0, (uint32_t) g1, (uint32_t) g2 }, { (uint32_t) t0, (uint32_t) t1, (uint32_t) t2 });
    });
    e->shared = 0;
}

ggml_metal_device_t ggml_metal_device_init(int, int) { return &the_device; }
void ggml_metal_device_free(ggml_metal_device_t) {}
ggml_metal_library_t ggml_metal_device_get_library(ggml_metal_device_t) { return &the_library; }
const ggml_metal_device_props * ggml_metal_device_get_props(ggml_metal_device_t dev) { return &dev->props; }

ggml_metal_buffer_id ggml_metal_buffer_get_id(ggml_metal_buffer_t, const ggml_tensor * t) { return { t->data, 0 }; }

// ---- what ggml-metal.cpp and ggml-backend.cpp define ---------------------------------------------

size_t ggml_backend_buft_get_alloc_size(ggml_backend_buffer_type_t, const ggml_tensor * t) {
    size_t size = ggml_nbytes(t);
    if (t->op == GGML_OP_FLASH_ATTN_EXT) {
        size += ggml_metal_op_flash_attn_ext_extra_pad(t) + ggml_metal_op_flash_attn_ext_extra_blk(t) + ggml_metal_op_flash_attn_ext_extra_tmp(t) +
                ggml_metal_op_flash_attn_ext_extra_kv_f16(t) + ggml_metal_op_flash_attn_ext_extra_idx(t);
    }
    return size;
}
// asked for by parts of ggml.c that no test calls
void ggml_backend_tensor_memset(ggml_tensor *, uint8_t, size_t, size_t) { abort(); }
void ggml_backend_tensor_set(ggml_tensor *, const void *, size_t, size_t) { abort(); }
ggml_backend_buffer_usage ggml_backend_buffer_get_usage(ggml_backend_buffer_t) { return GGML_BACKEND_BUFFER_USAGE_ANY; }

} // extern "C"

bool supports(const ggml_tensor * op, bool simdgroups) {
    ggml_metal_device d = the_device;
    d.props.has_simdgroup_reduction = d.props.has_simdgroup_mm = simdgroups;
    return ggml_metal_device_supports_op(&d, op);
}

// ---- graphs --------------------------------------------------------------------------------------

Graph::Graph() { ctx = ggml_init({ 1 << 20, nullptr, true }); }
Graph::~Graph() { ggml_free(ctx); }

void Graph::place(ggml_tensor * t) {
    if (t->data) return;
    t->buffer = &buffer;
    if (t->view_src) {
        place(t->view_src);
        t->data = (char *) t->view_src->data + t->view_offs;
        return;
    }
    // rows of blocks are aligned to two bytes in a cache; where they end, the buffer ends
    memory.push_back(std::make_unique<msl::Guarded>(ggml_backend_buft_get_alloc_size(nullptr, t), ggml_is_quantized(t->type) ? 2 : 16));
    t->data = memory.back()->ptr;
    memset(t->data, 0xff, memory.back()->size);
}

void Graph::fill(ggml_tensor * t, const void * bytes) {
    place(t);
    memcpy(t->data, bytes, ggml_nbytes(t));
}

std::vector<uint8_t> Graph::run(ggml_tensor * result) {
    ggml_cgraph * graph = ggml_new_graph(ctx);
    ggml_build_forward_expand(graph, result);
    for (int i = 0; i < ggml_graph_n_nodes(graph); ++i) place(ggml_graph_node(graph, i));
    ggml_metal_fusion_info * fusion = ggml_metal_fusion_info_init(true, 0);
    ggml_metal_op_t          op     = ggml_metal_op_init(&the_device, nullptr, graph, fusion, 0, ggml_graph_n_nodes(graph), true, false, 0);
    for (int i = 0; i < ggml_metal_op_n_nodes(op);) i += ggml_metal_op_encode(op, i);
    ggml_metal_op_free(op);
    ggml_metal_fusion_info_free(fusion);
    const uint8_t * data = (const uint8_t *) result->data;
    return std::vector<uint8_t>(data, data + ggml_nbytes(result));
}
