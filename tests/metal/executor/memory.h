// memory.h: buffers whose end is their end (the pages around them cannot be touched), the report when a
// kernel touches them nevertheless, and the set-up of the machine's stacks and knobs.
#pragma once

#include "machine.h"

namespace msl {

struct Guarded {
    unsigned char * base = nullptr, * ptr = nullptr; size_t total = 0, size = 0;
    Guarded() = default;
    explicit Guarded(size_t n, size_t align = 16) { alloc(n, align); }
    Guarded(const Guarded &) = delete;
    Guarded & operator=(const Guarded &) = delete;
    Guarded(Guarded && o) noexcept { std::swap(base, o.base); std::swap(ptr, o.ptr); std::swap(total, o.total); std::swap(size, o.size); }
    ~Guarded() { if (base) munmap(base, total); }
    // The end of the buffer is the end of a page, up to the alignment that a kernel may count on.
    void alloc(size_t n, size_t align = 16) {
        if (base) munmap(base, total);
        const size_t body = (n + 4095)/4096*4096;
        total = body + 8192; size = n;
        base = (unsigned char *) mmap(nullptr, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base == MAP_FAILED || mprotect(base + 4096, body ? body : 4096, PROT_READ | PROT_WRITE)) { perror("msl: mmap"); exit(3); }
        ptr = base + 4096 + (body - (n + align - 1)/align*align);
    }
};
template <class T> struct Buffer : Guarded {
    explicit Buffer(size_t n, size_t align = 16) : Guarded(n*sizeof(T), align), n(n) {}
    size_t n;
    T * data() { return (T *) ptr; }
    T & operator[](size_t i) { return data()[i]; }
    T * begin() { return data(); }
    T * end() { return data() + n; }
};

inline void on_fault(int sig, siginfo_t * si, void *) {
    Machine & g = m();
    char t[400];
    const int n = snprintf(t, sizeof t, "msl: %s at %p\n  kernel %s, threadgroup (%u,%u,%u), thread %u; last collective %s:%d\n",
        sig == SIGSEGV ? "memory access outside a buffer (or stack overflow, or unset buffer)" : "bus error", si->si_addr,
        g.k ? g.k->name : "-", g.tg_pos.x, g.tg_pos.y, g.tg_pos.z, g.cur ? g.cur->tid : 0, g.cur ? g.cur->site.file : "", g.cur ? g.cur->site.line : 0);
    (void) !write(2, t, n);
    _exit(4);
}

// While alive, this CPU treats denormal floats as the machine's knob says.
struct Denormals {
#if defined(__x86_64__)
    static constexpr bool can_flush = true;
    unsigned saved = __builtin_ia32_stmxcsr();
    Denormals() { if (m().flush) __builtin_ia32_ldmxcsr(saved | 0x8040); }
    ~Denormals() { __builtin_ia32_ldmxcsr(saved); }
#else
    static constexpr bool can_flush = false;
#endif
};

inline void init() {
    static bool ready = false;
    if (ready) return;
    ready = true;
    setvbuf(stdout, nullptr, _IOLBF, 0);
    Machine & g = m();
    const size_t total = (size_t) kMaxThreads*(kStackBytes + 4096);
    g.stacks = (unsigned char *) mmap(nullptr, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (g.stacks == MAP_FAILED) { perror("msl: stacks"); exit(3); }
    for (uint32_t t = 0; t < kMaxThreads; ++t) mprotect(stack_of(t) - 4096, 4096, PROT_NONE);
    g.fibers.resize(kMaxThreads);
    g.coll.resize(2*kMaxThreads/kLanes);
    if (const char * e = getenv("MSL_ORDER"))  { g.order = !strcmp(e, "forward") ? 0 : !strcmp(e, "reverse") ? 1 : 2; g.seed = strtoull(e, nullptr, 0); }
    if (const char * e = getenv("MSL_REDUCE")) { g.reduce = !strcmp(e, "linear") ? 1 : !strcmp(e, "reverse") ? 2 : 0; }
    if (const char * e = getenv("MSL_POISON")) { g.poison = atoi(e) != 0; }
    if (const char * e = getenv("MSL_STRICT")) { g.strict = atoi(e) != 0; }
    if (const char * e = getenv("MSL_FLUSH"))  { g.flush = atoi(e) != 0; }
    static char alt[64*1024];
    stack_t ss = {}; ss.ss_sp = alt; ss.ss_size = sizeof alt; sigaltstack(&ss, nullptr);
    struct sigaction sa = {}; sa.sa_sigaction = on_fault; sa.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &sa, nullptr); sigaction(SIGBUS, &sa, nullptr);
}

} // namespace msl
