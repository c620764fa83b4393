// The whole C surface between Rust and the engine. Opaque handles, a status out, text out; no
// upstream header is visible here, so Rust never depends on llama.cpp's own structs.
//
// Rules: a function that can fail returns tq_status and fills *error (may be NULL) with a text that says
// what was attempted; no C++ exception leaves the shim. Handles are not thread-safe unless said so.
// Structured data crosses as JSON text. Strings are UTF-8.
#ifndef TQ_H
#define TQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tq_status {
    TQ_OK = 0,
    TQ_INVALID,     // an argument is out of range or malformed
    TQ_LOAD,        // a file could not be read as what it should be
    TQ_MEMORY,      // an allocation failed
    TQ_UNSUPPORTED, // valid, but not possible with this model, type or device
    TQ_FULL,        // no room in the KV cache for the batch
    TQ_ABORTED,     // stopped by the cancel flag or a callback
    TQ_ENGINE,      // the engine failed in another way
} tq_status;

// Text owned by the caller: free with tq_text_free. data is NUL-terminated; len excludes the NUL.
typedef struct tq_text {
    char * data;
    size_t len;
} tq_text;

void tq_text_free(tq_text * text);

// ---- process ------------------------------------------------------------------------------------

typedef enum tq_log_level { TQ_LOG_DEBUG = 0, TQ_LOG_INFO, TQ_LOG_WARN, TQ_LOG_ERROR } tq_log_level;
typedef void (*tq_log_callback)(tq_log_level level, const char * line, void * user);

// Registers the backends and sends the engine's log, line by line, to `log`. Once per process.
tq_status tq_process_init(tq_log_callback log, void * user, tq_text * error);

// From now on, an access to a mapped file beyond its end (it became shorter) writes a line that says so to standard error,
// before SIGBUS does what it would have done. Linux only, elsewhere nothing changes.
tq_status tq_process_explain_faults(tq_text * error);

// Ends the process at once: no exit handlers, no destructors of static objects, which threads that compute still use.
void tq_process_exit(int32_t code);

// What the engine is: llama.cpp build, codec version, codec implementation, backends (JSON).
tq_status tq_process_describe(tq_text * json, tq_text * error);

// Devices in ggml's order: [{name, description, kind: cpu|gpu|igpu|accel, memory_free, memory_total, backend,
// faults: [text]}]; a fault is a part of ours that the backend could not build here (kernels/hooks/faults.h).
tq_status tq_devices(tq_text * json, tq_text * error);

// Whether device `device` (index in tq_devices) can write (SET_ROWS) and attend over (FLASH_ATTN_EXT) a cache
// of these ggml types by itself. If not, the scheduler would copy the cache to the CPU at every step.
tq_status tq_device_runs_attention(size_t device, int32_t type_k, int32_t type_v, uint32_t head_dim_k,
        uint32_t head_dim_v, bool * runs, tq_text * error);

// ---- types --------------------------------------------------------------------------------------

// The ggml id of a type by its name ("f16", "q8_0", "turbo4", "turbo4_64"); -1 if there is none.
int32_t tq_type_id(const char * name);
// Values per block and bytes per block; false if the id is no type.
bool tq_type_layout(int32_t type, uint32_t * block, uint32_t * bytes);

// ---- model (thread-safe once loaded) -------------------------------------------------------------

typedef struct tq_model tq_model;

// progress in 0..1; return false to stop loading.
typedef bool (*tq_progress_callback)(float progress, void * user);

typedef struct tq_model_params {
    int32_t n_gpu_layers;  // negative: all
    bool    use_mmap;
    bool    no_alloc;      // read metadata and shapes only; the model cannot compute
    tq_progress_callback progress;
    void *  progress_user;
} tq_model_params;

tq_status tq_model_load(const char * path, const tq_model_params * params, tq_model ** out, tq_text * error);
void      tq_model_free(tq_model * model);

// Architecture, sizes, vocabulary ids, and per layer what the KV cache depends on (JSON).
tq_status tq_model_describe(const tq_model * model, tq_text * json, tq_text * error);
// Bytes of the tensors as their buffers hold them: {input, layers: [...], output, tied: embeddings that the output uses too,
// copied: of these a second copy, staged: what stays mapped of the file at `path` though it is held elsewhere} (JSON). The model must have been loaded with no_alloc.
tq_status tq_model_weights(const tq_model * model, const char * path, tq_text * json, tq_text * error);
// GGUF metadata as a JSON object of strings.
tq_status tq_model_metadata(const tq_model * model, tq_text * json, tq_text * error);

// Writes up to `capacity` ids; *count is the number there are (call again with more room if it is larger).
tq_status tq_model_tokenize(const tq_model * model, const char * text, size_t len, bool add_special,
        bool parse_special, int32_t * tokens, size_t capacity, size_t * count, tq_text * error);
// The bytes of one token (not always whole UTF-8 characters); special: spell out control tokens.
tq_status tq_model_piece(const tq_model * model, int32_t token, bool special, tq_text * piece, tq_text * error);
bool      tq_model_is_eog(const tq_model * model, int32_t token);
bool      tq_model_is_control(const tq_model * model, int32_t token);

// ---- context ------------------------------------------------------------------------------------

typedef struct tq_context tq_context;

typedef struct tq_context_params {
    uint32_t n_ctx;
    uint32_t n_batch;
    uint32_t n_ubatch;
    uint32_t n_seq_max;
    int32_t  n_threads;
    int32_t  n_threads_batch;
    const int32_t * layer_types;   // (K, V) ggml type of each model layer: 2*n_layer_types values
    uint32_t n_layer_types;        // must be the model's n_layer_all
    bool     kv_unified;
    bool     swa_full;
    bool     offload_kv;
    bool     embeddings;
    bool     rank;         // with embeddings: the model's classifier scores each sequence
} tq_context_params;

tq_status tq_context_new(tq_model * model, const tq_context_params * params, tq_context ** out, tq_text * error);
void      tq_context_free(tq_context * context);

uint32_t  tq_context_n_ctx(const tq_context * context);      // cells per context (all sequences)
uint32_t  tq_context_n_ctx_seq(const tq_context * context);  // positions one sequence can hold
uint32_t  tq_context_n_batch(const tq_context * context);

// A flag that stops decoding when it becomes non-zero: polled between the nodes of a graph, may be set from any
// thread, must stay valid until replaced. NULL: none.
void      tq_context_set_cancel(tq_context * context, const int32_t * flag);

typedef struct tq_batch {
    size_t          n_tokens;
    const int32_t * tokens;
    const int32_t * positions;
    const int32_t * sequences;
    const int8_t  * wants_logits;
} tq_batch;

tq_status tq_context_decode(tq_context * context, const tq_batch * batch, tq_text * error);
// Logits of batch entry i of the last decode (n_vocab floats, valid until the next call); NULL if not asked for.
const float * tq_context_logits(tq_context * context, int32_t i);
// Embedding of batch entry i of the last decode (n_embd_out floats, not pooled); NULL if there is none.
const float * tq_context_embedding(tq_context * context, int32_t i);
// With rank: the scores of sequence seq of the last decode (n_cls_out floats); NULL if there are none.
const float * tq_context_rank(tq_context * context, int32_t seq);

// Bytes allocated, by buffer type: {kv: {name: bytes} (K, V, rotations and recurrent states), compute: {...},
// model: {...}} (JSON).
tq_status tq_context_memory(const tq_context * context, tq_text * json, tq_text * error);

// What a context with these settings would allocate; nothing of it is. The model must have been loaded with no_alloc.
// As tq_context_memory, and: work (bytes for the CPU's threads at the largest and at the smallest batch, whichever is
// more), output_row (bytes of one row of what comes out) (JSON).
tq_status tq_context_plan(tq_model * model, const tq_context_params * params, tq_text * json, tq_text * error);

// p0 < 0: from the start; p1 < 0: to the end.
bool      tq_context_seq_remove(tq_context * context, int32_t seq, int32_t p0, int32_t p1);
tq_status tq_context_seq_copy(tq_context * context, int32_t from, int32_t to, int32_t p0, int32_t p1, tq_text * error);
bool      tq_context_can_shift(const tq_context * context);
tq_status tq_context_seq_shift(tq_context * context, int32_t seq, int32_t p0, int32_t p1, int32_t delta, tq_text * error);
int32_t   tq_context_seq_pos_min(const tq_context * context, int32_t seq); // -1: empty
int32_t   tq_context_seq_pos_max(const tq_context * context, int32_t seq);
void      tq_context_clear(tq_context * context);

// The state of one sequence. partial: only what cannot be had back by removing positions, the cells of sliding windows
// and the recurrent states; setting it leaves the cells of the other layers as they are, also those behind it.
size_t    tq_context_state_size(tq_context * context, int32_t seq, bool partial);
tq_status tq_context_state_get(tq_context * context, int32_t seq, bool partial, uint8_t * data, size_t capacity, size_t * written, tq_text * error);
tq_status tq_context_state_set(tq_context * context, int32_t seq, bool partial, const uint8_t * data, size_t len, size_t * read, tq_text * error);

// ---- LoRA adapters ------------------------------------------------------------------------------

// Belongs to its model: free it before the model, and after the contexts that have it set. Thread-safe once loaded.
typedef struct tq_lora tq_lora;

// Reads an adapter (GGUF, general.type adapter, adapter.type lora) for this model. Waits for steps that contexts of the model
// are computing. TQ_LOAD: what is wrong with the file, or why it does not belong to this model.
tq_status tq_lora_load(tq_model * model, const char * path, tq_lora ** out, tq_text * error);
void      tq_lora_free(tq_lora * lora);
// {name, task_name, prompt_prefix, alpha, invocation_tokens: [token], tensors, buffers: {name: bytes}, fingerprint} (JSON).
// tensors: matrices of the model that it changes. fingerprint: 16 hex digits of its metadata and its weights.
tq_status tq_lora_describe(const tq_lora * lora, tq_text * json, tq_text * error);
// What the next decode adds to the model's matrices: scale*alpha/rank*B*A of each of `count` adapters, all of the context's
// model, instead of what was set before. Scales are finite.
tq_status tq_context_set_loras(tq_context * context, tq_lora * const * loras, const float * scales, size_t count, tq_text * error);

// ---- vision ---------------------------------------------------------------------------------------

typedef struct tq_projector tq_projector; // refers to its model: free it first
typedef struct tq_chunks    tq_chunks;    // independent of the projector that made it

typedef struct tq_projector_params {
    bool    use_gpu;
    int32_t n_threads;
    int32_t image_min_tokens; // negative: as the file says; both are for models that take images of any size
    int32_t image_max_tokens;
    bool    warmup;           // encode once, so that the buffers are there before the first image
} tq_projector_params;

// Loads the encoder of a model's images (an "mmproj" file). Refuses one that does not belong to the model.
tq_status tq_projector_load(const tq_model * model, const char * path, const tq_projector_params * params,
        tq_projector ** out, tq_text * error);
void      tq_projector_free(tq_projector * projector);
// {images, audio: what it takes; mrope: positions have sections; n_embd: values per embedding} (JSON).
tq_status tq_projector_describe(const tq_projector * projector, tq_text * json, tq_text * error);
// What the file would take once loaded, weights and buffers, without loading it: {devices: {name: bytes},
// image_max_tokens (null: unknown), non_causal} (JSON). Not thread-safe.
tq_status tq_projector_memory(const char * path, const tq_projector_params * params, tq_text * json, tq_text * error);

typedef struct tq_image {
    uint32_t        width;
    uint32_t        height;
    const uint8_t * rgb; // width*height*3 values, rows from the top
} tq_image;

// Makes of an image what the model is to see in its place: tokens that frame it, and chunks ready to be encoded (some
// models see one image in several). Thread-safe.
tq_status tq_projector_prepare(const tq_projector * projector, const tq_image * image, tq_chunks ** out, tq_text * error);
void      tq_chunks_free(tq_chunks * chunks);
// In order: {tokens: [id]} or {n_tokens, n_positions, non_causal} (JSON).
tq_status tq_chunks_describe(const tq_chunks * chunks, tq_text * json, tq_text * error);
// Lets go of the pixels: no more encoding, but describe and positions still work.
void      tq_chunks_strip(tq_chunks * chunks);
// Positions of a chunk's embeddings when it begins at `first`: n_tokens values, or with mrope 4 sections of that many
// (time, row, column, unused).
tq_status tq_chunks_positions(const tq_chunks * chunks, size_t chunk, int32_t first, int32_t * positions, size_t capacity,
        tq_text * error);
// Computes the embeddings of a chunk: n_tokens*n_embd values, which must be `capacity`.
tq_status tq_projector_encode(tq_projector * projector, const tq_chunks * chunks, size_t chunk, float * embeddings,
        size_t capacity, tq_text * error);

typedef struct tq_embeddings {
    size_t          n_tokens;
    const float   * values;     // n_tokens*n_embd of the model's input
    size_t          n_values;
    const int32_t * positions;  // n_sections*n_tokens
    size_t          n_sections; // 1, or 4 with mrope
    int32_t         sequence;
    bool            non_causal; // each looks at all of them: they must fit one ubatch
} tq_embeddings;

// Computes embeddings in place of tokens and appends them to the cache; no logits.
tq_status tq_context_decode_embeddings(tq_context * context, const tq_embeddings * embeddings, tq_text * error);

// ---- sampler ------------------------------------------------------------------------------------

typedef struct tq_sampler tq_sampler; // refers to its model: free it first

// params (JSON, all optional, null is absent): seed (negative: random), min_keep, temperature, dynatemp_range,
// dynatemp_exponent, top_k, top_p, min_p, typical_p, top_n_sigma, xtc_probability, xtc_threshold, repeat_last_n,
// repeat_penalty, frequency_penalty, presence_penalty, dry_multiplier, dry_base, dry_allowed_length, dry_penalty_last_n,
// dry_sequence_breakers [text], adaptive_target, adaptive_decay, mirostat (0|1|2), mirostat_tau, mirostat_eta,
// logit_bias [[token, bias]] (null bias: never), ignore_eos, samplers [names in order]; the two last_n: negative is the
// model's context length;
// constraint: grammar (GBNF), grammar_kind ("user" | "chat": the grammar also covers what the template wrote),
// grammar_lazy, grammar_triggers [{type: word|pattern|pattern_full|token, value, token?}], preserved_tokens [text],
// generation_prompt; thinking: thinking_start, thinking_ends [text], reasoning_budget (tokens, negative: no limit),
// reasoning_budget_message. The `sampling` object of tq_chat_apply holds the last two groups.
tq_status tq_sampler_new(const tq_model * model, const char * params_json, tq_sampler ** out, tq_text * error);
void      tq_sampler_free(tq_sampler * sampler);
// Samples from logits of batch entry i of the last decode; does not accept.
tq_status tq_sampler_sample(tq_sampler * sampler, tq_context * context, int32_t i, int32_t * token, tq_text * error);
// Takes a token into the history; generated: it also advances the grammar and the thinking budget.
tq_status tq_sampler_accept(tq_sampler * sampler, int32_t token, bool generated, tq_text * error);
// Back to the state after tq_sampler_new: history, grammar and random numbers.
tq_status tq_sampler_reset(tq_sampler * sampler, tq_text * error);
uint32_t  tq_sampler_seed(const tq_sampler * sampler);
// Whether the text of this control token belongs to the answer, because the chat parser reads it.
bool      tq_sampler_preserves(const tq_sampler * sampler, int32_t token);

// Natural-log probabilities from the raw logits of batch entry i: the n most probable tokens, best first, into tokens and
// logprobs (room for n each; *count is min(n, vocabulary)), and that of `token` into *logprob (may be NULL).
tq_status tq_logits_top(tq_context * context, int32_t i, size_t n, int32_t * tokens, float * logprobs, size_t * count,
        int32_t token, float * logprob, tq_text * error);

// JSON schema -> GBNF.
tq_status tq_grammar_from_schema(const char * schema_json, tq_text * gbnf, tq_text * error);
// Whether a GBNF text is a usable grammar. model NULL: TQ_UNSUPPORTED if it names tokens (<think>), which only a model knows.
tq_status tq_grammar_check(const tq_model * model, const char * gbnf, tq_text * error);

// ---- chat ---------------------------------------------------------------------------------------

typedef struct tq_chat tq_chat;               // the chat template of a model; immutable, thread-safe
typedef struct tq_chat_parser tq_chat_parser; // parses one answer as it grows

// template_override: Jinja text, or NULL for the model's own (ChatML if it has none).
tq_status tq_chat_new(const tq_model * model, const char * template_override, tq_chat ** out, tq_text * error);
void      tq_chat_free(tq_chat * chat);
// {source, explicit, caps: {...}} (JSON); explicit: the model or the caller named a template
tq_status tq_chat_describe(const tq_chat * chat, tq_text * json, tq_text * error);
// request (JSON): OpenAI-shaped {messages, tools?, tool_choice?, parallel_tool_calls?, json_schema?, grammar?,
// add_generation_prompt?, continue_final_message?, enable_thinking?, reasoning_effort?, reasoning_format?,
// chat_template_kwargs?}; null is absent.
// Result (JSON): {prompt, parts: [{text, input}], stops: [text], format, supports_thinking, sampling: {...}}; a part with
// `input` came from the request, so control tokens spelled out in it are plain text.
// *parser (may be NULL) reads the answer to this prompt.
tq_status tq_chat_apply(const tq_chat * chat, const char * request_json, tq_chat_parser ** parser, tq_text * json, tq_text * error);

// A fresh parser for another answer to the same prompt. `like` is only read, and may be shared between threads for that.
tq_status tq_chat_parser_fork(const tq_chat_parser * like, tq_chat_parser ** out, tq_text * error);
void      tq_chat_parser_free(tq_chat_parser * parser);
// Appends text. Result: [{content?, reasoning?, tool_call?: {index, id?, name?, arguments?}}], what is new since the last
// call (JSON). last: the answer is complete.
tq_status tq_chat_parser_push(tq_chat_parser * parser, const char * text, size_t len, bool last, tq_text * json, tq_text * error);
// The whole message so far, OpenAI-shaped (JSON). If the complete answer does not have the expected format, or a call in it is
// cut short: unparsed: true, raw: the answer as generated; what was not recognised is in content.
tq_status tq_chat_parser_message(const tq_chat_parser * parser, tq_text * json, tq_text * error);

// ---- model synthesis ----------------------------------------------------------------------------

// Writes a random-weight GGUF: to a temporary name beside `path`, renamed when complete. params (JSON, all optional):
// arch (llama|qwen2|qwen3|gemma3|lfm2|deepseek2), layers, heads, kv_heads, head_dim, embd, ff, vocab, type (f32|f16|q8_0|q4_0),
// seed, n_ctx, window (gemma3: sliding window), k_bias (qwen2: standard deviation of the K bias).
// progress returning false gives TQ_ABORTED.
tq_status tq_model_synth(const char * path, const char * params_json, tq_progress_callback progress, void * user, tq_text * error);
// The size of the file that these parameters give; the same validation, nothing written.
tq_status tq_model_synth_size(const char * params_json, uint64_t * bytes, tq_text * error);

// ---- codec: one KV row by a named implementation ---------------------------------------------------

// {active, runnable: ["scalar", "avx2", ...], skipped: [...]}: the one in use, those compiled in that this CPU can run
// (slowest first), those it cannot (JSON).
tq_status tq_codec_implementations(tq_text * json, tq_text * error);
// The turbo types: [{id, name, family, bits, block, bytes}] (JSON).
tq_status tq_codec_types(tq_text * json, tq_text * error);
tq_status tq_codec_select(const char * implementation, tq_text * error);
// implementation NULL: the active one. n: values, a multiple of the type's block. Sizes are the caller's duty.
tq_status tq_codec_encode(const char * implementation, int32_t type, const float * x, size_t n, uint8_t * out, tq_text * error);
tq_status tq_codec_decode(const char * implementation, int32_t type, const uint8_t * in, size_t n, float * x, tq_text * error);
// Dot product of a packed row with a q8_0 row.
tq_status tq_codec_dot(const char * implementation, int32_t type, const uint8_t * row, const uint8_t * q8, size_t n, float * dot, tq_text * error);
// int8 levels of a bit width (2, 3, 4), their number and the factor f of level = round(f * centroid).
tq_status tq_codec_levels(uint32_t bits, int8_t * levels, size_t capacity, size_t * count, float * factor, tq_text * error);
// In-place rotation of n (a power of two, 64..1024) values.
tq_status tq_codec_rotate(float * x, size_t n, tq_text * error);
uint32_t  tq_codec_version(void);

// ---- attention: which kernels compute it on the CPU -------------------------------------------------

// {active, runnable: ["scalar", ..., "upstream"], skipped: [...], calls: {turboquant, upstream}}: the one in use for
// compressed caches, those of this build and CPU (slowest of ours first, llama.cpp's own last), those it cannot run, and how
// many attention ops over a compressed K or V each has computed since the process started (JSON).
tq_status tq_attention_implementations(tq_text * json, tq_text * error);
// For the whole process; not while a context decodes. "upstream": llama.cpp's own path.
tq_status tq_attention_select(const char * implementation, tq_text * error);

// ---- probes: operators of the built engine, run alone, for tests and `verify` -----------------------

// Converts n f32 values to rows of a ggml type and back by the engine's own tables (also q8_0 etc.).
tq_status tq_probe_quantize(int32_t type, const float * x, size_t n, uint8_t * out, size_t capacity, size_t * written, tq_text * error);
tq_status tq_probe_dequantize(int32_t type, const uint8_t * in, size_t n, float * x, tq_text * error);

typedef struct tq_attention_shape {
    uint32_t head_dim_k, head_dim_v;
    uint32_t n_heads, n_kv_heads;
    uint32_t n_queries, n_keys;
    uint32_t n_sequences;
    float    scale, max_bias, logit_softcap;
    int32_t  type_k, type_v;
    int32_t  n_threads;
} tq_attention_shape;

// FLASH_ATTN_EXT on the CPU. Shapes are in ggml's order, fastest dimension first.
// q [head_dim_k, n_queries, n_heads, n_sequences] f32; k, v [head_dim, n_keys, n_kv_heads, n_sequences] f32, quantized here to
// their types and laid out as the KV cache does (heads of one position side by side); mask [n_keys, n_queries, 1, n_sequences]
// f32 or NULL; sinks [n_heads] or NULL. out [head_dim_v, n_heads, n_queries, n_sequences].
tq_status tq_probe_attention(const tq_attention_shape * shape, const float * q, const float * k, const float * v,
        const float * mask, const float * sinks, float * out, tq_text * error);

// Names of the buffer types in which the CPU can hold an [m, k] matrix of this type, the model loader's choice first:
// ["AMX", "CPU_REPACK", ..., "CPU"] (JSON). Each has its own matrix product.
tq_status tq_probe_matmul_buffers(int32_t type, size_t m, size_t k, tq_text * json, tq_text * error);
// c = B * A^T on the CPU: a has m rows and b n rows of k values, c n rows of m; a is converted to `type` and held in the named
// buffer type (NULL: the model loader's choice).
tq_status tq_probe_matmul(int32_t type, const char * buffer, size_t m, size_t n, size_t k, const float * a, const float * b,
        float * c, int32_t n_threads, tq_text * error);

// ---- the same on any device, on packed rows: what `verify` runs ---------------------------------------

// The attention kernels of this build (kernels/metal/kernels.def): {heads: [[head_dim_k, head_dim_v]], plain: [type]}, where K
// and V are any of the turbo families and the plain types, at least one of them turbo (JSON).
tq_status tq_kernel_registry(tq_text * json, tq_text * error);

typedef struct tq_probe tq_probe; // a device, opened to run single operators; one thread at a time

// device: index in tq_devices; n_threads: for the CPU.
tq_status tq_probe_open(size_t device, int32_t n_threads, tq_probe ** out, tq_text * error);
void      tq_probe_close(tq_probe * probe);

typedef enum tq_rows_op {
    TQ_ROWS_SET,  // SET_ROWS: row i of the source to row ids[i] of the destination
    TQ_ROWS_COPY, // CPY: row by row
    TQ_ROWS_GET,  // GET_ROWS: row ids[i] of the source to row i of the destination
} tq_rows_op;

typedef struct tq_rows_shape {
    tq_rows_op op;
    int32_t    type_from, type_to;
    size_t     n; // values per row
    size_t     rows_from, rows_to;
    bool       wide_ids; // TQ_ROWS_SET: 64-bit row numbers, as llama.cpp's caches have them, or 32-bit
} tq_rows_shape;

// `from` and `to` hold [n, rows] of their types; `to` goes in as well, so that rows which SET_ROWS leaves alone can be told.
// *ran: false if the device says that it does not run this operator; then nothing was done.
tq_status tq_probe_rows(tq_probe * probe, const tq_rows_shape * shape, const uint8_t * from, const int32_t * ids, uint8_t * to,
        bool * ran, tq_text * error);

// FLASH_ATTN_EXT over a packed cache. q [head_dim_k, n_heads, n_queries, n_sequences] f32; k, v [head_dim, n_kv_heads, n_keys,
// n_sequences] of their types: positions after one another, as a cache has them; mask, sinks and out as in tq_probe_attention,
// *ran as in tq_probe_rows. shape.n_threads does not count: the probe has its own.
tq_status tq_probe_attend(tq_probe * probe, const tq_attention_shape * shape, const float * q, const uint8_t * k,
        const uint8_t * v, const float * mask, const float * sinks, float * out, bool * ran, tq_text * error);

#ifdef __cplusplus
}
#endif

#endif // TQ_H
