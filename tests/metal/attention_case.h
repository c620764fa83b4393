// attention_case.h: an attention problem with a packed cache, and its answer in float64.
#pragma once

#include <cmath>
#include <random>
#include <vector>

#include "executor/metal.h"

extern "C" {
#include "common/codec.h"
}

using metal::half;

// A row type of K or V: how to pack values and what the packed bytes mean, exactly.
struct RowType {
    std::string name;
    int         block, bytes;

    static RowType named(const std::string & name) {
        for (int i = 0; i < tq_type_count(); ++i) {
            if (name == tq_type_at(i)->name) return { name, tq_type_at(i)->block, tq_type_at(i)->bytes };
        }
        if (name == "q8_0") return { name, 32, 34 };
        if (name == "f16") return { name, 1, 2 };
        fprintf(stderr, "no row type %s\n", name.c_str());
        exit(1);
    }
    size_t row_bytes(int length) const { return (size_t) length/block*bytes; }

    void pack(const float * x, uint8_t * out, int length, double * exact) const {
        for (int i = 0; i < tq_type_count(); ++i) {
            if (name != tq_type_at(i)->name) continue;
            const tq_codec_ops & ops = tq_codec_impl_at(0)->ops[i];
            std::vector<float>   y(length);
            ops.quantize_row(x, out, length);
            ops.dequantize_row(out, y.data(), length);
            std::copy(y.begin(), y.end(), exact);
            return;
        }
        if (name == "f16") {
            for (int i = 0; i < length; ++i) {
                ((half *) out)[i] = (half) x[i];
                exact[i]          = (double) ((half *) out)[i];
            }
            return;
        }
        for (int b = 0; b < length/32; ++b, out += 34) { // q8_0
            float top = 0;
            for (int i = 0; i < 32; ++i) top = std::max(top, std::fabs(x[32*b + i]));
            const half d = (half) (top/127);
            memcpy(out, &d, 2);
            for (int i = 0; i < 32; ++i) {
                const int q       = top > 0 ? (int) std::round(x[32*b + i]*127/top) : 0;
                out[2 + i]        = (uint8_t) (int8_t) q;
                exact[32*b + i]   = (double) d*q;
            }
        }
    }
};

// What a case has besides K, V and the queries.
struct Shape {
    int   group, heads_kv, sequences, nq, kv;
    bool  mask, sinks;
    float softcap, max_bias;
};

struct AttentionCase {
    Shape               s;
    int                 dk, dv;
    RowType             kt, vt;
    std::vector<float>  q;            // [sequence][query][head][dk]
    std::vector<uint8_t> k, v;        // [sequence][position][KV head] packed rows
    std::vector<double> kx, vx;       // the same, what the bytes mean
    std::vector<half>   mask;         // [query][position], the same for all heads and sequences
    std::vector<float>  sinks;        // [head]
    std::mt19937        rng;

    int   heads() const { return s.group*s.heads_kv; }
    float scale() const { return 1/std::sqrt((float) dk); }
    float gauss() { return std::normal_distribution<float>(0, 1)(rng); }

    AttentionCase(const Shape & shape, int dk, int dv, const RowType & kt, const RowType & vt, uint32_t seed)
        : s(shape), dk(dk), dv(dv), kt(kt), vt(vt), rng(seed) {
        q.resize((size_t) s.sequences*s.nq*heads()*dk);
        for (auto & x : q) x = 2*gauss();
        pack(kt, dk, k, kx);
        pack(vt, dv, v, vx);
        mask.resize((size_t) s.nq*s.kv);
        for (int i = 0; i < s.nq; ++i) {
            for (int j = 0; j < s.kv; ++j) {
                // causal, a chunk that nobody sees, holes, and one query that sees nothing
                const bool hidden = j > s.kv - s.nq + i || (j >= 32 && j < 64 && s.kv > 64) || rng()%10 == 0 || (s.nq > 2 && i == 1);
                mask[(size_t) i*s.kv + j] = hidden ? (half) -INFINITY : (half) (s.max_bias > 0 ? j - s.kv : 0.25f*gauss());
            }
        }
        for (int h = 0; h < heads(); ++h) sinks.push_back(2*gauss());
    }

    void pack(const RowType & type, int length, std::vector<uint8_t> & packed, std::vector<double> & exact) {
        const size_t rows = (size_t) s.sequences*s.kv*s.heads_kv;
        std::vector<float> x(length);
        packed.resize(rows*type.row_bytes(length));
        exact.resize(rows*length);
        for (size_t r = 0; r < rows; ++r) {
            for (auto & y : x) y = gauss();
            type.pack(x.data(), &packed[r*type.row_bytes(length)], length, &exact[r*length]);
        }
    }

    float slope(int head) const { // ALiBi, as ggml defines it
        if (s.max_bias == 0) return 1;
        const int   n  = 1 << (int) std::floor(std::log2((float) heads()));
        const float m0 = std::pow(2.0f, -s.max_bias/n), m1 = std::pow(2.0f, -s.max_bias/2/n);
        return head < n ? std::pow(m0, head + 1) : std::pow(m1, 2*(head - n) + 1);
    }

    // [sequence][query][head][dv]; `halves`: queries and the values of K and V rounded to half, as upstream's kernels see them
    std::vector<double> answer(bool halves = false) const {
        const auto seen = [&](double x) { return halves ? (double) (half) (float) x : x; };
        std::vector<double> out((size_t) s.sequences*s.nq*heads()*dv), w(s.kv);
        for (int b = 0; b < s.sequences; ++b) for (int i = 0; i < s.nq; ++i) for (int h = 0; h < heads(); ++h) {
            const int     hk = h/s.group;
            const size_t  at = ((size_t) b*s.nq + i)*heads() + h;
            double        top = s.sinks ? sinks[h] : -INFINITY, sum = 0;
            for (int j = 0; j < s.kv; ++j) {
                double t = 0;
                for (int d = 0; d < dk; ++d) t += seen(q[at*dk + d])*seen(kx[(((size_t) b*s.kv + j)*s.heads_kv + hk)*dk + d]);
                t *= scale();
                if (s.softcap != 0) t = s.softcap*std::tanh(t/s.softcap);
                if (s.mask) t += slope(h)*(double) mask[(size_t) i*s.kv + j];
                w[j] = t;
                top  = std::max(top, t);
            }
            if (top == -INFINITY) continue; // sees nothing: zero
            if (s.sinks) sum += std::exp(sinks[h] - top);
            for (int j = 0; j < s.kv; ++j) {
                w[j] = std::exp(w[j] - top);
                sum += w[j];
            }
            for (int j = 0; j < s.kv; ++j) for (int d = 0; d < dv; ++d) out[at*dv + d] += w[j]/sum*seen(vx[(((size_t) b*s.kv + j)*s.heads_kv + hk)*dv + d]);
        }
        return out;
    }
};

// Largest difference over the largest value; infinite when a result is not finite.
template <class T> double relative_error(const T * got, const std::vector<double> & want) {
    double worst = 0, top = 0;
    for (size_t i = 0; i < want.size(); ++i) {
        const double e = std::fabs(got[i] - want[i]);
        worst = std::isfinite(e) ? std::max(worst, e) : INFINITY;
        top   = std::max(top, std::fabs(want[i]));
    }
    return worst/top;
}
