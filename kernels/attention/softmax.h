// The softmax of one row of a tile, online. https://arxiv.org/abs/1805.02867
//
// Probabilities of a tile are relative to the tile's own maximum, and the tile's sum is weighted when it joins the
// running sum. So however small a tile's part is, its probabilities use the whole range of the integers they may be
// rounded to: a long flat tail behind a sharp peak (an attention sink, say) does not vanish.
#ifndef TQ_ATTENTION_SOFTMAX_H
#define TQ_ATTENTION_SOFTMAX_H

#define TQ_LOG2E 1.44269504f
// Rows of logits are processed in multiples of this many keys.
#define TQ_CHUNK 64

// What a query sees of a tile.
enum {
    TQ_SEES_NONE,  // every key is masked
    TQ_SEES_SOME,  // the mask has to be read
    TQ_SEES_ALL,   // the mask is zero
};

#define TQ_HALF_MINUS_INFINITY 0xfc00u

static uint8_t mask_sight(const char * mask, int count) {
    uint16_t first;
    memcpy(&first, mask, sizeof first);
    if (first != 0 && first != TQ_HALF_MINUS_INFINITY) {
        return TQ_SEES_SOME;
    }
    const uint64_t four    = first * UINT64_C(0x0001000100010001);
    uint64_t       differs = 0;
    int            i       = 0;
    for (; i + 16 <= count; i += 16) {
        uint64_t word[4];
        memcpy(word, mask + 2 * i, sizeof word);
        differs |= (word[0] ^ four) | (word[1] ^ four) | (word[2] ^ four) | (word[3] ^ four);
    }
    for (; i < count; i++) {
        uint16_t half;
        memcpy(&half, mask + 2 * i, sizeof half);
        differs |= (uint64_t) (half ^ first);
    }
    return differs ? TQ_SEES_SOME : first == 0 ? TQ_SEES_ALL : TQ_SEES_NONE;
}

// One more than the last of count keys that the mask shows, if that is more than `least`; else `least`.
static int last_seen(const char * mask, int least, int count) {
    // most of a tile is behind what a query sees: whole vectors of it first
    for (; count - 16 >= least; count -= 16) {
        uint64_t word[4];
        memcpy(word, mask + 2 * (count - 16), sizeof word);
        const uint64_t none = TQ_HALF_MINUS_INFINITY * UINT64_C(0x0001000100010001);
        if ((word[0] ^ none) | (word[1] ^ none) | (word[2] ^ none) | (word[3] ^ none)) {
            break;
        }
    }
    for (; count > least; count--) {
        uint16_t half;
        memcpy(&half, mask + 2 * (count - 1), sizeof half);
        if (half != TQ_HALF_MINUS_INFINITY) {
            break;
        }
    }
    return count;
}

// A mask of `width` keys of which only count exist or are seen by anybody. mask NULL: all of those are seen.
static const char * pad_mask(const char * mask, int count, int width, uint16_t * padded) {
    for (int i = 0; i < width; i++) {
        padded[i] = i < count ? 0 : TQ_HALF_MINUS_INFINITY;
    }
    if (mask) {
        memcpy(padded, mask, (size_t) count * sizeof *padded);
    }
    return (const char *) padded;
}

// 2^x for x <= 0: the Taylor series on [-1/2, 1/2], relative error below 1.3e-7. -infinity gives 0.
TQ_VEC vf exp2_of(vf x) {
    x           = vf_max(x, vf_set1(-160.0f));
    const vf n  = vf_round(x);
    const vf f  = vf_sub(x, n);
    vf       y  = vf_set1(1.54035304e-4f);
    y           = vf_fma(y, f, vf_set1(1.33335581e-3f));
    y           = vf_fma(y, f, vf_set1(9.61812911e-3f));
    y           = vf_fma(y, f, vf_set1(5.55041087e-2f));
    y           = vf_fma(y, f, vf_set1(2.40226507e-1f));
    y           = vf_fma(y, f, vf_set1(6.93147181e-1f));
    y           = vf_fma(y, f, vf_set1(1.0f));
    return vf_scale2(y, n);
}

// Absolute error below 1e-7.
TQ_VEC vf tanh_of(vf x) {
    const vf e = exp2_of(vf_mul(vf_abs(x), vf_set1(-2.0f * TQ_LOG2E)));
    const vf y = vf_div(vf_sub(vf_set1(1.0f), e), vf_add(vf_set1(1.0f), e));
    return vf_copysign(y, x);
}

// s: `width` products, a multiple of TQ_CHUNK, replaced by exp2(logit - tile's maximum). Updates the row's maximum m and sum l; *fade is what
// the running sum of values has to be multiplied with, and the return value the weight of this tile's sum.
static float softmax_row(float * s, const char * mask, int width, float slope, float softcap, float * m, float * l, float * fade) {
    vf top[4] = { vf_set1(-INFINITY), vf_set1(-INFINITY), vf_set1(-INFINITY), vf_set1(-INFINITY) };
    if (softcap != 0.0f) {
        const vf cap = vf_set1(softcap * TQ_LOG2E);
        for (int i = 0; i < width; i += VF) {
            vf_store(s + i, vf_mul(cap, tanh_of(vf_load(s + i))));
        }
    }
    if (mask) {
        const vf by = vf_set1(slope);
        for (int i = 0; i < width; i += 4 * VF) {
            for (int j = 0; j < 4; j++) {
                const vf v = vf_fma(by, vf_half(mask + 2 * (i + j * VF)), vf_load(s + i + j * VF));
                vf_store(s + i + j * VF, v);
                top[j] = vf_max(v, top[j]);
            }
        }
    } else {
        for (int i = 0; i < width; i += 4 * VF) {
            for (int j = 0; j < 4; j++) {
                top[j] = vf_max(vf_load(s + i + j * VF), top[j]);
            }
        }
    }
    const float peak = vf_hmax(vf_max(vf_max(top[0], top[1]), vf_max(top[2], top[3])));
    if (peak == -INFINITY) {
        *fade = 1.0f;
        memset(s, 0, (size_t) width * sizeof(float));
        return 0.0f;
    }
    const vf shift  = vf_set1(peak);
    vf       sum[2] = { vf_set1(0.0f), vf_set1(0.0f) };
    for (int i = 0; i < width; i += 2 * VF) {
        for (int j = 0; j < 2; j++) {
            const vf p = exp2_of(vf_sub(vf_load(s + i + j * VF), shift));
            sum[j]     = vf_add(sum[j], p);
            vf_store(s + i + j * VF, p);
        }
    }
    float weight = 1.0f;
    if (peak > *m) {
        *fade = exp2f(*m - peak);
        *m    = peak;
    } else {
        *fade  = 1.0f;
        weight = exp2f(peak - *m);
    }
    *l = *l * *fade + weight * vf_hsum(vf_add(sum[0], sum[1]));
    return weight;
}

static void scale_row(float * s, int width, float weight) {
    const vf w = vf_set1(weight);
    for (int i = 0; i < width; i += VF) {
        vf_store(s + i, vf_mul(w, vf_load(s + i)));
    }
}

#endif
