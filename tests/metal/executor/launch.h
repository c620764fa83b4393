// launch.h: what a host program uses: function constants by name, one launch after another.
#pragma once

#include <type_traits>

#include "memory.h"

namespace msl {

// Function constants go by name; a constant that several files define is set in all of them.
template <class V> inline void constant(const char * name, V v) {
    Machine & g = m();
    auto r = g.constants.equal_range(name);
    if (r.first == r.second) { fprintf(stderr, "msl: no function constant %s\n", name); exit(3); }
    for (auto i = r.first; i != r.second; ++i) {
        const Constant & c = i->second;
        unsigned char bytes[8];                               // little endian; bool and integers
        if constexpr (std::is_floating_point_v<V>) { const float x = (float) v; memcpy(bytes, &x, sizeof x); }
        else { const int64_t x = (int64_t) v; memcpy(bytes, &x, sizeof x); }
        if (!c.fixed) memcpy(c.ptr, bytes, c.size);
        else if (memcmp(c.ptr, bytes, c.size) != 0) { fprintf(stderr, "msl: %s was fixed to another value\n", name); exit(3); }
    }
}

struct Launch {
    const Kernel * k;
    std::vector<std::vector<unsigned char>> bytes_;
    std::map<int, void *> bufs;
    std::map<int, size_t> tg;

    explicit Launch(const char * name) {
        init();
        auto i = m().kernels.find(name);
        if (i == m().kernels.end()) { fprintf(stderr, "msl: no kernel %s\n", name); exit(3); }
        k = &i->second;
    }
    Launch & buffer(int i, void * p) { bufs[i] = p; return *this; }
    template <class T> Launch & bytes(int i, const T & v) {
        bytes_.emplace_back((const unsigned char *) &v, (const unsigned char *) &v + sizeof v);
        bufs[i] = bytes_.back().data();
        return *this;
    }
    Launch & threadgroup(int i, size_t n) { tg[i] = n; return *this; }

    Stats dispatch(u3 grid, u3 tg_size) {
        Machine & g = m();
        const uint32_t n = tg_size.x*tg_size.y*tg_size.z;
        g.k = k; g.grid = grid; g.tg_size = tg_size; g.stats = Stats();
        if (n == 0 || n > kMaxThreads) fail("threads per threadgroup must be 1..1024");
        static Guarded nowhere(0);
        for (auto & b : g.buf)   b = nowhere.base;
        for (auto & b : g.tgmem) b = nowhere.base;
        for (auto & b : bufs) g.buf[b.first] = b.second;
        std::map<int, Guarded> mem;
        size_t fixed = 0;
        for (auto & t : tg) {
            mem[t.first].alloc(t.second);
            g.tgmem[t.first] = mem[t.first].ptr;
            fixed += (t.second + 15)/16*16;
        }
        if (fixed > g.tg_limit) fail("more threadgroup memory than the limit");
        const Denormals denormals;
        const uint64_t total = (uint64_t) grid.x*grid.y*grid.z;
        for (uint64_t i = 0; i < total; ++i) {
            const uint64_t j = g.order == 1 ? total - 1 - i : i;
            g.tg_pos = { (uint32_t) (j%grid.x), (uint32_t) (j/grid.x%grid.y), (uint32_t) (j/grid.x/grid.y) };
            g.tg_bytes = fixed; g.tg_seen.clear();
            if (g.poison) for (auto & t : mem) memset(t.second.ptr, 0xff, t.second.size);
            run_threadgroup();
            if (g.tg_bytes > g.stats.tg_bytes) g.stats.tg_bytes = g.tg_bytes;
        }
        g.stats.threadgroups = total; g.stats.threads = total*n;
        return g.stats;
    }
};

inline void print(const char * title, const Stats & s) {
    printf("%s: %llu threadgroups, %llu threads, %zu B threadgroup memory;", title, (unsigned long long) s.threadgroups, (unsigned long long) s.threads, s.tg_bytes);
    for (int i = 0; i < OP_COUNT; ++i) if (s.ops[i]) printf(" %s %llu", op_name(i), (unsigned long long) s.ops[i]);
    if (s.barriers_after_exit) printf(" [barriers after an exit: %llu]", (unsigned long long) s.barriers_after_exit);
    printf("\n");
}

// registration, emitted by translate.py
struct ConstantReg {
    template <class T> ConstantReg(const char * tu, const char * name, int index, T * p) {
        m().constants.insert({ name, Constant{ tu, index, (void *) p, sizeof(T), std::is_const_v<T> } });
    }
};

} // namespace msl
