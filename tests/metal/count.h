// count.h: the other end of instrument.py: arithmetic instructions and loads of a launch.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "executor/metal.h"

struct Counts {
    uint64_t alu = 0;
    uint64_t threadgroup = 0;                 // loads from threadgroup memory
    uint64_t lookups = 0;                     // loads from tables, in constant memory or in the first `tables` bytes of threadgroup memory
    size_t   tables = 0;
    struct Region {
        std::string           name;
        const unsigned char * begin;
        size_t                size;
        uint64_t              requested = 0;  // bytes, every lane's loads
        uint64_t              fetched   = 0;  // bytes, each counted once per threadgroup
        std::vector<uint32_t> seen;           // by which threadgroup last
    };
    std::vector<Region> regions;
    uint32_t            group = 0;
    msl::u3             at    = { ~0u, 0, 0 };

    void watch(const std::string & name, const void * begin, size_t size) { regions.push_back({ name, (const unsigned char *) begin, size, 0, 0, std::vector<uint32_t>(size) }); }
};
inline Counts & counts() {
    static Counts c;
    return c;
}

// Constant data of this program: the tables of the kernels.
extern "C" char __executable_start, end;

extern "C" inline __attribute__((used)) void msl_count_alu(int n) { counts().alu += n; }
extern "C" inline __attribute__((used)) void msl_count_load(const void * address, int size) {
    Counts &              c = counts();
    const unsigned char * p = (const unsigned char *) address;
    const msl::u3 &       g = msl::m().tg_pos;
    if (g.x != c.at.x || g.y != c.at.y || g.z != c.at.z) {
        c.at = g;
        c.group++;
    }
    for (auto & r : c.regions) {
        if (p < r.begin || p >= r.begin + r.size) continue;
        r.requested += size;
        for (size_t i = p - r.begin; i < (size_t) (p - r.begin) + size && i < r.size; ++i) {
            r.fetched += r.seen[i] != c.group;
            r.seen[i] = c.group;
        }
        return;
    }
    const auto * shared = (const unsigned char *) msl::m().tgmem[0];
    if (shared && p >= shared && p < shared + msl::kMaxTgBytes) ++(p < shared + c.tables ? c.lookups : c.threadgroup);
    else if (p >= (const unsigned char *) &__executable_start && p < (const unsigned char *) &end) c.lookups++;
}
