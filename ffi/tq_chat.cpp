// Chat templates: from messages to a prompt. The way back is tq_chat_parser.cpp.
#include "chat_parser.hpp"
#include "handles.hpp"
#include "status.hpp"

#include "chat-peg-parser.h"
#include "json-schema-to-grammar.h"

#include <algorithm>
#include <cstring>

struct tq_chat {
    common_chat_templates_ptr templates;
    bool                      parallel_tool_calls; // what the template can express; the default of a request
};

namespace {

using json = common_json;

[[noreturn]] void invalid(const std::string & what) {
    throw tq::failure(TQ_INVALID, what);
}

[[noreturn]] void too_costly() {
    throw tq::failure(TQ_ENGINE, "the template takes more time and memory than it may for such a conversation");
}

json parse_object(const char * text, const char * what) {
    try {
        json value = json::parse(tq::not_null(text, what));
        if (value.is_object()) {
            return value;
        }
    } catch (const common_json_error & e) {
        invalid(std::string(what) + " is not JSON: " + e.what());
    }
    invalid(std::string(what) + " is not a JSON object");
}

bool has(const json & object, const char * key) {
    return object.contains(key) && !object.at(key).is_null();
}

// What tool_choice asks for; names: the tools it narrows the answer to, empty if all.
struct choice {
    common_chat_tool_choice  kind = COMMON_CHAT_TOOL_CHOICE_AUTO;
    std::vector<std::string> names;
};

// "auto" | "none" | "required" | {type: function, function: {name}} | {type: allowed_tools, allowed_tools: {mode, tools}}
choice read_choice(const json & value) {
    if (value.is_string()) {
        return { common_chat_tool_choice_parse_oaicompat(value.get<std::string>()), {} };
    }
    const std::string type = value.is_object() ? value.value("type", "") : "";
    if (type == "function") {
        return { COMMON_CHAT_TOOL_CHOICE_REQUIRED, { value.at("function").at("name").get<std::string>() } };
    }
    if (type == "allowed_tools") {
        const json & allowed = value.at("allowed_tools");
        choice result { common_chat_tool_choice_parse_oaicompat(allowed.value("mode", "auto")), {} };
        for (const auto & tool : allowed.at("tools")) {
            result.names.push_back(tool.at("function").at("name").get<std::string>());
        }
        return result;
    }
    throw std::invalid_argument("Invalid tool_choice: " + value.dump_safe());
}

common_chat_templates_inputs read_request(const tq_chat & chat, const json & request, choice & tools) {
    common_chat_templates_inputs inputs;
    inputs.messages              = common_chat_msgs_parse_oaicompat(request.value("messages", json()));
    inputs.tools                 = common_chat_tools_parse_oaicompat(request.value("tools", json()));
    inputs.reasoning_format      = COMMON_REASONING_FORMAT_AUTO;
    inputs.parallel_tool_calls   = chat.parallel_tool_calls;
    if (inputs.messages.empty()) {
        throw std::invalid_argument("There are no messages");
    }
    if (has(request, "tool_choice")) {
        tools = read_choice(request.at("tool_choice"));
    }
    if (inputs.tools.empty() && tools.kind == COMMON_CHAT_TOOL_CHOICE_REQUIRED) {
        throw std::invalid_argument("tool_choice requires a tool, but there are no tools");
    }
    inputs.tool_choice = tools.kind;
    const std::pair<const char *, bool *> flags[] = {
        { "parallel_tool_calls",   &inputs.parallel_tool_calls },
        { "add_generation_prompt", &inputs.add_generation_prompt },
        { "enable_thinking",       &inputs.enable_thinking },
    };
    if (has(request, "chat_template_kwargs")) {
        for (const auto & [key, value] : request.at("chat_template_kwargs").items()) {
            if (key == "enable_thinking" && value.is_boolean()) {
                inputs.enable_thinking = value.get<bool>();
            }
            inputs.chat_template_kwargs[key] = value.dump();
        }
    }
    for (const auto & [key, flag] : flags) {
        if (has(request, key)) {
            *flag = request.at(key).get<bool>();
        }
    }
    if (has(request, "reasoning_effort")) {
        inputs.chat_template_kwargs["reasoning_effort"] = request.at("reasoning_effort").dump();
    }
    if (has(request, "reasoning_format")) {
        inputs.reasoning_format = common_reasoning_format_from_name(request.at("reasoning_format").get<std::string>());
    }
    if (has(request, "continue_final_message")) {
        inputs.continue_final_message = common_chat_continuation_parse(request.at("continue_final_message"));
    }
    if (has(request, "json_schema")) {
        inputs.json_schema = request.at("json_schema").dump();
    }
    if (has(request, "grammar")) {
        inputs.grammar = request.at("grammar").get<std::string>();
        if (!inputs.json_schema.empty()) {
            throw std::invalid_argument("A request has either a grammar or a JSON schema, not both");
        }
    }
    return inputs;
}

void keep_tools(std::vector<common_chat_tool> & tools, const std::vector<std::string> & names) {
    for (const auto & name : names) {
        if (std::none_of(tools.begin(), tools.end(), [&](const auto & tool) { return tool.name == name; })) {
            invalid("tool_choice names '" + name + "', which is not among the tools");
        }
    }
    tools.erase(std::remove_if(tools.begin(), tools.end(), [&](const auto & tool) {
        return std::find(names.begin(), names.end(), tool.name) == names.end();
    }), tools.end());
}

const char * name_of(common_grammar_trigger_type type) {
    switch (type) {
        case COMMON_GRAMMAR_TRIGGER_TYPE_TOKEN:   return "token";
        case COMMON_GRAMMAR_TRIGGER_TYPE_WORD:    return "word";
        case COMMON_GRAMMAR_TRIGGER_TYPE_PATTERN: return "pattern";
        default:                                  return "pattern_full";
    }
}

// Upstream's grammar of a required call lets text come first, of any length, and a model that does not want to call goes on
// with it until its tokens are used up. So text has no place in it: reasoning, then the call. It keeps its place where
// reasoning is part of it, and where the answer goes on with the text of a message.
void leave_no_text_before_a_required_call(common_chat_params & params, const common_chat_templates_inputs & inputs) {
    const bool thinks_in_text = params.supports_thinking && inputs.reasoning_format == COMMON_REASONING_FORMAT_NONE;
    if (inputs.tool_choice != COMMON_CHAT_TOOL_CHOICE_REQUIRED || params.grammar.empty() || params.grammar_lazy ||
        !inputs.json_schema.empty() || thinks_in_text || inputs.continue_final_message != COMMON_CHAT_CONTINUATION_NONE) {
        return;
    }
    common_peg_arena parser = params.parser;
    for (common_peg_parser_id id = 0; id < parser.size(); id++) {
        const auto * tag = std::get_if<common_peg_tag_parser>(&parser.get(id));
        if (tag != nullptr && tag->tag == common_chat_peg_builder::CONTENT) {
            const common_peg_gbnf_parser nothing { tag->child, "(\"\")" };
            parser.get(id) = nothing;
        }
    }
    params.grammar = build_grammar([&](const common_grammar_builder & builder) { parser.build_grammar(builder); });
}

common_chat_params apply(const tq_chat & chat, const common_chat_templates_inputs & inputs) {
    try {
        return common_chat_templates_apply(chat.templates.get(), inputs);
    } catch (const tq::too_much_work &) {
        too_costly();
    }
}

// What the sampler must know (keys of tq_sampler_new).
json describe_sampling(const common_chat_params & params, const common_chat_templates_inputs & inputs) {
    json sampling = json::object();
    sampling["generation_prompt"] = params.generation_prompt;
    sampling["preserved_tokens"]  = params.preserved_tokens;
    if (!params.thinking_start_tag.empty() && !params.thinking_end_tags.empty()) {
        sampling["thinking_start"] = params.thinking_start_tag;
        sampling["thinking_ends"]  = params.thinking_end_tags;
    }
    if (!inputs.grammar.empty()) {
        sampling["grammar"]      = inputs.grammar;
        sampling["grammar_kind"] = "user";
    } else if (!params.grammar.empty()) {
        sampling["grammar"]      = params.grammar;
        sampling["grammar_kind"] = "chat";
        sampling["grammar_lazy"] = params.grammar_lazy;
        json triggers = json::array();
        for (const auto & trigger : params.grammar_triggers) {
            triggers.push_back({ { "type", name_of(trigger.type) }, { "value", trigger.value }, { "token", trigger.token } });
        }
        sampling["grammar_triggers"] = triggers;
    } else if (!inputs.json_schema.empty()) {
        // some templates' handlers leave the schema out (e.g. the empty one): never drop it in silence
        sampling["grammar"]      = json_schema_to_grammar(json::parse(inputs.json_schema));
        sampling["grammar_kind"] = "user";
    }
    return sampling;
}

} // namespace

extern "C" tq_status tq_chat_new(const tq_model * model, const char * template_override, tq_chat ** out, tq_text * error) {
    return tq::guard(error, [&] {
        tq::not_null(model, "model");
        tq::not_null(out, "out");
        const std::string source = template_override ? template_override : "";
        const tq::work_limit limit(tq::work_for(source.size()));
        auto chat = std::make_unique<tq_chat>();
        try {
            chat->templates = common_chat_templates_init(model->raw, source);
        } catch (const tq::too_much_work &) {
            too_costly();
        } catch (const std::exception &) {
            // upstream rethrows a copy without the text; the template's own constructor has it
            const char * own = llama_model_chat_template(model->raw, nullptr);
            common_chat_template(source.empty() && own ? own : source, "", "");
            throw;
        }
        chat->parallel_tool_calls = common_chat_templates_get_caps(chat->templates.get()).value("supports_parallel_tool_calls", false);
        *out = chat.release();
    });
}

extern "C" void tq_chat_free(tq_chat * chat) {
    delete chat;
}

extern "C" tq_status tq_chat_describe(const tq_chat * chat, tq_text * out, tq_text * error) {
    return tq::guard(error, [&] {
        const auto * templates = tq::not_null(chat, "chat")->templates.get();
        tq::put_text(out, json {
            { "source",   common_chat_templates_source(templates) },
            { "explicit", common_chat_templates_was_explicit(templates) },
            { "caps",     common_chat_templates_get_caps(templates) },
        }.dump_safe());
    });
}

extern "C" tq_status tq_chat_apply(const tq_chat * chat, const char * request_json, tq_chat_parser ** parser, tq_text * out, tq_text * error) {
    return tq::guard(error, [&] {
        tq::not_null(chat, "chat");
        const tq::work_limit limit(tq::work_for(std::strlen(tq::not_null(request_json, "the request"))));
        choice tools;
        common_chat_templates_inputs inputs;
        try {
            inputs = read_request(*chat, parse_object(request_json, "the request"), tools);
        } catch (const tq::failure &) {
            throw;
        } catch (const std::exception & e) {
            invalid(e.what());
        }
        common_chat_params params = apply(*chat, inputs);
        if (!tools.names.empty()) {
            // the prompt shows all tools (so that a cached prompt stays valid), grammar and parser know the chosen ones
            common_chat_prompt all = std::move(params.prompt);
            keep_tools(inputs.tools, tools.names);
            params = apply(*chat, inputs);
            params.prompt = std::move(all);
        }
        leave_no_text_before_a_required_call(params, inputs);

        json parts = json::array();
        for (const auto & part : params.prompt.parts) {
            parts.push_back({ { "text", part.text }, { "input", part.is_input } });
        }
        const json result {
            { "prompt",            params.prompt.str() },
            { "parts",             parts },
            { "stops",             params.additional_stops },
            { "format",            common_chat_format_name(params.format) },
            { "supports_thinking", params.supports_thinking },
            { "sampling",          describe_sampling(params, inputs) },
        };
        tq::put_text(out, result.dump_safe());

        if (parser) {
            auto format = std::make_shared<tq::chat_syntax>();
            format->params        = common_chat_parser_params(params);
            format->params.parser = std::move(params.parser);
            format->thinking_ends = params.thinking_end_tags;
            format->continues     = inputs.continue_final_message != COMMON_CHAT_CONTINUATION_NONE;
            tq_chat_parser like;
            like.format = std::move(format);
            const tq_status status = tq_chat_parser_fork(&like, parser, error);
            if (status != TQ_OK) {
                throw tq::failure(status, "making the parser of the answer");
            }
        }
    });
}
