#include "hooks/faults.h"

#include <map>
#include <mutex>

#include "ggml-impl.h"

namespace {

// Of a compiler's text: enough for the first error with the source line below it.
constexpr size_t MOST_LINES = 6, MOST_BYTES = 800;

std::mutex                                                              lock;
std::map<std::string, std::vector<std::pair<std::string, std::string>>> noted; // backend: (part, text)

std::string first_lines(const char * error) {
    const std::string text  = error ? error : "";
    size_t            lines = 0, end = 0;
    while (end < text.size() && lines < MOST_LINES) {
        const size_t next = text.find('\n', end);
        end = next == std::string::npos ? text.size() : next + 1;
        lines++;
    }
    std::string head = text.substr(0, end < MOST_BYTES ? end : MOST_BYTES);
    while (!head.empty() && (head.back() == '\n' || ((unsigned char) head.back() >= 0x80 && end > MOST_BYTES))) {
        head.pop_back(); // no half of a character where it was cut
    }
    return head;
}

} // namespace

std::vector<std::string> tq_faults(const char * backend) {
    const std::lock_guard<std::mutex> hold(lock);
    std::vector<std::string>          texts;
    for (const auto & fault : noted[backend]) {
        texts.push_back(fault.second);
    }
    return texts;
}

void tq_fault_note(const char * backend, const std::string & part, const char * error) {
    const std::string head = first_lines(error);
    const std::string text = head.empty() ? part : part + ": " + head;
    {
        const std::lock_guard<std::mutex> hold(lock);
        for (const auto & fault : noted[backend]) {
            if (fault.first == part) {
                return;
            }
        }
        noted[backend].emplace_back(part, text);
    }
    GGML_LOG_WARN("%s: %s. Caches that need it are refused on this device\n", backend, text.c_str());
}
