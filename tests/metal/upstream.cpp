// upstream.cpp: upstream's Metal kernels on the CPU against scalar references written here.
// Layouts and dispatch sizes are those of a KV cache with interleaved heads and grouped queries.
#include "executor/metal.h"
#include "ggml-metal-impl.h"      // argument structures of the kernels under test

#include <algorithm>
#include <chrono>
#include <random>

using metal::half;
using msl::Buffer;
using msl::Launch;

static int failures = 0, checks = 0;
// One line per check only when asked for: a run that passes should say so in a line.
static const bool verbose = getenv("MSL_VERBOSE") != nullptr;
static void check(bool ok, const char * what) { checks++; if (!ok) { failures++; printf("FAILED: %s\n", what); } }
#define REPORT(...) do { if (verbose) printf(__VA_ARGS__); } while (0)
static double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

static std::mt19937 rng(7);
static float gauss() { return std::normal_distribution<float>(0, 1)(rng); }

// --- block formats, from their definition: 32 values, one half scale ---
struct BlockQ8 { half d; int8_t q[32]; };
struct BlockQ4 { half d; uint8_t q[16]; };
static_assert(sizeof(BlockQ8) == 34 && sizeof(BlockQ4) == 18);

static BlockQ8 ref_q8(const float * x) {
    float top = 0;
    for (int i = 0; i < 32; ++i) top = std::max(top, std::fabs(x[i]));
    const float d = top/127, id = d != 0 ? 1/d : 0;
    BlockQ8 b; b.d = (half) d;
    for (int i = 0; i < 32; ++i) b.q[i] = (int8_t) std::round(x[i]*id);
    return b;
}
static BlockQ4 ref_q4(const float * x) {
    float top = 0, v = 0;
    for (int i = 0; i < 32; ++i) if (std::fabs(x[i]) > top) { top = std::fabs(x[i]); v = x[i]; }
    const float d = v/-8, id = d != 0 ? 1/d : 0;
    BlockQ4 b; b.d = (half) d;
    for (int i = 0; i < 16; ++i) {
        const int lo = std::min(15, (int) (x[i]*id + 8.5f)), hi = std::min(15, (int) (x[i + 16]*id + 8.5f));
        b.q[i] = (uint8_t) (lo | hi << 4);
    }
    return b;
}
// value i of a block, exactly and as the kernels see it (a float product, rounded to half)
static void decode(const BlockQ8 & b, int i, double & exact, double & seen) { exact = (double) b.d*b.q[i]; seen = (double) (half) ((float) b.d*(float) b.q[i]); }
static void encode(BlockQ8 & b, const float * x) { b = ref_q8(x); }

// --- (a) set_rows: quantize f32 rows and scatter them ---
template <class B, class F> static void set_rows(const char * kernel, F ref) {
    const int ne00 = 256, rows = 37, heads = 3, dst_rows = 64, nk0 = ne00/32;
    Buffer<float> src((size_t) ne00*rows*heads); Buffer<int64_t> idx(rows); Buffer<B> dst((size_t) nk0*dst_rows*heads);
    for (auto & x : src) x = gauss()*std::exp(3*gauss());
    for (int i = 0; i < ne00; ++i) src[i] = 0;
    for (int i = 0; i < rows; ++i) idx[i] = (i*29 + 5)%dst_rows;
    memset(dst.data(), 0x5a, dst.n*sizeof(B));
    ggml_metal_kargs_set_rows a = {};
    a.nk0 = nk0; a.ne01 = rows; a.nb01 = ne00*4; a.nb02 = a.nb01*rows; a.nb03 = a.nb02*heads;
    a.ne11 = 1; a.ne12 = 1; a.nb10 = 8; a.nb11 = a.nb10*rows; a.nb12 = a.nb11;
    a.nb1 = nk0*sizeof(B); a.nb2 = a.nb1*dst_rows; a.nb3 = a.nb2*heads;
    const uint32_t nth = nk0, per_group = 32/nk0;
    const double t = now();
    auto s = Launch(kernel).bytes(0, a).buffer(1, src.data()).buffer(2, idx.data()).buffer(3, dst.data()).dispatch({ (rows + per_group - 1)/per_group, heads, 1 }, { nth, per_group, 1 });
    int bad = 0, untouched = 0, blocks = 0;
    std::vector<bool> hit(dst_rows);
    for (int r = 0; r < rows; ++r) hit[idx[r]] = true;
    for (int h = 0; h < heads; ++h) for (int r = 0; r < rows; ++r) for (int b = 0; b < nk0; ++b) {
        const B want = ref(&src[((size_t) h*rows + r)*ne00 + b*32]);
        bad += memcmp(&want, &dst[((size_t) h*dst_rows + idx[r])*nk0 + b], sizeof(B)) != 0; blocks++;
    }
    for (int h = 0; h < heads; ++h) for (int r = 0; r < dst_rows; ++r) if (!hit[r]) for (size_t i = 0; i < nk0*sizeof(B); ++i) untouched += ((uint8_t *) &dst[((size_t) h*dst_rows + r)*nk0])[i] != 0x5a;
    REPORT("%-38s %d blocks, %d differ from the reference, %d bytes written elsewhere, %.1f ms (%llu threads)\n", kernel, blocks, bad, untouched, 1e3*(now() - t), (unsigned long long) s.threads);
    check(!bad && !untouched, kernel);
}

// --- attention problem: q [dk, nq, heads], k/v [d, kv, heads_kv] with interleaved heads, mask [kv, nq] ---
struct Attention {
    int dk = 128, dv = 128, heads, heads_kv, nq, kv, cache;
    std::vector<float> q;
    std::vector<half>  mask;
    std::vector<double> k, v;          // exact values of the cache, [kv][head][d]
    std::vector<double> k16, v16;      // the same, rounded to half as the kernels do
    Attention(int h, int hk, int nq, int kv) : heads(h), heads_kv(hk), nq(nq), kv(kv), cache((kv + 255)/256*256 + 32) {
        q.resize((size_t) nq*h*dk); for (auto & x : q) x = 2*gauss();
        mask.resize((size_t) nq*kv);
        for (int i = 0; i < nq; ++i) for (int j = 0; j < kv; ++j) {
            const bool hidden = j > kv - nq + i || (j >= 64 && j < 128 && kv >= 256) || rng()%10 == 0;
            mask[(size_t) i*kv + j] = hidden ? (half) -INFINITY : (half) (0.25f*gauss());
        }
    }
    float scale() const { return 1/std::sqrt((float) dk); }
    // max |difference| over max |reference|
    template <class O> double error(O & out, bool rounded) const {
        const auto & K = rounded ? k16 : k; const auto & V = rounded ? v16 : v;
        double worst = 0, top = 0;
        std::vector<double> s(kv), o(dv);
        for (int i = 0; i < nq; ++i) for (int h = 0; h < heads; ++h) {
            const int hk = h/(heads/heads_kv);
            double m = -INFINITY, sum = 0;
            for (int j = 0; j < kv; ++j) {
                double t = 0;
                for (int d = 0; d < dk; ++d) { const float x = q[((size_t) i*heads + h)*dk + d]; t += (rounded ? (double) (half) x : (double) x)*K[((size_t) j*heads_kv + hk)*dk + d]; }
                s[j] = t*scale() + (double) mask[(size_t) i*kv + j]; m = std::max(m, s[j]);
            }
            std::fill(o.begin(), o.end(), 0);
            for (int j = 0; j < kv; ++j) { const double p = std::exp(s[j] - m); sum += p; for (int d = 0; d < dv; ++d) o[d] += p*V[((size_t) j*heads_kv + hk)*dv + d]; }
            for (int d = 0; d < dv; ++d) {
                const double got = out[((size_t) i*heads + h)*dv + d], want = o[d]/sum;
                const double e = std::fabs(got - want);
                worst = std::isfinite(e) ? std::max(worst, e) : INFINITY; top = std::max(top, std::fabs(want));
            }
        }
        return worst/top;
    }
    template <class A> void strides(A & a, size_t row_bytes, size_t value_bytes) const {
        a.ne01 = nq; a.ne02 = heads; a.ne03 = 1; a.nb01 = (uint64_t) heads*dk*4; a.nb02 = dk*4; a.nb03 = a.nb01*nq;
        a.ne11 = kv; a.ne_12_2 = heads_kv; a.ne_12_3 = 1;
        a.nb11 = a.nb21 = row_bytes*heads_kv; a.nb12 = a.nb22 = row_bytes; a.nb13 = a.nb23 = a.nb11*cache;
        a.ns10 = a.ns20 = (int32_t) (a.nb11/value_bytes);
        a.ne31 = nq; a.ne32 = 1; a.ne33 = 1; a.nb31 = (uint64_t) kv*2; a.nb32 = a.nb33 = a.nb31*nq;
        a.ne1 = heads; a.ne2 = nq; a.ne3 = 1; a.scale = scale(); a.max_bias = 0; a.m0 = a.m1 = 1; a.n_head_log2 = 1; a.logit_softcap = 0;
    }
};

template <class B> static void fill(Buffer<B> & c, std::vector<double> & exact, std::vector<double> & seen, float gain) {
    float x[32];
    exact.resize(c.n*32); seen.resize(c.n*32);
    for (size_t b = 0; b < c.n; ++b) {
        for (auto & y : x) y = gain*gauss();
        encode(c[b], x);
        for (int i = 0; i < 32; ++i) decode(c[b], i, exact[b*32 + i], seen[b*32 + i]);
    }
}
static void fill(Buffer<half> & c, std::vector<double> & exact, std::vector<double> & seen, float gain) {
    exact.resize(c.n); seen.resize(c.n);
    for (size_t i = 0; i < c.n; ++i) { c[i] = (half) (gain*gauss()); exact[i] = seen[i] = (double) c[i]; }
}

// upstream copies the last, partial chunk of K, V and mask into a pad buffer first
static void run_pad(const Attention & p, size_t row_bytes, int chunk, void * k, void * v, void * mask, void * pad) {
    Launch l("kernel_flash_attn_ext_pad");
    ggml_metal_kargs_flash_attn_ext_pad a = {};
    a.ne11 = p.kv; a.ne_12_2 = p.heads_kv; a.ne_12_3 = 1;
    a.nb11 = a.nb21 = row_bytes*p.heads_kv; a.nb12 = a.nb22 = row_bytes; a.nb13 = a.nb23 = a.nb11*p.cache;
    a.ne31 = p.nq; a.ne32 = 1; a.ne33 = 1; a.nb31 = (uint64_t) p.kv*2; a.nb32 = a.nb33 = a.nb31*p.nq;
    msl::constant("FC_flash_attn_ext_pad_has_mask", true);
    msl::constant("FC_flash_attn_ext_pad_ncpsg", chunk);
    l.bytes(0, a).buffer(1, k).buffer(2, v).buffer(3, mask).buffer(4, pad).dispatch({ (uint32_t) chunk, (uint32_t) p.heads_kv, 1 }, { 32, 1, 1 });
}

// --- (b) vec attention over a quantized cache and its reduction ---
template <class B> static void vec(const char * kernel, int nq_per_group, int nq, int kv, int nwg) {
    Attention p(8, 2, nq, kv);
    const size_t row = p.dk/32*sizeof(B);
    Buffer<B> k((size_t) p.cache*p.heads_kv*p.dk/32), v(k.n);
    fill(k, p.k, p.k16, 0.7f); fill(v, p.v, p.v16, 1.0f);
    Buffer<float> q(p.q.size()); std::copy(p.q.begin(), p.q.end(), q.begin());
    Buffer<half> mask(p.mask.size()); std::copy(p.mask.begin(), p.mask.end(), mask.begin());
    const bool kvpad = kv%32 != 0;
    Buffer<uint8_t> pad(2*row*p.heads_kv*32*p.heads_kv + 2*32*nq);
    const size_t rows = (size_t) nq*p.heads;
    Buffer<float> tmp(rows*nwg*(p.dv + 2)), out(rows*p.dv);
    std::fill(out.begin(), out.end(), NAN); std::fill(tmp.begin(), tmp.end(), NAN);
    int nsg = 1;
    while (2*nwg*nsg*32 < kv && nsg < 4) nsg *= 2;

    ggml_metal_kargs_flash_attn_ext_vec a = {};
    p.strides(a, row, sizeof(B));
    const double t = now();
    if (kvpad) run_pad(p, row, 32, k.data(), v.data(), mask.data(), pad.data());
    const std::string c = "FC_flash_attn_ext_vec_";
    for (auto n : { "has_sinks", "has_bias", "has_scap", "has_sparse" }) msl::constant((c + n).c_str(), false);
    msl::constant((c + "has_mask").c_str(), true); msl::constant((c + "has_kvpad").c_str(), kvpad);
    msl::constant((c + "ns10").c_str(), a.ns10); msl::constant((c + "ns20").c_str(), a.ns20);
    msl::constant((c + "nsg").c_str(), nsg); msl::constant((c + "nwg").c_str(), nwg);
    const size_t smem = (size_t) (128 + 4*32 + 2*128)*nq_per_group*nsg*2;
    auto s = Launch(kernel).bytes(0, a).buffer(1, q.data()).buffer(2, k.data()).buffer(3, v.data()).buffer(4, mask.data()).buffer(6, pad.data())
        .buffer(7, nwg == 1 ? out.data() : tmp.data()).threadgroup(0, smem)
        .dispatch({ (uint32_t) (nq + nq_per_group - 1)/nq_per_group, (uint32_t) p.heads, (uint32_t) nwg }, { 32, (uint32_t) nsg, 1 });
    if (nwg > 1) {
        ggml_metal_kargs_flash_attn_ext_vec_reduce r = { (int32_t) rows };
        msl::constant("FC_flash_attn_ext_vec_reduce_DV", p.dv); msl::constant("FC_flash_attn_ext_vec_reduce_NWG", nwg);
        Launch("kernel_flash_attn_ext_vec_reduce").bytes(0, r).buffer(1, tmp.data()).buffer(2, out.data()).dispatch({ (uint32_t) rows, 1, 1 }, { 32u*nwg, 1, 1 });
    }
    const double ms = 1e3*(now() - t), e16 = p.error(out, true), e = p.error(out, false);
    REPORT("%-48s nq %2d kv %4d nwg %2d nsg %d: error %.1e to exact math, %.1e to math with its half roundings, %6.1f ms, simd ops %llu\n", kernel, nq, kv, nwg, nsg, e, e16, ms,
        (unsigned long long) (s.ops[msl::OP_SUM] + s.ops[msl::OP_MAX] + s.ops[msl::OP_SHUFFLE]));
    check(e16 < 3e-6 && e < 3e-3, kernel);
}

// --- (c) cache -> f16 ---
static void kv_f16() {
    const int ne0 = 128, kv = 300, heads = 3;
    Buffer<BlockQ8> k((size_t) ne0/32*kv*heads);
    std::vector<double> e, r;
    fill(k, e, r, 1.0f);
    Buffer<half> out(e.size());
    ggml_metal_kargs_flash_attn_ext_kv_f16 a = {};
    a.ne0 = ne0; a.ne1 = kv; a.ne2 = heads; a.ne3 = 1; a.nb0 = 34; a.nb2 = ne0/32*34; a.nb1 = a.nb2*heads; a.nb3 = a.nb1*kv; a.nblocks = (int32_t) k.n;
    Launch("kernel_flash_attn_ext_kv_q8_0_f16").bytes(0, a).buffer(1, k.data()).buffer(2, out.data()).dispatch({ (uint32_t) (k.n + 255)/256, 1, 1 }, { 256, 1, 1 });
    int bad = 0;
    for (int h = 0; h < heads; ++h) for (int j = 0; j < kv; ++j) for (int d = 0; d < ne0; ++d) bad += (double) out[((size_t) h*kv + j)*ne0 + d] != r[((size_t) j*heads + h)*ne0 + d];
    REPORT("kernel_flash_attn_ext_kv_q8_0_f16: %zu values, %d differ\n", e.size(), bad);
    check(!bad, "kv_f16");
}

// --- (d) matrix attention (simdgroup 8x8) over f16 or q8_0 ---
template <class T> static void matrix_attention(const char * kernel, int nq, int kv) {
    constexpr bool quant = std::is_same_v<T, BlockQ8>;
    Attention p(8, 2, nq, kv);
    const size_t row = quant ? p.dk/32*sizeof(T) : p.dk*sizeof(T), per_row = row/sizeof(T);
    Buffer<T> k((size_t) p.cache*p.heads_kv*per_row), v(k.n);
    fill(k, p.k, p.k16, 0.7f); fill(v, p.v, p.v16, 1.0f);
    Buffer<float> q(p.q.size()); std::copy(p.q.begin(), p.q.end(), q.begin());
    const int Q = 8, C = 64, nsg = 4;
    Buffer<half> mask(p.mask.size()); std::copy(p.mask.begin(), p.mask.end(), mask.begin());
    Buffer<float> out((size_t) nq*p.heads*p.dv); std::fill(out.begin(), out.end(), NAN);
    const uint32_t blk1 = (nq + Q - 1)/Q, blk0 = (kv + C - 1)/C;
    Buffer<uint8_t> pad(2*row*p.heads_kv*C*p.heads_kv + 2*C*nq), blk((size_t) blk0*blk1);
    const double t = now();
    if (kv%C) run_pad(p, row, C, k.data(), v.data(), mask.data(), pad.data());
    ggml_metal_kargs_flash_attn_ext_blk b = {};
    b.ne01 = nq; b.ne30 = kv; b.ne31 = nq; b.ne32 = b.ne33 = 1; b.nb31 = (uint64_t) kv*2; b.nb32 = b.nb33 = b.nb31*nq;
    msl::constant("FC_flash_attn_ext_blk_nqptg", Q); msl::constant("FC_flash_attn_ext_blk_ncpsg", C);
    Launch("kernel_flash_attn_ext_blk").bytes(0, b).buffer(1, mask.data()).buffer(2, blk.data()).dispatch({ blk0, blk1, 1 }, { 32, 1, 1 });

    ggml_metal_kargs_flash_attn_ext a = {};
    p.strides(a, row, sizeof(T));
    const std::string c = "FC_flash_attn_ext_";
    for (auto n : { "has_sinks", "has_bias", "has_scap" }) msl::constant((c + n).c_str(), false);
    msl::constant((c + "has_mask").c_str(), true); msl::constant((c + "has_kvpad").c_str(), kv%C != 0); msl::constant((c + "bc_mask").c_str(), nq%8 != 0);
    msl::constant((c + "ns10").c_str(), a.ns10); msl::constant((c + "ns20").c_str(), a.ns20); msl::constant((c + "nsg").c_str(), nsg);
    const size_t smem = (size_t) (Q*(128 + 2*128 + 4*C) + (quant ? 16*32*nsg : 0))*2;
    auto s = Launch(kernel).bytes(0, a).buffer(1, q.data()).buffer(2, k.data()).buffer(3, v.data()).buffer(4, mask.data()).buffer(6, pad.data()).buffer(7, blk.data()).buffer(8, out.data())
        .threadgroup(0, smem).dispatch({ blk1, (uint32_t) p.heads, 1 }, { 32, (uint32_t) nsg, 1 });
    const double ms = 1e3*(now() - t), e16 = p.error(out, true), e = p.error(out, false);
    REPORT("%-48s nq %2d kv %4d: error %.1e to exact math, %.1e to math with its half roundings, %6.1f ms, 8x8 products %llu\n", kernel, nq, kv, e, e16, ms, (unsigned long long) s.ops[msl::OP_MM_MAC]);
    check(e16 < 3e-6 && e < 3e-3, kernel);
}

// --- Walsh-Hadamard ---
template <class T> static void fwht(const char * kernel, int n) {
    const int rows = 9;
    Buffer<T> x((size_t) rows*n); Buffer<float> y(x.n);
    for (auto & e : x) e = (T) gauss();
    ggml_metal_kargs_fwht a = { rows };
    const uint32_t threads = n >= GGML_METAL_FWHT_TG_MIN_N ? GGML_METAL_FWHT_TG_NT : 64, groups = n >= GGML_METAL_FWHT_TG_MIN_N ? rows : (rows + 1)/2;
    Launch(kernel).bytes(0, a).buffer(1, x.data()).buffer(2, y.data()).dispatch({ groups, 1, 1 }, { threads, 1, 1 });
    double worst = 0;
    for (int r = 0; r < rows; ++r) for (int i = 0; i < n; ++i) {
        double s = 0;
        for (int j = 0; j < n; ++j) s += (__builtin_popcount(i & j) & 1 ? -1.0 : 1.0)*(double) x[(size_t) r*n + j];
        const double e = std::fabs(y[(size_t) r*n + i] - s/std::sqrt((double) n));
        worst = std::isfinite(e) ? std::max(worst, e) : INFINITY;
    }
    REPORT("%-38s error %.1e\n", kernel, worst);
    check(worst < 2e-6, kernel);
}

int main() {
    set_rows<BlockQ8>("kernel_set_rows_f32_i64_q8_0", ref_q8);
    set_rows<BlockQ4>("kernel_set_rows_f32_i64_q4_0", ref_q4);
    for (int kv : { 256, 300 }) vec<BlockQ8>("kernel_flash_attn_ext_vec_q8_0_dk128_dv128", 1, 1, kv, 32);
    vec<BlockQ8>("kernel_flash_attn_ext_vec_q8_0_dk128_dv128", 1, 3, 512, 1);
    vec<BlockQ8>("kernel_flash_attn_ext_vec_q8_0_dk128_dv128_q4_ne2", 4, 3, 777, 1);
    kv_f16();
    matrix_attention<half>("kernel_flash_attn_ext_f16_dk128_dv128", 20, 300);
    matrix_attention<BlockQ8>("kernel_flash_attn_ext_q8_0_dk128_dv128", 20, 256);
    fwht<float>("kernel_fwht_f32_128", 128); fwht<half>("kernel_fwht_f16_256", 256); fwht<float>("kernel_fwht_f32_1024", 1024);
    if (failures) printf("upstream's kernels: %d FAILED\n", failures);
    else printf("upstream's kernels: all %d agree with their references (order %d, seed %llu, strict %d)\n", checks, msl::m().order, (unsigned long long) msl::m().seed, msl::m().strict);
    return failures != 0;
}
