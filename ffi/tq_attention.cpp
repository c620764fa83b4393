// Which kernels compute attention over compressed caches on the CPU.
#include "status.hpp"

#include "attention/attention.h"
#include "hooks/flash_attn.h"

#include <nlohmann/json.hpp>

using json = nlohmann::ordered_json;

namespace {

constexpr const char * upstream = "upstream";

} // namespace

extern "C" tq_status tq_attention_implementations(tq_text * out, tq_text * error) {
    return tq::guard(error, [&] {
        json runnable = json::array(), skipped = json::array();
        for (int i = 0; const tq_attention_impl * impl = tq_attention_impl_at(i); i++) {
            (impl->supported() ? runnable : skipped).push_back(impl->name);
        }
        runnable.push_back(upstream);
        uint64_t ours = 0, theirs = 0;
        tq_flash_attn_counts(&ours, &theirs);
        tq::put_text(out, json {
            { "active",   tq_flash_attn_uses_upstream() ? upstream : tq_attention_active()->name },
            { "runnable", runnable },
            { "skipped",  skipped },
            { "calls",    { { "turboquant", ours }, { "upstream", theirs } } },
        }.dump());
    });
}

extern "C" tq_status tq_attention_select(const char * implementation, tq_text * error) {
    return tq::guard(error, [&] {
        const std::string name = tq::not_null(implementation, "implementation");
        if (name == upstream) {
            tq_flash_attn_use_upstream(true);
            return;
        }
        std::string runnable, skipped;
        for (int i = 0; const tq_attention_impl * impl = tq_attention_impl_at(i); i++) {
            std::string & list = impl->supported() ? runnable : skipped;
            list += (list.empty() ? "" : ", ") + std::string(impl->name);
            if (name != impl->name) {
                continue;
            }
            if (!tq_attention_force(impl->name)) {
                throw tq::failure(TQ_UNSUPPORTED, "attention kernels " + name + ": not supported by this CPU");
            }
            tq_flash_attn_use_upstream(false);
            return;
        }
        throw tq::failure(TQ_INVALID, "attention kernels " + name + ": unknown; this CPU runs " + runnable + ", upstream" +
                (skipped.empty() ? "" : "; this build also has " + skipped));
    });
}
