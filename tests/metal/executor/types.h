// types.h: scalars, vectors and matrices of the Metal Shading Language. Half is _Float16, rounded after
// every operation.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

// the compiler calls this to round to bfloat16; older runtime libraries lack it
extern "C" inline __attribute__((used, weak)) __bf16 __truncsfbf2(float f) {
    uint32_t u; memcpy(&u, &f, 4);
    return __builtin_bit_cast(__bf16, (uint16_t) (f != f ? u >> 16 | 64 : (u + 0x7fff + (u >> 16 & 1)) >> 16));
}

namespace metal {

using uchar  = unsigned char;
using ushort = unsigned short;
using uint   = unsigned int;
using ulong  = unsigned long;
using half   = _Float16;

constexpr half operator""h(long double x)        { return (half) x; }
constexpr half operator""h(unsigned long long x) { return (half) x; }

using bfloat = __bf16;

template <class A, class B> struct is_same : std::is_same<A, B> {};
template <class A, class B> constexpr bool is_same_v = std::is_same_v<A, B>;
template <bool C, class A, class B> using conditional_t = std::conditional_t<C, A, B>;
template <bool C, class T = void> using enable_if_t = std::enable_if_t<C, T>;
template <class T> using numeric_limits = std::numeric_limits<T>;

template <class T> concept floating = std::is_same_v<T, float> || std::is_same_v<T, half> || std::is_same_v<T, bfloat> || std::is_same_v<T, double>;
template <class T> concept integer  = std::is_integral_v<T> || std::is_enum_v<T>;
template <class T> concept scalar   = floating<T> || integer<T>;

// clang refuses half <-> bfloat: go through float
template <class T, class S> constexpr T msl_cast(S s) {
    if constexpr (!std::is_same_v<T, S> && floating<T> && floating<S>) return (T) (float) s; else return (T) s;
}

template <class T, int N> struct vec;

#define MSL_VEC_COMMON(N) \
    vec() = default; \
    template <class S> requires scalar<S> constexpr vec(S s) { for (int i = 0; i < N; ++i) v[i] = msl_cast<T>(s); } \
    template <class U> requires (!std::is_same_v<U, T>) constexpr explicit vec(const vec<U, N> & o) { for (int i = 0; i < N; ++i) v[i] = msl_cast<T>(o.v[i]); } \
    constexpr T & operator[](long i) { return v[i]; } \
    constexpr const T & operator[](long i) const { return v[i]; } \
    template <int... I> auto swz() const { return vec<T, sizeof...(I)>(v[I]...); } \
    template <int... I> auto swzref() { return SwizzleRef<T, I...>{ v }; }

template <class T, int... I> struct SwizzleRef {
    T * v;
    using V = vec<T, sizeof...(I)>;
    void operator=(V b)  { int i = 0; ((v[I] = b.v[i++]), ...); }
    void operator+=(V b) { int i = 0; ((v[I] += b.v[i++]), ...); }
    void operator-=(V b) { int i = 0; ((v[I] -= b.v[i++]), ...); }
    void operator*=(V b) { int i = 0; ((v[I] *= b.v[i++]), ...); }
};

template <class T> struct alignas(2*sizeof(T)) vec<T, 2> {
    union { T v[2]; struct { T x, y; }; struct { T r, g; }; };
    MSL_VEC_COMMON(2)
    template <class A, class B> requires (scalar<A> && scalar<B>) constexpr vec(A a, B b) : v{ msl_cast<T>(a), msl_cast<T>(b) } {}
};
template <class T> struct alignas(4*sizeof(T)) vec<T, 3> {
    union { T v[3]; struct { T x, y, z; }; struct { T r, g, b; }; };
    MSL_VEC_COMMON(3)
    template <class A, class B, class C> requires (scalar<A> && scalar<B> && scalar<C>) constexpr vec(A a, B b, C c) : v{ msl_cast<T>(a), msl_cast<T>(b), msl_cast<T>(c) } {}
    template <class C> requires scalar<C> constexpr vec(vec<T, 2> a, C c) : v{ a.v[0], a.v[1], msl_cast<T>(c) } {}
    template <class A> requires scalar<A> constexpr vec(A a, vec<T, 2> b) : v{ msl_cast<T>(a), b.v[0], b.v[1] } {}
};
template <class T> struct alignas(4*sizeof(T)) vec<T, 4> {
    union { T v[4]; struct { T x, y, z, w; }; struct { T r, g, b, a; }; };
    MSL_VEC_COMMON(4)
    template <class A, class B, class C, class D> requires (scalar<A> && scalar<B> && scalar<C> && scalar<D>) constexpr vec(A a, B b, C c, D d) : v{ msl_cast<T>(a), msl_cast<T>(b), msl_cast<T>(c), msl_cast<T>(d) } {}
    constexpr vec(vec<T, 2> a, vec<T, 2> b) : v{ a.v[0], a.v[1], b.v[0], b.v[1] } {}
    template <class C, class D> requires (scalar<C> && scalar<D>) constexpr vec(vec<T, 2> a, C c, D d) : v{ a.v[0], a.v[1], msl_cast<T>(c), msl_cast<T>(d) } {}
    template <class A, class B> requires (scalar<A> && scalar<B>) constexpr vec(A a, B b, vec<T, 2> c) : v{ msl_cast<T>(a), msl_cast<T>(b), c.v[0], c.v[1] } {}
    template <class D> requires scalar<D> constexpr vec(vec<T, 3> a, D d) : v{ a.v[0], a.v[1], a.v[2], msl_cast<T>(d) } {}
    template <class A> requires scalar<A> constexpr vec(A a, vec<T, 3> b) : v{ msl_cast<T>(a), b.v[0], b.v[1], b.v[2] } {}
};

#define MSL_OP(op) \
    template <class T, int N> constexpr vec<T, N> operator op(const vec<T, N> & a, const vec<T, N> & b) { vec<T, N> r; for (int i = 0; i < N; ++i) r.v[i] = (T) (a.v[i] op b.v[i]); return r; } \
    template <class T, int N, class S> requires scalar<S> constexpr vec<T, N> operator op(const vec<T, N> & a, S s) { vec<T, N> r; const T b = msl_cast<T>(s); for (int i = 0; i < N; ++i) r.v[i] = (T) (a.v[i] op b); return r; } \
    template <class T, int N, class S> requires scalar<S> constexpr vec<T, N> operator op(S s, const vec<T, N> & b) { vec<T, N> r; const T a = msl_cast<T>(s); for (int i = 0; i < N; ++i) r.v[i] = (T) (a op b.v[i]); return r; } \
    template <class T, int N> constexpr vec<T, N> & operator op##=(vec<T, N> & a, const vec<T, N> & b) { return a = a op b; } \
    template <class T, int N, class S> requires scalar<S> constexpr vec<T, N> & operator op##=(vec<T, N> & a, S s) { return a = a op s; }
MSL_OP(+) MSL_OP(-) MSL_OP(*) MSL_OP(/) MSL_OP(%) MSL_OP(&) MSL_OP(|) MSL_OP(^) MSL_OP(<<) MSL_OP(>>)
#undef MSL_OP
#define MSL_CMP(op) \
    template <class T, int N> constexpr vec<bool, N> operator op(const vec<T, N> & a, const vec<T, N> & b) { vec<bool, N> r; for (int i = 0; i < N; ++i) r.v[i] = a.v[i] op b.v[i]; return r; } \
    template <class T, int N, class S> requires scalar<S> constexpr vec<bool, N> operator op(const vec<T, N> & a, S s) { return a op vec<T, N>(s); } \
    template <class T, int N, class S> requires scalar<S> constexpr vec<bool, N> operator op(S s, const vec<T, N> & b) { return vec<T, N>(s) op b; }
MSL_CMP(==) MSL_CMP(!=) MSL_CMP(<) MSL_CMP(<=) MSL_CMP(>) MSL_CMP(>=) MSL_CMP(&&) MSL_CMP(||)
#undef MSL_CMP
template <class T, int N> constexpr vec<T, N> operator-(const vec<T, N> & a) { vec<T, N> r; for (int i = 0; i < N; ++i) r.v[i] = (T) -a.v[i]; return r; }
template <class T, int N> constexpr vec<T, N> operator~(const vec<T, N> & a) { vec<T, N> r; for (int i = 0; i < N; ++i) r.v[i] = (T) ~a.v[i]; return r; }
template <class T, int N> constexpr vec<bool, N> operator!(const vec<T, N> & a) { vec<bool, N> r; for (int i = 0; i < N; ++i) r.v[i] = !a.v[i]; return r; }
template <int N> constexpr bool any(const vec<bool, N> & a) { bool r = false; for (int i = 0; i < N; ++i) r |= a.v[i]; return r; }
template <int N> constexpr bool all(const vec<bool, N> & a) { bool r = true;  for (int i = 0; i < N; ++i) r &= a.v[i]; return r; }

template <class T, int N> struct packed_vec {   // element alignment
    T v[N];
    packed_vec() = default;
    packed_vec(const vec<T, N> & o) { for (int i = 0; i < N; ++i) v[i] = o.v[i]; }
    operator vec<T, N>() const { vec<T, N> r; for (int i = 0; i < N; ++i) r.v[i] = v[i]; return r; }
    template <class U> explicit operator vec<U, N>() const { vec<U, N> r; for (int i = 0; i < N; ++i) r.v[i] = (U) v[i]; return r; }
    T & operator[](long i) { return v[i]; }
    const T & operator[](long i) const { return v[i]; }
};

#define MSL_TYPES(T) using T##2 = vec<T, 2>; using T##3 = vec<T, 3>; using T##4 = vec<T, 4>; \
    using packed_##T##2 = packed_vec<T, 2>; using packed_##T##3 = packed_vec<T, 3>; using packed_##T##4 = packed_vec<T, 4>;
MSL_TYPES(char) MSL_TYPES(uchar) MSL_TYPES(short) MSL_TYPES(ushort) MSL_TYPES(int) MSL_TYPES(uint) MSL_TYPES(long) MSL_TYPES(ulong)
MSL_TYPES(half) MSL_TYPES(float) MSL_TYPES(bfloat) MSL_TYPES(bool)
#undef MSL_TYPES

template <class T, int C, int R> struct matrix {      // C columns of R rows
    vec<T, R> c[C];
    matrix() = default;
    template <class S> requires scalar<S> explicit matrix(S s) { for (int i = 0; i < C; ++i) for (int j = 0; j < R; ++j) c[i].v[j] = i == j ? (T) s : (T) 0; }
    template <class U> requires (!std::is_same_v<U, T>) explicit matrix(const matrix<U, C, R> & o) { for (int i = 0; i < C; ++i) c[i] = vec<T, R>(o.c[i]); }
    template <class... V> requires (sizeof...(V) == C && C > 1) matrix(const V &... v) : c{ vec<T, R>(v)... } {}
    vec<T, R> & operator[](long i) { return c[i]; }
    const vec<T, R> & operator[](long i) const { return c[i]; }
};
template <class T, int C, int R> matrix<T, C, R> operator+(matrix<T, C, R> a, const matrix<T, C, R> & b) { for (int i = 0; i < C; ++i) a.c[i] += b.c[i]; return a; }
template <class T, int C, int R> matrix<T, C, R> operator-(matrix<T, C, R> a, const matrix<T, C, R> & b) { for (int i = 0; i < C; ++i) a.c[i] -= b.c[i]; return a; }
template <class T, int C, int R, class S> requires scalar<S> matrix<T, C, R> operator*(matrix<T, C, R> a, S s) { for (int i = 0; i < C; ++i) a.c[i] *= s; return a; }
template <class T, int C, int R, class S> requires scalar<S> matrix<T, C, R> operator*(S s, matrix<T, C, R> a) { return a*s; }
template <class T, int C, int R> vec<T, R> operator*(const matrix<T, C, R> & a, const vec<T, C> & b) { vec<T, R> r = a.c[0]*b.v[0]; for (int i = 1; i < C; ++i) r += a.c[i]*b.v[i]; return r; }
template <class T, int K, int R, int C> matrix<T, C, R> operator*(const matrix<T, K, R> & a, const matrix<T, C, K> & b) { matrix<T, C, R> r; for (int i = 0; i < C; ++i) r.c[i] = a*b.c[i]; return r; }
template <class T, int C, int R> matrix<T, R, C> transpose(const matrix<T, C, R> & a) { matrix<T, R, C> r; for (int i = 0; i < C; ++i) for (int j = 0; j < R; ++j) r.c[j].v[i] = a.c[i].v[j]; return r; }
#define MSL_MAT(T) using T##2x2 = matrix<T, 2, 2>; using T##2x3 = matrix<T, 2, 3>; using T##2x4 = matrix<T, 2, 4>; using T##3x2 = matrix<T, 3, 2>; using T##3x3 = matrix<T, 3, 3>; \
    using T##3x4 = matrix<T, 3, 4>; using T##4x2 = matrix<T, 4, 2>; using T##4x3 = matrix<T, 4, 3>; using T##4x4 = matrix<T, 4, 4>;
MSL_MAT(half) MSL_MAT(float)
#undef MSL_MAT

template <class To, class From> constexpr To as_type(const From & f) { static_assert(sizeof(To) == sizeof(From)); return __builtin_bit_cast(To, f); }

} // namespace metal
