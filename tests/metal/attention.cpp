// attention.cpp: every attention kernel of kernels.def against float64, in every schedule. Everything after the decoding
// is float in these kernels, so a bound far below the 1e-3 that is promised holds.
#include <regex>

#include "check.h"
#include "host_attention.h"

static Report report;
// Largest difference over the largest result; a float sum of some hundred terms.
constexpr double kBound = 2e-6;

struct Scenario {
    const char * what;
    Shape        shape;
    int          nsg, nwg;
    bool         table;
};
static const Scenario kScenarios[] = {
    { "decode, 4 heads share",         { 4, 2, 1, 1,  77, true,  false,  0, 0 }, 4,  1, true },
    { "tiles, sequences, split cache", { 3, 1, 2, 3,  40, true,  true,   0, 8 }, 1, 32, false },
    { "no mask, softcap",              { 1, 2, 1, 1,  33, false, false, 20, 0 }, 1,  1, true },
    { "two tiles, sinks, softcap",     { 8, 1, 1, 2,  97, true,  true,  10, 0 }, 2,  1, false },
    { "one position",                  { 2, 1, 1, 1,   1, false, false,  0, 0 }, 2,  1, false },
};

static Split split_of(const Scenario & s, int dk, int dv) {
    const tq_metal_plan plan = tq_metal_plan_for(dk, dv, s.shape.group, s.shape.nq, s.shape.kv, msl::kMaxTgBytes);
    return { plan.rows, s.nsg, s.nwg, s.table };
}

// Fast math is another arithmetic, not another order: the first schedule, other sums, denormals flushed.
static bool fast = false;

static void check_kernel(const std::string & kernel, const std::string & k, const std::string & v, int dk, int dv) {
    use(kSchedules[0]);
    for (const Scenario & s : kScenarios) {
        const AttentionCase p(s.shape, dk, dv, RowType::named(k), RowType::named(v), 1234);
        const double        e = relative_error(run_vec(p, split_of(s, dk, dv)).data(), p.answer());
        report.check(e < kBound, kernel.c_str(), "%s: error %.1e", s.what, e);
    }
    // one case of all parts: several simdgroups, shared head, the tail of the cache, bias
    const Scenario      s = { "all parts", { 2, 1, 1, 2, 71, true, true, 15, 4 }, 2, 1, true };
    const AttentionCase p(s.shape, dk, dv, RowType::named(k), RowType::named(v), 99);
    const auto          want = p.answer();
    std::vector<float>  first;
    for (const Schedule & schedule : kSchedules) {
        if (fast && !schedule.reduce && !schedule.flush && &schedule != kSchedules) continue;
        use(schedule);
        const auto   got = run_vec(p, split_of(s, dk, dv));
        const double e   = relative_error(got.data(), want);
        report.check(e < kBound, kernel.c_str(), "%s: error %.1e", schedule.name, e);
        if (first.empty()) first = got;
        // an order of lanes and simdgroups must not change a bit
        if (!schedule.reduce && !schedule.flush) report.check(first == got, kernel.c_str(), "%s gives other bits than %s", schedule.name, kSchedules[0].name);
    }
}

// The pairs that the host says have a kernel, by its own rule.
static std::set<std::string> expected() {
    std::vector<std::string> types;
    for (int i = 0; i < tq_type_count(); ++i) types.push_back(tq_type_at(i)->name);
    types.insert(types.end(), { "f16", "q8_0", "q4_0", "f32" });
    std::set<std::string> out;
    for (int dk = 32; dk <= 576; dk += 32) for (int dv = 32; dv <= 576; dv += 32) for (const auto & k : types) for (const auto & v : types) {
        if (tq_metal_has_kernel(k.c_str(), v.c_str(), dk, dv)) out.insert("kernel_flash_attn_ext_vec_" + k + "_" + v + "_dk" + std::to_string(dk) + "_dv" + std::to_string(dv));
    }
    return out;
}

int main(int argc, char ** argv) {
    fast = std::string(argv[0]).find("_fast") != std::string::npos;
    const std::regex only(argc > 1 ? argv[1] : ".");
    const std::regex form("kernel_flash_attn_ext_vec_(turbo\\d(?:_64)?|f16|q8_0)_(turbo\\d(?:_64)?|f16|q8_0)_dk(\\d+)_dv(\\d+)");
    auto             wanted = expected();
    for (const auto & entry : msl::m().kernels) {
        const std::string & kernel = entry.first;
        std::smatch         m;
        if (!std::regex_match(kernel, m, form)) {
            report.check(kernel == "kernel_flash_attn_ext_vec_reduce", kernel.c_str(), "is it a kernel of ours?");
            continue;
        }
        report.check(wanted.erase(kernel) == 1, kernel.c_str(), "the host asks for it");
        if (std::regex_search(kernel, only)) check_kernel(kernel, m[1], m[2], std::stoi(m[3]), std::stoi(m[4]));
    }
    for (const auto & kernel : wanted) if (std::regex_search(kernel, only)) report.check(false, kernel.c_str(), "the host asks for it, and it is not there");
    return report.finish(fast ? "turbo attention, fast math" : "turbo attention");
}
