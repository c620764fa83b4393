// Grammars (GBNF): checked with a reason, and made from JSON schemas.
#include "handles.hpp"
#include "status.hpp"

#include "json-schema-to-grammar.h"
#include "llama-grammar.h"

namespace {

[[noreturn]] void invalid(const std::string & what) {
    throw tq::failure(TQ_INVALID, what);
}

// The reason of a grammar error quotes the rest of the grammar; its first line is enough to find the place.
std::string first_line(const std::string & text) {
    return text.substr(0, text.find('\n'));
}

const char * skip_space_and_comments(const char * p) {
    while (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n' || *p == '#') {
        if (*p == '#') {
            while (*p && *p != '\n' && *p != '\r') {
                p++;
            }
        } else {
            p++;
        }
    }
    return p;
}

// Throws what is wrong with a grammar. Rule by rule first, because llama_grammar_parser::parse prints its reason to stderr and
// drops it; then upstream's own construction for what only shows in the whole (root, undefined rules, left recursion).
void check_grammar(const llama_vocab * vocab, const std::string & gbnf) {
    if (gbnf.compare(0, 11, "%llguidance") == 0) {
        throw tq::failure(TQ_UNSUPPORTED, "llguidance grammars are not built in; use GBNF or a JSON schema");
    }
    llama_grammar_parser parser(vocab);
    try {
        const char * pos = skip_space_and_comments(gbnf.c_str());
        while (*pos) {
            pos = parser.parse_rule(pos);
        }
    } catch (const tq::too_much_work &) {
        throw;
    } catch (const std::exception & e) {
        const std::string reason = e.what();
        const bool needs_model = !vocab && reason.rfind("no vocab", 0) == 0;
        throw tq::failure(needs_model ? TQ_UNSUPPORTED : TQ_INVALID, first_line(reason));
    }
    if (parser.symbol_ids.find("root") == parser.symbol_ids.end()) {
        invalid("there is no rule named 'root'");
    }
    for (const auto & [name, id] : parser.symbol_ids) {
        if (id >= parser.rules.size() || parser.rules[id].empty()) {
            invalid("rule '" + name + "' is used but not defined");
        }
    }
    tq::error_log log;
    llama_grammar * grammar = llama_grammar_init_impl(vocab, gbnf.c_str(), "root", false, nullptr, 0, nullptr, 0);
    if (!grammar) {
        invalid(log.text().empty() ? "the grammar cannot be used" : first_line(log.text()));
    }
    llama_grammar_free_impl(grammar);
}

} // namespace

extern "C" tq_status tq_grammar_from_schema(const char * schema_json, tq_text * gbnf, tq_text * error) {
    return tq::guard(error, [&] {
        const tq::work_limit limit(tq::work_for(0));
        try {
            tq::put_text(gbnf, json_schema_to_grammar(common_json::parse(tq::not_null(schema_json, "schema"))));
        } catch (const common_json_error & e) {
            invalid(std::string("the schema is not JSON: ") + e.what());
        } catch (const tq::too_much_work &) {
            invalid("the schema takes more work than it may; name less in it, or nest it less");
        } catch (const std::exception & e) {
            invalid(e.what());
        }
    });
}

extern "C" tq_status tq_grammar_check(const tq_model * model, const char * gbnf, tq_text * error) {
    return tq::guard(error, [&] {
        const tq::work_limit limit(tq::work_for(0));
        check_grammar(model ? model->vocab() : nullptr, tq::not_null(gbnf, "grammar"));
    });
}
