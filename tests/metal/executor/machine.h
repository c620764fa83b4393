// machine.h: a GPU that runs on one CPU thread.
//
// One fiber per thread of a threadgroup. A thread runs until it meets a simd function, a barrier or its
// end. A simd function completes when every live lane of its 32-lane simdgroup waits at the same call; a
// threadgroup barrier when every live thread of the threadgroup does. Anything else stops the run with
// the two source lines. Threadgroups run one after another. Everything is deterministic, in an order that
// `Machine::order` chooses: what a kernel computes must not depend on it.
#pragma once

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>
#if !defined(__x86_64__)
#define MSL_UCONTEXT // portable, three times slower
#endif
#if defined(MSL_UCONTEXT)
#include <ucontext.h>
#endif

namespace msl {

constexpr int    kLanes         = 32;
constexpr int    kMaxThreads    = 1024;
constexpr size_t kMaxTgBytes    = 32768;   // what every Apple GPU family offers
constexpr size_t kStackBytes    = 256*1024;

struct u3 { uint32_t x = 1, y = 1, z = 1; };

// kinds of kernel parameters, filled in by translate.py from the attributes
enum Kind : int {
    P_BUFFER, P_TGMEM,
    P_TG_POS, P_TG_COUNT, P_TID3, P_TG_SIZE, P_GRID_POS, P_GRID_SIZE,
    P_TID, P_LANE, P_SG, P_SG_COUNT, P_SG_SIZE,
};
struct Param { Kind kind; int index; };

enum Op : int {
    OP_SUM, OP_PRODUCT, OP_MAX, OP_MIN, OP_AND, OP_OR, OP_XOR, OP_SHUFFLE, OP_BROADCAST, OP_PREFIX, OP_VOTE,
    OP_MM_LOAD, OP_MM_STORE, OP_MM_MAC, OP_SG_BARRIER, OP_TG_BARRIER, OP_COUNT,
};
inline const char * op_name(int o) {
    static const char * n[] = { "simd_sum", "simd_product", "simd_max", "simd_min", "simd_and", "simd_or", "simd_xor",
        "simd_shuffle*", "simd_broadcast*", "simd_prefix*", "simd_vote", "simdgroup_load", "simdgroup_store",
        "simdgroup_multiply*", "simdgroup_barrier", "threadgroup_barrier" };
    return n[o];
}

struct Site { const char * file; int line; };

// one collective operation of one simdgroup; two per simdgroup, used in turns, so that a lane that is
// one operation ahead does not overwrite what a slower lane still has to read
struct Collective {
    alignas(64) unsigned char slot[kLanes][64];
    float    mat[2][64];
    const void * ptr[kLanes];
    uint32_t active;
    bool     led;       // set by the first lane that resumes: it does the shared part of the work
};

enum Status : uint8_t { READY, AT_SIMD, AT_BARRIER, AT_SOFT, DONE };

struct Fiber {
#if !defined(MSL_UCONTEXT)
    void * sp = nullptr;
#else
    ucontext_t ctx;
#endif
    Status   status = DONE;
    Op       op     = OP_SUM;
    Site     site   = { "", 0 };
    uint32_t tid = 0, lane = 0, sg = 0;
    uint32_t ops = 0;   // collective operations so far: selects the buffer
    u3       pos;
};

struct Stats {
    uint64_t ops[OP_COUNT] = {};          // per simdgroup (a barrier: per threadgroup)
    uint64_t threadgroups = 0, threads = 0;
    uint64_t barriers_after_exit = 0;     // a barrier reached while some threads had already returned
    size_t   tg_bytes = 0;                // most threadgroup memory seen in one threadgroup
    size_t   stack_bytes = 0;
};

struct Kernel {
    const char * name = nullptr; const char * tu = nullptr;
    void (*fn)() = nullptr;
    const Param * params = nullptr; int n_params = 0;
    void (*call)(void (*fn)(), const Param * params) = nullptr;
};
struct Constant { const char * tu; int index; void * ptr; size_t size; bool fixed; };

struct Machine {
    std::map<std::string, Kernel>                   kernels;
    std::multimap<std::string, Constant>            constants;

    Fiber   sched, * cur = nullptr;
    std::vector<Fiber>      fibers;
    std::vector<Collective> coll;         // 2 per simdgroup
    unsigned char * stacks = nullptr;

    const Kernel * k = nullptr;
    u3  grid, tg_size, tg_pos;
    void * buf[31] = {};
    void * tgmem[31] = {};
    size_t tg_bytes = 0;
    std::vector<const void *> tg_seen;    // threadgroup variables met in this threadgroup
    Stats  stats;

    // knobs: MSL_ORDER = forward | reverse | <seed>; MSL_REDUCE = tree | linear | reverse; MSL_POISON = 0 | 1;
    // MSL_STRICT = 1: matrix loads and stores do not make the lanes meet, so that only barriers order memory;
    // MSL_FLUSH = 1
    int      order  = 0;
    uint64_t seed   = 0;
    int      reduce = 0;
    bool     poison = true;
    bool     strict = false;
    bool     flush  = false;              // denormal floats are zero in kernels, as a GPU may have it
    size_t   tg_limit = kMaxTgBytes;
};
inline Machine & m() { static Machine * p = new Machine; return *p; }

[[noreturn]] inline void fail(const char * what) {
    Machine & g = m();
    fprintf(stderr, "msl: %s\n  kernel %s, threadgroup (%u,%u,%u)\n", what, g.k ? g.k->name : "-", g.tg_pos.x, g.tg_pos.y, g.tg_pos.z);
    exit(3);
}

// --- switching ---
#if !defined(MSL_UCONTEXT)
__attribute__((naked, noinline)) inline void swap_stacks(void ** /*save*/, void * /*load*/) {
    asm("pushq %%rbp\n pushq %%rbx\n pushq %%r12\n pushq %%r13\n pushq %%r14\n pushq %%r15\n"
        "movq %%rsp, (%%rdi)\n movq %%rsi, %%rsp\n"
        "popq %%r15\n popq %%r14\n popq %%r13\n popq %%r12\n popq %%rbx\n popq %%rbp\n retq\n" ::: "memory");
}
inline void to_scheduler()      { Machine & g = m(); swap_stacks(&g.cur->sp, g.sched.sp); }
inline void to_fiber(Fiber & f) { Machine & g = m(); g.cur = &f; swap_stacks(&g.sched.sp, f.sp); }
#else
inline void to_scheduler()      { Machine & g = m(); swapcontext(&g.cur->ctx, &g.sched.ctx); }
inline void to_fiber(Fiber & f) { Machine & g = m(); g.cur = &f; swapcontext(&g.sched.ctx, &f.ctx); }
#endif

inline void fiber_main() {
    Machine & g = m();
    g.k->call(g.k->fn, g.k->params);
    g.cur->status = DONE;
    to_scheduler();
    abort();
}

inline unsigned char * stack_of(uint32_t tid) { return m().stacks + (size_t) tid*(kStackBytes + 4096) + 4096; }

inline void fiber_start(Fiber & f) {
#if !defined(MSL_UCONTEXT)
    void ** top = (void **) (stack_of(f.tid) + kStackBytes);
    *--top = nullptr;                       // keeps the alignment the ABI expects at entry
    *--top = (void *) &fiber_main;
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    f.sp = top;
#else
    getcontext(&f.ctx);
    f.ctx.uc_stack.ss_sp = stack_of(f.tid); f.ctx.uc_stack.ss_size = kStackBytes; f.ctx.uc_link = nullptr;
    makecontext(&f.ctx, (void (*)()) fiber_main, 0);
#endif
    f.status = READY; f.ops = 0; f.site = { "none yet", 0 };
}

inline Collective & collective() { Machine & g = m(); return g.coll[2*g.cur->sg + (g.cur->ops & 1)]; }

inline void wait(Op op, Site site, Status st = AT_SIMD) {
    Fiber & f = *m().cur;
    f.op = op; f.site = site; f.status = st;
    to_scheduler();
    if (st == AT_SIMD) f.ops++;
}

// inserted by translate.py --lockstep: wait until no lane of the simdgroup can go on, but never demand a partner
inline bool converge() { m().cur->status = AT_SOFT; to_scheduler(); return true; }

// a `threadgroup` variable declared in a kernel body: shared, fresh (poisoned) for every threadgroup
inline void tg_static(void * p, size_t n) {
    Machine & g = m();
    for (const void * q : g.tg_seen) if (q == p) return;
    g.tg_seen.push_back(p);
    g.tg_bytes += n;
    if (g.tg_bytes > g.tg_limit) fail("more threadgroup memory than the limit");
    if (g.poison) memset(p, 0xff, n);
}

[[noreturn]] inline void diverged(const char * what, const Fiber & a, const Fiber & b) {
    char t[512];
    auto where = [](const Fiber & f, char * s, size_t n) {
        if (f.status == DONE) snprintf(s, n, "thread %u has returned", f.tid);
        else snprintf(s, n, "thread %u waits at %s, %s:%d", f.tid, op_name(f.op), f.site.file, f.site.line);
    };
    char wa[200], wb[200];
    where(a, wa, sizeof wa); where(b, wb, sizeof wb);
    snprintf(t, sizeof t, "%s\n  %s\n  %s", what, wa, wb);
    fail(t);
}

inline uint64_t mix64(uint64_t x) { x ^= x >> 33; x *= 0xff51afd7ed558ccdull; x ^= x >> 33; x *= 0xc4ceb9fe1a85ec53ull; return x ^ (x >> 33); }

inline void run_threadgroup() {
    Machine & g = m();
    const uint32_t n = g.tg_size.x*g.tg_size.y*g.tg_size.z, n_sg = (n + kLanes - 1)/kLanes;
    for (uint32_t t = 0; t < n; ++t) {
        Fiber & f = g.fibers[t];
        f.tid = t; f.lane = t%kLanes; f.sg = t/kLanes;
        f.pos = { t%g.tg_size.x, t/g.tg_size.x%g.tg_size.y, t/(g.tg_size.x*g.tg_size.y) };
        fiber_start(f);
    }
    uint64_t pass = 0;
    for (;;) {
        uint32_t waiting = 0, done = 0;
        Fiber * at = nullptr;
        const uint64_t turn = mix64(g.seed + pass);
        for (uint32_t i = 0; i < n_sg; ++i) {
            const uint32_t sg = g.order == 1 ? n_sg - 1 - i : g.order == 2 ? (i + turn)%n_sg : i;
            Fiber * f = &g.fibers[sg*kLanes];
            const uint32_t nl = std::min<uint32_t>(kLanes, n - sg*kLanes);
            for (;;) {
                pass++;
                const uint64_t r = mix64(g.seed ^ pass);
                for (uint32_t l = 0; l < nl; ++l) {
                    const uint32_t q = g.order == 1 ? nl - 1 - l : g.order == 2 ? ((l*(2*(r%16) + 1) + (r >> 8))%kLanes) : l;
                    if (q < nl && f[q].status == READY) to_fiber(f[q]);
                }
                if (g.order == 2) for (uint32_t l = 0; l < nl; ++l) if (f[l].status == READY) to_fiber(f[l]);
                Fiber * s = nullptr, * b = nullptr;
                uint32_t active = 0;
                bool soft = false;
                for (uint32_t l = 0; l < nl; ++l) if (f[l].status == AT_SOFT) { f[l].status = READY; soft = true; }
                if (soft) continue;
                for (uint32_t l = 0; l < nl; ++l) {
                    if (f[l].status == AT_SIMD) {
                        if (s && (s->op != f[l].op || s->site.line != f[l].site.line)) diverged("lanes of one simdgroup wait at different places", *s, f[l]);
                        s = &f[l]; active |= 1u << l;
                    } else if (f[l].status == AT_BARRIER) b = &f[l];
                }
                if (s && b) diverged("lanes of one simdgroup wait at different places", *s, *b);
                if (!s) break;
                Collective & c = g.coll[2*sg + (s->ops & 1)];
                c.active = active; c.led = false;
                g.stats.ops[s->op]++;
                for (uint32_t l = 0; l < nl; ++l) if (active >> l & 1) f[l].status = READY;
            }
            for (uint32_t l = 0; l < nl; ++l) {
                if (f[l].status == AT_BARRIER) {
                    if (at && at->site.line != f[l].site.line) diverged("threads of one threadgroup wait at different barriers", *at, f[l]);
                    at = &f[l]; waiting++;
                } else done++;
            }
        }
        if (!waiting) break;
        if (done) g.stats.barriers_after_exit++;
        g.stats.ops[OP_TG_BARRIER]++;
        for (uint32_t t = 0; t < n; ++t) if (g.fibers[t].status == AT_BARRIER) g.fibers[t].status = READY;
    }
}

} // namespace msl
