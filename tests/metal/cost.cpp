// cost.cpp: what one step of decoding costs on each kernel: bytes of K and V that a threadgroup fetches, arithmetic
// instructions of its lanes, loads of threadgroup memory, table lookups, simd functions. Counted in the optimized LLVM code of the very
// sources, with the function constants fixed as Metal fixes them (instrument.py); no statement about time.
// The program is built for one number of query heads per KV head, ROWS.
#include "count.h"
#include "ggml-metal-impl.h"
#include "hooks/metal_attention.h"

using metal::half;

static constexpr int kHead = 128, kPositions = 512, kSplit = 4;

struct Cost {
    double bytes, alu, shared, lookups, simd; // bytes per position of a KV head; the rest per query head and cached value
};

static size_t row_bytes(const std::string & type) {
    if (type == "f16") return kHead*2;
    if (type == "q8_0") return kHead/32*34;
    if (type == "q4_0") return kHead/32*18;
#define TQ_KV_TYPE(ENUM, id, name, family, bits, block, bytes) if (type == #name) return kHead/block*bytes;
#include "types.def"
    abort();
}

static Cost measure(const std::string & kernel, const std::string & kt, const std::string & vt, bool ours) {
    const size_t rk = row_bytes(kt), rv = row_bytes(vt);
    // counts do not depend on the values: zeros are valid rows of every type
    msl::Buffer<uint8_t> k(rk*kPositions), v(rv*kPositions);
    msl::Buffer<float>   q(ROWS*kHead), tmp((size_t) ROWS*kSplit*(kHead + 2));
    msl::Buffer<half>    mask(kPositions);
    for (auto & x : mask) x = (half) 0.0f;

    ggml_metal_kargs_flash_attn_ext_vec a = {};
    a.ne01 = 1; a.ne02 = ROWS; a.ne03 = 1; a.nb01 = ROWS*kHead*4; a.nb02 = kHead*4; a.nb03 = a.nb01;
    a.ne11 = kPositions; a.ne_12_2 = 1; a.ne_12_3 = 1;
    a.nb11 = a.nb12 = rk; a.nb13 = rk*kPositions; a.ns10 = kHead; a.nb21 = a.nb22 = rv; a.nb23 = rv*kPositions; a.ns20 = kHead;
    a.ne31 = a.ne32 = a.ne33 = 1; a.nb31 = a.nb32 = a.nb33 = kPositions*2;
    a.ne1 = ROWS; a.ne2 = 1; a.ne3 = 1; a.scale = 0.1f; a.m0 = a.m1 = 1; a.n_head_log2 = 1;

    counts() = Counts();
    counts().tables = ours ? TQ_METAL_TABLES*sizeof(float) : 0;
    counts().watch("k", k.data(), k.n);
    counts().watch("v", v.data(), v.n);
    msl::Launch launch(kernel.c_str());
    launch.bytes(0, a).buffer(1, q.data()).buffer(2, k.data()).buffer(3, v.data()).buffer(4, mask.data()).buffer(7, tmp.data());
    msl::Stats st;
    if (ours) {
        st = launch.threadgroup(0, tq_metal_memory(kHead, kHead, ROWS, 1)).dispatch({ 1, 1, kSplit }, { 32, 1, 1 });
    } else {
        st = launch.threadgroup(0, (kHead + 4*32 + 2*kHead)*2).dispatch({ 1, ROWS, kSplit }, { 32, 1, 1 });
    }
    const Counts & c      = counts();
    const double   values = (double) ROWS*kPositions*2*kHead;
    uint64_t       simd   = 0;
    for (int i = 0; i < msl::OP_MM_LOAD; ++i) simd += st.ops[i];
    const Cost r = { (double) (c.regions[0].fetched + c.regions[1].fetched)/kPositions, c.alu/values, c.threadgroup/values, c.lookups/values, simd*32/values };
    printf("| %-6s | %-6s | %d | %7.1f | %6.2f | %5.2f | %5.2f | %5.2f |\n", kt.c_str(), vt.c_str(), ROWS, r.bytes, r.alu, r.shared, r.lookups, r.simd);
    return r;
}

int main() {
    printf("| K      | V      | query heads | bytes | ALU | threadgroup loads | lookups | simd |\n|---|---|---|---|---|---|---|---|\n");
    Cost f16 = {}, q4 = {}, turbo4 = {};
    for (const char * type : { "f16", "q8_0", "q4_0" }) {
        const Cost c = measure(std::string("kernel_flash_attn_ext_vec_") + type + "_dk128_dv128", type, type, false);
        if (!strcmp(type, "f16")) f16 = c;
        if (!strcmp(type, "q4_0")) q4 = c;
    }
    for (const char * k : { "turbo4", "turbo3", "turbo2", "q8_0" }) for (const char * v : { "turbo4", "turbo3", "turbo2" }) {
        const Cost c = measure(std::string("kernel_flash_attn_ext_vec_") + k + "_" + v + "_dk128_dv128", k, v, true);
        if (!strcmp(k, "turbo4") && !strcmp(v, "turbo4")) turbo4 = c;
    }
    const double bytes = turbo4.bytes/f16.bytes, alu = turbo4.alu/q4.alu;
    const bool   ok    = bytes <= 0.27 && alu <= 1.5;
    printf("%sturbo4 against upstream with %d query heads per KV head: %.3f x the bytes of f16 (at most 0.27), %.2f x the arithmetic of q4_0 (at most 1.5)\n", ok ? "" : "FAILED: ", ROWS, bytes, alu);
    return !ok;
}
