// Sampling chains and log-probabilities, over upstream's common_sampler.
#include "handles.hpp"
#include "json_reader.hpp"
#include "status.hpp"

#include "sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <regex>

using json = tq::reader::json;

struct tq_sampler {
    const llama_model *     model;
    const llama_vocab *     vocab;
    common_params_sampling  params; // kept: a reset builds the sampler again, because upstream's leaves the grammar where it is
    common_sampler_ptr      raw;

    void build() {
        common_params_sampling copy = params; // upstream may change what it is given
        raw.reset(common_sampler_init(model, copy));
    }
};

namespace {

[[noreturn]] void invalid(const std::string & what) {
    throw tq::failure(TQ_INVALID, what);
}

using tq::reader;

constexpr double  BIG     = 1e6;
constexpr int32_t INT_BIG = std::numeric_limits<int32_t>::max();

uint32_t read_seed(const reader & r) {
    if (const json * value = r.find("seed")) {
        if (!value->is_number_integer()) {
            reader::wrong("seed", *value, "an integer");
        }
        const uint64_t seed = value->get<uint64_t>();
        if (value->is_number_unsigned() || value->get<int64_t>() >= 0) {
            const uint32_t folded = (uint32_t) (seed ^ (seed >> 32)); // upstream's seeds have 32 bits
            if (folded != LLAMA_DEFAULT_SEED) {
                return folded;
            }
        }
    }
    // drawn here and not by upstream, so that tq_sampler_seed can tell it and a reset repeats it
    std::random_device device;
    uint32_t seed = device();
    return seed == LLAMA_DEFAULT_SEED ? 0 : seed;
}

std::vector<common_sampler_type> read_order(const reader & r) {
    std::vector<common_sampler_type> order;
    for (const auto & name : r.texts("samplers")) {
        // one name at a time: upstream skips unknown names with a warning
        const auto found = common_sampler_types_from_names({ name == "typical_p" ? "typ_p" : name });
        if (found.size() != 1 || found[0] == COMMON_SAMPLER_TYPE_INFILL) {
            invalid("unknown sampler '" + name + "'; known: penalties, dry, top_n_sigma, top_k, typical_p, top_p, min_p, xtc, "
                    "temperature, adaptive_p");
        }
        order.push_back(found[0]);
    }
    return order;
}

void read_chain(const reader & r, const llama_model * model, common_params_sampling & p) {
    p.seed = read_seed(r);
    r.integer("min_keep",           p.min_keep,           0, INT_BIG);
    r.number ("temperature",        p.temp,               -BIG, BIG); // not positive: the most probable token
    r.number ("dynatemp_range",     p.dynatemp_range,     0, BIG);
    r.number ("dynatemp_exponent",  p.dynatemp_exponent,  0, BIG);
    r.integer("top_k",              p.top_k,              std::numeric_limits<int32_t>::min(), INT_BIG); // not positive: all
    r.number ("top_p",              p.top_p,              0, 1);
    r.number ("min_p",              p.min_p,              0, 1);
    r.number ("typical_p",          p.typ_p,              0, 1);
    r.number ("top_n_sigma",        p.top_n_sigma,        -BIG, BIG);
    r.number ("xtc_probability",    p.xtc_probability,    0, 1);
    r.number ("xtc_threshold",      p.xtc_threshold,      0, 1);
    r.integer("repeat_last_n",      p.penalty_last_n,     -1, 1 << 24);
    r.number ("repeat_penalty",     p.penalty_repeat,     1e-6, BIG);
    r.number ("frequency_penalty",  p.penalty_freq,       -BIG, BIG);
    r.number ("presence_penalty",   p.penalty_present,    -BIG, BIG);
    r.number ("dry_multiplier",     p.dry_multiplier,     0, BIG);
    r.number ("dry_base",           p.dry_base,           0, BIG);
    r.integer("dry_allowed_length", p.dry_allowed_length, 0, INT_BIG);
    r.integer("dry_penalty_last_n", p.dry_penalty_last_n, -1, 1 << 24);
    r.number ("adaptive_target",    p.adaptive_target,    -1, 1);
    r.number ("adaptive_decay",     p.adaptive_decay,     0, 0.99);
    r.integer("mirostat",           p.mirostat,           0, 2);
    r.number ("mirostat_tau",       p.mirostat_tau,       0, BIG);
    r.number ("mirostat_eta",       p.mirostat_eta,       0, BIG);
    for (int32_t * window : { &p.penalty_last_n, &p.dry_penalty_last_n }) {
        if (*window < 0) {
            *window = llama_model_n_ctx_train(model);
        }
    }
    if (r.find("dry_sequence_breakers")) {
        p.dry_sequence_breakers = r.texts("dry_sequence_breakers");
    }
    if (r.find("samplers")) {
        p.samplers = read_order(r);
    }
}

void read_biases(const reader & r, const llama_vocab * vocab, common_params_sampling & p) {
    const int32_t n_vocab = llama_vocab_n_tokens(vocab);
    for (const auto & pair : r.array("logit_bias")) {
        const bool shaped = pair.is_array() && pair.size() == 2 && pair[0].is_number_integer() && (pair[1].is_number() || pair[1].is_null());
        if (!shaped) {
            reader::wrong("logit_bias", pair, "a list of [token, bias]");
        }
        const int64_t token = pair[0].get<int64_t>();
        if (token < 0 || token >= n_vocab) {
            invalid("logit_bias names token " + std::to_string(token) + ", the vocabulary has " + std::to_string(n_vocab));
        }
        p.logit_bias.push_back({ (llama_token) token, pair[1].is_null() ? -INFINITY : pair[1].get<float>() });
    }
    r.boolean("ignore_eos", p.ignore_eos);
    for (int32_t token = 0; p.ignore_eos && token < n_vocab; token++) {
        if (llama_vocab_is_eog(vocab, token)) {
            p.logit_bias.push_back({ token, -INFINITY });
        }
    }
}

common_grammar_trigger read_trigger(const json & value) {
    static const std::pair<const char *, common_grammar_trigger_type> types[] = {
        { "word",         COMMON_GRAMMAR_TRIGGER_TYPE_WORD },
        { "pattern",      COMMON_GRAMMAR_TRIGGER_TYPE_PATTERN },
        { "pattern_full", COMMON_GRAMMAR_TRIGGER_TYPE_PATTERN_FULL },
        { "token",        COMMON_GRAMMAR_TRIGGER_TYPE_TOKEN },
    };
    if (value.is_object() && value.contains("value") && value["value"].is_string()) {
        for (const auto & [name, type] : types) {
            if (value.value("type", json()) == name) {
                return { type, value["value"].get<std::string>(), value.value("token", LLAMA_TOKEN_NULL) };
            }
        }
    }
    reader::wrong("grammar_triggers", value, "a list of {type: word|pattern|pattern_full|token, value}");
}

void read_constraint(const reader & r, const tq_model * model, common_params_sampling & p) {
    const llama_vocab * vocab = model->vocab();
    common_sampling_add_preserved_tokens(p, vocab, r.texts("preserved_tokens"));
    p.generation_prompt = r.text("generation_prompt");
    if (std::string gbnf = r.text("grammar"); !gbnf.empty()) {
        tq_text reason {};
        if (const tq_status status = tq_grammar_check(model, gbnf.c_str(), &reason); status != TQ_OK) {
            const std::string text = reason.data ? reason.data : "";
            tq_text_free(&reason);
            throw tq::failure(status, "grammar: " + text);
        }
        const std::string kind = r.text("grammar_kind");
        if (!kind.empty() && kind != "user" && kind != "chat") {
            invalid("grammar_kind must be user or chat, not " + kind);
        }
        p.grammar = { kind == "chat" ? COMMON_GRAMMAR_TYPE_TOOL_CALLS : COMMON_GRAMMAR_TYPE_USER, gbnf };
        r.boolean("grammar_lazy", p.grammar_lazy);
        std::vector<common_grammar_trigger> triggers;
        for (const auto & trigger : r.array("grammar_triggers")) {
            triggers.push_back(read_trigger(trigger));
        }
        try {
            common_sampling_add_grammar_triggers(p, vocab, std::move(triggers));
        } catch (const std::exception & e) {
            invalid(std::string("grammar_triggers: ") + e.what());
        }
    }
    // upstream feeds the generation prompt to the grammar, and a grammar that meets an end token too early aborts the process
    if (common_grammar_needs_prefill(p.grammar) && !p.grammar_lazy) {
        for (const llama_token token : common_tokenize(vocab, p.generation_prompt, false, true)) {
            if (llama_vocab_is_eog(vocab, token)) {
                throw tq::failure(TQ_UNSUPPORTED, "the chat template's generation prompt contains an end token; no grammar can follow it");
            }
        }
    }
}

void read_thinking(const reader & r, const llama_vocab * vocab, common_params_sampling & p) {
    r.integer("reasoning_budget", p.reasoning_budget_tokens, -INT_BIG, INT_BIG);
    p.reasoning_budget_tokens  = std::max(p.reasoning_budget_tokens, -1);
    p.reasoning_budget_message = r.text("reasoning_budget_message");
    const auto start = r.text("thinking_start");
    const auto ends  = r.texts("thinking_ends");
    if (start.empty() || ends.empty()) {
        return;
    }
    p.reasoning_budget_start = common_tokenize(vocab, start, false, true);
    for (const auto & end : ends) {
        p.reasoning_budget_end.push_back(common_tokenize(vocab, end, false, true));
    }
    p.reasoning_budget_forced = common_tokenize(vocab, p.reasoning_budget_message + ends.front(), false, true);
}

} // namespace

extern "C" tq_status tq_sampler_new(const tq_model * model, const char * params_json, tq_sampler ** out, tq_text * error) {
    return tq::guard(error, [&] {
        tq::not_null(model, "model");
        tq::not_null(out, "out");
        auto sampler = std::make_unique<tq_sampler>();
        sampler->model = model->raw;
        sampler->vocab = model->vocab();
        const reader r(params_json, "sampling parameters");
        const tq::work_limit limit(tq::work_for(0));
        sampler->params.no_perf = true;
        read_chain(r, model->raw, sampler->params);
        read_biases(r, sampler->vocab, sampler->params);
        read_constraint(r, model, sampler->params);
        read_thinking(r, sampler->vocab, sampler->params);
        try {
            sampler->build();
        } catch (const std::regex_error & e) {
            invalid(std::string("grammar_triggers: ") + e.what());
        } catch (const std::exception & e) {
            throw tq::failure(TQ_INVALID, std::string("building the sampler: ") + e.what());
        }
        *out = sampler.release();
    });
}

extern "C" void tq_sampler_free(tq_sampler * sampler) {
    delete sampler;
}

extern "C" tq_status tq_sampler_sample(tq_sampler * sampler, tq_context * context, int32_t i, int32_t * token, tq_text * error) {
    return tq::guard(error, [&] {
        tq::not_null(sampler, "sampler");
        tq::not_null(context, "context");
        if (context->model->raw != sampler->model) {
            invalid("the sampler was made for another model than the context");
        }
        // upstream asserts on these
        if (!llama_get_logits_ith(context->raw.get(), i)) {
            invalid("batch entry " + std::to_string(i) + " of the last decode has no logits");
        }
        // a grammar that can go on in very many ways at once
        const tq::work_limit limit(tq::work_for(0));
        const llama_token id = common_sampler_sample(sampler->raw.get(), context->raw.get(), i);
        const auto * candidates = common_sampler_get_candidates(sampler->raw.get(), false);
        const float  logit      = candidates->data[candidates->selected].logit;
        if (std::isnan(logit)) {
            throw tq::failure(TQ_ENGINE, "the model's logits are not numbers");
        }
        // accepting such a token would abort (an end token) or empty the grammar
        if (logit == -INFINITY) {
            throw tq::failure(TQ_ENGINE, sampler->params.grammar.empty() ? "every token is banned by its bias"
                                                                          : "no token of the vocabulary continues the grammar");
        }
        *tq::not_null(token, "token") = id;
    });
}

extern "C" tq_status tq_sampler_accept(tq_sampler * sampler, int32_t token, bool generated, tq_text * error) {
    return tq::guard(error, [&] {
        tq::not_null(sampler, "sampler");
        if (token < 0 || token >= llama_vocab_n_tokens(sampler->vocab)) {
            invalid("token " + std::to_string(token) + " is not in the vocabulary");
        }
        // an end token ends the grammar, nothing is left to advance; and upstream aborts the process if it came too early
        const bool ends = llama_vocab_is_eog(sampler->vocab, token);
        const tq::work_limit limit(tq::work_for(0));
        common_sampler_accept(sampler->raw.get(), token, generated && !ends);
    });
}

extern "C" tq_status tq_sampler_reset(tq_sampler * sampler, tq_text * error) {
    return tq::guard(error, [&] { tq::not_null(sampler, "sampler")->build(); });
}

extern "C" uint32_t tq_sampler_seed(const tq_sampler * sampler) {
    return sampler->params.seed;
}

extern "C" bool tq_sampler_preserves(const tq_sampler * sampler, int32_t token) {
    return sampler->params.preserved_tokens.count(token) > 0;
}

extern "C" tq_status tq_logits_top(tq_context * context, int32_t i, size_t n, int32_t * tokens, float * logprobs, size_t * count,
        int32_t token, float * logprob, tq_text * error) {
    return tq::guard(error, [&] {
        tq::not_null(context, "context");
        tq::not_null(count, "count");
        const float * logits = llama_get_logits_ith(context->raw.get(), i);
        if (!logits) {
            invalid("batch entry " + std::to_string(i) + " of the last decode has no logits");
        }
        const size_t n_vocab = llama_vocab_n_tokens(context->model->vocab());
        if (logprob && (token < 0 || (size_t) token >= n_vocab)) {
            invalid("token " + std::to_string(token) + " is not in the vocabulary");
        }
        const double max = *std::max_element(logits, logits + n_vocab);
        double sum = 0;
        for (size_t t = 0; t < n_vocab; t++) {
            sum += std::exp(logits[t] - max);
        }
        const double log_sum = max + std::log(sum);
        if (!std::isfinite(log_sum)) {
            throw tq::failure(TQ_ENGINE, "the model's logits are not numbers");
        }
        if (logprob) {
            *logprob = (float) (logits[token] - log_sum);
        }
        *count = std::min(n, n_vocab);
        std::vector<int32_t> order(n_vocab);
        std::iota(order.begin(), order.end(), 0);
        std::partial_sort(order.begin(), order.begin() + *count, order.end(), [&](int32_t a, int32_t b) {
            return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; // equal logits: an order all the same
        });
        for (size_t k = 0; k < *count; k++) {
            tokens[k]   = order[k];
            logprobs[k] = (float) (logits[order[k]] - log_sum);
        }
    });
}
