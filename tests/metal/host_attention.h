// host_attention.h: the launch of an attention kernel for few queries, by the rules of kernels/hooks/metal_attention.h.
#pragma once

#include "attention_case.h"
#include "ggml-metal-impl.h"
#include "hooks/metal_attention.h"

// How the work is shared out; the host takes tq_metal_plan_for(), tests also force other splits.
struct Split {
    int  rows, nsg, nwg;
    bool table;
};

inline std::string vec_kernel(const AttentionCase & p) {
    return "kernel_flash_attn_ext_vec_" + p.kt.name + "_" + p.vt.name + "_dk" + std::to_string(p.dk) + "_dv" + std::to_string(p.dv);
}

inline ggml_metal_kargs_flash_attn_ext_vec vec_arguments(const AttentionCase & p) {
    const Shape & s = p.s;
    ggml_metal_kargs_flash_attn_ext_vec a = {};
    a.ne01 = s.nq; a.ne02 = p.heads(); a.ne03 = s.sequences;
    a.nb01 = (uint64_t) p.heads()*p.dk*4; a.nb02 = (uint64_t) p.dk*4; a.nb03 = a.nb01*s.nq;
    a.ne11 = s.kv; a.ne_12_2 = s.heads_kv; a.ne_12_3 = s.sequences;
    a.nb12 = p.kt.row_bytes(p.dk); a.nb11 = a.nb12*s.heads_kv; a.nb13 = a.nb11*s.kv; a.ns10 = (int32_t) (a.nb11/p.kt.bytes);
    a.nb22 = p.vt.row_bytes(p.dv); a.nb21 = a.nb22*s.heads_kv; a.nb23 = a.nb21*s.kv; a.ns20 = (int32_t) (a.nb21/p.vt.bytes);
    a.ne31 = s.nq; a.ne32 = 1; a.ne33 = 1; a.nb31 = (uint64_t) s.kv*2; a.nb32 = a.nb33 = a.nb31*s.nq;
    a.ne1 = p.heads(); a.ne2 = s.nq; a.ne3 = s.sequences;
    a.scale = s.softcap != 0 ? p.scale()/s.softcap : p.scale();
    a.logit_softcap = s.softcap;
    a.max_bias = s.max_bias;
    a.n_head_log2 = 1 << (int) std::floor(std::log2((float) p.heads()));
    a.m0 = std::pow(2.0f, -s.max_bias/a.n_head_log2);
    a.m1 = std::pow(2.0f, -s.max_bias/2/a.n_head_log2);
    return a;
}

inline void vec_constants(const AttentionCase & p, const Split & split) {
    msl::constant("FC_turbo_vec_has_mask", p.s.mask);
    msl::constant("FC_turbo_vec_has_sinks", p.s.sinks);
    msl::constant("FC_turbo_vec_has_bias", p.s.max_bias != 0);
    msl::constant("FC_turbo_vec_has_scap", p.s.softcap != 0);
    msl::constant("FC_turbo_vec_nsg", split.nsg);
    msl::constant("FC_turbo_vec_nwg", split.nwg);
    msl::constant("FC_turbo_vec_rows", split.rows);
    msl::constant("FC_turbo_vec_table", split.table);
}

// [sequence][query][head][dv]
inline std::vector<float> run_vec(const AttentionCase & p, const Split & split, msl::Stats * stats = nullptr) {
    msl::Buffer<uint8_t> k(p.k.size(), 2), v(p.v.size(), 2); // rows of blocks are aligned to two bytes
    msl::Buffer<uint8_t> k16(p.kt.name == "f16" ? p.k.size() : 0), v16(p.vt.name == "f16" ? p.v.size() : 0);
    uint8_t * kp = p.kt.name == "f16" ? k16.data() : k.data();
    uint8_t * vp = p.vt.name == "f16" ? v16.data() : v.data();
    std::copy(p.k.begin(), p.k.end(), kp);
    std::copy(p.v.begin(), p.v.end(), vp);
    msl::Buffer<float> q(p.q.size()), sinks(p.sinks.size(), 4);
    std::copy(p.q.begin(), p.q.end(), q.begin());
    std::copy(p.sinks.begin(), p.sinks.end(), sinks.begin());
    msl::Buffer<half> mask(p.mask.size(), 2);
    std::copy(p.mask.begin(), p.mask.end(), mask.begin());

    const size_t       rows = (size_t) p.s.sequences*p.s.nq*p.heads();
    msl::Buffer<float> tmp(split.nwg > 1 ? rows*split.nwg*(p.dv + 2) : 0, 4), out(rows*p.dv);
    std::fill(tmp.begin(), tmp.end(), NAN);
    std::fill(out.begin(), out.end(), NAN);

    vec_constants(p, split);
    const int   total = p.s.group*p.s.nq;
    msl::Launch launch(vec_kernel(p).c_str());
    launch.bytes(0, vec_arguments(p)).buffer(1, q.data()).buffer(2, kp).buffer(3, vp);
    if (p.s.mask) launch.buffer(4, mask.data());
    if (p.s.sinks) launch.buffer(5, sinks.data());
    const msl::Stats st = launch.buffer(7, split.nwg > 1 ? tmp.data() : out.data())
        .threadgroup(0, tq_metal_memory(p.dk, p.dv, split.rows, split.nsg))
        .dispatch({ (uint32_t) ((total + split.rows - 1)/split.rows), (uint32_t) p.s.heads_kv, (uint32_t) (p.s.sequences*split.nwg) }, { 32, (uint32_t) split.nsg, 1 });
    if (stats) *stats = st;
    if (split.nwg > 1) {
        ggml_metal_kargs_flash_attn_ext_vec_reduce r = { (int32_t) rows };
        msl::constant("FC_flash_attn_ext_vec_reduce_DV", p.dv);
        msl::constant("FC_flash_attn_ext_vec_reduce_NWG", split.nwg);
        msl::Launch("kernel_flash_attn_ext_vec_reduce").bytes(0, r).buffer(1, tmp.data()).buffer(2, out.data()).dispatch({ (uint32_t) rows, 1, 1 }, { 32u*split.nwg, 1, 1 });
    }
    return std::vector<float>(out.begin(), out.end());
}
