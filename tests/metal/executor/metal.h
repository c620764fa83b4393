// metal.h: everything a translated .metal file or a host program of the executor includes.
//
//   machine.h  fibers, simdgroups, barriers       types.h   scalars, vectors, matrices
//   memory.h   guarded buffers                    math.h    arithmetic functions
//   launch.h   constants and launches             simd.h    barriers and simd functions
//   bind.h     kernel parameters                  matrix.h  8x8 simdgroup matrices, atomics
#pragma once

#include "bind.h"
#include "launch.h"
#include "matrix.h"

// The keywords, in translated kernel sources only.
#if defined(MSL_KERNEL_TU)
#define kernel
#define device
#define constant const
#define thread
#define threadgroup
#define HALF_MAX  ((half) 65504.0f)
#define MAXHALF   ((half) 65504.0f)
#define HALF_MIN  ((half) 6.103515625e-05f)
#define MAXFLOAT_ 3.402823466e+38f
#define M_PI_F    3.14159265358979323846f
#define M_SQRT2_F 1.41421356237309504880f
#define M_LN2_F   0.69314718055994530942f
#define M_LOG2E_F 1.44269504088896340736f
#ifndef FLT_MAX
#define FLT_MAX   3.402823466e+38f
#define FLT_MIN   1.175494351e-38f
#define FLT_EPSILON 1.192092896e-07f
#endif
#undef  MAXFLOAT_
#endif
