#include "hooks/flash_attn.h"

#include "attention/attention.h"
#include "common/codec.h"

#include "ggml-cpu-impl.h"
#include "ggml-cpu.h"
#include "ggml.h"

#include <algorithm>
#include <atomic>
#include <cstring>

namespace {

std::atomic<bool>     leave_to_upstream { false };
std::atomic<uint64_t> n_fused { 0 }, n_upstream { 0 };

constexpr size_t line = 64;

void copy_floats(const void * row, float * out, int64_t n) {
    std::memcpy(out, row, (size_t) n*sizeof(float));
}

using to_float_fn = void (*)(const void *, float *, int64_t);

to_float_fn to_float_of(ggml_type type) {
    switch (type) {
        case GGML_TYPE_F32:  return copy_floats;
        case GGML_TYPE_F16:  return (to_float_fn) ggml_cpu_fp16_to_fp32;
        case GGML_TYPE_BF16: return (to_float_fn) ggml_cpu_bf16_to_fp32;
        default:             return ggml_get_type_traits(type)->to_float;
    }
}

tq_kv_side side_of(const ggml_tensor * t) {
    tq_kv_side side = {};
    side.data        = (const char *) t->data;
    side.key_stride  = t->nb[1];
    side.head_stride = t->nb[2];
    side.seq_stride  = t->nb[3];
    side.dim         = (int) t->ne[0];
    side.to_float    = to_float_of(t->type);
    if (const tq_type_info * info = tq_type_by_id(t->type)) {
        side.packing = TQ_PACKED_TURBO;
        side.bits    = info->bits;
        side.block   = info->block;
    } else if (t->type == GGML_TYPE_Q8_0) {
        side.packing = TQ_PACKED_Q8_0;
        side.bits    = 8;
        side.block   = 32;
    }
    return side;
}

bool is_compressed(const ggml_tensor * dst) {
    return ggml_is_quantized(dst->src[1]->type) || ggml_is_quantized(dst->src[2]->type);
}

// The op as a problem of kernels/attention; false when it is none.
bool problem_of(const ggml_tensor * dst, tq_attention * a) {
    const ggml_tensor * q     = dst->src[0];
    const ggml_tensor * k     = dst->src[1];
    const ggml_tensor * v     = dst->src[2];
    const ggml_tensor * mask  = dst->src[3];
    const ggml_tensor * sinks = dst->src[4];

    if (!is_compressed(dst) || q->type != GGML_TYPE_F32 || q->nb[0] != sizeof(float) || k->ne[2] != v->ne[2] || k->ne[3] != v->ne[3] ||
            k->nb[0] != ggml_type_size(k->type) || v->nb[0] != ggml_type_size(v->type) ||
            (mask && (mask->type != GGML_TYPE_F16 || mask->nb[0] != sizeof(ggml_fp16_t)))) {
        return false;
    }
    *a = {};
    a->q             = (const char *) q->data;
    a->q_stride      = q->nb[1];
    a->q_head_stride = q->nb[2];
    a->q_seq_stride  = q->nb[3];
    a->n_q           = (int) q->ne[1];
    a->n_head        = (int) q->ne[2];
    a->n_seq         = (int) q->ne[3];
    a->n_kv          = (int) k->ne[1];
    a->n_head_kv     = (int) k->ne[2];
    a->n_seq_kv      = (int) k->ne[3];
    a->k             = side_of(k);
    a->v             = side_of(v);
    if (mask) {
        a->mask             = (const char *) mask->data;
        a->mask_stride      = mask->nb[1];
        a->mask_head_stride = mask->nb[2];
        a->mask_seq_stride  = mask->nb[3];
        a->mask_heads       = (int) mask->ne[2];
        a->mask_seqs        = (int) mask->ne[3];
    }
    a->sinks = sinks ? (const float *) sinks->data : nullptr;
    std::memcpy(&a->scale,    (const float *) dst->op_params + 0, sizeof(float));
    std::memcpy(&a->max_bias, (const float *) dst->op_params + 1, sizeof(float));
    std::memcpy(&a->softcap,  (const float *) dst->op_params + 2, sizeof(float));
    a->dst        = (char *) dst->data;
    a->dst_stride = dst->nb[1];
    return tq_attention_supports(a);
}

size_t rounded(size_t bytes) {
    return (bytes + line - 1)/line*line;
}

} // namespace

size_t tq_flash_attn_work_size(const ggml_tensor * dst, int n_tasks) {
    tq_attention a;
    if (!problem_of(dst, &a)) {
        return 0;
    }
    // Sized whatever tq_flash_attn_use_upstream says: it may change between planning and computing.
    tq_attention_plan plan;
    tq_attention_make_plan(&a, tq_attention_active(), &plan);
    return line + rounded(plan.partial_bytes) + (size_t) n_tasks*rounded(plan.scratch_bytes);
}

bool tq_flash_attn_ext(const ggml_compute_params * params, ggml_tensor * dst) {
    tq_attention a;
    const bool upstream = params->use_ref || leave_to_upstream.load(std::memory_order_relaxed);
    if (upstream || !problem_of(dst, &a)) {
        if (params->ith == 0 && is_compressed(dst)) {
            n_upstream.fetch_add(1, std::memory_order_relaxed);
        }
        return false;
    }
    const tq_attention_impl * impl = tq_attention_active();
    tq_attention_plan plan;
    tq_attention_make_plan(&a, impl, &plan);

    char * base = (char *) (((uintptr_t) params->wdata + line - 1)/line*line);
    float * partials = (float *) base;
    char * scratch = base + rounded(plan.partial_bytes) + (size_t) params->ith*rounded(plan.scratch_bytes);
    GGML_ASSERT((size_t) (base - (char *) params->wdata) + rounded(plan.partial_bytes) + (size_t) params->nth*rounded(plan.scratch_bytes) <=
            params->wsize && "turboquant attention: work buffer too small");

    // Handing out units one by one evens out what other processes take, but costs a barrier.
    const bool shared = params->nth > 1 && plan.n_units >= 4*params->nth;
    if (shared) {
        if (params->ith == 0) {
            ggml_threadpool_chunk_set(params->threadpool, params->nth);
        }
        ggml_barrier(params->threadpool);
    }
    for (int unit = params->ith; unit < plan.n_units;
            unit = shared ? ggml_threadpool_chunk_add(params->threadpool, 1) : unit + params->nth) {
        impl->run_unit(&a, &plan, unit, scratch, partials);
    }
    if (plan.n_splits > 1) {
        ggml_barrier(params->threadpool);
        const int64_t rows = (int64_t) a.n_seq*a.n_q*a.n_head;
        impl->reduce(&a, &plan, rows*params->ith/params->nth, rows*(params->ith + 1)/params->nth, partials);
    }
    if (params->ith == 0) {
        n_fused.fetch_add(1, std::memory_order_relaxed);
    }
    return true;
}

void tq_flash_attn_use_upstream(bool upstream) {
    leave_to_upstream.store(upstream, std::memory_order_relaxed);
}

bool tq_flash_attn_uses_upstream(void) {
    return leave_to_upstream.load(std::memory_order_relaxed);
}

void tq_flash_attn_counts(uint64_t * fused, uint64_t * upstream) {
    *fused    = n_fused.load(std::memory_order_relaxed);
    *upstream = n_upstream.load(std::memory_order_relaxed);
}
