// upstream.cpp: upstream's own kernels, dispatched by its own host code, against references: what the executor computes is
// right, or these would not be. Quantized rows must be the bytes of ggml's reference; attention must agree with float64
// on values rounded to half, as the kernels round them, far better than with exact ones.
#include "check.h"
#include "ggml-metal-impl.h"
#include "ggml-metal-tuning.h"
#include "graph_attention.h"

extern "C" {
#include "ggml-quants.h"
}

static Report report;

static void set_rows(ggml_type type, const Schedule & schedule) {
    const int                       length = 256, rows = 37, slots = 64;
    std::mt19937                    rng(7);
    std::normal_distribution<float> normal;
    std::vector<float>              x((size_t) length*rows);
    std::vector<int64_t>            at(rows);
    for (auto & y : x) y = normal(rng)*std::exp(3*normal(rng));
    std::fill(x.begin(), x.begin() + length, 0.0f);
    for (int r = 0; r < rows; ++r) at[r] = (r*29 + 5)%slots;

    const size_t         bytes = ggml_row_size(type, length);
    std::vector<uint8_t> want(slots*bytes, 0x5a);
    Graph                g;
    ggml_tensor *        dst = ggml_new_tensor_2d(g.context(), type, length, slots);
    ggml_tensor *        src = ggml_new_tensor_2d(g.context(), GGML_TYPE_F32, length, rows);
    ggml_tensor *        idx = ggml_new_tensor_1d(g.context(), GGML_TYPE_I64, rows);
    g.fill(dst, want.data());
    g.fill(src, x.data());
    g.fill(idx, at.data());
    for (int r = 0; r < rows; ++r) ggml_get_type_traits(type)->from_float_ref(&x[(size_t) r*length], &want[at[r]*bytes], length);
    report.check(g.run(ggml_set_rows(g.context(), dst, src, idx)) == want, dispatched().back().c_str(), "%d rows, nothing else written (%s)", rows, schedule.name);
}

static void attention(const char * type, const Shape & shape, int queries, int rows_a_step, const Schedule & schedule) {
    if (queries) ggml_metal_tuning::fa_vec_set_override({ (int8_t) queries, (int8_t) rows_a_step });
    const AttentionCase p(shape, 128, 128, RowType::named(type), RowType::named(type), 7);
    const size_t        before = dispatched().size();
    const auto          got = run_attention(p);
    const double        exact = relative_error(got.data(), p.answer()), seen = relative_error(got.data(), p.answer(true));
    ggml_metal_tuning::fa_vec_clear_override();
    for (size_t i = before; i < dispatched().size(); ++i) {
        report.check(exact < 3e-3 && seen < 3e-6, dispatched()[i].c_str(), "%d queries, %d positions: error %.1e, %.1e with its half roundings (%s)", shape.nq, shape.kv, exact, seen, schedule.name);
    }
}

// --- Walsh-Hadamard ---
template <class T> static void fwht(const char * kernel, int n, const Schedule & schedule) {
    const int rows = 9;
    std::mt19937                    rng(7);
    std::normal_distribution<float> normal;
    msl::Buffer<T> x((size_t) rows*n); msl::Buffer<float> y(x.n);
    for (auto & e : x) e = (T) normal(rng);
    ggml_metal_kargs_fwht a = { rows };
    const uint32_t threads = n >= GGML_METAL_FWHT_TG_MIN_N ? GGML_METAL_FWHT_TG_NT : 64, groups = n >= GGML_METAL_FWHT_TG_MIN_N ? rows : (rows + 1)/2;
    msl::Launch(kernel).bytes(0, a).buffer(1, x.data()).buffer(2, y.data()).dispatch({ groups, 1, 1 }, { threads, 1, 1 });
    double worst = 0;
    for (int r = 0; r < rows; ++r) for (int i = 0; i < n; ++i) {
        double s = 0;
        for (int j = 0; j < n; ++j) s += (__builtin_popcount(i & j) & 1 ? -1.0 : 1.0)*(double) x[(size_t) r*n + j];
        const double e = std::fabs(y[(size_t) r*n + i] - s/std::sqrt((double) n));
        worst = std::isfinite(e) ? std::max(worst, e) : INFINITY;
    }
    report.check(worst < 2e-6, kernel, "error %.1e (%s)", worst, schedule.name);
}

int main() {
    for (const Schedule & schedule : kSchedules) {
        use(schedule);
        set_rows(GGML_TYPE_Q8_0, schedule);
        set_rows(GGML_TYPE_Q4_0, schedule);
        attention("q8_0", { 4, 2, 1, 1, 300, true, false, 0, 0 }, 0, 0, schedule);
        attention("q8_0", { 2, 1, 1, 3, 512, true, true, 10, 0 }, 0, 0, schedule);
        attention("q8_0", { 2, 1, 1, 3, 300, true, false, 0, 8 }, 4, 2, schedule);
        attention("f16", { 2, 1, 1, 20, 300, true, false, 0, 0 }, 0, 0, schedule);
        attention("q8_0", { 2, 1, 1, 20, 128, true, false, 0, 0 }, 0, 0, schedule); // decoded in the matrix kernel
        attention("q8_0", { 2, 1, 1, 33, 128, true, false, 0, 0 }, 0, 0, schedule); // copied to f16 first
        fwht<float>("kernel_fwht_f32_128", 128, schedule);
        fwht<half>("kernel_fwht_f16_256", 256, schedule);
        fwht<float>("kernel_fwht_f32_1024", 1024, schedule);
    }
    return report.finish("upstream's kernels");
}
