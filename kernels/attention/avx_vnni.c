// AVX2 with AVX-VNNI: the dot products of AVX-512 VNNI in 256 bits, for CPUs without AVX-512 (Intel from the 12th
// generation on).
#include "../common/encode.h"
#include "impl.h"

#if TQ_KNOWS_AVX_VNNI

#include "target.h"
TQ_TARGET_BEGIN("avx2,fma,f16c,avxvnni")

#define TQ_VEC    TQ_INLINE
#define TQ_TILE   128
#define TQ_PACKED 1

#include "vec_avx2.h"

#include "packed_avx_vnni.h"

static void packed_begin(void) {}

static void packed_end(void) {}

TQ_VEC __m256i four_bytes(const void * p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm256_set1_epi32(four);
}

// 8 integer products of a row with a block of K, to logits.
TQ_VEC void put_scores(const tq_scratch * t, int r, int blocks, int b, int key, __m256i high, __m256i low, float * s) {
    const __m256i whole = _mm256_sub_epi32(_mm256_add_epi32(_mm256_slli_epi32(high, 8), low), _mm256_set1_epi32(t->q_offset[r * blocks + b]));
    const __m256  scale = _mm256_mul_ps(_mm256_set1_ps(t->q_scale[r]), _mm256_load_ps(t->k_scale + b * TQ_TILE + key));
    const __m256  value = _mm256_cvtepi32_ps(whole);
    _mm256_store_ps(s, b == 0 ? _mm256_mul_ps(scale, value) : _mm256_fmadd_ps(scale, value, _mm256_load_ps(s)));
}

// n rows (at most 3) with `vectors` (at most 4) times 8 keys. first: the rows' number in the unit, of `all`.
TQ_VEC void scores_block(const tq_attention * a, const tq_scratch * t, int first, int all, int i, int n, int key, int vectors) {
    const int       padded = tq_round_up(a->k.dim, 64), blocks = a->k.dim / a->k.block;
    const __m256i * k      = (const __m256i *) t->k_tile + key / 8 * (padded / 4);
    const int8_t *  q[3][2];
    for (int r = 0; r < n; r++) {
        q[r][0] = t->q_digits + (size_t) digit_row(first + i + r, all, 0) * (size_t) padded;
        q[r][1] = t->q_digits + (size_t) digit_row(first + i + r, all, 1) * (size_t) padded;
    }
    for (int b = 0; b < blocks; b++) {
        __m256i sum[3][4][2];
        for (int r = 0; r < n; r++) {
            for (int v = 0; v < vectors; v++) {
                sum[r][v][0] = sum[r][v][1] = _mm256_setzero_si256();
            }
        }
        for (int c = b * a->k.block / 4; c < (b + 1) * a->k.block / 4; c++) {
            __m256i x[4];
            for (int v = 0; v < vectors; v++) {
                x[v] = _mm256_load_si256(k + v * (padded / 4) + c);
            }
            TQ_UNROLL
            for (int r = 0; r < n; r++) {
                TQ_UNROLL
                for (int d = 0; d < 2; d++) {
                    const __m256i y = four_bytes(q[r][d] + 4 * c);
                    TQ_UNROLL
                    for (int v = 0; v < vectors; v++) {
                        sum[r][v][d] = _mm256_dpbusd_avx_epi32(sum[r][v][d], x[v], y);
                    }
                }
            }
        }
        for (int r = 0; r < n; r++) {
            for (int v = 0; v < vectors; v++) {
                put_scores(t, first + i + r, blocks, b, key + 8 * v, sum[r][v][0], sum[r][v][1], t->s + (i + r) * TQ_TILE + key + 8 * v);
            }
        }
    }
}

// Rows taken together of `left`. 12 sums in registers keep two dot products of 5 cycles' latency going, 8 do not
// quite; three rows and then one are worse than twice two.
TQ_VEC int rows_at_once(int left) {
    return left == 4 || left == 2 ? 2 : left == 1 ? 1 : 3;
}

static void packed_scores(const tq_attention * a, const tq_scratch * t, int first, int n, int all, int count) {
    for (int i = 0; i < n; i += rows_at_once(n - i)) {
        switch (rows_at_once(n - i)) {
            case 1:
                for (int key = 0; key < count; key += 32) scores_block(a, t, first, all, i, 1, key, 4);
                break;
            case 2:
                for (int key = 0; key < count; key += 16) scores_block(a, t, first, all, i, 2, key, 2);
                break;
            default:
                for (int key = 0; key < count; key += 16) scores_block(a, t, first, all, i, 3, key, 2);
        }
    }
}

// Sums of a row over the keys of a tile, for 8 dimensions, into its running sum.
TQ_VEC void put_values(const tq_scratch * t, int b, int i, __m256i high, __m256i low, float * o) {
    const __m256 value = _mm256_cvtepi32_ps(_mm256_add_epi32(_mm256_slli_epi32(high, 8), low));
    const __m256 old   = _mm256_mul_ps(_mm256_set1_ps(t->fade[i]), _mm256_loadu_ps(o));
    _mm256_storeu_ps(o, _mm256_fmadd_ps(_mm256_set1_ps(t->weight[b * TQ_ROWS + i]), value, old));
}

// n rows (at most 3) times `vectors` (at most 4) of 8 dimensions.
TQ_VEC void values_block(const tq_attention * a, const tq_scratch * t, int first, int rows, int i, int n, int vector, int vectors, int groups) {
    const int       b = 8 * vector / a->v.block;
    const __m256i * v = (const __m256i *) t->v_tile + vector * (TQ_TILE / 4);
    const uint8_t * p[3][2];
    __m256i         sum[3][4][2];
    for (int r = 0; r < n; r++) {
        for (int d = 0; d < 2; d++) {
            p[r][d] = t->p_digits + ((size_t) b * 2 * TQ_ROWS + (size_t) digit_row(i + r, rows, d)) * TQ_TILE;
            for (int j = 0; j < vectors; j++) {
                sum[r][j][d] = _mm256_setzero_si256();
            }
        }
    }
    for (int g = 0; g < groups; g++) {
        __m256i x[4];
        for (int j = 0; j < vectors; j++) {
            x[j] = _mm256_load_si256(v + j * (TQ_TILE / 4) + g);
        }
        TQ_UNROLL
        for (int r = 0; r < n; r++) {
            TQ_UNROLL
            for (int d = 0; d < 2; d++) {
                const __m256i y = four_bytes(p[r][d] + 4 * g);
                TQ_UNROLL
                for (int j = 0; j < vectors; j++) {
                    sum[r][j][d] = _mm256_dpbusd_avx_epi32(sum[r][j][d], y, x[j]);
                }
            }
        }
    }
    for (int r = 0; r < n; r++) {
        float * o = t->o + (size_t) (first + i + r) * (size_t) a->v.dim + 8 * vector;
        for (int j = 0; j < vectors; j++) {
            put_values(t, b, i + r, sum[r][j][0], sum[r][j][1], o + 8 * j);
        }
    }
}

static void packed_values(const tq_attention * a, const tq_scratch * t, int first, int n, int count) {
    const int groups = (count + 3) / 4, vectors = a->v.dim / 8;
    for (int i = 0; i < n; i += rows_at_once(n - i)) {
        switch (rows_at_once(n - i)) {
            case 1:
                for (int v = 0; v < vectors; v += 4) values_block(a, t, first, n, i, 1, v, 4, groups);
                break;
            case 2:
                for (int v = 0; v < vectors; v += 2) values_block(a, t, first, n, i, 2, v, 2, groups);
                break;
            default:
                for (int v = 0; v < vectors; v += 2) values_block(a, t, first, n, i, 3, v, 2, groups);
        }
    }
}

#include "unit.h"

TQ_TARGET_END

#include <cpuid.h>

static bool supported(void) {
    // avx2's check includes what the system saves of the registers. __builtin_cpu_supports knows AVX-VNNI from GCC 13
    // on only.
    unsigned a, b, c, d;
    return tq_attention_avx2.supported() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & (1u << 4));
}

const tq_attention_impl tq_attention_avx_vnni = { "avx_vnni", supported, TQ_TILE, TQ_PACKED, run_unit, reduce };

#endif
