// The codec by named implementation, for tests, benchmarks and `turboquant verify`.
#include "status.hpp"

#include "common/codec.h"
#include "common/rotate.h"

#include <nlohmann/json.hpp>

#include <algorithm>

using json = nlohmann::ordered_json;

namespace {

std::string names(bool supported) {
    std::string list;
    for (int i = 0; const tq_codec_impl * impl = tq_codec_impl_at(i); i++) {
        if (tq_codec_impl_supported(impl) == supported) {
            list += (list.empty() ? "" : ", ") + std::string(impl->name);
        }
    }
    return list;
}

const tq_codec_impl * find(const char * name) {
    if (!name) {
        return tq_codec_active();
    }
    for (int i = 0; const tq_codec_impl * impl = tq_codec_impl_at(i); i++) {
        if (std::strcmp(impl->name, name) != 0) {
            continue;
        }
        if (!tq_codec_impl_supported(impl)) {
            throw tq::failure(TQ_UNSUPPORTED,
                    std::string("codec implementation ") + name + ": not supported by this CPU; it runs " + names(true));
        }
        return impl;
    }
    throw tq::failure(TQ_INVALID, std::string("codec implementation ") + name + ": unknown; this build has " + names(true) +
            (names(false).empty() ? "" : ", and not on this CPU " + names(false)));
}

const tq_codec_ops & ops_of(const char * implementation, int32_t type, size_t n) {
    for (int i = 0; const tq_type_info * info = tq_type_at(i); i++) {
        if (info->id != type) {
            continue;
        }
        if (n % info->block != 0 || n > INT32_MAX) {
            throw tq::failure(TQ_INVALID, "a row of " + std::to_string(n) + " values: " + info->name + " needs a multiple of " +
                    std::to_string(info->block));
        }
        return find(implementation)->ops[i];
    }
    throw tq::failure(TQ_INVALID, "type " + std::to_string(type) + " is not a turbo type");
}

} // namespace

extern "C" tq_status tq_codec_implementations(tq_text * out, tq_text * error) {
    return tq::guard(error, [&] {
        json runnable = json::array(), skipped = json::array();
        for (int i = 0; const tq_codec_impl * impl = tq_codec_impl_at(i); i++) {
            (tq_codec_impl_supported(impl) ? runnable : skipped).push_back(impl->name);
        }
        tq::put_text(out, json {
            { "active",   tq_codec_active()->name },
            { "runnable", runnable },
            { "skipped",  skipped },
        }.dump());
    });
}

extern "C" tq_status tq_codec_types(tq_text * out, tq_text * error) {
    return tq::guard(error, [&] {
        json list = json::array();
        for (int i = 0; const tq_type_info * info = tq_type_at(i); i++) {
            list.push_back({
                { "id",     info->id },
                { "name",   info->name },
                { "family", info->family },
                { "bits",   info->bits },
                { "block",  info->block },
                { "bytes",  info->bytes },
            });
        }
        tq::put_text(out, list.dump());
    });
}

extern "C" tq_status tq_codec_select(const char * implementation, tq_text * error) {
    return tq::guard(error, [&] {
        const auto * impl = find(tq::not_null(implementation, "implementation"));
        if (!tq_codec_force(impl->name)) {
            throw tq::failure(TQ_ENGINE, std::string("codec implementation ") + impl->name + " refused");
        }
    });
}

extern "C" tq_status tq_codec_encode(const char * implementation, int32_t type, const float * x, size_t n, uint8_t * out,
        tq_text * error) {
    return tq::guard(error, [&] {
        ops_of(implementation, type, n).quantize_row(tq::not_null(x, "x"), tq::not_null(out, "out"), (int64_t) n);
    });
}

extern "C" tq_status tq_codec_decode(const char * implementation, int32_t type, const uint8_t * in, size_t n, float * x,
        tq_text * error) {
    return tq::guard(error, [&] {
        ops_of(implementation, type, n).dequantize_row(tq::not_null(in, "in"), tq::not_null(x, "x"), (int64_t) n);
    });
}

extern "C" tq_status tq_codec_dot(const char * implementation, int32_t type, const uint8_t * row, const uint8_t * q8, size_t n,
        float * dot, tq_text * error) {
    return tq::guard(error, [&] {
        ops_of(implementation, type, n).vec_dot((int) n, tq::not_null(dot, "dot"), 0, tq::not_null(row, "row"), 0,
                tq::not_null(q8, "q8"), 0, 1);
    });
}

extern "C" tq_status tq_codec_levels(uint32_t bits, int8_t * levels, size_t capacity, size_t * count, float * factor,
        tq_text * error) {
    return tq::guard(error, [&] {
        int            n     = 0;
        float          f     = 0.0f;
        const int8_t * table = bits <= 8 ? tq_levels((int) bits, &n, &f) : nullptr;
        if (!table) {
            throw tq::failure(TQ_INVALID, "there is no table of " + std::to_string(bits) + " bits; 2, 3 and 4 exist");
        }
        *tq::not_null(count, "count") = (size_t) n;
        if (factor) {
            *factor = f;
        }
        if (levels) {
            std::memcpy(levels, table, std::min(capacity, (size_t) n));
        }
    });
}

extern "C" tq_status tq_codec_rotate(float * x, size_t n, tq_text * error) {
    return tq::guard(error, [&] {
        if (n < 64 || n > TQ_ROTATE_MAX || (n & (n - 1)) != 0) {
            throw tq::failure(TQ_INVALID, "a rotation of width " + std::to_string(n) + ": it must be a power of two, 64.." +
                    std::to_string(TQ_ROTATE_MAX));
        }
        tq_rotate_f32(tq::not_null(x, "x"), x, (int) n);
    });
}

extern "C" uint32_t tq_codec_version(void) {
    return TQ_CODEC_VERSION;
}
