// Typed, bounded reading of a JSON object, with errors that name the key.
#pragma once

#include "status.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

namespace tq {

// Reads typed, bounded values; an absent or null key leaves the default.
class reader {
public:
    using json = nlohmann::ordered_json;

    // what: names the object in errors
    reader(const char * text, const char * what) {
        try {
            object = text && *text ? json::parse(text) : json::object();
        } catch (const std::exception & e) {
            throw failure(TQ_INVALID, std::string(what) + " are not JSON: " + e.what());
        }
        if (!object.is_object()) {
            throw failure(TQ_INVALID, std::string(what) + " are not a JSON object");
        }
    }

    const json * find(const char * key) const {
        const auto it = object.find(key);
        return it == object.end() || it->is_null() ? nullptr : &*it;
    }

    void number(const char * key, float & out, double low, double high) const {
        if (const json * value = find(key)) {
            const double x = value->is_number() ? value->get<double>() : NAN;
            if (!(x >= low && x <= high)) {
                wrong(key, *value, "a number from " + plain(low) + " to " + plain(high));
            }
            out = (float) x;
        }
    }

    void integer(const char * key, int32_t & out, int64_t low, int64_t high) const {
        if (const json * value = find(key)) {
            // unsigned first: a uint64 above the range of int64 must not wrap into it
            const bool fits = value->is_number_unsigned() ? value->get<uint64_t>() <= (uint64_t) std::max<int64_t>(high, 0)
                                                          : value->is_number_integer() && value->get<int64_t>() <= high;
            if (!fits || value->get<int64_t>() < low) {
                wrong(key, *value, "an integer from " + std::to_string(low) + " to " + std::to_string(high));
            }
            out = value->get<int32_t>();
        }
    }

    void boolean(const char * key, bool & out) const {
        if (const json * value = find(key)) {
            if (!value->is_boolean()) {
                wrong(key, *value, "true or false");
            }
            out = value->get<bool>();
        }
    }

    std::string text(const char * key) const {
        const json * value = find(key);
        if (value && !value->is_string()) {
            wrong(key, *value, "text");
        }
        return value ? value->get<std::string>() : std::string();
    }

    std::vector<std::string> texts(const char * key) const {
        std::vector<std::string> out;
        if (const json * value = find(key)) {
            for (const auto & item : array(key)) {
                if (!item.is_string()) {
                    wrong(key, *value, "a list of texts");
                }
                out.push_back(item.get<std::string>());
            }
        }
        return out;
    }

    const json & array(const char * key) const {
        static const json empty = json::array();
        const json * value = find(key);
        if (value && !value->is_array()) {
            wrong(key, *value, "a list");
        }
        return value ? *value : empty;
    }

    [[noreturn]] static void wrong(const char * key, const json & value, const std::string & expected) {
        const auto found = value.dump(-1, ' ', false, json::error_handler_t::replace);
        throw failure(TQ_INVALID, std::string(key) + " must be " + expected + ", not " + found);
    }

private:
    json object;

    static std::string plain(double x) {
        return json(x).dump();
    }
};

} // namespace tq
