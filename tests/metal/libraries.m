// libraries.m: the list of libraries and their compilation out of ggml-metal-device.m with our patch, checked by clang as
// Objective-C against declarations of ours (apple/apple.h). The Makefile cuts it out; nothing of it runs.
#include "apple/apple.h"

#include <stdlib.h>
#include <string.h>

#include "ggml-impl.h"
#include "ggml-metal-device.h"
#include "hooks/metal.h"

static const NSUInteger MTLLanguageVersion4_0_GGML = 4 << 16;

#include "libraries.inc"
