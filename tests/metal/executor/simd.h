// simd.h: barriers and simd functions. Each makes the live lanes of a simdgroup meet.
#pragma once

#include "machine.h"
#include "math.h"

// Where instructions are counted (cost.cpp), what emulates a simd function must not be counted with the kernel's.
#if defined(MSL_COUNT)
#define MSL_CALL __attribute__((noinline)) inline
#else
#define MSL_CALL inline
#endif

namespace metal {

// --- barriers ---
enum class mem_flags : unsigned { mem_none = 0, mem_device = 1, mem_threadgroup = 2, mem_texture = 4, mem_threadgroup_imageblock = 8 };
constexpr mem_flags operator|(mem_flags a, mem_flags b) { return (mem_flags) ((unsigned) a | (unsigned) b); }

#define MSL_SITE const char * msl_f = __builtin_FILE(), int msl_l = __builtin_LINE()
#define MSL_HERE ::msl::Site{ msl_f, msl_l }
MSL_CALL void threadgroup_barrier(mem_flags, MSL_SITE) { ::msl::wait(::msl::OP_TG_BARRIER, MSL_HERE, ::msl::AT_BARRIER); }
MSL_CALL void simdgroup_barrier(mem_flags, MSL_SITE)   { ::msl::wait(::msl::OP_SG_BARRIER, MSL_HERE); }

// --- simd functions ---
template <class T> inline ::msl::Collective & msl_exchange(::msl::Op op, const T & x, ::msl::Site s) {
    static_assert(sizeof(T) <= 64);
    ::msl::Collective & c = ::msl::collective();
    memcpy(c.slot[::msl::m().cur->lane], (const void *) &x, sizeof(T));
    ::msl::wait(op, s);
    return c;
}
template <class T> inline T msl_lane(const ::msl::Collective & c, uint l) {
    T r;
    if (l < 32 && (c.active >> l & 1)) memcpy((void *) &r, c.slot[l], sizeof(T));
    else memset((void *) &r, ::msl::m().poison ? 0xff : 0, sizeof(T));       // undefined on the device
    return r;
}
// the order of a reduction is not specified by Metal: MSL_REDUCE varies it
template <class T, class F> inline T msl_reduce(::msl::Op op, const T & x, F f, ::msl::Site s) {
    const ::msl::Collective & c = msl_exchange(op, x, s);
    T v[32]; bool on[32];
    for (int i = 0; i < 32; ++i) { on[i] = c.active >> i & 1; v[i] = on[i] ? msl_lane<T>(c, i) : T(); }
    const int how = ::msl::m().reduce;
    if (how) {
        T r{}; bool any = false;
        for (int k = 0; k < 32; ++k) { const int i = how == 1 ? k : 31 - k; if (on[i]) { r = any ? f(r, v[i]) : v[i]; any = true; } }
        return r;
    }
    for (int w = 16; w > 0; w /= 2) for (int i = 0; i < w; ++i) {
        if (on[i] && on[i + w]) v[i] = f(v[i], v[i + w]);
        else if (on[i + w]) { v[i] = v[i + w]; on[i] = true; }
    }
    return v[0];
}
template <class T> MSL_CALL T simd_sum(T x, MSL_SITE)     { return msl_reduce(::msl::OP_SUM,     x, [](T a, T b) { return (T) (a + b); }, MSL_HERE); }
template <class T> MSL_CALL T simd_product(T x, MSL_SITE) { return msl_reduce(::msl::OP_PRODUCT, x, [](T a, T b) { return (T) (a * b); }, MSL_HERE); }
template <class T> MSL_CALL T simd_max(T x, MSL_SITE)     { return msl_reduce(::msl::OP_MAX,     x, [](T a, T b) { return (T) max(a, b); }, MSL_HERE); }
template <class T> MSL_CALL T simd_min(T x, MSL_SITE)     { return msl_reduce(::msl::OP_MIN,     x, [](T a, T b) { return (T) min(a, b); }, MSL_HERE); }
template <class T> MSL_CALL T simd_and(T x, MSL_SITE)     { return msl_reduce(::msl::OP_AND,     x, [](T a, T b) { return (T) (a & b); }, MSL_HERE); }
template <class T> MSL_CALL T simd_or(T x, MSL_SITE)      { return msl_reduce(::msl::OP_OR,      x, [](T a, T b) { return (T) (a | b); }, MSL_HERE); }
template <class T> MSL_CALL T simd_xor(T x, MSL_SITE)     { return msl_reduce(::msl::OP_XOR,     x, [](T a, T b) { return (T) (a ^ b); }, MSL_HERE); }
MSL_CALL bool simd_all(bool x, MSL_SITE) { return msl_reduce(::msl::OP_VOTE, (int) x, [](int a, int b) { return a & b; }, MSL_HERE); }
MSL_CALL bool simd_any(bool x, MSL_SITE) { return msl_reduce(::msl::OP_VOTE, (int) x, [](int a, int b) { return a | b; }, MSL_HERE); }

inline uint msl_me() { return ::msl::m().cur->lane; }
template <class T> MSL_CALL T simd_shuffle(T x, ushort l, MSL_SITE)       { return msl_lane<T>(msl_exchange(::msl::OP_SHUFFLE, x, MSL_HERE), l); }
template <class T> MSL_CALL T simd_shuffle_xor(T x, ushort k, MSL_SITE)   { return msl_lane<T>(msl_exchange(::msl::OP_SHUFFLE, x, MSL_HERE), msl_me() ^ k); }
template <class T> MSL_CALL T simd_shuffle_down(T x, ushort d, MSL_SITE)  { auto & c = msl_exchange(::msl::OP_SHUFFLE, x, MSL_HERE); return msl_me() + d < 32 ? msl_lane<T>(c, msl_me() + d) : x; }
template <class T> MSL_CALL T simd_shuffle_up(T x, ushort d, MSL_SITE)    { auto & c = msl_exchange(::msl::OP_SHUFFLE, x, MSL_HERE); return msl_me() >= d ? msl_lane<T>(c, msl_me() - d) : x; }
template <class T> MSL_CALL T simd_shuffle_rotate_down(T x, ushort d, MSL_SITE) { return msl_lane<T>(msl_exchange(::msl::OP_SHUFFLE, x, MSL_HERE), (msl_me() + d)%32); }
template <class T> MSL_CALL T simd_shuffle_rotate_up(T x, ushort d, MSL_SITE)   { return msl_lane<T>(msl_exchange(::msl::OP_SHUFFLE, x, MSL_HERE), (msl_me() + 32 - d%32)%32); }
template <class T> MSL_CALL T simd_broadcast(T x, ushort l, MSL_SITE)     { return msl_lane<T>(msl_exchange(::msl::OP_BROADCAST, x, MSL_HERE), l); }
template <class T> MSL_CALL T simd_broadcast_first(T x, MSL_SITE)         { auto & c = msl_exchange(::msl::OP_BROADCAST, x, MSL_HERE); return msl_lane<T>(c, __builtin_ctz(c.active)); }
template <class T> MSL_CALL T quad_shuffle_xor(T x, ushort k, MSL_SITE)   { return msl_lane<T>(msl_exchange(::msl::OP_SHUFFLE, x, MSL_HERE), msl_me() ^ (k & 3)); }
template <class T> MSL_CALL T quad_broadcast(T x, ushort l, MSL_SITE)     { return msl_lane<T>(msl_exchange(::msl::OP_BROADCAST, x, MSL_HERE), (msl_me() & ~3u) + (l & 3)); }
template <class T> MSL_CALL T quad_sum(T x, MSL_SITE) { auto & c = msl_exchange(::msl::OP_SUM, x, MSL_HERE); const uint b = msl_me() & ~3u; return (T) ((msl_lane<T>(c, b) + msl_lane<T>(c, b + 1)) + (msl_lane<T>(c, b + 2) + msl_lane<T>(c, b + 3))); }
template <class T> MSL_CALL T simd_prefix_inclusive_sum(T x, MSL_SITE) { auto & c = msl_exchange(::msl::OP_PREFIX, x, MSL_HERE); T r{}; for (uint i = 0; i <= msl_me(); ++i) if (c.active >> i & 1) r = (T) (r + msl_lane<T>(c, i)); return r; }
template <class T> MSL_CALL T simd_prefix_exclusive_sum(T x, MSL_SITE) { auto & c = msl_exchange(::msl::OP_PREFIX, x, MSL_HERE); T r{}; for (uint i = 0; i < msl_me(); ++i) if (c.active >> i & 1) r = (T) (r + msl_lane<T>(c, i)); return r; }
struct simd_vote { using vote_t = uint64_t; uint64_t b; explicit operator uint64_t() const { return b; } };
MSL_CALL simd_vote simd_ballot(bool x, MSL_SITE) { auto & c = msl_exchange(::msl::OP_VOTE, x, MSL_HERE); uint64_t r = 0; for (uint i = 0; i < 32; ++i) if ((c.active >> i & 1) && msl_lane<bool>(c, i)) r |= 1ull << i; return { r }; }

} // namespace metal
