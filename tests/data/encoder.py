"""Writes encoder.gguf, a BERT of random weights, and encoder.json, what NumPy computes with the same weights.

The engine has no part in encoder.json: it is the BERT of Devlin et al. 2018 (post-norm, GELU), written down again. The file's
pooling type is mean; tests change the one number in its header to get the other types. Made with gguf 0.19.0, NumPy 2.4.6:

    pip install gguf numpy && python encoder.py
"""

import json
import math
from pathlib import Path

import gguf
import numpy as np

EMBD, FF, LAYERS, HEADS, CONTEXT, EPS = 32, 64, 2, 2, 64, 1e-12
HERE = Path(__file__).parent
WORDS = "a the turtle fox owl river cache bits slow fast walk swims sees is small large old new red green".split()
PIECES = ["s", "ed", "er"]
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + ["\u2581" + word for word in WORDS] + PIECES
CLS, SEP = 2, 3

rng = np.random.default_rng(5)


def normal(*shape, scale=0.3, mean=0.0):
    return (rng.standard_normal(shape) * scale + mean).astype(np.float32)


def weights():
    w = {
        "token_embd.weight": normal(len(VOCAB), EMBD, scale=1.0),
        "token_types.weight": normal(2, EMBD),
        "position_embd.weight": normal(CONTEXT, EMBD),
        "token_embd_norm.weight": normal(EMBD, mean=1.0),
        "token_embd_norm.bias": normal(EMBD),
        "cls.weight": normal(EMBD, EMBD),
        "cls.bias": normal(EMBD),
        "cls.output.weight": normal(1, EMBD),
        "cls.output.bias": normal(1),
    }
    for layer in range(LAYERS):
        b = f"blk.{layer}."
        for name in ["attn_q", "attn_k", "attn_v", "attn_output"]:
            w[b + name + ".weight"], w[b + name + ".bias"] = normal(EMBD, EMBD), normal(EMBD)
        w[b + "ffn_up.weight"], w[b + "ffn_up.bias"] = normal(FF, EMBD), normal(FF)
        w[b + "ffn_down.weight"], w[b + "ffn_down.bias"] = normal(EMBD, FF), normal(EMBD)
        for name in ["attn_output_norm", "layer_output_norm"]:
            w[b + name + ".weight"], w[b + name + ".bias"] = normal(EMBD, mean=1.0), normal(EMBD)
    return w


def write(w):
    file = gguf.GGUFWriter(HERE / "encoder.gguf", "bert")
    file.add_name("encoder noise")
    file.add_context_length(CONTEXT)
    file.add_embedding_length(EMBD)
    file.add_feed_forward_length(FF)
    file.add_block_count(LAYERS)
    file.add_head_count(HEADS)
    file.add_layer_norm_eps(EPS)
    file.add_causal_attention(False)
    file.add_pooling_type(gguf.PoolingType.MEAN)
    file.add_tokenizer_model("bert")
    file.add_token_list(VOCAB)
    control, normal_type = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    file.add_token_types([control] * 5 + [normal_type] * (len(VOCAB) - 5))
    file.add_token_type_count(2)
    file.add_pad_token_id(0)
    file.add_unk_token_id(1)
    file.add_bos_token_id(CLS)
    file.add_sep_token_id(SEP)
    file.add_mask_token_id(4)
    for name, tensor in w.items():
        file.add_tensor(name, tensor)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def layer_norm(x, w, name):
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPS)
    return scaled * w[name + ".weight"] + w[name + ".bias"]


def linear(x, w, name):
    return x @ w[name + ".weight"].T + w[name + ".bias"]


def gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def hidden(w, tokens):
    """The last layer's vector of every token."""
    w = {name: tensor.astype(np.float64) for name, tensor in w.items()}
    n, head = len(tokens), EMBD // HEADS
    x = w["token_embd.weight"][tokens] + w["token_types.weight"][0] + w["position_embd.weight"][:n]
    x = layer_norm(x, w, "token_embd_norm")
    for layer in range(LAYERS):
        b = f"blk.{layer}."
        q, k, v = (linear(x, w, b + name).reshape(n, HEADS, head) for name in ["attn_q", "attn_k", "attn_v"])
        scores = np.einsum("ihd,jhd->hij", q, k) / math.sqrt(head)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed = np.einsum("hij,jhd->ihd", scores, v).reshape(n, EMBD)
        x = layer_norm(x + linear(mixed, w, b + "attn_output"), w, b + "attn_output_norm")
        x = layer_norm(x + linear(gelu(linear(x, w, b + "ffn_up")), w, b + "ffn_down"), w, b + "layer_output_norm")
    return x


def unit(x):
    return (x / np.linalg.norm(x)).round(6).tolist()


def tokens(text):
    found = []
    for word in text.split():
        if "\u2581" + word in VOCAB:
            found.append(VOCAB.index("\u2581" + word))
        else:  # a word and its ending
            ending = next(piece for piece in PIECES if word.endswith(piece) and "\u2581" + word[: -len(piece)] in VOCAB)
            found += [VOCAB.index("\u2581" + word[: -len(ending)]), VOCAB.index(ending)]
    return found


def score(w, query, document):
    """[CLS] query [SEP] document, as llama.cpp's server joins them, and the classifier over the first vector."""
    first = hidden(w, [CLS, *tokens(query), SEP, *tokens(document)])[0]
    head = np.tanh(linear(first, {k: v.astype(np.float64) for k, v in w.items()}, "cls"))
    return round(float((linear(head, w, "cls.output"))[0]), 6)


def main():
    w = weights()
    write(w)
    texts = ["the turtle walks", "a small red fox sees the large green river", "owl"]
    answer = {"texts": [], "pairs": []}
    for text in texts:
        ids = [CLS, *tokens(text), SEP]
        x = hidden(w, ids)
        answer["texts"].append({"text": text, "tokens": ids, "mean": unit(x.mean(axis=0)), "cls": unit(x[0]), "last": unit(x[-1])})
    for document in ["the old turtle is slow", "the fox walked", "new cache bits"]:
        answer["pairs"].append({"query": "slow turtles", "document": document, "score": score(w, "slow turtles", document)})
    (HERE / "encoder.json").write_text(json.dumps(answer, indent=1) + "\n")


main()
