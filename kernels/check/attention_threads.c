// Attention by many threads, as the engine runs it: units dealt out in turn or one by one, a barrier before the parts are
// joined. Every number of threads must make the bits that one makes; made for ThreadSanitizer (scripts/sanitize.sh), which
// sees here whether two threads touch the same scratch, the same rows or a part that is not finished.
//
//   attention_threads            every implementation, pair of types, shape and number of threads
//   attention_threads --quick    about a tenth of them
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "attention_case.h"
#include "report.h"

#define MOST_THREADS 8

// As ggml's barrier: a counter of those that wait, and one of the times it opened. The addition of 0 in place of ggml's
// fence, because ThreadSanitizer knows no fences; ggml does the same when compiled for it.
typedef struct {
    int        n_threads;
    atomic_int n_waiting, n_passed;
} barrier;

static void barrier_wait(barrier * b) {
    const int passed = atomic_load_explicit(&b->n_passed, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&b->n_waiting, 1, memory_order_seq_cst) == b->n_threads - 1) {
        atomic_store_explicit(&b->n_waiting, 0, memory_order_relaxed);
        atomic_fetch_add_explicit(&b->n_passed, 1, memory_order_seq_cst);
        return;
    }
    while (atomic_load_explicit(&b->n_passed, memory_order_relaxed) == passed) sched_yield();
    atomic_fetch_add_explicit(&b->n_passed, 0, memory_order_seq_cst);
}

// What all threads of one op share, as ggml's thread pool and work buffer do.
typedef struct {
    const tq_attention_impl * impl;
    const tq_attention *      a;
    char *                    work;  // partials, then a scratch for each thread
    barrier                   gate;
    atomic_int                next_unit;
} op;

typedef struct {
    op * shared;
    int  index;
} member;

static size_t whole_lines(size_t bytes) { return (bytes + 63) / 64 * 64; }

static size_t work_bytes(const tq_attention_plan * plan, int n_threads) {
    return whole_lines(plan->partial_bytes) + (size_t) n_threads * whole_lines(plan->scratch_bytes);
}

// The steps of tq_flash_attn_ext (hooks/flash_attn.cpp).
static void * take_part(void * given) {
    const member * m         = (const member *) given;
    op *           o         = m->shared;
    const int      n_threads = o->gate.n_threads;
    // Each thread plans for itself and finds the implementation itself.
    tq_attention_plan plan;
    tq_attention_make_plan(o->a, o->impl, &plan);
    float * partials = (float *) (void *) o->work;
    char *  scratch  = o->work + whole_lines(plan.partial_bytes) + (size_t) m->index * whole_lines(plan.scratch_bytes);

    const int one_by_one = n_threads > 1 && plan.n_units >= 4 * n_threads;
    if (one_by_one) {
        if (m->index == 0) atomic_store_explicit(&o->next_unit, n_threads, memory_order_relaxed);
        barrier_wait(&o->gate);
    }
    for (int unit = m->index; unit < plan.n_units;
         unit     = one_by_one ? atomic_fetch_add_explicit(&o->next_unit, 1, memory_order_relaxed) : unit + n_threads) {
        o->impl->run_unit(o->a, &plan, unit, scratch, partials);
    }
    if (plan.n_splits > 1) {
        barrier_wait(&o->gate);
        const int64_t rows = (int64_t) o->a->n_seq * o->a->n_q * o->a->n_head;
        o->impl->reduce(o->a, &plan, rows * m->index / n_threads, rows * (m->index + 1) / n_threads, partials);
    }
    return NULL;
}

static void run_threads(const tq_attention_impl * impl, const tq_attention * a, int n_threads) {
    tq_attention_plan plan;
    tq_attention_make_plan(a, impl, &plan);
    op o;
    o.impl = impl, o.a = a;
    guarded work = guarded_new(work_bytes(&plan, n_threads));
    o.work       = work.at;
    memset(o.work, 0xff, work_bytes(&plan, n_threads));  // NaN: nothing may be read before it is written
    o.gate.n_threads = n_threads;
    atomic_init(&o.gate.n_waiting, 0);
    atomic_init(&o.gate.n_passed, 0);
    atomic_init(&o.next_unit, 0);

    pthread_t threads[MOST_THREADS];
    member    members[MOST_THREADS];
    int       error = 0, started = 0;
    for (int i = 0; i < n_threads; i++) members[i] = (member) { &o, i };
    for (; started < n_threads - 1 && !error; started++) {
        error = pthread_create(&threads[started], NULL, take_part, &members[started + 1]);
    }
    if (error) {
        // Those that run wait at a barrier that will never open.
        fprintf(stderr, "attention_threads: cannot start thread %d of %d: %s\n", started + 1, n_threads, strerror(error));
        exit(2);
    }
    take_part(&members[0]);
    for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
    guarded_free(&work);
}

static void check_case(const tq_attention_impl * impl, const attention_case * c) {
    static const int counts_of_threads[] = { 2, 3, 5, 8 };
    attention_data   d     = make_attention(c);
    const size_t     bytes = d.out_rows * d.a.dst_stride;
    char *           alone = (char *) malloc(bytes);
    run_attention(impl, &d);
    memcpy(alone, d.a.dst, bytes);
    char differ[64] = "";
    for (int i = 0; i < 4; i++) {
        memset(d.a.dst, 0xff, bytes);
        run_threads(impl, &d.a, counts_of_threads[i]);
        if (memcmp(alone, d.a.dst, bytes) != 0) {
            snprintf(differ + strlen(differ), sizeof differ - strlen(differ), " %d", counts_of_threads[i]);
        }
    }
    report(differ[0] == 0, impl->name, "same_bits_for_any_number_of_threads", "%s/%s d%d h%d/%d q%d kv%d seq%d%s%s", side_names[c->k],
           side_names[c->v], c->dk, c->n_head, c->n_head_kv, c->n_q, c->n_kv, c->n_seq, differ[0] ? ": not with" : "", differ);
    free(alone);
    free_attention(&d);
}

static const attention_case usual = {
    .k = SIDE_TURBO4, .v = SIDE_TURBO4, .dk = 128, .dv = 128, .n_head = 4, .n_head_kv = 2, .n_q = 1, .n_kv = 300,
    .n_seq = 1, .n_seq_kv = 1, .mask = MASK_CAUSAL, .mask_heads = 1, .sharp = 1.5f,
};

static void check_impl(const tq_attention_impl * impl, int step) {
    // Decode splits the cache and joins parts; prefill has units enough without; the last two share a cache between
    // sequences, where whole parts are seen by nobody.
    static const struct { int n_q, n_kv, n_head, n_head_kv, n_seq, n_seq_kv; mask_kind mask; } shapes[] = {
        { 1, 40, 2, 1, 1, 1, MASK_CAUSAL },    { 1, 300, 4, 2, 1, 1, MASK_CAUSAL },  { 1, 2500, 8, 1, 1, 1, MASK_CAUSAL },
        { 3, 1100, 6, 2, 1, 1, MASK_HOLES },   { 70, 200, 4, 1, 1, 1, MASK_CAUSAL }, { 150, 600, 4, 4, 1, 1, MASK_CAUSAL },
        { 9, 700, 6, 2, 4, 4, MASK_BLIND },    { 2, 900, 4, 2, 4, 2, MASK_HOLES },   { 1, 1500, 4, 2, 4, 1, MASK_BLIND },
    };
    int n = 0;
    for (int k = 0; k < SIDES; k++) {
        for (int v = 0; v < SIDES; v++) {
            if (k == SIDE_F16 && v == SIDE_F16) continue;  // upstream's
            for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
                attention_case c = usual;
                c.k = (side_type) k, c.v = (side_type) v;
                c.dk = c.dv = (k + v) % 2 ? 64 : 128;
                c.n_q = shapes[i].n_q, c.n_kv = shapes[i].n_kv, c.n_head = shapes[i].n_head, c.n_head_kv = shapes[i].n_head_kv;
                c.n_seq = shapes[i].n_seq, c.n_seq_kv = shapes[i].n_seq_kv, c.mask = shapes[i].mask;
                c.sinks = (n / 3) % 2;
                if (n++ % step == 0) check_case(impl, &c);
            }
        }
    }
}

// Threads that ask for the implementation at once, while another is chosen: each gets a whole one.
static void * ask_often(void * bad) {
    for (int i = 0; i < 2000; i++) {
        if (i % 100 == 0) tq_attention_force(i % 200 ? "scalar" : tq_attention_active()->name);
        if (tq_attention_active()->run_unit == NULL || tq_codec_active() == NULL) atomic_fetch_add((atomic_int *) bad, 1);
    }
    return NULL;
}

static void check_choice(void) {
    atomic_int bad = 0;
    pthread_t  threads[4];
    int        started = 0;
    while (started < 4 && pthread_create(&threads[started], NULL, ask_often, &bad) == 0) started++;
    for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
    report(started == 4 && atomic_load(&bad) == 0, "choice", "any_thread_any_time", "%d threads", started);
}

int main(int argc, char ** argv) {
    const int quick = argc == 2 && strcmp(argv[1], "--quick") == 0;
    if (argc > 2 || (argc == 2 && !quick)) return fprintf(stderr, "usage: attention_threads [--quick]\n"), 2;
    check_choice();  // first: before anybody has asked
    for (int i = 0; tq_attention_impl_at(i) != NULL; i++) {
        const tq_attention_impl * impl = tq_attention_impl_at(i);
        if (!impl->supported()) {
            skip(impl->name, "all", "this CPU does not run it");
            continue;
        }
        check_impl(impl, quick ? 11 : 1);
    }
    printf("%d passed, %d failed, %d skipped\n", counts.passed, counts.failed, counts.skipped);
    return counts.failed != 0;
}
