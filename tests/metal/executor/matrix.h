// matrix.h: 8x8 simdgroup matrices, and atomics.
#pragma once

#include "simd.h"

namespace metal {

// --- simdgroup matrices: two elements per lane, in the layout the hardware is known to use ---
constexpr int msl_mm_row(int l) { return (l/4 & 4) + l/2%4; }
constexpr int msl_mm_col(int l) { return (l/4 & 2)*2 + l%2*2; }

template <class T, int C, int R> struct simdgroup_matrix {
    static_assert(C == 8 && R == 8);
    vec<T, 2> e;
    simdgroup_matrix() = default;
    explicit simdgroup_matrix(T d) { const int l = msl_me(); for (int i = 0; i < 2; ++i) e.v[i] = msl_mm_row(l) == msl_mm_col(l) + i ? d : (T) 0; }
    vec<T, 2> & thread_elements() { return e; }
    const vec<T, 2> & thread_elements() const { return e; }
};
using simdgroup_half8x8   = simdgroup_matrix<half, 8, 8>;
using simdgroup_float8x8  = simdgroup_matrix<float, 8, 8>;
using simdgroup_bfloat8x8 = simdgroup_matrix<bfloat, 8, 8>;
template <class T, int C, int R = C> inline simdgroup_matrix<T, C, R> make_filled_simdgroup_matrix(T x) { simdgroup_matrix<T, C, R> m; m.e = vec<T, 2>(x); return m; }
template <class T, int C, int R = C> inline simdgroup_matrix<T, C, R> make_diagonal_simdgroup_matrix(T x) { return simdgroup_matrix<T, C, R>(x); }

inline void msl_mm_put(::msl::Collective & c, int which, float a, float b) {
    const int l = msl_me(); float * p = c.mat[which] + 8*msl_mm_row(l) + msl_mm_col(l); p[0] = a; p[1] = b;
}
// the first lane to resume moves all 64 elements: a matrix load or store is one indivisible step
template <class T, class P> inline void simdgroup_load(simdgroup_matrix<T, 8, 8> & m, const P * src, ulong stride = 8, ulong2 origin = 0, bool tr = false, MSL_SITE) {
    if (::msl::m().strict) {
        const int i = msl_mm_row(msl_me()), j = msl_mm_col(msl_me());
        src += origin.y*stride + origin.x;
        for (int e = 0; e < 2; ++e) m.e.v[e] = (T) (float) (tr ? src[(j + e)*stride + i] : src[i*stride + j + e]);
        return;
    }
    ::msl::Collective & c = ::msl::collective();
    ::msl::wait(::msl::OP_MM_LOAD, MSL_HERE);
    if (c.active != ~0u) ::msl::fail("simdgroup_load with inactive lanes");
    if (!c.led) {
        c.led = true;
        src += origin.y*stride + origin.x;
        for (int i = 0; i < 8; ++i) for (int j = 0; j < 8; ++j) c.mat[0][8*i + j] = (float) (T) (float) (tr ? src[j*stride + i] : src[i*stride + j]);
    }
    const int l = msl_me(); const float * p = c.mat[0] + 8*msl_mm_row(l) + msl_mm_col(l);
    m.e.v[0] = (T) p[0]; m.e.v[1] = (T) p[1];
}
template <class T, class P> inline void simdgroup_store(const simdgroup_matrix<T, 8, 8> & m, P * dst, ulong stride = 8, ulong2 origin = 0, bool tr = false, MSL_SITE) {
    if (::msl::m().strict) {
        const int i = msl_mm_row(msl_me()), j = msl_mm_col(msl_me());
        dst += origin.y*stride + origin.x;
        for (int e = 0; e < 2; ++e) dst[tr ? (j + e)*stride + i : i*stride + j + e] = (P) (float) m.e.v[e];
        return;
    }
    ::msl::Collective & c = ::msl::collective();
    msl_mm_put(c, 0, (float) m.e.v[0], (float) m.e.v[1]);
    ::msl::wait(::msl::OP_MM_STORE, MSL_HERE);
    if (c.active != ~0u) ::msl::fail("simdgroup_store with inactive lanes");
    if (!c.led) {
        c.led = true;
        dst += origin.y*stride + origin.x;
        for (int i = 0; i < 8; ++i) for (int j = 0; j < 8; ++j) dst[tr ? j*stride + i : i*stride + j] = (P) c.mat[0][8*i + j];
    }
}
// products and sums in float, rounded once to the type of d (the device's inner order is not specified)
template <class D, class A, class B, class C> inline void msl_mm_mac(simdgroup_matrix<D, 8, 8> & d, const simdgroup_matrix<A, 8, 8> & a, const simdgroup_matrix<B, 8, 8> & b, const simdgroup_matrix<C, 8, 8> * acc, ::msl::Site s) {
    ::msl::Collective & c = ::msl::collective();
    msl_mm_put(c, 0, (float) a.e.v[0], (float) a.e.v[1]);
    msl_mm_put(c, 1, (float) b.e.v[0], (float) b.e.v[1]);
    ::msl::wait(::msl::OP_MM_MAC, s);
    if (c.active != ~0u) ::msl::fail("simdgroup_multiply with inactive lanes");
    const int l = msl_me(), r = msl_mm_row(l), q = msl_mm_col(l);
    for (int e = 0; e < 2; ++e) {
        float t = acc ? (float) acc->e.v[e] : 0.0f;
        for (int k = 0; k < 8; ++k) t += c.mat[0][8*r + k]*c.mat[1][8*k + q + e];
        d.e.v[e] = (D) t;
    }
}
template <class D, class A, class B, class C> inline void simdgroup_multiply_accumulate(simdgroup_matrix<D, 8, 8> & d, const simdgroup_matrix<A, 8, 8> & a, const simdgroup_matrix<B, 8, 8> & b, const simdgroup_matrix<C, 8, 8> & c, MSL_SITE) { msl_mm_mac(d, a, b, &c, MSL_HERE); }
template <class D, class A, class B> inline void simdgroup_multiply(simdgroup_matrix<D, 8, 8> & d, const simdgroup_matrix<A, 8, 8> & a, const simdgroup_matrix<B, 8, 8> & b, MSL_SITE) { msl_mm_mac(d, a, b, (const simdgroup_matrix<D, 8, 8> *) nullptr, MSL_HERE); }

// --- atomics: one thread of execution, so plain memory ---
enum memory_order { memory_order_relaxed, memory_order_acquire, memory_order_release, memory_order_acq_rel, memory_order_seq_cst };
template <class T> struct atomic { T v; };
using atomic_int = atomic<int>; using atomic_uint = atomic<uint>; using atomic_float = atomic<float>; using atomic_bool = atomic<bool>;
template <class T, class V> inline void atomic_store_explicit(volatile atomic<T> * p, V v, memory_order) { p->v = (T) v; }
template <class T> inline T atomic_load_explicit(const volatile atomic<T> * p, memory_order) { return p->v; }
#define MSL_RMW(name, expr) template <class T, class V> inline T name(volatile atomic<T> * p, V v_, memory_order) { const T o = p->v, v = (T) v_; p->v = (T) (expr); return o; }
MSL_RMW(atomic_fetch_add_explicit, o + v) MSL_RMW(atomic_fetch_sub_explicit, o - v) MSL_RMW(atomic_fetch_or_explicit, o | v) MSL_RMW(atomic_fetch_and_explicit, o & v)
MSL_RMW(atomic_fetch_xor_explicit, o ^ v) MSL_RMW(atomic_fetch_max_explicit, o < v ? v : o) MSL_RMW(atomic_fetch_min_explicit, v < o ? v : o) MSL_RMW(atomic_exchange_explicit, v)
#undef MSL_RMW

} // namespace metal
