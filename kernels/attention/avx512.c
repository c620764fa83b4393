// AVX-512 with VNNI.
#include "../common/encode.h"

#if defined(__x86_64__)

#include "target.h"
TQ_TARGET_BEGIN("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")

#define TQ_VEC    TQ_INLINE
#define TQ_TILE   128
#define TQ_PACKED 1

#include "vec_avx512.h"

#include "vnni.h"

static void packed_begin(void) {}

static void packed_end(void) {}

static void packed_scores(const tq_attention * a, const tq_scratch * t, int first, int n, int all, int count) {
    vnni_scores(a, t, first, n, all, count);
}

static void packed_values(const tq_attention * a, const tq_scratch * t, int first, int n, int count) {
    vnni_values(a, t, first, n, count);
}

#include "unit.h"

TQ_TARGET_END

static bool supported(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("fma");
}

const tq_attention_impl tq_attention_avx512 = { "avx512", supported, TQ_TILE, TQ_PACKED, run_unit, reduce };

#endif
