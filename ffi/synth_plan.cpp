// Parameters -> tensors and metadata of a synthetic model, validated so that llama.cpp can load it.
#include "synth.hpp"
#include "status.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <type_traits>

using json = nlohmann::json;

namespace {

using tq::synth_params;
using tq::synth_tensor;

[[noreturn]] void refuse(const std::string & why) {
    throw tq::failure(TQ_INVALID, "synthetic model: " + why);
}

void in_range(const char * key, uint64_t value, uint64_t least, uint64_t most) {
    if (value < least || value > most) {
        refuse(std::string(key) + " = " + std::to_string(value) + ": expected " + std::to_string(least) + ".." + std::to_string(most));
    }
}

template <typename T> void read(json & from, const char * key, T & into) {
    const auto found = from.find(key);
    if (found == from.end()) {
        return;
    }
    const bool fits = std::is_same<T, std::string>::value ? found->is_string()
                    : std::is_same<T, double>::value      ? found->is_number()
                                                          : found->is_number_unsigned();
    if (!fits) {
        refuse(std::string(key) + " = " + found->dump() + ": not a " +
                (std::is_same<T, std::string>::value ? "string" : std::is_same<T, double>::value ? "number" : "natural number"));
    }
    into = found->get<T>();
    from.erase(found);
}

const char * const archs[] = { "llama", "qwen2", "qwen2vl", "qwen3", "gemma3", "lfm2", "deepseek2" };

} // namespace

synth_params tq::synth_params::parse(const char * text) {
    json from = json::parse(text, nullptr, false);
    if (!from.is_object()) {
        refuse("the parameters are not a JSON object");
    }
    synth_params p;
    read(from, "arch", p.arch), read(from, "type", p.type);
    read(from, "layers", p.layers), read(from, "heads", p.heads), read(from, "kv_heads", p.kv_heads);
    read(from, "head_dim", p.head_dim), read(from, "embd", p.embd), read(from, "ff", p.ff), read(from, "vocab", p.vocab);
    read(from, "n_ctx", p.n_ctx), read(from, "window", p.window), read(from, "seed", p.seed), read(from, "k_bias", p.k_bias);
    if (!from.empty()) {
        refuse("unknown key " + from.begin().key());
    }

    if (std::find(std::begin(archs), std::end(archs), p.arch) == std::end(archs)) {
        std::string known;
        for (const char * arch : archs) {
            known += (known.empty() ? "" : ", ") + std::string(arch);
        }
        refuse("arch = " + p.arch + ": unknown; known are " + known);
    }
    const struct { const char * name; ggml_type type; int32_t ftype; } types[] = {
        { "f32", GGML_TYPE_F32, 0 }, { "f16", GGML_TYPE_F16, 1 }, { "q4_0", GGML_TYPE_Q4_0, 2 }, { "q8_0", GGML_TYPE_Q8_0, 7 },
    };
    const auto type = std::find_if(std::begin(types), std::end(types), [&](const auto & t) { return p.type == t.name; });
    if (type == std::end(types)) {
        refuse("type = " + p.type + ": unknown; known are f32, f16, q8_0, q4_0");
    }
    p.weights = type->type, p.ftype = type->ftype;

    in_range("layers", p.layers, p.arch == "lfm2" ? 2 : 1, 512);
    in_range("head_dim", p.head_dim, 1, 1024);
    in_range("heads", p.heads, 1, 1024);
    in_range("kv_heads", p.kv_heads, 1, p.heads);
    p.embd = p.embd ? p.embd : p.heads*p.head_dim;
    in_range("embd", p.embd, 1, 1 << 18);
    p.ff = p.ff ? p.ff : 2*p.embd;
    in_range("ff", p.ff, 1, 1 << 20);
    in_range("vocab", p.vocab, 300, 1 << 20);
    in_range("n_ctx", p.n_ctx, 1, INT32_MAX);
    in_range("window", p.window, 1, INT32_MAX);
    if (p.heads % p.kv_heads != 0) {
        refuse("heads = " + std::to_string(p.heads) + " is not a multiple of kv_heads = " + std::to_string(p.kv_heads));
    }
    if (p.head_dim % 2 != 0 || (p.arch == "deepseek2" && p.head_dim % 4 != 0)) {
        refuse("head_dim = " + std::to_string(p.head_dim) + ": RoPE turns pairs, so it must be a multiple of " +
                (p.arch == "deepseek2" ? "4 in deepseek2" : "2"));
    }
    if ((p.arch == "qwen2" || p.arch == "qwen2vl" || p.arch == "lfm2") && p.embd != p.heads*p.head_dim) {
        refuse("embd = " + std::to_string(p.embd) + ": " + p.arch + " has embd = heads*head_dim = " + std::to_string(p.heads*p.head_dim));
    }
    if (p.arch == "deepseek2" && (p.layers == 26 || p.layers == 27)) {
        refuse("layers = " + std::to_string(p.layers) + ": llama.cpp takes such a deepseek2 for the lite variant, which has other tensors");
    }
    if (!(std::fabs(p.k_bias) <= 1e4)) {
        refuse("k_bias: expected -10000..10000");
    }
    return p;
}

std::vector<synth_tensor> tq::synth_tensors(const synth_params & p) {
    std::vector<synth_tensor> list;
    std::string prefix;
    // deviation 1/sqrt(fan-in) keeps activations of the order of 1 in every layer
    auto weight = [&](const char * name, std::vector<uint64_t> ne) {
        const auto block = (uint64_t) ggml_blck_size(p.weights);
        if (ne[0] % block != 0) {
            refuse(prefix + name + " has rows of " + std::to_string(ne[0]) + " values; " + p.type + " needs a multiple of " +
                    std::to_string(block));
        }
        list.push_back({ prefix + name + ".weight", { ne.begin(), ne.end() }, p.weights, 0.0f, 1.0f/std::sqrt((float) ne[0]) });
    };
    auto plain = [&](const char * name, std::vector<int64_t> ne, float mean, float deviation) {
        list.push_back({ prefix + name, std::move(ne), GGML_TYPE_F32, mean, deviation });
    };
    auto norm = [&](const char * name, uint64_t n) { plain((name + std::string(".weight")).c_str(), { (int64_t) n }, 1.0f, 0.0f); };

    const uint64_t q = p.heads*p.head_dim, kv = p.kv_heads*p.head_dim;
    const bool     gemma = p.arch == "gemma3", mla = p.arch == "deepseek2", lfm2 = p.arch == "lfm2";

    weight("token_embd", { p.embd, p.vocab });
    // unit deviation, so that the token survives in the residual stream; gemma3 scales by sqrt(embd) itself
    list.back().deviation = gemma ? list.back().deviation : 1.0f;
    norm(lfm2 ? "token_embd_norm" : "output_norm", p.embd);
    if (!gemma) {
        weight("output", { p.embd, p.vocab });
    }
    for (uint64_t il = 0; il < p.layers; il++) {
        prefix = "blk." + std::to_string(il) + ".";
        norm("attn_norm", p.embd);
        if (lfm2 && !synth_params::lfm2_attends(il)) {
            plain("shortconv.conv.weight", { 3, (int64_t) p.embd }, 0.0f, 0.577f);
            weight("shortconv.in_proj", { p.embd, 3*p.embd });
            weight("shortconv.out_proj", { p.embd, p.embd });
        } else if (mla) {
            const uint64_t rank = p.mla_rank(), plain_dim = p.head_dim - p.mla_rope();
            norm("attn_q_a_norm", rank);
            norm("attn_kv_a_norm", rank);
            weight("attn_q_a", { p.embd, rank });
            weight("attn_q_b", { rank, q });
            weight("attn_kv_a_mqa", { p.embd, rank + p.mla_rope() });
            weight("attn_k_b", { plain_dim, rank, p.heads });
            weight("attn_v_b", { rank, p.head_dim, p.heads });
            weight("attn_output", { q, p.embd });
        } else {
            weight("attn_q", { p.embd, q });
            weight("attn_k", { p.embd, kv });
            weight("attn_v", { p.embd, kv });
            weight("attn_output", { q, p.embd });
            if (p.arch == "qwen2" || p.arch == "qwen2vl") {
                plain("attn_q.bias", { (int64_t) q }, 0.0f, 0.1f);
                plain("attn_k.bias", { (int64_t) kv }, 0.0f, (float) std::fabs(p.k_bias));
                plain("attn_v.bias", { (int64_t) kv }, 0.0f, 0.1f);
            }
            if (gemma || lfm2 || p.arch == "qwen3") {
                norm("attn_q_norm", p.head_dim);
                norm("attn_k_norm", p.head_dim);
            }
        }
        if (gemma) {
            norm("post_attention_norm", p.embd);
            norm("post_ffw_norm", p.embd);
        }
        norm("ffn_norm", p.embd);
        weight("ffn_gate", { p.embd, p.ff });
        weight("ffn_up", { p.embd, p.ff });
        weight("ffn_down", { p.ff, p.embd });
    }
    return list;
}

namespace {

// A byte-level vocabulary in GPT-2's spelling: 256 bytes, three control tokens, the merges of two small
// letters, and fillers that no text reaches.
void put_tokenizer(gguf_context * gguf, uint64_t vocab) {
    std::vector<std::string> tokens, merges;
    auto utf8 = [](uint32_t c) {
        return c < 0x80 ? std::string(1, (char) c) : std::string { (char) (0xc0 | c >> 6), (char) (0x80 | (c & 0x3f)) };
    };
    for (uint32_t byte = 0, other = 256; byte < 256; byte++) {
        const bool shown = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
        tokens.push_back(utf8(shown ? byte : other++));
    }
    for (const char * control : { "<|endoftext|>", "<|im_start|>", "<|im_end|>" }) {
        tokens.push_back(control);
    }
    std::vector<int32_t> kinds(vocab, 1); // llama_token_type: normal
    std::fill(kinds.begin() + 256, kinds.begin() + 259, 3); // control
    for (int pair = 0; pair < 26*26 && tokens.size() < vocab; pair++) {
        const std::string left(1, (char) ('a' + pair/26)), right(1, (char) ('a' + pair % 26));
        tokens.push_back(left + right);
        merges.push_back(left + " " + right);
    }
    while (tokens.size() < vocab) {
        tokens.push_back("\u0120w" + std::to_string(tokens.size())); // " w1234"
    }
    auto put = [&](const char * key, const std::vector<std::string> & list) {
        std::vector<const char *> raw;
        for (const auto & text : list) {
            raw.push_back(text.c_str());
        }
        gguf_set_arr_str(gguf, key, raw.data(), raw.size());
    };
    gguf_set_val_str(gguf, "tokenizer.ggml.model", "gpt2");
    gguf_set_val_str(gguf, "tokenizer.ggml.pre", "qwen2");
    put("tokenizer.ggml.tokens", tokens);
    put("tokenizer.ggml.merges", merges);
    gguf_set_arr_data(gguf, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, kinds.data(), kinds.size());
    gguf_set_val_u32(gguf, "tokenizer.ggml.bos_token_id", 256);
    gguf_set_val_u32(gguf, "tokenizer.ggml.eos_token_id", 258);
    gguf_set_val_u32(gguf, "tokenizer.ggml.padding_token_id", 256);
    gguf_set_val_bool(gguf, "tokenizer.ggml.add_bos_token", false);
    gguf_set_val_str(gguf, "tokenizer.chat_template",
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}");
}

} // namespace

void tq::synth_metadata(gguf_context * gguf, const synth_params & p) {
    const bool mla = p.arch == "deepseek2";
    auto u32 = [&](const char * key, uint64_t value) { gguf_set_val_u32(gguf, (p.arch + "." + key).c_str(), (uint32_t) value); };
    gguf_set_val_str(gguf, "general.architecture", p.arch.c_str());
    gguf_set_val_str(gguf, "general.name", ("synthetic " + p.arch).c_str());
    gguf_set_val_u32(gguf, "general.file_type", (uint32_t) p.ftype);
    u32("vocab_size", p.vocab);
    u32("context_length", p.n_ctx);
    u32("embedding_length", p.embd);
    u32("block_count", p.layers);
    u32("feed_forward_length", p.ff);
    u32("attention.head_count", p.heads);
    u32("attention.key_length", mla ? p.mla_rank() + p.mla_rope() : p.head_dim);
    u32("attention.value_length", mla ? p.mla_rank() : p.head_dim);
    u32("rope.dimension_count", mla ? p.mla_rope() : p.head_dim);
    gguf_set_val_f32(gguf, (p.arch + ".attention.layer_norm_rms_epsilon").c_str(), 1e-6f);
    if (p.arch == "lfm2") {
        std::vector<int32_t> kv_heads;
        for (uint64_t il = 0; il < p.layers; il++) {
            kv_heads.push_back(synth_params::lfm2_attends(il) ? (int32_t) p.kv_heads : 0);
        }
        gguf_set_arr_data(gguf, "lfm2.attention.head_count_kv", GGUF_TYPE_INT32, kv_heads.data(), kv_heads.size());
        u32("shortconv.l_cache", 3);
    } else {
        u32("attention.head_count_kv", mla ? 1 : p.kv_heads); // MLA caches one row for all heads
    }
    if (p.arch == "qwen2vl") {
        // pairs of values that turn with time, row and column: a quarter and three eighths, as published
        const int32_t pairs = (int32_t) p.head_dim/2, side = 3*pairs/8;
        const int32_t sections[4] = { pairs - 2*side, side, side, 0 };
        gguf_set_arr_data(gguf, "qwen2vl.rope.dimension_sections", GGUF_TYPE_INT32, sections, 4);
    }
    if (p.arch == "gemma3") {
        u32("attention.sliding_window", p.window);
        // as published for whole models; small ones get both kinds of layer too
        u32("attention.sliding_window_pattern", p.layers >= 6 ? 6 : 2);
    }
    if (mla) {
        u32("attention.q_lora_rank", p.mla_rank());
        u32("attention.kv_lora_rank", p.mla_rank());
        u32("attention.key_length_mla", p.head_dim);
        u32("attention.value_length_mla", p.head_dim);
        u32("leading_dense_block_count", p.layers); // no experts
        u32("expert_feed_forward_length", p.ff);
        u32("expert_shared_count", 0);
    }
    put_tokenizer(gguf, p.vocab);
}
