// From the generated text back to a message, while it grows.
#include "chat_parser.hpp"
#include "status.hpp"

#include <algorithm>
#include <random>

namespace {

using json = common_json;

std::string new_call_id() {
    static const char alphabet[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    thread_local std::mt19937_64 random { std::random_device {}() };
    std::string id = "call_";
    for (int i = 0; i < 24; i++) {
        id += alphabet[random() % (sizeof(alphabet) - 1)];
    }
    return id;
}

common_chat_msg parse(const tq_chat_parser & parser, bool partial) {
    common_chat_msg message = common_chat_parse(common_chat_input(parser.text), partial, parser.format->params);
    // the name of a call may still grow while its arguments have not begun, and clients append what they get
    if (partial && !message.tool_calls.empty() && message.tool_calls.back().arguments.empty()) {
        message.tool_calls.pop_back();
    }
    return message;
}

// The answer does not have the expected format: what was recognised stays, all other text becomes content.
common_chat_msg keep_as_text(const tq_chat_parser & parser) {
    common_chat_msg message = parser.message;
    message.role = "assistant";
    size_t from = 0;
    if (!message.reasoning_content.empty()) {
        for (const auto & end : parser.format->thinking_ends) {
            const size_t at = parser.text.find(end);
            from = at == std::string::npos ? from : std::max(from, at + end.size());
        }
    }
    const size_t at = parser.text.find(message.content, from);
    message.content += parser.text.substr(at == std::string::npos ? from : at + message.content.size());
    return message;
}

json describe_diff(const common_chat_msg_diff & diff) {
    json delta = json::object();
    if (!diff.content_delta.empty()) {
        delta["content"] = diff.content_delta;
    }
    if (!diff.reasoning_content_delta.empty()) {
        delta["reasoning"] = diff.reasoning_content_delta;
    }
    if (diff.tool_call_index != std::string::npos) {
        json call = json::object();
        call["index"] = diff.tool_call_index;
        if (!diff.tool_call_delta.name.empty()) {
            call["id"]   = diff.tool_call_delta.id;
            call["name"] = diff.tool_call_delta.name;
        }
        if (!diff.tool_call_delta.arguments.empty()) {
            call["arguments"] = diff.tool_call_delta.arguments;
        }
        delta["tool_call"] = call;
    }
    return delta;
}

std::vector<common_chat_msg_diff> advance(tq_chat_parser & parser, bool last) {
    std::vector<common_chat_msg_diff> diffs;
    auto take = [&](common_chat_msg message) {
        message.set_tool_call_ids(parser.ids, new_call_id);
        diffs = common_chat_msg_diff::compute_diffs(parser.message, message);
        parser.message = std::move(message);
    };
    try {
        common_chat_msg message = parse(parser, !last);
        // what was handed out cannot be taken back: a reading that is shorter for a moment waits for more text
        const bool shorter = message.content.size() < parser.message.content.size() ||
                             message.reasoning_content.size() < parser.message.reasoning_content.size();
        if (!message.empty() && (last || !shorter)) {
            take(std::move(message));
        }
    } catch (const std::exception &) {
        // a beginning that does not parse may still become something that does
        if (last) {
            parser.unparsed = true;
            take(keep_as_text(parser));
        }
    }
    // a call cut short is read as far as it goes; its arguments are no JSON then
    for (const auto & call : parser.message.tool_calls) {
        const bool cut = last && !call.arguments.empty() && json::parse_no_throw(call.arguments).is_discarded();
        parser.unparsed = parser.unparsed || cut;
    }
    return diffs;
}

} // namespace

extern "C" tq_status tq_chat_parser_fork(const tq_chat_parser * like, tq_chat_parser ** out, tq_text * error) {
    return tq::guard(error, [&] {
        tq::not_null(out, "out");
        auto parser = std::make_unique<tq_chat_parser>();
        parser->format = tq::not_null(like, "parser")->format;
        if (parser->format->continues) {
            // the continued text is the beginning of the message, but not part of the answer
            parser->message = parse(*parser, true);
        }
        parser->message.role = "assistant";
        *out = parser.release();
    });
}

extern "C" void tq_chat_parser_free(tq_chat_parser * parser) {
    delete parser;
}

extern "C" tq_status tq_chat_parser_push(tq_chat_parser * parser, const char * text, size_t len, bool last, tq_text * out, tq_text * error) {
    return tq::guard(error, [&] {
        if (tq::not_null(parser, "parser")->complete) {
            throw tq::failure(TQ_INVALID, "the answer is complete, nothing can follow");
        }
        if (len > 0) {
            parser->text.append(tq::not_null(text, "text"), len);
        }
        parser->complete = last;
        // the whole text is read anew each time; what is too costly to read stays text
        const tq::work_limit limit(tq::work_for(16*parser->text.size()));
        json deltas = json::array();
        for (const auto & diff : advance(*parser, last)) {
            if (json delta = describe_diff(diff); !delta.empty()) {
                deltas.push_back(delta);
            }
        }
        tq::put_text(out, deltas.dump_safe());
    });
}

extern "C" tq_status tq_chat_parser_message(const tq_chat_parser * parser, tq_text * out, tq_text * error) {
    return tq::guard(error, [&] {
        const common_chat_msg & message = tq::not_null(parser, "parser")->message;
        json result = message.to_json_oaicompat();
        if (message.content.empty() && !message.tool_calls.empty()) {
            result["content"] = nullptr; // as OpenAI has it
        }
        if (parser->unparsed) {
            result["unparsed"] = true;
            result["raw"]      = parser->text;
        }
        tq::put_text(out, result.dump_safe());
    });
}
