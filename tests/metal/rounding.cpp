// rounding.cpp: what rounding costs attention with many queries, part by part. Upstream's matrix kernel reads queries, K and V
// as halves and calculates in float (backend.cpp and upstream.cpp hold it to that within 3e-6), so its error is that of
// float64 on rounded values. Prints a table for docs/results.
#include <algorithm>

#include "attention_case.h"

static constexpr int kSeeds = 12;

static double error(const AttentionCase & p, const std::vector<double> & exact, bool queries, bool k, bool v) {
    AttentionCase r = p;
    if (queries) for (auto & x : r.q) x = (float) (half) x;
    if (k) for (auto & x : r.kx) x = (double) (half) (float) x;
    if (v) for (auto & x : r.vx) x = (double) (half) (float) x;
    return relative_error(r.answer().data(), exact);
}

int main() {
    struct Row { const char * type; double worst[4]; };
    std::vector<Row> rows;
    printf("| K and V | queries | K | V | all three |\n|---|---|---|---|---|\n");
    for (const char * type : { "f16", "q8_0", "turbo4", "turbo3", "turbo2" }) {
        Row row = { type, {} };
        for (int seed = 1; seed <= kSeeds; ++seed) {
            const AttentionCase p({ 2, 1, 1, 20, 97, true, false, 0, 0 }, 128, 128, RowType::named(type), RowType::named(type), seed);
            const auto          exact = p.answer();
            const bool          parts[4][3] = { { true, false, false }, { false, true, false }, { false, false, true }, { true, true, true } };
            for (int i = 0; i < 4; ++i) row.worst[i] = std::max(row.worst[i], error(p, exact, parts[i][0], parts[i][1], parts[i][2]));
        }
        printf("| %s | %.1e | %.1e | %.1e | %.1e |\n", type, row.worst[0], row.worst[1], row.worst[2], row.worst[3]);
        rows.push_back(row);
    }
    const Row & f16 = rows[0], & q8 = rows[1];
    double      most = 0;
    for (const Row & r : rows) most = std::max(most, r.worst[3]);
    const bool ok = f16.worst[1] == 0 && f16.worst[2] == 0 && most < 3*q8.worst[3];
    printf("\n%sMany queries, %d random cases of each: rounding costs at most %.1e, upstream's own q8_0 %.1e, f16 %.1e (at most three times q8_0)\n", ok ? "" : "FAILED: ", kSeeds, most, q8.worst[3], f16.worst[3]);
    return !ok;
}
