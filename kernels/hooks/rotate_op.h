// The CPU's way to multiply with a signed Hadamard matrix R = S H S (patches/0004): O(d log d) instead of the
// dense product that other backends fall back to, with the same result up to rounding.
#pragma once

struct ggml_compute_params;
struct ggml_tensor;

#ifdef __cplusplus
extern "C" {
#endif

// dst (f32) = src1 (f32) with every group of src0->ne[0] values rotated; src0 is the matrix, whose content the
// transform does not read: it is fixed by its width (kernels/common/rotate.h).
void tq_compute_forward_rotate(const struct ggml_compute_params * params, struct ggml_tensor * dst);

#ifdef __cplusplus
}
#endif
