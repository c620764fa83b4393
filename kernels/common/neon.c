// NEON implementation, with and without the dot-product instructions (they differ only in the dot).
// Comments say only what differs from ref.c.
#include "impl.h"

#if defined(__aarch64__)

#include "../turbo2/neon.h"
#include "../turbo3/neon.h"
#include "../turbo4/neon.h"

// Tables for byte look-ups, 16 entries each; index 0 of the first dimension is width 2.
static const int8_t  levels_table[3][16] = { TQ_LEVELS_2, TQ_LEVELS_3, TQ_LEVELS_4 };
static const uint8_t mag_table[3][16]    = { TQ_MAG_2, TQ_MAG_3, TQ_MAG_4 };
static const uint8_t below_table[3][16]  = { TQ_BIN_BELOW_2, TQ_BIN_BELOW_3, TQ_BIN_BELOW_4 };
static const uint8_t rank_table[3][16]   = { TQ_BIN_RANK_2, TQ_BIN_RANK_3, TQ_BIN_RANK_4 };
static const float   grid[]              = TQ_GRID;

// ---- encode -------------------------------------------------------------------------------------

// The tree of encode.h over lanes 0..3, 4..7, 8..11, 12..15.
TQ_INLINE float lanes_sum_neon(const float32x4_t * lane) {
    const float32x4_t four = vaddq_f32(vaddq_f32(lane[0], lane[2]), vaddq_f32(lane[1], lane[3]));
    const float32x2_t two  = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

// Stores |x| to a and returns <x,x>.
TQ_INLINE float magnitudes_neon(const float * x, float * a, int block) {
    float32x4_t lane[4] = { vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0) };
    for (int i = 0; i < block; i += 16) {
        TQ_UNROLL
        for (int j = 0; j < 4; j++) {
            const float32x4_t v = vabsq_f32(vld1q_f32(x + i + 4 * j));
            vst1q_f32(a + i + 4 * j, v);
            lane[j] = vaddq_f32(lane[j], vmulq_f32(v, v));
        }
    }
    return lanes_sum_neon(lane);
}

// Ranks of 16 magnitudes as bytes.
TQ_INLINE uint8x16_t ranks_neon(const float * a, float gain, int bits) {
    uint16x4_t w[4];
    TQ_UNROLL
    for (int i = 0; i < 4; i++) {
        w[i] = vqmovn_u32(vcvtq_u32_f32(vmulq_n_f32(vld1q_f32(a + 4 * i), gain)));
    }
    // Saturating narrowing gives min(255, floor(2 |u|)).
    const uint8x16_t half_levels =
        vcombine_u8(vqmovn_u16(vcombine_u16(w[0], w[1])), vqmovn_u16(vcombine_u16(w[2], w[3])));
    const uint8x16_t bin   = vshrq_n_u8(half_levels, 4);
    const uint8x16_t below = vqtbl1q_u8(vld1q_u8(below_table[bits - 2]), bin);
    const uint8x16_t start = vqtbl1q_u8(vld1q_u8(rank_table[bits - 2]), bin);
    return vsubq_u8(start, vcgtq_u8(half_levels, below));
}

TQ_INLINE float cross_and_own_neon(const float * a, float gain, int bits, int block, float * own) {
    const uint8x16_t mags    = vld1q_u8(mag_table[bits - 2]);
    uint32x4_t       squares = vdupq_n_u32(0);
    float32x4_t      lane[4] = { vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0) };
    for (int i = 0; i < block; i += 16) {
        const uint8x16_t level = vqtbl1q_u8(mags, ranks_neon(a + i, gain, bits));
        squares = vpadalq_u16(squares, vmull_u8(vget_low_u8(level), vget_low_u8(level)));
        squares = vpadalq_u16(squares, vmull_high_u8(level, level));
        const uint16x8_t  front = vmovl_u8(vget_low_u8(level));
        const uint16x8_t  back  = vmovl_high_u8(level);
        const float32x4_t l0    = vcvtq_f32_u32(vmovl_u16(vget_low_u16(front)));
        const float32x4_t l1    = vcvtq_f32_u32(vmovl_high_u16(front));
        const float32x4_t l2    = vcvtq_f32_u32(vmovl_u16(vget_low_u16(back)));
        const float32x4_t l3    = vcvtq_f32_u32(vmovl_high_u16(back));
        // Never fused: the reference rounds every product.
        lane[0] = vaddq_f32(lane[0], vmulq_f32(vld1q_f32(a + i), l0));
        lane[1] = vaddq_f32(lane[1], vmulq_f32(vld1q_f32(a + i + 4), l1));
        lane[2] = vaddq_f32(lane[2], vmulq_f32(vld1q_f32(a + i + 8), l2));
        lane[3] = vaddq_f32(lane[3], vmulq_f32(vld1q_f32(a + i + 12), l3));
    }
    *own = (float) vaddvq_u32(squares);
    return lanes_sum_neon(lane);
}

TQ_INLINE uint8x16_t indices_neon(const float * a, const float * x, float gain, int bits) {
    int16x4_t sign[4];
    TQ_UNROLL
    for (int i = 0; i < 4; i++) {
        // All ones where the sign bit is set, -0 included.
        sign[i] = vmovn_s32(vshrq_n_s32(vreinterpretq_s32_f32(vld1q_f32(x + 4 * i)), 31));
    }
    const int8x8_t   front    = vmovn_s16(vcombine_s16(sign[0], sign[1]));
    const int8x8_t   back     = vmovn_s16(vcombine_s16(sign[2], sign[3]));
    const uint8x16_t negative = vreinterpretq_u8_s8(vcombine_s8(front, back));
    // half - 1 - rank is the complement of half + rank.
    const uint8x16_t positive = vorrq_u8(ranks_neon(a, gain, bits), vdupq_n_u8((uint8_t) (1 << (bits - 1))));
    return veorq_u8(positive, vandq_u8(negative, vdupq_n_u8((uint8_t) ((1 << bits) - 1))));
}

TQ_INLINE void quantize_block_neon(const float * x, uint8_t * out, int bits, int block) {
    float clean[TQ_MAX_BLOCK], a[TQ_MAX_BLOCK];
    float up     = 1.0f;
    float square = magnitudes_neon(x, a, block);
    if (!tq_is_plain(square)) {
        up = tq_norm_block(x, clean, block);
        if (up == 0.0f) {
            memset(out, 0, (size_t) TQ_ROW_BYTES(bits, block));
            return;
        }
        x      = clean;
        square = magnitudes_neon(x, a, block);
    }

    const float norm = vget_lane_f32(vsqrt_f32(vdup_n_f32(square)), 0);

    float gain[TQ_GRID_POINTS], cross[TQ_GRID_POINTS], own[TQ_GRID_POINTS];
    for (int g = 0; g < TQ_GRID_POINTS; g++) {
        gain[g]  = tq_gain(bits, block) / (grid[g] * norm);
        cross[g] = cross_and_own_neon(a, gain[g], bits, block, &own[g]);
    }
    const int best = tq_best_point(cross, own);

    const uint16_t d = tq_stored_scale(square, cross[best], up);
    if (d == 0) {
        memset(out, 0, (size_t) TQ_ROW_BYTES(bits, block));
        return;
    }
    uint8x16_t index[TQ_MAX_BLOCK / 16];
    TQ_UNROLL
    for (int i = 0; i < block / 16; i++) {
        index[i] = indices_neon(a + 16 * i, x + 16 * i, gain[best], bits);
    }
    memcpy(out, &d, sizeof d);
    switch (bits) {
        case 2: tq_turbo2_pack_neon(index, out + 2, block); break;
        case 3: tq_turbo3_pack_neon(index, out + 2, block); break;
        default: tq_turbo4_pack_neon(index, out + 2, block); break;
    }
}

TQ_INLINE void quantize_blocks_neon(const float * x, uint8_t * out, int64_t count, int bits, int block) {
    for (int64_t i = 0; i < count; i++) {
        quantize_block_neon(x + i * block, out + i * TQ_ROW_BYTES(bits, block), bits, block);
    }
}

// ---- decode and dot -------------------------------------------------------------------------------

TQ_INLINE int8x16x2_t levels_neon(const uint8_t * qs, int bits, int block, int b) {
    const uint8x16x2_t index = bits == 2   ? tq_turbo2_unpack_neon(qs, block, b)
                               : bits == 3 ? tq_turbo3_unpack_neon(qs, block, b)
                                           : tq_turbo4_unpack_neon(qs, block, b);
    const int8x16_t    table = vld1q_s8(levels_table[bits - 2]);
    const int8x16x2_t  level = { { vqtbl1q_s8(table, index.val[0]), vqtbl1q_s8(table, index.val[1]) } };
    return level;
}

TQ_INLINE void dequantize_block_neon(const uint8_t * in, float * y, int bits, int block) {
    const float scale = tq_load_fp16_neon(in) * TQ_SCALE_DOWN;
    for (int b = 0; b < block / 32; b++) {
        const int8x16x2_t level = levels_neon(in + 2, bits, block, b);
        for (int i = 0; i < 2; i++) {
            float *         out   = y + 32 * b + 16 * i;
            const int16x8_t front = vmovl_s8(vget_low_s8(level.val[i]));
            const int16x8_t back  = vmovl_high_s8(level.val[i]);
            vst1q_f32(out, vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(front))), scale));
            vst1q_f32(out + 4, vmulq_n_f32(vcvtq_f32_s32(vmovl_high_s16(front)), scale));
            vst1q_f32(out + 8, vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(back))), scale));
            vst1q_f32(out + 12, vmulq_n_f32(vcvtq_f32_s32(vmovl_high_s16(back)), scale));
        }
    }
}

// Four partial sums of 32 products.
TQ_INLINE int32x4_t products_neon(int8x16x2_t level, int8x16_t q0, int8x16_t q1) {
    int32x4_t sum = vpaddlq_s16(vmull_s8(vget_low_s8(level.val[0]), vget_low_s8(q0)));
    sum           = vpadalq_s16(sum, vmull_high_s8(level.val[0], q0));
    sum           = vpadalq_s16(sum, vmull_s8(vget_low_s8(level.val[1]), vget_low_s8(q1)));
    return vpadalq_s16(sum, vmull_high_s8(level.val[1], q1));
}

TQ_INLINE TQ_DOTPROD int32x4_t products_neon_dotprod(int8x16x2_t level, int8x16_t q0, int8x16_t q1) {
#if TQ_HAVE_DOTPROD
    return vdotq_s32(vdotq_s32(vdupq_n_s32(0), level.val[0], q0), level.val[1], q1);
#else
    return products_neon(level, q0, q1);
#endif
}

#define DEFINE_DOT_ROW(arch, target)                                                                               \
    TQ_INLINE target float dot_row_##arch(                                                                         \
        int n, const uint8_t * x, const tq_block_q8_0 * y, int bits, int block, int bytes) {                       \
        float32x4_t sum = vdupq_n_f32(0.0f);                                                                       \
        for (int i = 0; i < n / block; i++, x += bytes, y += block / 32) {                                         \
            float32x4_t inner = vdupq_n_f32(0.0f);                                                                 \
            for (int b = 0; b < block / 32; b++) {                                                                 \
                const int8x16x2_t level = levels_neon(x + 2, bits, block, b);                                      \
                const int32x4_t   whole = products_##arch(level, vld1q_s8(y[b].qs), vld1q_s8(y[b].qs + 16));       \
                inner                   = vfmaq_n_f32(inner, vcvtq_f32_s32(whole), tq_load_fp16_neon(&y[b].d));    \
            }                                                                                                      \
            sum = vfmaq_n_f32(sum, inner, tq_load_fp16_neon(x) * TQ_SCALE_DOWN);                                   \
        }                                                                                                          \
        return vaddvq_f32(sum);                                                                                    \
    }

DEFINE_DOT_ROW(neon, )
DEFINE_DOT_ROW(neon_dotprod, TQ_DOTPROD)

static bool always(void) {
    return true;
}

#define TQ_KV_TYPE(ENUM, id, name, family, bits, block, bytes)       \
    TQ_DEFINE_CODEC(neon, , name, bits, block, bytes)                \
    TQ_DEFINE_DOT(neon, , name, bits, block, bytes)                  \
    TQ_DEFINE_DOT(neon_dotprod, TQ_DOTPROD, name, bits, block, bytes)
#include "../types.def"

const tq_codec_impl tq_impl_neon = {
    "neon",
    always,
    {
#define TQ_KV_TYPE(ENUM, id, name, family, bits, block, bytes) TQ_LIST_OPS(neon, neon, name)
#include "../types.def"
    },
};

const tq_codec_impl tq_impl_neon_dotprod = {
    "neon_dotprod",
    tq_has_dotprod,
    {
#define TQ_KV_TYPE(ENUM, id, name, family, bits, block, bytes) TQ_LIST_OPS(neon, neon_dotprod, name)
#include "../types.def"
    },
};

#endif
