// Which implementation runs: detected at first use, cached in one pointer, replaceable by name.

#include <string.h>

#include "impl.h"

static const tq_type_info types[] = {
#define TQ_KV_TYPE(ENUM, id, name, family, bits, block, bytes) { id, #name, #family, bits, block, bytes },
#include "../types.def"
};

int tq_type_count(void) {
    return TQ_KV_TYPE_COUNT;
}

const tq_type_info * tq_type_at(int index) {
    return index >= 0 && index < TQ_KV_TYPE_COUNT ? &types[index] : NULL;
}

const tq_type_info * tq_type_by_id(int id) {
    for (int i = 0; i < TQ_KV_TYPE_COUNT; i++) {
        if (types[i].id == id) {
            return &types[i];
        }
    }
    return NULL;
}

// Slowest first: the last supported one is the default.
static const tq_codec_impl * const impls[] = {
    &tq_impl_scalar,
#if defined(__x86_64__)
    &tq_impl_avx2,
    &tq_impl_avx512,
#elif defined(__aarch64__)
    &tq_impl_neon,
    &tq_impl_neon_dotprod,
#endif
};

#define IMPL_COUNT ((int) (sizeof impls / sizeof impls[0]))

int tq_codec_impl_count(void) {
    return IMPL_COUNT;
}

const tq_codec_impl * tq_codec_impl_at(int index) {
    return index >= 0 && index < IMPL_COUNT ? impls[index] : NULL;
}

bool tq_codec_impl_supported(const tq_codec_impl * impl) {
    return impl != NULL && impl->supported();
}

// Written at most once by detection and by each tq_codec_force; the pointed-to tables are constant, so a
// racing reader sees one complete implementation or another.
static const tq_codec_impl * active;

const tq_codec_impl * tq_codec_active(void) {
    const tq_codec_impl * impl = __atomic_load_n(&active, __ATOMIC_ACQUIRE);
    if (impl != NULL) {
        return impl;
    }
    impl = &tq_impl_scalar;
    for (int i = 0; i < IMPL_COUNT; i++) {
        if (impls[i]->supported()) {
            impl = impls[i];
        }
    }
    // A tq_codec_force that came in between wins.
    const tq_codec_impl * none = NULL;
    if (!__atomic_compare_exchange_n(&active, &none, impl, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        return none;
    }
    return impl;
}

bool tq_codec_force(const char * name) {
    for (int i = 0; name != NULL && i < IMPL_COUNT; i++) {
        if (strcmp(impls[i]->name, name) == 0 && impls[i]->supported()) {
            __atomic_store_n(&active, impls[i], __ATOMIC_RELEASE);
            return true;
        }
    }
    return false;
}

#define TQ_KV_TYPE(ENUM, id, name, family, bits, block, bytes)                                                        \
    void tq_quantize_row_##name(const float * x, void * y, int64_t k) {                                               \
        tq_codec_active()->ops[TQ_INDEX_##ENUM].quantize_row(x, y, k);                                                \
    }                                                                                                                 \
    void tq_dequantize_row_##name(const void * x, float * y, int64_t k) {                                             \
        tq_codec_active()->ops[TQ_INDEX_##ENUM].dequantize_row(x, y, k);                                              \
    }                                                                                                                 \
    void tq_vec_dot_##name##_q8_0(                                                                                    \
        int n, float * s, size_t bs, const void * vx, size_t bx, const void * vy, size_t by, int nrc) {               \
        tq_codec_active()->ops[TQ_INDEX_##ENUM].vec_dot(n, s, bs, vx, bx, vy, by, nrc);                               \
    }
#include "../types.def"
