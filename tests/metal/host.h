// host.h: how upstream's host code (ggml-metal-ops.cpp) with our patches turns a tensor operation into a launch: argument
// structures and dispatch sizes.
#pragma once

#include <array>

#include "executor/metal.h"
#include "ggml-metal-impl.h"

// The shape of a ggml tensor: values and bytes per dimension.
struct Tensor {
    std::array<int64_t, 4>  ne;
    std::array<uint64_t, 4> nb;

    static Tensor contiguous(std::array<int64_t, 4> ne, int block, int bytes) {
        Tensor t = { ne, {} };
        t.nb[0] = (uint64_t) bytes;
        t.nb[1] = (uint64_t) (ne[0]/block*bytes);
        for (int i = 2; i < 4; ++i) t.nb[i] = t.nb[i - 1]*(uint64_t) ne[i - 1];
        return t;
    }
};

// ggml_metal_op_set_rows; a row of a turbo type is encoded by one simdgroup per block
inline msl::Stats host_set_rows(const char * kernel, int block, const Tensor & a, void * src, const Tensor & i, void * idx, const Tensor & d, void * dst) {
    const int nk0 = (int) (d.ne[0]/block)*32;
    int       nth = 32;
    while (nth < nk0 && 2*nth <= msl::kMaxThreads) nth *= 2;
    int nrptg = 1;
    if (nth > nk0) {
        nrptg = (nth + nk0 - 1)/nk0;
        nth   = nk0;
        if (nrptg*nth > msl::kMaxThreads) nrptg--;
    }
    nth = std::min(nth, nk0);
    ggml_metal_kargs_set_rows args = {};
    args.nk0 = nk0; args.ne01 = (int32_t) a.ne[1]; args.nb01 = a.nb[1]; args.nb02 = a.nb[2]; args.nb03 = a.nb[3];
    args.ne11 = (int32_t) i.ne[1]; args.ne12 = (int32_t) i.ne[2]; args.nb10 = i.nb[0]; args.nb11 = i.nb[1]; args.nb12 = i.nb[2];
    args.nb1 = d.nb[1]; args.nb2 = d.nb[2]; args.nb3 = d.nb[3];
    return msl::Launch(kernel).bytes(0, args).buffer(1, src).buffer(2, idx).buffer(3, dst)
        .dispatch({ (uint32_t) ((a.ne[1] + nrptg - 1)/nrptg), (uint32_t) a.ne[2], (uint32_t) a.ne[3] }, { (uint32_t) nth, (uint32_t) nrptg, 1 });
}

// ggml_metal_op_cpy; the blocks are 1 for plain types
inline msl::Stats host_cpy(const char * kernel, int block_src, int block_dst, const Tensor & a, void * src, const Tensor & d, void * dst) {
    int64_t nk0 = a.ne[0];
    if (block_src > 1) nk0 = a.ne[0]/16;
    else if (block_dst > 1) nk0 = a.ne[0]/block_dst*32;
    int nth = (int) std::min<int64_t>(nk0*a.ne[1], 256);
    nth     = (int) std::min<int64_t>(nth, nk0);
    ggml_metal_kargs_cpy args = {};
    args.nk0 = nk0;
    args.ne00 = a.ne[0]; args.ne01 = a.ne[1]; args.ne02 = a.ne[2]; args.ne03 = a.ne[3];
    args.nb00 = a.nb[0]; args.nb01 = a.nb[1]; args.nb02 = a.nb[2]; args.nb03 = a.nb[3];
    args.ne0 = d.ne[0]; args.ne1 = d.ne[1]; args.ne2 = d.ne[2]; args.ne3 = d.ne[3];
    args.nb0 = d.nb[0]; args.nb1 = d.nb[1]; args.nb2 = d.nb[2]; args.nb3 = d.nb[3];
    const int64_t nw0 = (nk0 + nth - 1)/nth;
    return msl::Launch(kernel).bytes(0, args).buffer(1, src).buffer(2, dst)
        .dispatch({ (uint32_t) (nw0*a.ne[1]), (uint32_t) a.ne[2], (uint32_t) a.ne[3] }, { (uint32_t) nth, 1, 1 });
}

// ggml_metal_op_get_rows from a quantized type
inline msl::Stats host_get_rows(const char * kernel, const Tensor & a, void * src, const Tensor & i, void * idx, const Tensor & d, void * dst) {
    ggml_metal_kargs_get_rows args = {};
    args.ne00t = (int32_t) (a.ne[0]/16); args.ne00 = (int32_t) a.ne[0]; args.nb01 = a.nb[1]; args.nb02 = a.nb[2]; args.nb03 = a.nb[3];
    args.ne10 = (int32_t) i.ne[0]; args.nb10 = i.nb[0]; args.nb11 = i.nb[1]; args.nb12 = i.nb[2];
    args.nb1 = d.nb[1]; args.nb2 = d.nb[2]; args.nb3 = d.nb[3];
    const int nth = std::min(args.ne00t, msl::kMaxThreads), nw0 = (args.ne00t + nth - 1)/nth;
    return msl::Launch(kernel).bytes(0, args).buffer(1, src).buffer(2, idx).buffer(3, dst)
        .dispatch({ (uint32_t) (nw0*i.ne[0]), (uint32_t) i.ne[1], (uint32_t) i.ne[2] }, { (uint32_t) nth, 1, 1 });
}

// ggml_metal_op_flash_attn_ext: K or V to f16
inline msl::Stats host_kv_f16(const char * kernel, int block, const Tensor & x, void * src, void * dst) {
    ggml_metal_kargs_flash_attn_ext_kv_f16 args = {};
    args.ne0 = (int32_t) x.ne[0]; args.ne1 = (int32_t) x.ne[1]; args.ne2 = (int32_t) x.ne[2]; args.ne3 = (int32_t) x.ne[3];
    args.nb0 = x.nb[0]; args.nb1 = x.nb[1]; args.nb2 = x.nb[2]; args.nb3 = x.nb[3];
    args.nblocks = (int32_t) (x.ne[0]/block*x.ne[1]*x.ne[2]*x.ne[3]);
    return msl::Launch(kernel).bytes(0, args).buffer(1, src).buffer(2, dst)
        .dispatch({ (uint32_t) ((args.nblocks + 255)/256), 1, 1 }, { 256, 1, 1 });
}
