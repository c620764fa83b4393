// One guard for every entry of the shim: no C++ exception crosses the border, and the text of each
// failure, the engine's own words included, reaches the caller.
#pragma once

#include "tq.h"
#include "work_limit.hpp"

#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>

namespace tq {

// A failure with the status it maps to.
struct failure : std::runtime_error {
    tq_status status;
    failure(tq_status status, const std::string & what) : std::runtime_error(what), status(status) {}
};

// Hands text to the caller (tq_text_free frees it).
inline void put_text(tq_text * out, const std::string & text) {
    if (!out) {
        return;
    }
    out->data = (char *) std::malloc(text.size() + 1);
    out->len  = out->data ? text.size() : 0;
    if (out->data) {
        std::memcpy(out->data, text.c_str(), text.size() + 1);
    }
}

// Collects the error lines that the engine logs on this thread while it lives: llama.cpp reports the reason
// of a failure only to its log.
class error_log {
public:
    error_log();
    ~error_log();
    std::string text() const;
};

// While it lives, ggml's abort on this thread is an error instead of the end of the process. For loading and creating
// only, where nothing else runs: a graph that is being computed has other threads, which would wait for ever.
class abort_as_error {
public:
    abort_as_error();
    ~abort_as_error();
};

// Runs f; turns what it throws into a status and a text.
template <typename F> tq_status guard(tq_text * error, F && f) {
    try {
        f();
        return TQ_OK;
    } catch (const failure & e) {
        put_text(error, e.what());
        return e.status;
    } catch (const too_much_work & e) {
        put_text(error, e.what());
        return TQ_INVALID;
    } catch (const std::bad_alloc &) {
        put_text(error, "out of memory");
        return TQ_MEMORY;
    } catch (const std::exception & e) {
        put_text(error, e.what());
        return TQ_ENGINE;
    } catch (...) {
        put_text(error, "unknown exception");
        return TQ_ENGINE;
    }
}

template <typename T> T * not_null(T * pointer, const char * what) {
    if (!pointer) {
        throw failure(TQ_INVALID, std::string(what) + " is null");
    }
    return pointer;
}

} // namespace tq
