// A limit for what others' text may cost: templates from model files and clients, schemas, grammars and answers run through code
// of llama.cpp that loops and copies as often as the text says, and that cannot be interrupted. All of it allocates as it goes,
// so what a thread allocates while the limit lives is what it may do: memory and, in effect, time.
#pragma once

#include <cstddef>
#include <new>

namespace tq {

// Thrown by an allocation beyond the limit. A bad_alloc, because that is what allocations may throw.
struct too_much_work : std::bad_alloc {
    const char * what() const noexcept override;
};

class work_limit {
public:
    // bytes: of all allocations together, also of those that are freed again
    explicit work_limit(size_t bytes);
    ~work_limit();
    work_limit(const work_limit &) = delete;

private:
    long long outer;
};

// Enough for a template that is rendered hundreds of times with small messages, as llama.cpp does to learn its format, and for one
// rendering of a conversation of `input` bytes.
inline size_t work_for(size_t input) {
    return ((size_t) 1 << 30) + 64*input;
}

} // namespace tq
