// codec.cpp: encoder and decoder of the turbo types on Metal against the reference codec (kernels/common/ref.c).
// Encoded bytes must be the reference's, decoded values its bits, for every kind of vector the codec is tested on.
#include "check.h"
#include "host.h"

extern "C" {
#include "common/codec.h"
#include "check/vectors.h"
}

using metal::half;
using msl::Buffer;

static Report report;

static const tq_codec_ops & reference(const tq_type_info * type) {
    const tq_codec_impl * scalar = tq_codec_impl_at(0);
    for (int i = 0; i < tq_type_count(); ++i) {
        if (tq_type_at(i) == type) return scalar->ops[i];
    }
    abort();
}

// Rows of all kinds of vectors, `per_kind` of each.
static std::vector<float> all_kinds(int length, int block, int per_kind, uint64_t seed) {
    rng                r = rng_new(seed);
    std::vector<float> rows((size_t) VECTOR_KINDS*per_kind*length);
    for (size_t at = 0, i = 0; at < rows.size(); at += block, ++i) vector_kinds[(i/(length/block)/per_kind + i%(length/block))%VECTOR_KINDS].fill(&rows[at], block, &r);
    return rows;
}

static std::vector<float> plain_blocks(const tq_type_info * type, int count) {
    rng                r = rng_new(77);
    std::vector<float> rows((size_t) count*type->block);
    for (auto & x : rows) x = rng_gauss(&r);
    return rows;
}

// Blocks with an element on an edge between two levels, exactly where float rounding allows: for each grid point and edge
// the first element is moved there. Where that grid point wins, the byte tells on which side of the edge a tie falls.
static std::vector<float> ties(const tq_type_info * type, int per_edge) {
    static const float grid[] = TQ_GRID;
    const int edges4[] = TQ_EDGES_4, edges3[] = TQ_EDGES_3, edges2[] = TQ_EDGES_2;
    const int * edges = type->bits == 4 ? edges4 : type->bits == 3 ? edges3 : edges2;
    rng                r = rng_new(78);
    std::vector<float> rows;
    for (float point : grid) for (int e = 0; e < (1 << (type->bits - 1)) - 1; ++e) for (int n = 0; n < per_edge; ++n) {
        std::vector<float> x(type->block);
        for (auto & y : x) y = rng_gauss(&r);
        for (int i = 0; i < 4; ++i) { // the norm follows the element
            float square = 0;
            for (float y : x) square += y*y;
            x[0] = (float) edges[e]/(tq_gain(type->bits, type->block)/(point*sqrtf(square)));
        }
        rows.insert(rows.end(), x.begin(), x.end());
    }
    return rows;
}

// The source as a kernel reads it, and what it means in float.
template <class S> static std::vector<S> as_source(std::vector<float> & rows) {
    std::vector<S> out(rows.size());
    for (size_t i = 0; i < rows.size(); ++i) {
        out[i]  = (S) rows[i];
        rows[i] = (float) out[i];
    }
    return out;
}

static std::vector<uint8_t> encode(const tq_type_info * type, const std::vector<float> & rows) {
    std::vector<uint8_t> out(rows.size()/type->block*type->bytes);
    reference(type).quantize_row(rows.data(), out.data(), (int64_t) rows.size());
    return out;
}

template <class S> static const char * name_of();
template <> const char * name_of<float>()   { return "f32"; }
template <> const char * name_of<half>()    { return "f16"; }
template <> const char * name_of<int32_t>() { return "i32"; }
template <> const char * name_of<int64_t>() { return "i64"; }

template <class S, class I> static void set_rows(const tq_type_info * type, int blocks, std::vector<float> values, const Schedule & schedule) {
    const int  heads = 2, length = blocks*type->block, rows = (int) (values.size()/length/heads), dst_rows = rows + 7;
    values.resize((size_t) heads*rows*length);
    const auto source = as_source<S>(values);
    const auto want   = encode(type, values);
    const size_t row_bytes = (size_t) blocks*type->bytes;

    Buffer<S>       src(source.size());
    Buffer<I>       idx(rows);
    Buffer<uint8_t> dst(row_bytes*dst_rows*heads, 2);
    std::copy(source.begin(), source.end(), src.begin());
    for (int i = 0; i < rows; ++i) idx[i] = (I) ((i*29 + 5)%dst_rows);
    memset(dst.data(), 0x5a, dst.n);

    char kernel[96];
    snprintf(kernel, sizeof kernel, "kernel_set_rows_%s_%s_%s", name_of<S>(), name_of<I>(), type->name);
    Tensor a = { { length, rows, heads, 1 }, { sizeof(S), length*sizeof(S), rows*length*sizeof(S), heads*rows*length*sizeof(S) } };
    Tensor i = { { rows, 1, 1, 1 }, { sizeof(I), rows*sizeof(I), rows*sizeof(I), rows*sizeof(I) } };
    Tensor d = { { length, dst_rows, heads, 1 }, { (uint64_t) type->bytes, row_bytes, dst_rows*row_bytes, heads*dst_rows*row_bytes } };
    host_set_rows(kernel, type->block, a, src.data(), i, idx.data(), d, dst.data());

    int               different = 0, elsewhere = 0;
    std::vector<bool> hit(dst_rows);
    for (int r = 0; r < rows; ++r) hit[idx[r]] = true;
    for (int h = 0; h < heads; ++h) {
        for (int r = 0; r < rows; ++r) different += memcmp(&want[((size_t) h*rows + r)*row_bytes], &dst[((size_t) h*dst_rows + idx[r])*row_bytes], row_bytes) != 0;
        for (int r = 0; r < dst_rows; ++r) for (size_t b = 0; !hit[r] && b < row_bytes; ++b) elsewhere += dst[((size_t) h*dst_rows + r)*row_bytes + b] != 0x5a;
    }
    report.check(!different && !elsewhere, kernel, "%d rows of %d blocks, %d differ, %d bytes written elsewhere (%s)", rows*heads, blocks, different, elsewhere, schedule.name);
}

template <class S> static void cpy_to(const tq_type_info * type, int blocks, const Schedule & schedule) {
    const int  length = blocks*type->block, rows = VECTOR_KINDS;
    auto       values = all_kinds(length, type->block, 1, 23);
    const auto source = as_source<S>(values);
    const auto want   = encode(type, values);

    Buffer<S>       src(source.size());
    Buffer<uint8_t> dst(want.size(), 2);
    std::copy(source.begin(), source.end(), src.begin());
    memset(dst.data(), 0x5a, dst.n);
    char kernel[96];
    snprintf(kernel, sizeof kernel, "kernel_cpy_%s_%s", name_of<S>(), type->name);
    host_cpy(kernel, 1, type->block, Tensor::contiguous({ length, rows/2, 2, 1 }, 1, sizeof(S)), src.data(), Tensor::contiguous({ length, rows, 1, 1 }, type->block, type->bytes), dst.data());
    report.check(memcmp(want.data(), dst.data(), want.size()) == 0, kernel, "%d rows of %d blocks (%s)", rows, blocks, schedule.name);
}

// Encoded rows of every kind, and blocks of random indices with random finite scales.
static std::vector<uint8_t> encoded_rows(const tq_type_info * type, int length, int * rows) {
    auto out = encode(type, all_kinds(length, type->block, 1, 31));
    rng  r   = rng_new(5);
    for (int b = 0; b < 40*length/type->block; ++b) {
        for (int i = 0; i < type->bytes; ++i) out.push_back((uint8_t) rng_next(&r));
        uint8_t * d = &out[out.size() - type->bytes];
        if ((d[1] & 0x7c) == 0x7c) d[1] ^= 0x40; // an encoder writes no infinite scale
    }
    *rows = (int) (out.size()/type->bytes*type->block/length);
    return out;
}

static std::vector<float> decode(const tq_type_info * type, const std::vector<uint8_t> & rows) {
    std::vector<float> out(rows.size()/type->bytes*type->block);
    reference(type).dequantize_row(rows.data(), out.data(), (int64_t) out.size());
    return out;
}

static void get_rows(const tq_type_info * type, int blocks, const Schedule & schedule) {
    int        rows, length = blocks*type->block;
    const auto source = encoded_rows(type, length, &rows);
    const auto want   = decode(type, source);

    Buffer<uint8_t> src(source.size(), 2);
    Buffer<int32_t> idx(rows);
    Buffer<float>   dst((size_t) rows*length);
    std::copy(source.begin(), source.end(), src.begin());
    for (int i = 0; i < rows; ++i) idx[i] = (i*7 + 3)%rows;
    std::fill(dst.begin(), dst.end(), NAN);
    char kernel[96];
    snprintf(kernel, sizeof kernel, "kernel_get_rows_%s", type->name);
    host_get_rows(kernel, Tensor::contiguous({ length, rows, 1, 1 }, type->block, type->bytes), src.data(), Tensor::contiguous({ rows, 1, 1, 1 }, 1, 4), idx.data(),
        Tensor::contiguous({ length, rows, 1, 1 }, 1, 4), dst.data());
    int different = 0;
    for (int r = 0; r < rows; ++r) different += memcmp(&dst[(size_t) r*length], &want[(size_t) idx[r]*length], length*4) != 0;
    report.check(!different, kernel, "%d rows of %d blocks, %d differ (%s)", rows, blocks, different, schedule.name);
}

template <class S> static void cpy_from(const tq_type_info * type, int blocks, const Schedule & schedule) {
    int        rows, length = blocks*type->block;
    const auto source = encoded_rows(type, length, &rows);
    const auto want   = decode(type, source);

    Buffer<uint8_t> src(source.size(), 2);
    Buffer<S>       dst((size_t) rows*length);
    std::copy(source.begin(), source.end(), src.begin());
    memset(dst.data(), 0xff, dst.n*sizeof(S));
    char kernel[96];
    snprintf(kernel, sizeof kernel, "kernel_cpy_%s_%s", type->name, name_of<S>());
    host_cpy(kernel, type->block, 1, Tensor::contiguous({ length, rows, 1, 1 }, type->block, type->bytes), src.data(), Tensor::contiguous({ length, rows/2, 2, 1 }, 1, sizeof(S)), dst.data());
    int different = 0;
    for (size_t i = 0; i < want.size(); ++i) {
        const S value = (S) want[i];
        different += memcmp(&value, &dst[i], sizeof(S)) != 0;
    }
    report.check(!different, kernel, "%d rows of %d blocks, %d values differ (%s)", rows, blocks, different, schedule.name);
}

// K or V with interleaved heads to the contiguous f16 that upstream's matrix kernel reads.
static void kv_f16(const tq_type_info * type, int blocks, const Schedule & schedule) {
    int        rows, length = blocks*type->block;
    const auto source = encoded_rows(type, length, &rows);
    const auto want   = decode(type, source);
    const int  heads = 3, kv = rows/heads;

    Buffer<uint8_t> src(source.size(), 2);
    Buffer<half>    dst((size_t) heads*kv*length);
    std::copy(source.begin(), source.end(), src.begin());
    memset(dst.data(), 0xff, dst.n*2);
    const uint64_t row = (uint64_t) blocks*type->bytes;
    char           kernel[96];
    snprintf(kernel, sizeof kernel, "kernel_flash_attn_ext_kv_%s_f16", type->name);
    host_kv_f16(kernel, type->block, Tensor{ { length, kv, heads, 1 }, { (uint64_t) type->bytes, row*heads, row, row*heads*kv } }, src.data(), dst.data());
    int different = 0;
    for (int h = 0; h < heads; ++h) for (int j = 0; j < kv; ++j) for (int e = 0; e < length; ++e) {
        const half value = (half) want[((size_t) j*heads + h)*length + e];
        different += memcmp(&value, &dst[((size_t) h*kv + j)*length + e], 2) != 0;
    }
    report.check(!different, kernel, "%d rows of %d blocks, %d values differ (%s)", heads*kv, blocks, different, schedule.name);
}

// The f16 side of a mixed pair is copied as it is.
static void kv_f16_plain(const Schedule & schedule) {
    const int     length = 192, heads = 3, kv = 11;
    int           rows;
    const auto    bits = encoded_rows(tq_type_at(0), 128, &rows); // any bits will do
    Buffer<half>  src((size_t) length*heads*kv), dst(src.n);
    memcpy(src.data(), bits.data(), src.n*2);
    memset(dst.data(), 0xff, dst.n*2);
    const char * kernel = "kernel_flash_attn_ext_kv_f16_f16";
    host_kv_f16(kernel, 1, Tensor{ { length, kv, heads, 1 }, { 2, 2*length*heads, 2*length, 2*length*heads*kv } }, src.data(), dst.data());
    int different = 0;
    for (int h = 0; h < heads; ++h) for (int j = 0; j < kv; ++j) different += memcmp(&dst[((size_t) h*kv + j)*length], &src[((size_t) j*heads + h)*length], 2*length) != 0;
    report.check(!different, kernel, "%d rows, %d differ (%s)", heads*kv, different, schedule.name);
}

int main() {
    for (const Schedule & schedule : kSchedules) {
        use(schedule);
        kv_f16_plain(schedule);
        for (int t = 0; t < tq_type_count(); ++t) {
            const tq_type_info * type = tq_type_at(t);
            if (&schedule == kSchedules) {
                set_rows<float, int64_t>(type, 1, plain_blocks(type, 6000), schedule);
                set_rows<float, int64_t>(type, 1, ties(type, 40), schedule);
            }
            // one block, a count that is no power of two, and a row of many heads
            const auto kinds = [&](int blocks) { return all_kinds(blocks*type->block, type->block, 2, 11 + blocks); };
            set_rows<float, int64_t>(type, 1, kinds(1), schedule);
            set_rows<float, int64_t>(type, 3, kinds(3), schedule);
            set_rows<float, int32_t>(type, 8, kinds(8), schedule);
            set_rows<half, int64_t>(type, 2, kinds(2), schedule);
            set_rows<half, int32_t>(type, 3, kinds(3), schedule);
            for (int blocks : { 1, 3, 8 }) {
                cpy_to<float>(type, blocks, schedule);
                cpy_to<half>(type, blocks, schedule);
                get_rows(type, blocks, schedule);
                cpy_from<float>(type, blocks, schedule);
                cpy_from<half>(type, blocks, schedule);
                kv_f16(type, blocks, schedule);
            }
        }
    }
    return report.finish("turbo codec");
}
