// What a synthetic model consists of; planned by synth_plan.cpp, written by tq_synth.cpp.
#pragma once

#include "ggml.h"
#include "gguf.h"

#include <cstdint>
#include <string>
#include <vector>

namespace tq {

struct synth_params {
    std::string arch = "llama", type = "f16";
    uint64_t    layers = 2, heads = 4, kv_heads = 2, head_dim = 64;
    uint64_t    embd = 0; // 0: heads*head_dim
    uint64_t    ff   = 0; // 0: 2*embd
    uint64_t    vocab = 512, n_ctx = 4096, window = 512, seed = 1;
    double      k_bias = 1.0;

    ggml_type weights = GGML_TYPE_F16;
    int32_t   ftype   = 1;

    // Throws tq::failure (TQ_INVALID) that names the key, its value and what is possible.
    static synth_params parse(const char * json);

    // deepseek2: half of a head is rotated; the compressed KV is twice as wide as a head
    uint64_t mla_rope() const { return head_dim/2; }
    uint64_t mla_rank() const { return 2*head_dim; }
    // lfm2: these layers attend, the others are short convolutions
    static bool lfm2_attends(uint64_t layer) { return layer % 2 == 1; }
};

struct synth_tensor {
    std::string          name;
    std::vector<int64_t> ne;
    ggml_type            type;
    float                mean, deviation;
};

std::vector<synth_tensor> synth_tensors(const synth_params & params);
void                      synth_metadata(gguf_context * gguf, const synth_params & params);

} // namespace tq
