// AVX-512 with AMX for the products.
#include "../common/encode.h"
#include "impl.h"

#if TQ_KNOWS_VNNI_AND_AMX

#include "target.h"
TQ_TARGET_BEGIN("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,amx-tile,amx-int8")

#define TQ_VEC    TQ_INLINE
#define TQ_TILE   128
#define TQ_PACKED 1

#include "vec_avx512.h"

#include "amx.h"
#include "vnni.h"

// Below this many products of a row and a key, loading and storing tiles costs more than it saves.
#define WORTH_TILES 384

static _Thread_local bool with_tiles;

static void packed_begin(void) {
    with_tiles = false;
}

static void packed_end(void) {
    if (with_tiles) {
        amx_end();
    }
}

static bool worth_tiles(int rows, int keys) {
    if (rows * keys < WORTH_TILES) {
        return false;
    }
    if (!with_tiles) {
        amx_begin();
        with_tiles = true;
    }
    return true;
}

// Both ways give the same integers, so the choice does not show in the result.
static void packed_scores(const tq_attention * a, const tq_scratch * t, int first, int n, int all, int count) {
    (worth_tiles(n, count) ? amx_scores : vnni_scores)(a, t, first, n, all, count);
}

static void packed_values(const tq_attention * a, const tq_scratch * t, int first, int n, int count) {
    (worth_tiles(n, count) ? amx_values : vnni_values)(a, t, first, n, count);
}

#include "unit.h"

TQ_TARGET_END

#include <cpuid.h>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>

// The kernel lends the tiles to a process that asks for them.
static bool tiles_granted(void) {
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#else
static bool tiles_granted(void) {
    return false;
}
#endif

static bool supported(void) {
    if (!tq_attention_avx512.supported()) {
        return false;
    }
    // __builtin_cpu_supports knows AMX from GCC 13 and clang 16 on only.
    unsigned a, b, c, d;
    const unsigned tile = 1u << 24, int8 = 1u << 25;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & tile) && (d & int8) && tiles_granted();
}

const tq_attention_impl tq_attention_amx = { "amx", supported, TQ_TILE, TQ_PACKED, run_unit, reduce };

#endif
