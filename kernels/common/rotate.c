#include "rotate.h"

#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "encode.h"

#define TQ_SIGN_SEED UINT64_C(0x7475726271756e74)

static uint64_t sign_word(uint64_t index) {
    uint64_t z = TQ_SIGN_SEED + (index + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

float tq_sign(int i) {
    assert(i >= 0 && i < TQ_ROTATE_MAX);
    return (sign_word((uint64_t) i / 64) >> (i % 64)) & 1 ? -1.0f : 1.0f;
}

static int is_width(int n) {
    return n >= 64 && n <= TQ_ROTATE_MAX && (n & (n - 1)) == 0;
}

// Sixteen lanes, which the compiler spreads over what registers the target has: one of AVX-512, four of NEON.
typedef float    lanes __attribute__((vector_size(64)));
typedef uint32_t bits16 __attribute__((vector_size(64)));
#define LANES 16

// Macros, because a function that takes or returns a vector wider than the baseline's has no settled ABI.
#define LANE ((bits16) { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 })

// Flips the sign of the lanes whose bit 31 is set; exact, like a product with -1.
#define FLIP(x, signs) ((lanes) ((bits16) (x) ^ (signs)))

// Bit 31 of lane i: bit i of sixteen.
#define SIGNS(sixteen) ((((((bits16) { 0 }) + (sixteen)) >> LANE) & 1u) << 31)

TQ_INLINE uint32_t signs_from(int v) {
    return (uint32_t) (sign_word((uint64_t) v / 4) >> (v % 4 * LANES)) & 0xffffu;
}

// GCC wants to be told, clang unrolls by itself and complains about the one width that is a variable. And each has its
// own name for a shuffle (GCC knows clang's from version 12 on).
#if defined(__clang__)
#define UNROLL
#define SHUFFLE(x, ...) __builtin_shufflevector(x, x, __VA_ARGS__)
#else
#define UNROLL          TQ_UNROLL
#define SHUFFLE(x, ...) __builtin_shuffle(x, (bits16) { __VA_ARGS__ })
#endif

// One butterfly within a vector: lane i meets lane i ^ half.
#define BUTTERFLY(x, half, ...)                                                                       \
    do {                                                                                              \
        const lanes other = SHUFFLE(x, __VA_ARGS__);                                                  \
        x                 = other + FLIP(x, ((LANE / (half)) & 1u) << 31);                            \
    } while (0)

// The order of the butterflies is part of the definition: the same bits from every target.
TQ_INLINE void rotate(const float * src, float * dst, int n) {
    lanes     x[TQ_ROTATE_MAX / LANES];
    const int count = n / LANES;
    UNROLL
    for (int v = 0; v < count; v++) {
        memcpy(&x[v], src + LANES * v, sizeof x[v]);
        x[v] = FLIP(x[v], SIGNS(signs_from(v)));
        BUTTERFLY(x[v], 1, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
        BUTTERFLY(x[v], 2, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
        BUTTERFLY(x[v], 4, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
        BUTTERFLY(x[v], 8, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    }
    UNROLL
    for (int half = 1; half < count; half *= 2) {
        UNROLL
        for (int base = 0; base < count; base += 2 * half) {
            UNROLL
            for (int v = base; v < base + half; v++) {
                const lanes a = x[v], b = x[v + half];
                x[v]        = a + b;
                x[v + half] = a - b;
            }
        }
    }
    const float scale = 1.0f / sqrtf((float) n);
    UNROLL
    for (int v = 0; v < count; v++) {
        const lanes y = FLIP(x[v], SIGNS(signs_from(v))) * scale;
        memcpy(dst + LANES * v, &y, sizeof y);
    }
}

// Widths of heads are constants, so that the loops unroll and the vectors stay in registers.
TQ_INLINE void rotate_any(const float * src, float * dst, int n) {
    switch (n) {
        case 64: rotate(src, dst, 64); break;
        case 128: rotate(src, dst, 128); break;
        case 256: rotate(src, dst, 256); break;
        default: rotate(src, dst, n); break;
    }
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static void rotate_avx512(const float * src, float * dst, int n) {
    rotate_any(src, dst, n);
}

__attribute__((target("avx2"))) static void rotate_avx2(const float * src, float * dst, int n) {
    rotate_any(src, dst, n);
}
#endif

static void rotate_plain(const float * src, float * dst, int n) {
    rotate_any(src, dst, n);
}

typedef void (*rotate_fn)(const float * src, float * dst, int n);

static rotate_fn best_rotate(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f")) {
        return rotate_avx512;
    }
    if (__builtin_cpu_supports("avx2")) {
        return rotate_avx2;
    }
#endif
    return rotate_plain;
}

void tq_rotate_f32(const float * src, float * dst, int n) {
    assert(is_width(n));
    // Whoever comes first writes; all would write the same.
    static rotate_fn chosen;
    rotate_fn        run = __atomic_load_n(&chosen, __ATOMIC_RELAXED);
    if (run == NULL) {
        run = best_rotate();
        __atomic_store_n(&chosen, run, __ATOMIC_RELAXED);
    }
    run(src, dst, n);
}

void tq_rotation_matrix(float * dst, int n) {
    assert(is_width(n));
    const float scale = 1.0f / sqrtf((float) n);
    for (int row = 0; row < n; row++) {
        for (int column = 0; column < n; column++) {
            // The Sylvester entry is -1 to the number of bits that row and column share.
            unsigned shared = (unsigned) row & (unsigned) column;
            int      odd    = 0;
            for (; shared != 0; shared &= shared - 1) {
                odd ^= 1;
            }
            const float sign = tq_sign(row) * tq_sign(column) * (odd ? -1.0f : 1.0f);
            dst[(long) row * n + column] = sign * scale;
        }
    }
}
