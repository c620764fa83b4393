// supports_op.h: the part of upstream's device that its supports_op reads.
#pragma once

#include "ggml-metal-device.h"

struct ggml_metal_device {
    struct ggml_metal_device_props props;
};
