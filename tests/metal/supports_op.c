// supports_op.c: ggml_metal_device_supports_op out of ggml-metal-device.m with our patch, compiled as it is. The file is
// Objective-C, this function of it is plain C; the Makefile cuts it out.
#include "supports_op.h"

#include "ggml-backend-impl.h"
#include "ggml-impl.h"
#include "ggml-metal-common.h"
#include "ggml-metal-fusion.h"
#include "ggml-metal-impl.h"
#include "ggml-metal-ops.h"
#include "hooks/metal.h"

#include "supports_op.inc"
