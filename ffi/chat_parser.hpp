// What reads an answer: made by tq_chat_apply, used by tq_chat_parser.cpp.
#pragma once

#include "tq.h"

#include "chat.h"

#include <memory>
#include <string>
#include <vector>

namespace tq {

// What is needed to read an answer; shared by the parsers of all answers to one prompt.
struct chat_syntax {
    common_chat_parser_params params;
    std::vector<std::string>  thinking_ends;
    bool                      continues; // the last message of the request is continued, its text is not part of the answer
};

} // namespace tq

struct tq_chat_parser {
    std::shared_ptr<const tq::chat_syntax> format;
    std::string                            text;
    common_chat_msg                        message;
    std::vector<std::string>               ids;
    bool                                   complete = false;
    bool                                   unparsed = false;
};
