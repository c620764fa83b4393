#include "hooks/metal_pipelines.h"

#include <cstdio>
#include <cstring>
#include <mutex>
#include <set>
#include <string>

#include "ggml-metal-impl.h"
#include "ggml-metal-ops.h"
#include "hooks/faults.h"
#include "hooks/metal.h"

namespace {

std::mutex            lock;
std::set<std::string> libraries; // that the compiler refused
std::set<std::string> kernels;   // that could not be made: each attempt costs a compilation and a page of log

bool misses_library(const std::string & name) {
    const std::lock_guard<std::mutex> hold(lock);
    return libraries.count(name) > 0;
}

// What `make` makes, once refused always refused. `kernel`: its name with everything that it is specialized for.
template <typename Make> ggml_metal_pipeline_with_params make_once(const std::string & kernel, Make && make) {
    {
        const std::lock_guard<std::mutex> hold(lock);
        if (kernels.count(kernel) > 0) {
            return {};
        }
    }
    ggml_metal_pipeline_with_params pipeline = make();
    if (!pipeline.pipeline) {
        {
            const std::lock_guard<std::mutex> hold(lock);
            kernels.insert(kernel);
        }
        tq_fault_note("MTL", "no pipeline can be made for " + kernel + ", the log above has the reason", nullptr);
    }
    return pipeline;
}

std::string kv_f16_name(ggml_type type) {
    return std::string("kernel_flash_attn_ext_kv_") + ggml_type_name(type) + "_f16";
}

ggml_metal_pipeline_with_params pipeline_vec(ggml_metal_library_t lib, const ggml_tensor * op, const tq_metal_plan & plan, bool table) {
    float max_bias, logit_softcap;
    memcpy(&max_bias,      (const int32_t *) op->op_params + 1, sizeof(max_bias));
    memcpy(&logit_softcap, (const int32_t *) op->op_params + 2, sizeof(logit_softcap));
    const bool mask = op->src[3] != nullptr, sinks = op->src[4] != nullptr, bias = max_bias != 0.0f, scap = logit_softcap != 0.0f;

    char base[128];
    char name[256];
    snprintf(base, sizeof(base), "kernel_flash_attn_ext_vec_%s_%s_dk%d_dv%d", ggml_type_name(op->src[1]->type), ggml_type_name(op->src[2]->type),
        (int) op->src[1]->ne[0], (int) op->src[2]->ne[0]);
    snprintf(name, sizeof(name), "%s_mask=%d_sink=%d_bias=%d_scap=%d_nsg=%d_nwg=%d_rows=%d_table=%d", base, mask, sinks, bias, scap, plan.nsg, plan.nwg, plan.rows, table);

    return make_once(name, [&] {
        ggml_metal_pipeline_with_params res = ggml_metal_library_get_pipeline(lib, name);
        if (!res.pipeline) {
            ggml_metal_cv_t cv = ggml_metal_cv_init();
            ggml_metal_cv_set_bool (cv, mask,      FC_FLASH_ATTN_EXT_VEC + 0);
            ggml_metal_cv_set_bool (cv, sinks,     FC_FLASH_ATTN_EXT_VEC + 1);
            ggml_metal_cv_set_bool (cv, bias,      FC_FLASH_ATTN_EXT_VEC + 2);
            ggml_metal_cv_set_bool (cv, scap,      FC_FLASH_ATTN_EXT_VEC + 3);
            ggml_metal_cv_set_int32(cv, plan.nsg,  FC_FLASH_ATTN_EXT_VEC + 22);
            ggml_metal_cv_set_int32(cv, plan.nwg,  FC_FLASH_ATTN_EXT_VEC + 23);
            ggml_metal_cv_set_int32(cv, plan.rows, FC_FLASH_ATTN_EXT_VEC + 24);
            ggml_metal_cv_set_bool (cv, table,     FC_FLASH_ATTN_EXT_VEC + 25);
            res = ggml_metal_library_compile_pipeline(lib, base, name, cv);
            ggml_metal_cv_free(cv);
        }
        return res;
    });
}

// Upstream dispatches copies with so many threads, whatever the pipeline's limit.
constexpr int COPY_THREADS = 256;

bool copies(const std::string & kernel, const ggml_metal_pipeline_with_params & pipeline) {
    if (!pipeline.pipeline) {
        return false;
    }
    const int room = ggml_metal_pipeline_max_theads_per_threadgroup(pipeline);
    if (room < COPY_THREADS) {
        tq_fault_note("MTL", "the pipeline of " + kernel + " has room for " + std::to_string(room) + " threads, " + std::to_string(COPY_THREADS) + " are needed", nullptr);
    }
    return room >= COPY_THREADS;
}

} // namespace

bool tq_metal_without_library(const char * library, const char * error) {
    if (strncmp(library, "turbo_", 6) != 0) {
        return false;
    }
    {
        const std::lock_guard<std::mutex> hold(lock);
        libraries.insert(library);
    }
    tq_fault_note("MTL", std::string("the Metal library ") + library + " does not compile", error);
    return true;
}

ggml_metal_pipeline_with_params tq_metal_pipeline_kv_f16(ggml_metal_library_t lib, ggml_type type) {
    const std::string name = kv_f16_name(type);
    return make_once(name, [&] {
        const ggml_metal_pipeline_with_params res = ggml_metal_library_get_pipeline(lib, name.c_str());
        return res.pipeline ? res : ggml_metal_library_compile_pipeline(lib, name.c_str(), name.c_str(), nullptr);
    });
}

tq_metal_vec tq_metal_vec_for(ggml_metal_device_t dev, const ggml_tensor * op) {
    const ggml_metal_device_props * props = ggml_metal_device_get_props(dev);
    const ggml_tensor *             q     = op->src[0];
    const ggml_tensor *             k     = op->src[1];
    // a pipeline that needs many registers has fewer threads: a simdgroup is what every one has
    for (int most = TQ_METAL_SIMDGROUPS;; most /= 2) {
        tq_metal_vec vec = {};
        vec.plan = tq_metal_plan_for((int) k->ne[0], (int) op->src[2]->ne[0], (int) (q->ne[2]/k->ne[2]), (int) q->ne[1], k->ne[1],
            props->max_theadgroup_memory_size, most);
        vec.pipeline = pipeline_vec(ggml_metal_device_get_library(dev), op, vec.plan, tq_metal_family_of(props->gpu_family).threadgroup);
        if (most == 1 || (vec.pipeline.pipeline && vec.plan.nsg*32 <= ggml_metal_pipeline_max_theads_per_threadgroup(vec.pipeline))) {
            return vec;
        }
    }
}

bool tq_metal_has_pipelines(ggml_metal_device_t dev, const ggml_tensor * op) {
    ggml_metal_library_t lib = ggml_metal_device_get_library(dev);
    const ggml_tensor *  src = op->src[0];
    if (!lib || misses_library("turbo_codec")) {
        return false;
    }
    const std::string what = std::string(ggml_op_name(op->op)) + " of " + ggml_type_name(src->type) + " to " + ggml_type_name(op->type);
    switch (op->op) {
        case GGML_OP_SET_ROWS:
            return make_once(what + " by " + ggml_type_name(op->src[1]->type), [&] { return ggml_metal_library_get_pipeline_set_rows(lib, op); }).pipeline != nullptr;
        case GGML_OP_GET_ROWS:
            return make_once(what, [&] { return ggml_metal_library_get_pipeline_get_rows(lib, src->type); }).pipeline != nullptr;
        case GGML_OP_CPY:
        case GGML_OP_DUP:
        case GGML_OP_CONT:
            return copies(what, make_once(what, [&] { return ggml_metal_library_get_pipeline_cpy(lib, src->type, op->type); }));
        default:
            break;
    }
    // Attention: a cache that decodes must take a prompt too, so both ways are asked for, whatever this op's number of queries.
    const char * library = tq_metal_library((int) op->src[1]->ne[0], (int) op->src[2]->ne[0]);
    if (!library || misses_library(library)) {
        return false;
    }
    for (const ggml_tensor * side : { op->src[1], op->src[2] }) {
        if (!copies(kv_f16_name(side->type), tq_metal_pipeline_kv_f16(lib, side->type))) {
            return false;
        }
    }
    return !ggml_metal_op_flash_attn_ext_use_vec(op) || tq_metal_vec_for(dev, op).pipeline.pipeline;
}
