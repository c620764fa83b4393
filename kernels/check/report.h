// One line per check, a count at the end.
#ifndef TQ_CHECK_REPORT_H
#define TQ_CHECK_REPORT_H

#include <stdarg.h>
#include <stdio.h>

typedef struct {
    int passed, failed, skipped;
} tally;

static tally counts;

static void line(const char * verdict, const char * who, const char * check, const char * format, va_list more) {
    printf("%-4s %-12s %-34s ", verdict, who, check);
    vprintf(format, more);
    printf("\n");
}

// Reports one check; the text says what was measured, or what went wrong first.
__attribute__((format(printf, 4, 5))) static void report(
    int ok, const char * who, const char * check, const char * format, ...) {
    va_list more;
    va_start(more, format);
    line(ok ? "ok" : "FAIL", who, check, format, more);
    va_end(more);
    *(ok ? &counts.passed : &counts.failed) += 1;
}

__attribute__((format(printf, 3, 4))) static void skip(const char * who, const char * check, const char * format, ...) {
    va_list more;
    va_start(more, format);
    line("skip", who, check, format, more);
    va_end(more);
    counts.skipped++;
}

#endif
