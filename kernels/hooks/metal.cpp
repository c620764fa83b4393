#include "hooks/metal.h"

#include "hooks/metal_attention.h"
#include "hooks/metal_pipelines.h"

namespace {

bool is_turbo(const ggml_tensor * t) {
    return t != nullptr && tq_metal_is_turbo(ggml_type_name(t->type));
}

bool is_float(const ggml_tensor * t) {
    return t->type == GGML_TYPE_F32 || t->type == GGML_TYPE_F16;
}

// The copy kernels lay source rows down one after another: whole rows onto rows of the same length, or a plain sequence.
bool rows_match(const ggml_tensor * src, const ggml_tensor * dst) {
    return ggml_is_contiguous_rows(src) && (ggml_are_same_shape(src, dst) || ggml_is_contiguous(dst));
}

bool supports_attention(const ggml_tensor * op) {
    const ggml_tensor * q = op->src[0];
    const ggml_tensor * k = op->src[1];
    const ggml_tensor * v = op->src[2];
    const ggml_tensor * mask = op->src[3];
    if (q->type != GGML_TYPE_F32 || (mask != nullptr && mask->type != GGML_TYPE_F16)) {
        return false;
    }
    // For many queries K and V are copied to f16, counted in blocks by an int: a plain f16 side has a block per value.
    if (ggml_nelements(k)/ggml_blck_size(k->type) > INT32_MAX || ggml_nelements(v)/ggml_blck_size(v->type) > INT32_MAX) {
        return false;
    }
    return ggml_is_contiguous_rows(q) && ggml_is_contiguous_rows(k) && ggml_is_contiguous_rows(v) &&
           tq_metal_has_kernel(ggml_type_name(k->type), ggml_type_name(v->type), (int) k->ne[0], (int) v->ne[0]);
}

// Is a kernel written for this op?
bool has_kernel(const ggml_tensor * op) {
    const ggml_tensor * src = op->src[0];
    switch (op->op) {
        case GGML_OP_SET_ROWS:
            return is_turbo(op) && is_float(src) && ggml_is_contiguous_rows(src);
        case GGML_OP_GET_ROWS:
            return is_turbo(src) && op->type == GGML_TYPE_F32 && op->src[1]->type == GGML_TYPE_I32;
        case GGML_OP_CPY:
        case GGML_OP_DUP:
        case GGML_OP_CONT:
            return is_turbo(op) != is_turbo(src) && (is_float(op) || is_float(src)) && rows_match(src, op);
        case GGML_OP_FLASH_ATTN_EXT:
            return supports_attention(op);
        default:
            return false;
    }
}

} // namespace

bool tq_metal_concerns(const ggml_tensor * op) {
    switch (op->op) {
        case GGML_OP_NONE:
        case GGML_OP_RESHAPE:
        case GGML_OP_VIEW:
        case GGML_OP_TRANSPOSE:
        case GGML_OP_PERMUTE:
            return false;
        default:
            break;
    }
    for (const ggml_tensor * src : op->src) {
        if (is_turbo(src)) {
            return true;
        }
    }
    return is_turbo(op);
}

bool tq_metal_supports_op(ggml_metal_device * dev, const ggml_tensor * op) {
    const ggml_metal_device_props * props = ggml_metal_device_get_props(dev);
    // simdgroup reductions and matrices: Apple7, that is M1 or A14, and later
    return props->has_simdgroup_reduction && props->has_simdgroup_mm && has_kernel(op) && tq_metal_has_pipelines(dev, op);
}

bool tq_metal_attention(const ggml_tensor * op) {
    return op->op == GGML_OP_FLASH_ATTN_EXT && (is_turbo(op->src[1]) || is_turbo(op->src[2]));
}

int32_t tq_metal_threads_per_block(ggml_type type) {
    return tq_metal_is_turbo(ggml_type_name(type)) ? 32 : 1;
}
