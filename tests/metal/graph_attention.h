// graph_attention.h: an attention problem as a ggml graph, run by upstream's host code on the device of device.h.
#pragma once

#include "attention_case.h"
#include "device.h"

inline ggml_type type_named(const std::string & name) {
    for (int t = 0; t < GGML_TYPE_COUNT; ++t) if (name == ggml_type_name((ggml_type) t)) return (ggml_type) t;
    abort();
}

// [sequence][query][head][dv]
inline std::vector<float> run_attention(const AttentionCase & p) {
    Graph          g;
    ggml_context * c = g.context();
    const Shape &  s = p.s;
    ggml_tensor *  q = ggml_new_tensor_4d(c, GGML_TYPE_F32, p.dk, p.heads(), s.nq, s.sequences);
    const auto     cache = [&](const RowType & type, int length, std::vector<uint8_t> bytes) {
        ggml_tensor * t = ggml_new_tensor_4d(c, type_named(type.name), length, s.heads_kv, s.kv, s.sequences);
        bytes.resize(ggml_nbytes(t));
        g.fill(t, bytes.data());
        t = ggml_view_4d(c, t, length, s.heads_kv, s.kv, s.sequences, t->nb[1], t->nb[2], t->nb[3], 0);
        return ggml_permute(c, t, 0, 2, 1, 3); // heads outside
    };
    ggml_tensor *  k = cache(p.kt, p.dk, p.k);
    ggml_tensor *  v = cache(p.vt, p.dv, p.v);
    ggml_tensor *  mask = s.mask ? ggml_new_tensor_4d(c, GGML_TYPE_F16, s.kv, s.nq, 1, 1) : nullptr;
    g.fill(q, p.q.data());
    if (mask) g.fill(mask, p.mask.data());
    ggml_tensor * out = ggml_flash_attn_ext(c, ggml_permute(c, q, 0, 2, 1, 3), k, v, mask, p.scale(), s.max_bias, s.softcap);
    if (s.sinks) {
        ggml_tensor * sinks = ggml_new_tensor_1d(c, GGML_TYPE_F32, p.heads());
        g.fill(sinks, p.sinks.data());
        ggml_flash_attn_ext_add_sinks(out, sinks);
    }
    const auto         bytes = g.run(out);
    std::vector<float> r(bytes.size()/4);
    memcpy(r.data(), bytes.data(), bytes.size());
    return r;
}
