// math.h: Metal's arithmetic functions. Float is computed by the C library in float, half through float
// and rounded once.
#pragma once

#include <cmath>

#include "types.h"

namespace metal {

#define MSL_F1(name, expr) \
    template <class T> requires floating<T> inline T name(T x_) { const float x = (float) x_; return (T) (expr); } \
    template <class T> requires integer<T> inline float name(T x_) { const float x = (float) x_; return (expr); } \
    template <class T, int N> inline vec<T, N> name(const vec<T, N> & a) { vec<T, N> r; for (int i = 0; i < N; ++i) r.v[i] = name(a.v[i]); return r; }
#define MSL_F1_LIST(X) \
    X(exp, std::exp(x)) X(exp2, std::exp2(x)) X(exp10, std::pow(10.0f, x)) X(log, std::log(x)) X(log2, std::log2(x)) X(log10, std::log10(x)) \
    X(sin, std::sin(x)) X(cos, std::cos(x)) X(tan, std::tan(x)) X(asin, std::asin(x)) X(acos, std::acos(x)) X(atan, std::atan(x)) \
    X(sinh, std::sinh(x)) X(cosh, std::cosh(x)) X(tanh, std::tanh(x)) X(asinh, std::asinh(x)) X(acosh, std::acosh(x)) X(atanh, std::atanh(x)) \
    X(sqrt, std::sqrt(x)) X(rsqrt, 1.0f/std::sqrt(x)) X(floor, std::floor(x)) X(ceil, std::ceil(x)) X(round, std::round(x)) X(rint, std::nearbyint(x)) \
    X(trunc, std::trunc(x)) X(fabs, std::fabs(x)) X(fract, std::fmin(x - std::floor(x), 0x1.fffffep-1f)) X(saturate, std::fmin(std::fmax(x, 0.0f), 1.0f))
MSL_F1_LIST(MSL_F1)
#undef MSL_F1

template <class A, class B> using common2 = decltype(A() + B());
template <class T, class U> struct Common { using type = common2<T, U>; };
template <class T> struct Common<T, T> { using type = T; };
template <class T, class U> using common_t = typename Common<T, U>::type;

#define MSL_F2(name, expr) \
    template <class A, class B> requires (scalar<A> && scalar<B>) constexpr common_t<A, B> name(A a_, B b_) { using T = common_t<A, B>; const T a = (T) a_, b = (T) b_; return (T) (expr); } \
    template <class V, int N> constexpr vec<V, N> name(const vec<V, N> & p, const vec<V, N> & q) { vec<V, N> r; for (int i = 0; i < N; ++i) r.v[i] = name(p.v[i], q.v[i]); return r; } \
    template <class V, int N, class S> requires scalar<S> constexpr vec<V, N> name(const vec<V, N> & p, S q) { return name(p, vec<V, N>(q)); } \
    template <class V, int N, class S> requires scalar<S> constexpr vec<V, N> name(S p, const vec<V, N> & q) { return name(vec<V, N>(p), q); }
MSL_F2(max, a < b ? b : a)      MSL_F2(min, b < a ? b : a)
MSL_F2(fmax, a != a ? b : b != b ? a : a < b ? b : a)      MSL_F2(fmin, a != a ? b : b != b ? a : b < a ? b : a)
MSL_F2(pow, std::pow((float) a, (float) b))      MSL_F2(powr, std::pow((float) a, (float) b))
MSL_F2(atan2, std::atan2((float) a, (float) b))      MSL_F2(fmod, std::fmod((float) a, (float) b))
MSL_F2(step, b < a ? 0 : 1)      MSL_F2(copysign, std::copysign((float) a, (float) b))      MSL_F2(fdim, std::fdim((float) a, (float) b))
#undef MSL_F2

template <class A, class B, class C> requires (scalar<A> && scalar<B> && scalar<C>) constexpr auto clamp(A x, B lo, C hi) { return min(max(x, lo), hi); }
template <class T, int N, class B, class C> constexpr vec<T, N> clamp(const vec<T, N> & x, const B & lo, const C & hi) { return min(max(x, lo), hi); }
template <class A, class B, class C> requires (scalar<A> && scalar<B> && scalar<C>) inline auto fma(A a, B b, C c) { using T = common_t<common_t<A, B>, C>; return (T) std::fma((float) a, (float) b, (float) c); }
template <class T, int N> inline vec<T, N> fma(const vec<T, N> & a, const vec<T, N> & b, const vec<T, N> & c) { vec<T, N> r; for (int i = 0; i < N; ++i) r.v[i] = fma(a.v[i], b.v[i], c.v[i]); return r; }
template <class T, int N, class B, class C> inline vec<T, N> fma(const vec<T, N> & a, const B & b, const C & c) { return fma(a, vec<T, N>(b), vec<T, N>(c)); }
template <class A, class B, class C> constexpr auto mix(const A & a, const B & b, const C & t) { return a + (b - a)*t; }
template <class T> requires floating<T> constexpr T sign(T x) { return x > (T) 0 ? (T) 1 : x < (T) 0 ? (T) -1 : x == x ? x : (T) 0; }
template <class T, int N> constexpr vec<T, N> sign(const vec<T, N> & a) { vec<T, N> r; for (int i = 0; i < N; ++i) r.v[i] = sign(a.v[i]); return r; }
template <class T> requires scalar<T> constexpr T abs(T x) { return x < (T) 0 ? (T) -x : (T) x; }
template <class T, int N> constexpr vec<T, N> abs(const vec<T, N> & a) { vec<T, N> r; for (int i = 0; i < N; ++i) r.v[i] = abs(a.v[i]); return r; }
template <class T> requires floating<T> constexpr bool isnan(T x)    { const float f = (float) x; return f != f; }
template <class T> requires floating<T> constexpr bool isinf(T x)    { const float f = (float) x; return f - f != 0 && f == f; }
template <class T> requires floating<T> constexpr bool isfinite(T x) { const float f = (float) x; return f - f == 0; }
template <class T, int N> constexpr vec<bool, N> isnan(const vec<T, N> & a) { vec<bool, N> r; for (int i = 0; i < N; ++i) r.v[i] = isnan(a.v[i]); return r; }
template <class T, int N> constexpr vec<bool, N> isinf(const vec<T, N> & a) { vec<bool, N> r; for (int i = 0; i < N; ++i) r.v[i] = isinf(a.v[i]); return r; }
template <class A, class B> requires (scalar<A> && scalar<B>) constexpr common_t<A, B> select(A a, B b, bool c) { return c ? (common_t<A, B>) b : (common_t<A, B>) a; }
template <class T, int N> constexpr vec<T, N> select(const vec<T, N> & a, const vec<T, N> & b, const vec<bool, N> & c) { vec<T, N> r; for (int i = 0; i < N; ++i) r.v[i] = c.v[i] ? b.v[i] : a.v[i]; return r; }
template <class T, int N> constexpr vec<T, N> select(const vec<T, N> & a, const vec<T, N> & b, bool c) { return c ? b : a; }
template <class T, int N> constexpr T dot(const vec<T, N> & a, const vec<T, N> & b) { T r = (T) (a.v[0]*b.v[0]); for (int i = 1; i < N; ++i) r = (T) (r + (T) (a.v[i]*b.v[i])); return r; }
template <class T, int N> inline T length(const vec<T, N> & a) { return sqrt(dot(a, a)); }

template <class T> requires integer<T> constexpr T popcount(T x) { return (T) __builtin_popcountll((std::make_unsigned_t<T>) x); }
template <class T> requires integer<T> constexpr T clz(T x) { return x == 0 ? (T) (8*sizeof(T)) : (T) (__builtin_clzll((std::make_unsigned_t<T>) x) - (64 - 8*(int) sizeof(T))); }
template <class T> requires integer<T> constexpr T ctz(T x) { return x == 0 ? (T) (8*sizeof(T)) : (T) __builtin_ctzll((std::make_unsigned_t<T>) x); }
template <class T> requires integer<T> constexpr T extract_bits(T x, uint o, uint n) {
    if (n == 0) return 0;
    using U = std::make_unsigned_t<T>;
    const int w = 8*(int) sizeof(T);
    const U top = (U) ((U) x << (w - (int) o - (int) n));
    return std::is_signed_v<T> ? (T) ((T) top >> (w - (int) n)) : (T) (top >> (w - (int) n));
}
template <class T> requires integer<T> constexpr T insert_bits(T b, T v, uint o, uint n) { using U = std::make_unsigned_t<T>; const U mk = (U) ((n >= 8*sizeof(T) ? (U) ~(U) 0 : (U) (((U) 1 << n) - 1)) << o); return (T) (((U) b & ~mk) | (((U) v << o) & mk)); }
template <class T> requires integer<T> constexpr T rotate(T x, uint n) { using U = std::make_unsigned_t<T>; const uint w = 8*sizeof(T); n %= w; return n ? (T) (((U) x << n) | ((U) x >> (w - n))) : x; }
template <class T> requires integer<T> constexpr T mulhi(T a, T b) { return (T) (((__int128) a*(__int128) b) >> (8*sizeof(T))); }

#define MSL_USING(name, expr) using metal::name;
namespace precise { MSL_F1_LIST(MSL_USING) using metal::pow; using metal::powr; using metal::atan2; using metal::fma; using metal::max; using metal::min; using metal::fmax; using metal::fmin; }
namespace fast    { MSL_F1_LIST(MSL_USING) using metal::pow; using metal::powr; using metal::atan2; using metal::max; using metal::min; using metal::fmax; using metal::fmin; using metal::clamp; }
#undef MSL_USING

} // namespace metal
