// check.h: counting checks, running them under every schedule of the executor, and failing on a kernel without one.
#pragma once

#include <cstdarg>
#include <functional>
#include <set>
#include <string>

#include "executor/metal.h"

// A run that passes says so in a line; MSL_VERBOSE=1 shows every check.
struct Report {
    int                   failures = 0, checks = 0;
    std::set<std::string> checked;
    bool                  verbose = getenv("MSL_VERBOSE") != nullptr;

    // `kernel` is what was run; the text is printed when it failed, or when asked for.
    __attribute__((format(printf, 4, 5))) void check(bool ok, const char * kernel, const char * format, ...) {
        checks++;
        checked.insert(kernel);
        if (!ok && ++failures > 20) return;
        if (ok && !verbose) return;
        char    text[512];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        printf("%s%s: %s\n", ok ? "" : "FAILED: ", kernel, text);
    }
    // Every kernel linked into this program must have been checked, unless others see to that.
    int finish(const char * what, bool every_kernel = true) {
        int without = 0;
        if (every_kernel) for (const auto & k : msl::m().kernels) {
            if (!checked.count(k.first)) {
                printf("FAILED: %s is registered and has no check\n", k.first.c_str());
                without++;
            }
        }
        if (failures || without) printf("%s: %d of %d checks FAILED, %d kernels without a check\n", what, failures, checks, without);
        else printf("%s: %zu %s, %d checks\n", what, checked.size(), every_kernel ? "kernels" : "subjects", checks);
        return failures != 0 || without != 0;
    }
};

struct Schedule {
    const char * name;
    int          order;
    uint64_t     seed;
    bool         strict;
    int          reduce;
    bool         flush = false;
};
// Orders of lanes, simdgroups and threadgroups; strict: matrix loads and stores do not make the lanes meet; two add in
// other orders inside simd_sum; the last is a GPU that has no denormal floats.
inline const Schedule kSchedules[] = {
    { "forward", 0, 0, false, 0 }, { "reverse", 1, 0, false, 0 }, { "seed 1", 2, 1, false, 0 }, { "seed 2", 2, 2, false, 0 },
    { "strict", 2, 3, true, 0 },   { "linear sums", 0, 0, false, 1 }, { "reverse sums", 1, 0, true, 2 },
    { "denormals flushed", 0, 0, false, 0, true },
};

inline void use(const Schedule & s) {
    msl::init();
    msl::m().order  = s.order;
    msl::m().seed   = s.seed;
    msl::m().strict = s.strict;
    msl::m().reduce = s.reduce;
    msl::m().flush  = s.flush;
}
