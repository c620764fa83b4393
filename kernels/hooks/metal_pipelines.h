// Pipelines of the turbo kernels: made when upstream asks whether Metal can run an op, found again when it is encoded.
#pragma once

#include "ggml-metal-device.h"
#include "hooks/metal_attention.h"

// The pipeline that copies K or V to f16, each side by its own type.
ggml_metal_pipeline_with_params tq_metal_pipeline_kv_f16(ggml_metal_library_t lib, ggml_type type);

// Attention of few queries: its plan, and the pipeline made for it. No pipeline: it cannot be made.
struct tq_metal_vec {
    tq_metal_plan                   plan;
    ggml_metal_pipeline_with_params pipeline;
};
tq_metal_vec tq_metal_vec_for(ggml_metal_device_t dev, const ggml_tensor * op);

// Can every pipeline be made that this op on a turbo tensor needs? Those that cannot are noted (hooks/faults.h).
bool tq_metal_has_pipelines(ggml_metal_device_t dev, const ggml_tensor * op);
