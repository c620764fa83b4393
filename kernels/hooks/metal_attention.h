// What the Metal backend decides about attention over turbo caches, apart from Metal: which kernel a pair has, how rows,
// simdgroups and threadgroups are shared out. No engine header, so that tests/metal runs the kernels by the same rules.
#ifndef TQ_METAL_ATTENTION_H
#define TQ_METAL_ATTENTION_H

#include <cstddef>
#include <cstdint>
#include <cstring>

// Rows (query, head of the group) that one threadgroup serves at most, and positions of a chunk: kernels/metal/template/attention.metal.
constexpr int TQ_METAL_ROWS  = 8;
constexpr int TQ_METAL_CHUNK = 32;
// Lookup tables of K and V, floats of threadgroup memory.
constexpr int TQ_METAL_TABLES = 32;
// Threadgroups among which the cache is split; upstream's reduction kernel has one lane for each.
constexpr int TQ_METAL_SPLIT = 32;
// Simdgroups per threadgroup at most.
constexpr int TQ_METAL_SIMDGROUPS = 4;

// Name (with the block that fits the head size) of a type in kernels.def's pairs, or nullptr.
inline const char * tq_metal_operand(const char * type, int head) {
    struct row { const char * name; int block; };
    static const row rows[] = {
#define TQ_KV_TYPE(ENUM, id, name, family, bits, block, bytes) { #name, block },
#include "types.def"
#define TQ_METAL_PLAIN(name) { #name, 1 },
#include "metal/kernels.def"
    };
    // a family's 64 block is only used where its 128 block does not fit
    const int widest = head % 128 == 0 ? 128 : 64;
    for (const row & r : rows) {
        if (strcmp(r.name, type) == 0 && (r.block == 1 || (r.block == widest && head % r.block == 0))) {
            return r.name;
        }
    }
    return nullptr;
}

inline bool tq_metal_is_turbo(const char * type) {
#define TQ_KV_TYPE(ENUM, id, name, family, bits, block, bytes) if (strcmp(type, #name) == 0) { return true; }
#include "types.def"
    return false;
}

// The library (.metal file) with the attention kernels of a head size, or nullptr.
inline const char * tq_metal_library(int dk, int dv) {
#define TQ_METAL_HEAD(library, DK, DV) if (dk == DK && dv == DV) { return "turbo_vec_" #library; }
#include "metal/kernels.def"
    return nullptr;
}

// Is there a kernel for this pair? Only for pairs with a turbo side: the others are upstream's.
inline bool tq_metal_has_kernel(const char * k, const char * v, int dk, int dv) {
    return tq_metal_library(dk, dv) != nullptr && (tq_metal_is_turbo(k) || tq_metal_is_turbo(v)) && tq_metal_operand(k, dk) != nullptr && tq_metal_operand(v, dv) != nullptr;
}

struct tq_metal_plan {
    int    rows;    // per threadgroup
    int    tiles;   // threadgroups for all rows of a KV head
    int    nsg;     // simdgroups per threadgroup
    int    nwg;     // threadgroups among which the cache is split
    size_t memory;  // threadgroup memory, bytes
};

// Floats that the kernel uses: tables, then queries and weights, which the exchange between simdgroups reuses.
inline size_t tq_metal_memory(int dk, int dv, int rows, int nsg) {
    const size_t work     = (size_t) rows*dk + (size_t) nsg*rows*TQ_METAL_CHUNK;
    const size_t exchange = (size_t) (nsg/2)*rows*(dv + 2);
    const size_t bytes    = sizeof(float)*(TQ_METAL_TABLES + (work > exchange ? work : exchange));
    return (bytes + 15)/16*16;
}

// group: query heads per KV head; limit: bytes of threadgroup memory; most_nsg: simdgroups that the pipeline has room for.
inline tq_metal_plan tq_metal_plan_for(int dk, int dv, int group, int n_queries, int64_t n_kv, size_t limit, int most_nsg = TQ_METAL_SIMDGROUPS) {
    tq_metal_plan p = {};
    p.nwg = TQ_METAL_SPLIT;
    p.nsg = 1;
    while (2*p.nwg*p.nsg*TQ_METAL_CHUNK < n_kv && p.nsg < most_nsg) {
        p.nsg *= 2;
    }
    // results are held in registers, dv/32 floats per row: 64 leave room for the rest
    int most = 2048/dv < TQ_METAL_ROWS ? 2048/dv : TQ_METAL_ROWS;
    while (most > 1 && tq_metal_memory(dk, dv, most, p.nsg) > limit) {
        most--;
    }
    const int total = group*n_queries;
    p.tiles  = (total + most - 1)/most;
    p.rows   = (total + p.tiles - 1)/p.tiles;
    p.memory = tq_metal_memory(dk, dv, p.rows, p.nsg);
    return p;
}

// Where a GPU looks the levels up: threadgroup or constant memory. One row per Apple family, to be changed by whoever
// measures one; none has been measured by us. What the rows go by are counts (docs/results: one lookup per decoded value, each
// lane at an index of its own, beside 0.6 loads of threadgroup memory) and what Apple says of its memories: constant memory
// is for what all threads read at the same place, threadgroup memory serves each lane at its own.
struct tq_metal_family {
    const char * name;
    int          number;      // MTLGPUFamilyApple<number>
    bool         threadgroup; // or constant
};
inline const tq_metal_family & tq_metal_family_of(int number) {
    static const tq_metal_family rows[] = {
        { "apple7",  7,  true }, // M1, A14: lanes diverge
        { "apple8",  8,  true }, // M2, A15, A16: as apple7
        { "apple9",  9,  true }, // M3, M4, A17: one cache holds both memories, so nothing is won; threadgroup memory needs no lookup of addresses
        { "apple10", 10, true }, // M5, A19: as apple9
        { "other",   0,  true }, // as upstream on every family, for its codebook type (iq4_nl)
    };
    const tq_metal_family * row = rows;
    while (row->number != 0 && row->number != number) {
        row++;
    }
    return *row;
}

#endif
