// What both benchmarks time and sort with.
#ifndef TQ_CHECK_TIMING_H
#define TQ_CHECK_TIMING_H

#include <time.h>

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec + 1e-9 * (double) t.tv_nsec;
}

// Ascending, for qsort.
static int by_value(const void * a, const void * b) {
    const double x = *(const double *) a, y = *(const double *) b;
    return (x > y) - (x < y);
}

#endif
