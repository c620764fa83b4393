// The definition of the codec, written to be read. Every other implementation must give the same bytes
// (encode), the same bits (decode) and the same sums up to float order (dot).

#include <math.h>
#include <string.h>

#include "../turbo2/scalar.h"
#include "../turbo3/scalar.h"
#include "../turbo4/scalar.h"
#include "impl.h"

static const int8_t levels_2[] = TQ_LEVELS_2;
static const int8_t levels_3[] = TQ_LEVELS_3;
static const int8_t levels_4[] = TQ_LEVELS_4;
static const int    edges_2[]  = TQ_EDGES_2;
static const int    edges_3[]  = TQ_EDGES_3;
static const int    edges_4[]  = TQ_EDGES_4;
static const float  grid[]     = TQ_GRID;

static const int8_t * levels_of(int bits) {
    return bits == 2 ? levels_2 : bits == 3 ? levels_3 : levels_4;
}

static const int * edges_of(int bits) {
    return bits == 2 ? edges_2 : bits == 3 ? edges_3 : edges_4;
}

// Sum over a block in the fixed order of encode.h.
static float lane_sum(const float * products, int block) {
    float lane[TQ_LANES] = { 0 };
    for (int i = 0; i < block; i++) {
        lane[i % TQ_LANES] += products[i];
    }
    for (int width = TQ_LANES / 2; width > 0; width /= 2) {
        for (int j = 0; j < width; j++) {
            lane[j] += lane[j + width];
        }
    }
    return lane[0];
}

static float square_sum(const float * x, int block) {
    float product[TQ_MAX_BLOCK];
    for (int i = 0; i < block; i++) {
        product[i] = x[i] * x[i];
    }
    return lane_sum(product, block);
}

// Rank of a magnitude among the positive levels: the number of edges it reaches. u2 is in half levels;
// a value exactly on an edge goes up.
static int rank_of(float u2, int bits) {
    const int * edges = edges_of(bits);
    int         rank  = 0;
    for (int j = 0; j < (1 << (bits - 1)) - 1; j++) {
        rank += u2 >= (float) edges[j];
    }
    return rank;
}

static void quantize_block_scalar(const float * x, uint8_t * out, int bits, int block) {
    const int      bytes = TQ_ROW_BYTES(bits, block);
    const int      half  = 1 << (bits - 1);
    const int8_t * mag   = levels_of(bits) + half;
    float          clean[TQ_MAX_BLOCK], a[TQ_MAX_BLOCK], product[TQ_MAX_BLOCK];
    float          up = 1.0f;

    memset(out, 0, (size_t) bytes);
    float square = square_sum(x, block);
    if (!tq_is_plain(square)) {
        up = tq_norm_block(x, clean, block);
        if (up == 0.0f) {
            return;
        }
        x      = clean;
        square = square_sum(x, block);
    }
    for (int i = 0; i < block; i++) {
        a[i] = fabsf(x[i]);
    }
    const float norm = sqrtf(square);

    // Keep the first grid point with the largest <x,L>^2 / <L,L>, which is the smallest least-squares error.
    float best_score = -1.0f, best_gain = 0.0f, best_cross = 0.0f;
    for (int g = 0; g < TQ_GRID_POINTS; g++) {
        const float gain = tq_gain(bits, block) / (grid[g] * norm);
        int         own  = 0;  // <L,L>, below 2^24
        for (int i = 0; i < block; i++) {
            const int level = mag[rank_of(a[i] * gain, bits)];
            product[i]      = a[i] * (float) level;
            own += level * level;
        }
        const float cross = lane_sum(product, block);
        const float score = cross * cross / (float) own;
        if (score > best_score) {
            best_score = score;
            best_gain  = gain;
            best_cross = cross;
        }
    }

    // A scale that rounds to zero leaves the block all zero bytes, like the zero block.
    const uint16_t d = tq_stored_scale(square, best_cross, up);
    if (d == 0) {
        return;
    }
    uint8_t index[TQ_MAX_BLOCK];
    for (int i = 0; i < block; i++) {
        const int rank = rank_of(a[i] * best_gain, bits);
        index[i]       = (uint8_t) (signbit(x[i]) ? half - 1 - rank : half + rank);
    }
    memcpy(out, &d, sizeof d);
    switch (bits) {
        case 2: tq_turbo2_pack(index, out + 2, block); break;
        case 3: tq_turbo3_pack(index, out + 2, block); break;
        default: tq_turbo4_pack(index, out + 2, block); break;
    }
}

static void quantize_blocks_scalar(const float * x, uint8_t * out, int64_t count, int bits, int block) {
    for (int64_t i = 0; i < count; i++) {
        quantize_block_scalar(x + i * block, out + i * TQ_ROW_BYTES(bits, block), bits, block);
    }
}

static int level_at(const uint8_t * qs, int bits, int block, int e) {
    const int index = bits == 2   ? tq_turbo2_index(qs, block, e)
                      : bits == 3 ? tq_turbo3_index(qs, block, e)
                                  : tq_turbo4_index(qs, block, e);
    return levels_of(bits)[index];
}

static float scale_of(const uint8_t * in) {
    uint16_t d;
    memcpy(&d, in, sizeof d);
    return tq_fp16_to_f32(d) * TQ_SCALE_DOWN;
}

static void dequantize_block_scalar(const uint8_t * in, float * y, int bits, int block) {
    const float scale = scale_of(in);
    for (int i = 0; i < block; i++) {
        y[i] = scale * (float) level_at(in + 2, bits, block, i);
    }
}

static float dot_row_scalar(int n, const uint8_t * x, const tq_block_q8_0 * y, int bits, int block, int bytes) {
    float sum = 0.0f;
    for (int i = 0; i < n / block; i++, x += bytes) {
        float inner = 0.0f;
        for (int b = 0; b < block / 32; b++, y++) {
            int whole = 0;
            for (int j = 0; j < 32; j++) {
                whole += level_at(x + 2, bits, block, 32 * b + j) * y->qs[j];
            }
            inner += tq_fp16_to_f32(y->d) * (float) whole;
        }
        sum += scale_of(x) * inner;
    }
    return sum;
}

static bool always(void) {
    return true;
}

#define TQ_KV_TYPE(ENUM, id, name, family, bits, block, bytes) TQ_DEFINE_OPS(scalar, , name, bits, block, bytes)
#include "../types.def"

const tq_codec_impl tq_impl_scalar = {
    "scalar",
    always,
    {
#define TQ_KV_TYPE(ENUM, id, name, family, bits, block, bytes) TQ_LIST_OPS(scalar, scalar, name)
#include "../types.def"
    },
};

// ---- tables -----------------------------------------------------------------------------------

const int8_t * tq_levels(int bits, int * count, float * factor) {
    if (bits < 2 || bits > 4) {
        return NULL;
    }
    if (count != NULL) {
        *count = 1 << bits;
    }
    if (factor != NULL) {
        *factor = bits == 2 ? TQ_FACTOR_2 : bits == 3 ? TQ_FACTOR_3 : TQ_FACTOR_4;
    }
    return levels_of(bits);
}

const float * tq_codebook(int bits, int * count) {
    static const float book_2[] = TQ_CODEBOOK_2;
    static const float book_3[] = TQ_CODEBOOK_3;
    static const float book_4[] = TQ_CODEBOOK_4;
    if (bits < 2 || bits > 4) {
        return NULL;
    }
    if (count != NULL) {
        *count = 1 << (bits - 1);
    }
    return bits == 2 ? book_2 : bits == 3 ? book_3 : book_4;
}
