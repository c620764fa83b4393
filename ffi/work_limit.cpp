#include "work_limit.hpp"

#include <cstdlib>

namespace {

constexpr long long NO_LIMIT = -1;
// what unwinding and handlers may still allocate
constexpr long long RESERVE = 16 << 20;
// of an allocation besides its bytes, so that many small ones count
constexpr long long EACH = 64;

thread_local long long left = NO_LIMIT;

void * allocate(size_t bytes) {
    if (left != NO_LIMIT) {
        if (bytes > (size_t) left || (left -= (long long) bytes + EACH) < 0) {
            left = RESERVE;
            throw tq::too_much_work();
        }
    }
    for (;;) {
        if (void * memory = std::malloc(bytes ? bytes : 1)) {
            return memory;
        }
        const std::new_handler handler = std::get_new_handler();
        if (!handler) {
            throw std::bad_alloc();
        }
        handler();
    }
}

} // namespace

namespace tq {

const char * too_much_work::what() const noexcept {
    return "it takes more work than it may: a template, a schema, a grammar or an answer may allocate 1 GiB; make it simpler";
}

work_limit::work_limit(size_t bytes) : outer(left) {
    left = (long long) bytes;
}

work_limit::~work_limit() {
    left = outer;
}

} // namespace tq

// In place of the standard library's, which do the same without counting. Weak: a program may bring its own, and has no limit then.
__attribute__((weak)) void * operator new(size_t bytes) { return allocate(bytes); }
__attribute__((weak)) void * operator new[](size_t bytes) { return allocate(bytes); }
__attribute__((weak)) void operator delete(void * memory) noexcept { std::free(memory); }
__attribute__((weak)) void operator delete[](void * memory) noexcept { std::free(memory); }
__attribute__((weak)) void operator delete(void * memory, size_t) noexcept { std::free(memory); }
__attribute__((weak)) void operator delete[](void * memory, size_t) noexcept { std::free(memory); }
