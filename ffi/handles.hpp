// What is behind the opaque handles of tq.h.
#pragma once

#include "ggml-cpu.h"
#include "llama.h"

#include <cstdint>
#include <memory>
#include <shared_mutex>
#include <vector>

struct tq_model {
    llama_model * raw;
    // llama.cpp keeps a model's adapters in a set without a lock, and reads it wherever it sizes a graph: those who may do
    // that hold this shared, those who load or free an adapter alone
    mutable std::shared_mutex adapters {};

    const llama_vocab * vocab() const { return llama_model_get_vocab(raw); }
};

struct tq_context {
    struct free_context { void operator()(llama_context * c) const { llama_free(c); } };
    struct free_pool { void operator()(ggml_threadpool * p) const { ggml_threadpool_free(p); } };

    const tq_model * model;
    const int32_t *  cancel = nullptr;
    // destroyed in reverse order: the context lets go of its threads before they end
    std::unique_ptr<ggml_threadpool, free_pool>  threads;
    std::unique_ptr<llama_context, free_context> raw;
};
