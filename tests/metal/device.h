// device.h: a Metal device for upstream's real host code (ggml-metal-ops.cpp, ggml-metal-device.cpp), which runs what is
// encoded on the executor. Tensors lie in buffers that end where the backend's own size ends.
//
// Dispatches between two barriers are held back and run in reverse order: the host code must not count on an order that
// it did not ask for.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "executor/metal.h"
#include "ggml-backend-impl.h"
#include "ggml-impl.h"
#include "ggml-metal-ops.h"
#include "ggml.h"

// A graph whose tensors have memory, and the run of its nodes.
class Graph {
public:
    Graph();
    ~Graph();
    ggml_context * context() { return ctx; }

    // Memory for a source; `bytes` is copied.
    void fill(ggml_tensor * t, const void * bytes);
    // Runs the nodes that lead to `result` and returns its bytes.
    std::vector<uint8_t> run(ggml_tensor * result);

private:
    void place(ggml_tensor * t);

    ggml_context *                              ctx;
    ggml_backend_buffer                         buffer = {};
    std::vector<std::unique_ptr<msl::Guarded>>  memory;
};

// Upstream's supports_op with our patch, on a GPU with simdgroup functions and matrices (Apple7 on) or without.
bool supports(const ggml_tensor * op, bool simdgroups = true);

// What a GPU may lack, while an object of this lives: libraries (.metal files) that its compiler refuses, as upstream's
// ggml_metal_library_compile_all sees it, kernels of which no pipeline can be made, room for threads in one.
struct Lacking {
    std::string library; // its kernels do not exist
    std::string kernel;  // the name begins so
    std::string narrow;  // the name contains this: the pipeline has so many
    int         threads = 0;

    Lacking();
    ~Lacking();
};

// Pipelines that were asked for and could not be made since the program started.
int failed_pipelines();

// Kernels that were dispatched since the program started.
const std::vector<std::string> & dispatched();
