// backend.cpp: upstream's own host code with our patches, compiled as it is, on a device that is the executor: which
// kernels it picks by name, with which arguments, sizes and barriers, and what comes out. What tests/metal/host.h and
// host_attention.h retype is proved here to be what the host code does.
#include "check.h"
#include "graph_attention.h"
#include "hooks/metal.h"
#include "hooks/metal_attention.h"

#include "hooks/faults.h"

#include <stdexcept>

static Report report;

// ---- attention -----------------------------------------------------------------------------------

static std::string turbo_for(const std::string & family, int head) { return head % 128 == 0 ? family : family + "_64"; }

// Math: float, or upstream's kernels, which round queries, K and V to half. These are held to float64 on the rounded values,
// so that nothing else is hidden under what rounding costs (rounding.cpp).
enum Math { kFloat, kHalf };

static void attention(const std::string & k, const std::string & v, int dk, int dv, const Shape & shape, Math math, const char * what) {
    const AttentionCase p(shape, dk, dv, RowType::named(k), RowType::named(v), 5);
    const size_t        before = dispatched().size();
    const auto          got    = run_attention(p);
    const double        e = relative_error(got.data(), p.answer()), rounded = relative_error(got.data(), p.answer(math == kHalf));
    std::string         kernels;
    for (size_t i = before; i < dispatched().size(); ++i) kernels += (i > before ? " " : "") + dispatched()[i];
    report.check(rounded < 3e-6 && e < 2e-3, (k + "/" + v).c_str(), "%d/%d, %s: error %.1e, %.1e %s, by %s", dk, dv, what, e, rounded,
                 math == kHalf ? "with its half roundings" : "in float", kernels.c_str());
}

static void all_attention() {
    const Shape decode = { 4, 2, 1, 1, 300, true, false, 0, 0 };
    const Shape few    = { 2, 1, 2, 3,  97, true, true, 12, 8 };
    const Shape most   = { 1, 2, 1, 19, 65, true, false, 0, 0 };
    const Shape many   = { 2, 1, 1, 20, 97, true, false, 0, 0 };
    const Shape more   = { 2, 1, 1, 33, 64, true, true, 0, 0 };
    const Shape long_cache = { 8, 1, 1, 1, 4200, true, false, 0, 0 }; // four simdgroups a threadgroup
    struct { int dk, dv; } heads[] = {
#define TQ_METAL_HEAD(library, dk, dv) { dk, dv },
#include "metal/kernels.def"
    };
    for (const auto & h : heads) {
        attention(turbo_for("turbo4", h.dk), turbo_for("turbo3", h.dv), h.dk, h.dv, decode, kFloat, "one query");
        attention("q8_0", turbo_for("turbo2", h.dv), h.dk, h.dv, few, kFloat, "three queries, two sequences, sinks, softcap, ALiBi");
    }
    std::vector<std::string> sides = { "turbo4", "turbo3", "turbo2", "f16", "q8_0" };
    for (const auto & k : sides) for (const auto & v : sides) {
        if (!tq_metal_is_turbo(k.c_str()) && !tq_metal_is_turbo(v.c_str())) continue;
        attention(k, v, 128, 128, decode, kFloat, "one query");
        attention(k, v, 128, 128, many, kHalf, "twenty queries");
    }
    attention("turbo4", "turbo4", 128, 128, most, kFloat, "nineteen queries");
    attention("turbo4", "turbo4", 128, 128, long_cache, kFloat, "long cache");
    attention("turbo4_64", "turbo2_64", 64, 64, more, kHalf, "33 queries");
    attention("turbo4", "q8_0", 128, 128, more, kHalf, "33 queries");
    attention("f16", "f16", 64, 64, more, kHalf, "33 queries, upstream's own");
    // with and without a last chunk that is padded: patches/0008 keeps the padding within the cache
    for (int kv : { 256, 243 }) attention("q8_0", "q8_0", 128, 128, { 4, 2, 1, 1, kv, true, false, 0, 0 }, kHalf, "upstream's own");
}

// ---- into the cache and out of it ----------------------------------------------------------------

static std::vector<float> gauss(size_t n) {
    std::mt19937       rng(3);
    std::vector<float> x(n);
    for (auto & y : x) y = std::normal_distribution<float>(0, 1)(rng);
    return x;
}

static void cache(const RowType & type, int blocks) {
    const int    length = blocks*type.block, rows = 9, slots = 20;
    const auto   x      = gauss((size_t) rows*length);
    const size_t bytes  = type.row_bytes(length);
    std::vector<uint8_t> packed(rows*bytes);
    std::vector<double>  exact((size_t) rows*length);
    for (int r = 0; r < rows; ++r) type.pack(&x[(size_t) r*length], &packed[r*bytes], length, &exact[(size_t) r*length]);

    { // SET_ROWS
        Graph         g;
        ggml_tensor * dst = ggml_new_tensor_2d(g.context(), type_named(type.name), length, slots);
        ggml_tensor * src = ggml_new_tensor_2d(g.context(), GGML_TYPE_F32, length, rows);
        ggml_tensor * idx = ggml_new_tensor_1d(g.context(), GGML_TYPE_I64, rows);
        std::vector<int64_t> at(rows);
        for (int r = 0; r < rows; ++r) at[r] = (7*r + 2)%slots;
        g.fill(dst, std::vector<uint8_t>(slots*bytes).data());
        g.fill(src, x.data());
        g.fill(idx, at.data());
        const auto got = g.run(ggml_set_rows(g.context(), dst, src, idx));
        int        bad = 0;
        for (int r = 0; r < rows; ++r) bad += memcmp(&got[at[r]*bytes], &packed[r*bytes], bytes) != 0;
        report.check(!bad, type.name.c_str(), "SET_ROWS of %d blocks: %d rows differ", blocks, bad);
    }
    { // CPY into the type and back
        Graph         g;
        ggml_tensor * src = ggml_new_tensor_2d(g.context(), GGML_TYPE_F32, length, rows);
        g.fill(src, x.data());
        const auto got = g.run(ggml_cpy(g.context(), src, ggml_new_tensor_2d(g.context(), type_named(type.name), length, rows)));
        report.check(got == packed, type.name.c_str(), "CPY of %d blocks into it", blocks);
    }
    for (ggml_type to : { GGML_TYPE_F32, GGML_TYPE_F16 }) {
        Graph         g;
        ggml_tensor * src = ggml_new_tensor_2d(g.context(), type_named(type.name), length, rows);
        g.fill(src, packed.data());
        const auto got = g.run(ggml_cast(g.context(), src, to));
        int        bad = 0;
        for (size_t i = 0; i < exact.size(); ++i) {
            bad += to == GGML_TYPE_F32 ? ((float *) got.data())[i] != (float) exact[i] : (float) ((half *) got.data())[i] != (float) (half) (float) exact[i];
        }
        report.check(!bad, type.name.c_str(), "CPY of %d blocks to %s: %d values differ", blocks, ggml_type_name(to), bad);
    }
    { // GET_ROWS
        Graph         g;
        ggml_tensor * src = ggml_new_tensor_2d(g.context(), type_named(type.name), length, rows);
        ggml_tensor * idx = ggml_new_tensor_1d(g.context(), GGML_TYPE_I32, 3);
        const int32_t at[] = { 8, 0, 5 };
        g.fill(src, packed.data());
        g.fill(idx, at);
        const auto got = g.run(ggml_get_rows(g.context(), src, idx));
        int        bad = 0;
        for (int r = 0; r < 3; ++r) for (int i = 0; i < length; ++i) bad += ((float *) got.data())[r*length + i] != (float) exact[(size_t) at[r]*length + i];
        report.check(!bad, type.name.c_str(), "GET_ROWS of %d blocks: %d values differ", blocks, bad);
    }
}

// ---- what is accepted ----------------------------------------------------------------------------

static void refusals() {
    Graph          g;
    ggml_context * c = g.context();
    const auto     refused = [&](ggml_tensor * op, const char * what) {
        report.check(!supports(op), "refusals", "%s", what);
    };
    const auto accepted = [&](ggml_tensor * op, const char * what) {
        report.check(supports(op) && !supports(op, false), "refusals", "%s is accepted, with simdgroups only", what);
    };
    ggml_tensor * turbo = ggml_new_tensor_2d(c, GGML_TYPE_TURBO4, 256, 8);
    ggml_tensor * plain = ggml_new_tensor_2d(c, GGML_TYPE_F32, 256, 8);
    ggml_tensor * ids   = ggml_new_tensor_1d(c, GGML_TYPE_I32, 2);
    refused(ggml_mul_mat(c, turbo, plain), "MUL_MAT");
    refused(ggml_concat(c, turbo, turbo, 1), "CONCAT");
    refused(ggml_cpy(c, turbo, ggml_new_tensor_2d(c, GGML_TYPE_TURBO4, 256, 8)), "CPY between turbo types");
    refused(ggml_cpy(c, ggml_new_tensor_2d(c, GGML_TYPE_BF16, 256, 8), turbo), "CPY from bf16");
    refused(ggml_cpy(c, ggml_transpose(c, ggml_new_tensor_2d(c, GGML_TYPE_F32, 8, 256)), turbo), "CPY from a transposed matrix");
    accepted(ggml_get_rows(c, turbo, ids), "GET_ROWS");
    accepted(ggml_cpy(c, plain, turbo), "CPY");
    report.check(!tq_metal_concerns(ggml_cpy(c, plain, plain)) && supports(ggml_cpy(c, plain, plain), false), "refusals", "an op without turbo tensors is upstream's");
    report.check(supports(ggml_reshape_1d(c, turbo, 2048), false), "refusals", "a view runs no kernel");

    const auto attention_of = [&](ggml_type k, ggml_type v, int dk, int dv) {
        return ggml_flash_attn_ext(c, ggml_new_tensor_3d(c, GGML_TYPE_F32, dk, 1, 2), ggml_new_tensor_3d(c, k, dk, 64, 2), ggml_new_tensor_3d(c, v, dv, 64, 2), nullptr, 1, 0, 0);
    };
    accepted(attention_of(GGML_TYPE_TURBO4, GGML_TYPE_TURBO2, 128, 128), "a pair of the registry");
    accepted(attention_of(GGML_TYPE_F16, GGML_TYPE_TURBO3_64, 64, 64), "f16 with a turbo side");
    report.check(supports(attention_of(GGML_TYPE_Q8_0, GGML_TYPE_Q8_0, 128, 128)) && !supports(attention_of(GGML_TYPE_Q8_0, GGML_TYPE_Q4_0, 128, 128)), "refusals", "upstream's pairs are as they were");
    refused(attention_of(GGML_TYPE_TURBO4, GGML_TYPE_Q4_0, 128, 128), "a pair without a kernel");
    refused(attention_of(GGML_TYPE_TURBO4_64, GGML_TYPE_TURBO4_64, 128, 128), "the narrow block where the wide one fits");
    refused(attention_of(GGML_TYPE_TURBO4, GGML_TYPE_TURBO4, 384, 384), "a head size without a kernel");
    refused(attention_of(GGML_TYPE_TURBO4_64, GGML_TYPE_TURBO4, 576, 512), "MLA's head size");
}

// ---- a GPU whose compiler does not take everything -----------------------------------------------

static std::string logged; // warnings

static bool noted(const std::string & what) {
    for (const auto & fault : tq_faults("MTL")) if (fault.find(what) != std::string::npos) return true;
    return false;
}

static bool attends(const char * k, const char * v, int head, int queries = 1) {
    Graph          g;
    ggml_context * c = g.context();
    return supports(ggml_flash_attn_ext(c, ggml_new_tensor_3d(c, GGML_TYPE_F32, head, queries, 2), ggml_new_tensor_3d(c, type_named(k), head, 64, 2),
                                        ggml_new_tensor_3d(c, type_named(v), head, 64, 2), nullptr, 1, 0, 0));
}

static bool writes(const char * type) {
    Graph          g;
    ggml_context * c = g.context();
    return supports(ggml_set_rows(c, ggml_new_tensor_2d(c, type_named(type), 256, 8), ggml_new_tensor_2d(c, GGML_TYPE_F32, 256, 2), ggml_new_tensor_1d(c, GGML_TYPE_I64, 2)));
}

static void narrow_pipelines() {
    Lacking gpu;
    for (int threads : { 96, 32 }) {
        gpu.threads = threads;
        gpu.narrow  = "ext_vec_turbo";
        report.check(attends("turbo4", "turbo4", 128), "lacking", "attention with %d threads", threads);
        attention("turbo4", "turbo4", 128, 128, { 8, 1, 1, 1, 4200, true, false, 0, 0 }, kFloat, "long cache, pipelines of few threads");
        gpu.narrow = "set_rows";
        for (const char * type : { "turbo4", "turbo2_64" }) cache(RowType::named(type), 40);
    }
    report.check(tq_faults("MTL").empty(), "lacking", "all of that is no fault");
}

// What was refused once stays refused: these come last.
static void lacking_kernels() {
    const int before = failed_pipelines();
    {
        Lacking gpu;
        gpu.kernel = "kernel_flash_attn_ext_vec_turbo3_turbo2_dk128_dv128";
        report.check(!attends("turbo3", "turbo2", 128) && !attends("turbo3", "turbo2", 128), "lacking", "a pair whose pipeline cannot be made is refused");
        report.check(attends("turbo2", "turbo3", 128) && attends("q8_0", "q8_0", 128), "lacking", "the other pairs are not");
        report.check(noted(gpu.kernel) && logged.find(gpu.kernel) != std::string::npos, "lacking", "the kernel is named, and the log warns");
        gpu.kernel = "kernel_flash_attn_ext_kv_turbo4_64_f16";
        report.check(!attends("q8_0", "turbo4_64", 64) && !attends("turbo4_64", "turbo2_64", 64, 32), "lacking", "a pair that decodes and cannot take a prompt is refused");
        gpu.kernel  = "";
        gpu.narrow  = "kv_turbo3_64_f16";
        gpu.threads = 224;
        report.check(!attends("turbo3_64", "q8_0", 64) && noted("kv_turbo3_64_f16 has room for 224 threads"), "lacking", "upstream's dispatch of the copies needs 256 threads");
        gpu.threads = 0;
        gpu.kernel  = "kernel_set_rows_f32_i64_turbo2_64";
        report.check(!writes("turbo2_64") && writes("turbo2") && noted("SET_ROWS of f32 to turbo2_64"), "lacking", "a type that cannot be written is refused");
    }
    report.check(failed_pipelines() == before + 3, "lacking", "what cannot be made is tried once: %d", failed_pipelines() - before);

    // encoded all the same: upstream asks again and stops; encoding has no way to fail that a caller would see
    ggml_set_abort_callback([](const char * text) { throw std::runtime_error(text); });
    std::string text;
    try {
        attention("turbo3", "turbo2", 128, 128, { 1, 1, 1, 1, 64, false, false, 0, 0 }, kFloat, "never");
    } catch (const std::runtime_error & e) {
        text = e.what();
    }
    ggml_set_abort_callback(nullptr);
    report.check(text.find("unsupported op") != std::string::npos, "lacking", "encoding without a pipeline: %s", text.c_str());
}

static void lacking_libraries() {
    const int before = failed_pipelines();
    Lacking   gpu;
    report.check(!tq_metal_without_library("fa_vec_q8_0", "upstream's"), "lacking", "Metal does not go on without a library of upstream's");
    gpu.library = "turbo_vec_128";
    logged.clear();
    for (int device = 0; device < 2; ++device) { // each device compiles for itself
        report.check(tq_metal_without_library("turbo_vec_128", "program_source:7:1: error: no\n2\n3\n4\n5\n6\nseventh\n"), "lacking", "Metal goes on without a library of ours");
    }
    report.check(noted("turbo_vec_128 does not compile: program_source:7:1: error: no") && !noted("seventh"), "lacking", "the compiler's first lines are kept");
    report.check(logged.find("turbo_vec_128") != std::string::npos && logged.find("turbo_vec_128") == logged.rfind("turbo_vec_128"), "lacking", "one warning: %s", logged.c_str());
    report.check(!attends("turbo4", "turbo4", 128) && !attends("q8_0", "turbo2", 256) && !attends("turbo4", "turbo4", 128, 40), "lacking", "its pairs are refused");
    report.check(attends("turbo2_64", "turbo2_64", 64) && writes("turbo4"), "lacking", "the other libraries' are not");
    attention("turbo3_64", "turbo3_64", 64, 64, { 2, 1, 1, 1, 64, true, false, 0, 0 }, kFloat, "beside a refused library");
    attention("q8_0", "q8_0", 128, 128, { 2, 2, 1, 1, 64, true, false, 0, 0 }, kHalf, "upstream's own beside a refused library");

    gpu.library = "turbo_codec";
    tq_metal_without_library("turbo_codec", nullptr);
    report.check(!attends("turbo2_64", "turbo2_64", 64) && !writes("turbo4") && attends("q8_0", "q8_0", 128), "lacking", "without the encoder every turbo pair is refused, and no other");
    report.check(noted("turbo_codec does not compile") && failed_pipelines() == before, "lacking", "a refused library is not asked for pipelines");
}

int main() {
    use({ "forward", 0, 0, false, 0 });
    ggml_log_set([](ggml_log_level level, const char * text, void *) { if (level == GGML_LOG_LEVEL_WARN) logged += text; }, nullptr);
    all_attention();
    for (int i = 0; i < tq_type_count(); ++i) for (int blocks : { 1, 3, 8, 40 }) cache(RowType::named(tq_type_at(i)->name), blocks);
    refusals();
    narrow_pipelines();
    for (int family : { 7, 8, 9, 10 }) report.check(tq_metal_family_of(family).name == "apple" + std::to_string(family), "lacking", "family %d has its row", family);
    report.check(tq_metal_family_of(0).number == 0 && tq_metal_family_of(99).number == 0, "lacking", "families without a row share one");
    report.check(tq_faults("MTL").empty() && logged.empty(), "lacking", "a GPU that takes everything has no faults, and nothing is warned of: %s", logged.c_str());
    lacking_kernels();
    lacking_libraries();
    return report.finish("Metal backend's host code", false);
}
