// Instructions that a case takes, counted by single steps: the same number in every run, whatever else the machine does,
// and for every instruction set (valgrind knows neither AVX-512 nor AMX). Linux.
#ifndef TQ_CHECK_ATTENTION_COUNT_H
#define TQ_CHECK_ATTENTION_COUNT_H

#include "attention_bench.h"
#include "report.h"

// More than this much above the recorded number is a regression.
#define MOST_MORE_INSTRUCTIONS 1.03

#define COUNT_KEYS 256

#if defined(__linux__)

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

// The child: everything prepared, then the case between two signals.
static void counted_case(const tq_attention_impl * impl, const attention_case * c) {
    attention_data d = make_attention(c);
    const prepared p = prepare(impl, &d);
    run_prepared(impl, &d, &p);  // pages touched, symbols bound
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    raise(SIGUSR1);
    run_prepared(impl, &d, &p);
    raise(SIGUSR2);
    _exit(0);
}

// -1: this system does not let a process trace its child.
static long count_instructions(const tq_attention_impl * impl, const attention_case * c) {
    const pid_t child = fork();
    if (child == 0) {
        counted_case(impl, c);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFSTOPPED(status) || WSTOPSIG(status) != SIGUSR1) {
        return -1;
    }
    long steps = 0;
    while (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) == 0 && waitpid(child, &status, 0) == child && WIFSTOPPED(status) &&
           WSTOPSIG(status) == SIGTRAP) {
        steps++;
    }
    const bool whole = WIFSTOPPED(status) && WSTOPSIG(status) == SIGUSR2;
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return whole ? steps : -1;
}

#else

static long count_instructions(const tq_attention_impl * impl, const attention_case * c) {
    (void) impl, (void) c;
    return -1;
}

#endif

// The number recorded for this compiler, 0 if there is none.
static double recorded_count(const char * path, const char * impl, const char * what) {
    FILE * file = path ? fopen(path, "r") : NULL;
    char   text[256], name[32], label[64], compiler[128] = "";
    double count = 0.0, found = 0.0;
    while (file && fgets(text, sizeof text, file)) {
        if (sscanf(text, "compiler %127[^\n]", compiler) == 1) continue;
        if (strcmp(compiler, __VERSION__) == 0 && sscanf(text, "%31s %63s %lf", name, label, &count) == 3 && strcmp(name, impl) == 0 &&
            strcmp(label, what) == 0) {
            found = count;
        }
    }
    if (file) fclose(file);
    return found;
}

// Per key and KV head: head_dim 128, groups of 4 query heads.
static int attention_instructions(const char * path) {
    static const char * const pairs[][2] = { { "turbo4", "turbo4" }, { "turbo3", "turbo3" }, { "turbo2", "turbo2" }, { "q8_0", "turbo4" } };
    printf("compiler %s\n", __VERSION__);
    for (int i = 1; tq_attention_impl_at(i); i++) {
        const tq_attention_impl * impl = tq_attention_impl_at(i);
        for (int p = 0; p < 4 && impl->supported(); p++) {
            for (int n_q = 1; n_q <= 4; n_q += 3) {
                attention_case c = bench_case(pairs[p][0], pairs[p][1], n_q);
                char           what[64];
                snprintf(what, sizeof what, "%s/%s*%d", pairs[p][0], pairs[p][1], n_q);
                c.n_kv = COUNT_KEYS;
                fflush(stdout);
                const long steps = count_instructions(impl, &c);
                if (steps < 0) {
                    skip(impl->name, "instructions", "this system does not let a process trace its child");
                    return 0;
                }
                const double each = (double) steps / COUNT_KEYS, before = recorded_count(path, impl->name, what);
                printf("%-12s %-20s %8.1f", impl->name, what, each);
                if (before > 0.0) {
                    printf("   recorded %.1f%s", before, each > before * MOST_MORE_INSTRUCTIONS ? "  MORE" : "");
                    *(each > before * MOST_MORE_INSTRUCTIONS ? &counts.failed : &counts.passed) += 1;
                }
                printf("\n");
            }
        }
    }
    return counts.failed != 0;
}

#endif
