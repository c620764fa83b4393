#include "rotate.h"

#include <assert.h>
#include <math.h>
#include <stdint.h>

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

// dst[i] = src[i] * sign[i] * scale
static void apply_signs(const float * src, float * dst, int n, float scale) {
    for (int word = 0; word < n / 64; word++) {
        uint64_t bits = sign_word((uint64_t) word);
        for (int i = 64 * word; i < 64 * (word + 1); i++, bits >>= 1) {
            dst[i] = bits & 1 ? -src[i] * scale : src[i] * scale;
        }
    }
}

void tq_rotate_f32(const float * src, float * dst, int n) {
    assert(is_width(n));
    apply_signs(src, dst, n, 1.0f);
    for (int half = 1; half < n; half *= 2) {
        for (int base = 0; base < n; base += 2 * half) {
            for (int i = base; i < base + half; i++) {
                const float a = dst[i];
                const float b = dst[i + half];
                dst[i]        = a + b;
                dst[i + half] = a - b;
            }
        }
    }
    apply_signs(dst, dst, n, 1.0f / sqrtf((float) n));
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
