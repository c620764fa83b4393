// How an implementation file turns its block functions into a tq_codec_impl.
//
// A file for <arch> defines, always inlined and with bits and block constant at each call:
//   quantize_blocks_<arch>(const float * x, uint8_t * out, int64_t count, int bits, int block)
//   dequantize_block_<arch>(const uint8_t * in, float * y, int bits, int block)
//   dot_row_<arch>(int n, const uint8_t * x, const tq_block_q8_0 * y, int bits, int block, int bytes)
// and then expands TQ_DEFINE_OPS and TQ_LIST_OPS over types.def.
#ifndef TQ_IMPL_H
#define TQ_IMPL_H

#include "codec.h"
#include "encode.h"

#define TQ_ROW_BYTES(bits, block) (2 + (block) * (bits) / 8)

#define TQ_DEFINE_CODEC(arch, target, name, bits, block, bytes)                                  \
    target static void quantize_row_##name##_##arch(const float * x, void * y, int64_t k) {      \
        quantize_blocks_##arch(x, (uint8_t *) y, k / (block), bits, block);                      \
    }                                                                                            \
    target static void dequantize_row_##name##_##arch(const void * x, float * y, int64_t k) {    \
        const uint8_t * in = (const uint8_t *) x;                                                \
        for (int64_t i = 0; i < k / (block); i++) {                                              \
            dequantize_block_##arch(in + i * (bytes), y + i * (block), bits, block);             \
        }                                                                                        \
    }

#define TQ_DEFINE_DOT(arch, target, name, bits, block, bytes)                                                      \
    target static void vec_dot_##name##_##arch(                                                                    \
        int n, float * s, size_t bs, const void * vx, size_t bx, const void * vy, size_t by, int nrc) {            \
        (void) bs, (void) bx, (void) by, (void) nrc;                                                               \
        *s = dot_row_##arch(n, (const uint8_t *) vx, (const tq_block_q8_0 *) vy, bits, block, bytes);              \
    }

#define TQ_DEFINE_OPS(arch, target, name, bits, block, bytes)  \
    TQ_DEFINE_CODEC(arch, target, name, bits, block, bytes)    \
    TQ_DEFINE_DOT(arch, target, name, bits, block, bytes)

#define TQ_LIST_OPS(codec, dot, name) \
    { quantize_row_##name##_##codec, dequantize_row_##name##_##codec, vec_dot_##name##_##dot },

extern const tq_codec_impl tq_impl_scalar;
#if defined(__x86_64__)
extern const tq_codec_impl tq_impl_avx2;
extern const tq_codec_impl tq_impl_avx512;
#elif defined(__aarch64__)
extern const tq_codec_impl tq_impl_neon;
extern const tq_codec_impl tq_impl_neon_dotprod;
#endif

#endif
