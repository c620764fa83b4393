#include "hooks/rotate_op.h"

#include "common/rotate.h"

#include "ggml-cpu-impl.h"
#include "ggml.h"

void tq_compute_forward_rotate(const struct ggml_compute_params * params, struct ggml_tensor * dst) {
    const ggml_tensor * src = dst->src[1];

    GGML_ASSERT(src->type == GGML_TYPE_F32 && dst->type == GGML_TYPE_F32);
    GGML_ASSERT(src->nb[0] == sizeof(float) && dst->nb[0] == sizeof(float));

    const int     n     = (int) src->ne[0];
    const int64_t rows  = ggml_nrows(src);
    const int64_t first = rows*params->ith/params->nth;
    const int64_t last  = rows*(params->ith + 1)/params->nth;

    for (int64_t row = first; row < last; row++) {
        const int64_t i3 = row/(src->ne[1]*src->ne[2]);
        const int64_t i2 = row/src->ne[1] - i3*src->ne[2];
        const int64_t i1 = row - (i3*src->ne[2] + i2)*src->ne[1];
        const char * from = (const char *) src->data + i1*src->nb[1] + i2*src->nb[2] + i3*src->nb[3];
        char *       to   = (char *)       dst->data + i1*dst->nb[1] + i2*dst->nb[2] + i3*dst->nb[3];
        tq_rotate_f32((const float *) from, (float *) to, n);
    }
}
