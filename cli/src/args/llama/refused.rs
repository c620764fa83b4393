//! Flags of llama-server that cannot be served, with what to do instead.

use super::SPECULATIVE;

/// One reason, and the flags it is for: names, number of values, environment variable.
pub(super) type Refusal = (&'static str, &'static [(&'static [&'static str], usize, &'static str)]);

#[rustfmt::skip] // one row for each flag
pub(super) const REFUSED: &[Refusal] = &[
    ("let a proxy in front strip the prefix", &[
        (&["--api-prefix"], 1, "LLAMA_ARG_API_PREFIX"),
    ]),
    ("turboquant verify checks the build, and downloads are checked by their hash", &[
        (&["--check-tensors"], 0, ""),
    ]),
    ("this program writes no completions", &[
        (&["--completion-bash"], 0, ""),
    ]),
    ("this server calls no other server; use a tunnel", &[
        (&["--connect"], 0, "LLAMA_ARG_CONNECT"),
        (&["--connect-code"], 1, "LLAMA_ARG_CONNECT_CODE"),
    ]),
    ("control vectors are not served yet", &[
        (&["--control-vector"], 1, ""),
        (&["--control-vector-layer-range"], 2, ""),
        (&["--control-vector-scaled"], 1, ""),
    ]),
    ("what the routes take is allowed; --cors-origins says to whom", &[
        (&["--cors-headers"], 1, "LLAMA_ARG_CORS_HEADERS"),
        (&["--cors-methods"], 1, "LLAMA_ARG_CORS_METHODS"),
    ]),
    (SPECULATIVE, &[
        (&["--draft", "--draft-n", "--draft-max"], 0, "LLAMA_ARG_DRAFT_MAX"),
        (&["--draft-min", "--draft-n-min"], 0, "LLAMA_ARG_DRAFT_MIN"),
        (&["--spec-default"], 0, ""),
        (&["--spec-draft-cpu-mask", "-Cd", "--cpu-mask-draft"], 1, ""),
        (&["--spec-draft-cpu-mask-batch", "-Cbd", "--cpu-mask-batch-draft"], 1, ""),
        (&["--spec-draft-cpu-moe", "-cmoed", "--cpu-moe-draft"], 0, "LLAMA_ARG_SPEC_DRAFT_CPU_MOE"),
        (&["--spec-draft-cpu-range", "-Crd", "--cpu-range-draft"], 1, ""),
        (&["--spec-draft-cpu-strict", "--cpu-strict-draft"], 1, ""),
        (&["--spec-draft-cpu-strict-batch", "--cpu-strict-batch-draft"], 1, ""),
        (&["--spec-draft-device", "-devd", "--device-draft"], 1, ""),
        (&["--spec-draft-hf", "-hfd", "-hfrd", "--hf-repo-draft"], 1, "LLAMA_ARG_SPEC_DRAFT_HF_REPO"),
        (&["--spec-draft-model", "-md", "--model-draft"], 1, "LLAMA_ARG_SPEC_DRAFT_MODEL"),
        (&["--spec-draft-n-cpu-moe", "--spec-draft-ncmoe", "-ncmoed", "--n-cpu-moe-draft"], 1, "LLAMA_ARG_SPEC_DRAFT_N_CPU_MOE"),
        (&["--spec-draft-n-max"], 1, "LLAMA_ARG_SPEC_DRAFT_N_MAX"),
        (&["--spec-draft-n-min"], 1, "LLAMA_ARG_SPEC_DRAFT_N_MIN"),
        (&["--spec-draft-n-ubatch"], 1, "LLAMA_ARG_SPEC_DRAFT_N_UBATCH"),
        (&["--spec-draft-ngl", "-ngld", "--gpu-layers-draft", "--n-gpu-layers-draft"], 1, "LLAMA_ARG_N_GPU_LAYERS_DRAFT"),
        (&["--spec-draft-override-tensor", "-otd", "--override-tensor-draft"], 1, ""),
        (&["--spec-draft-p-min", "--draft-p-min"], 1, "LLAMA_ARG_SPEC_DRAFT_P_MIN"),
        (&["--spec-draft-p-split", "--draft-p-split"], 1, "LLAMA_ARG_SPEC_DRAFT_P_SPLIT"),
        (&["--spec-draft-poll", "--poll-draft"], 1, ""),
        (&["--spec-draft-poll-batch", "--poll-batch-draft"], 1, ""),
        (&["--spec-draft-prio", "--prio-draft"], 1, ""),
        (&["--spec-draft-prio-batch", "--prio-batch-draft"], 1, ""),
        (&["--spec-draft-sampling"], 1, "LLAMA_ARG_SPEC_DRAFT_SAMPLING"),
        (&["--spec-draft-threads", "-td", "--threads-draft"], 1, ""),
        (&["--spec-draft-threads-batch", "-tbd", "--threads-batch-draft"], 1, ""),
        (&["--spec-draft-type-k", "-ctkd", "--cache-type-k-draft"], 1, "LLAMA_ARG_SPEC_DRAFT_CACHE_TYPE_K"),
        (&["--spec-draft-type-v", "-ctvd", "--cache-type-v-draft"], 1, "LLAMA_ARG_SPEC_DRAFT_CACHE_TYPE_V"),
        (&["--spec-ngram-map-k-min-hits"], 1, ""),
        (&["--spec-ngram-map-k-size-m"], 1, ""),
        (&["--spec-ngram-map-k-size-n"], 1, ""),
        (&["--spec-ngram-map-k4v-min-hits"], 1, ""),
        (&["--spec-ngram-map-k4v-size-m"], 1, ""),
        (&["--spec-ngram-map-k4v-size-n"], 1, ""),
        (&["--spec-ngram-min-hits"], 0, ""),
        (&["--spec-ngram-mod-n-match"], 1, ""),
        (&["--spec-ngram-mod-n-max"], 1, ""),
        (&["--spec-ngram-mod-n-min"], 1, ""),
        (&["--spec-ngram-simple-min-hits"], 1, ""),
        (&["--spec-ngram-simple-size-m"], 1, ""),
        (&["--spec-ngram-simple-size-n"], 1, ""),
        (&["--spec-ngram-size-m"], 0, ""),
        (&["--spec-ngram-size-n"], 0, ""),
        (&["--spec-synth-len"], 1, "LLAMA_ARG_SPEC_SYNTH_LEN"),
        (&["--spec-synth-rates"], 1, "LLAMA_ARG_SPEC_SYNTH_RATES"),
        (&["--spec-type"], 1, "LLAMA_ARG_SPEC_TYPE"),
        (&["-lcd", "--lookup-cache-dynamic"], 1, ""),
        (&["-lcs", "--lookup-cache-static"], 1, ""),
    ]),
    ("name the model with --hf-repo", &[
        (&["--embd-gemma-default"], 0, ""),
        (&["--fim-qwen-1.5b-default"], 0, ""),
        (&["--fim-qwen-14b-spec"], 0, ""),
        (&["--fim-qwen-30b-default"], 0, ""),
        (&["--fim-qwen-3b-default"], 0, ""),
        (&["--fim-qwen-7b-default"], 0, ""),
        (&["--fim-qwen-7b-spec"], 0, ""),
        (&["--gpt-oss-120b-default"], 0, ""),
        (&["--gpt-oss-20b-default"], 0, ""),
        (&["--vision-gemma-12b-default"], 0, ""),
        (&["--vision-gemma-4b-default"], 0, ""),
    ]),
    ("send grammar with the request", &[
        (&["--grammar"], 1, ""),
        (&["--grammar-file"], 1, ""),
    ]),
    ("images come as data: URLs; files of the server are not read", &[
        (&["--media-path"], 1, ""),
    ]),
    ("images are encoded one at a time; leave it out", &[
        (&["--mtmd-batch-max-tokens"], 1, "LLAMA_ARG_MTMD_BATCH_MAX_TOKENS"),
    ]),
    ("download the projector and name its file with --mmproj", &[
        (&["-mmu", "--mmproj-url"], 1, "LLAMA_ARG_MMPROJ_URL"),
    ]),
    ("the projector is on the first device, or with --no-mmproj-offload on the CPU", &[
        (&["-mmdev", "--mmproj-device"], 1, "MTMD_BACKEND_DEVICE"),
    ]),
    ("audio and video are not served yet", &[
        (&["--video-ffmpeg-dir"], 1, "LLAMA_ARG_VIDEO_FFMPEG_DIR"),
        (&["--video-fps"], 1, "LLAMA_ARG_VIDEO_FPS"),
        (&["--video-timestamp-interval"], 1, "LLAMA_ARG_VIDEO_TIMESTAMP_INTERVAL"),
    ]),
    ("turboquant kv lists the devices", &[
        (&["--list-devices"], 0, ""),
    ]),
    ("send standard error to /dev/null, or set RUST_LOG=off", &[
        (&["--log-disable"], 0, ""),
    ]),
    ("send standard error to a file; prompts are not written", &[
        (&["--log-file"], 1, "LLAMA_ARG_LOG_FILE"),
        (&["--log-prompts-dir"], 1, ""),
    ]),
    ("tools are run by clients, not by this server", &[
        (&["--mcp-servers-config"], 1, "LLAMA_ARG_MCP_SERVERS_CONFIG"),
        (&["--mcp-servers-json"], 1, "LLAMA_ARG_MCP_SERVERS_JSON"),
        (&["--tools"], 1, "LLAMA_ARG_TOOLS"),
        (&["--tools-runtime"], 1, "LLAMA_ARG_TOOLS_RUNTIME"),
    ]),
    ("use --gpu-overhead", &[
        (&["--models-memory-margin"], 1, "LLAMA_ARG_MODELS_MEMORY_MARGIN"),
    ]),
    ("use --config with a table [models.\"name\"] for each", &[
        (&["--models-preset"], 1, "LLAMA_ARG_MODELS_PRESET"),
    ]),
    ("weights cannot be placed one by one yet; --gpu-layers says how many layers go to the GPU", &[
        (&["--moe-cache-mib"], 1, "LLAMA_ARG_MOE_CACHE_MIB"),
        (&["--no-host"], 0, "LLAMA_ARG_NO_HOST"),
        (&["-cmoe", "--cpu-moe"], 0, "LLAMA_ARG_CPU_MOE"),
        (&["-ncffn", "--n-cpu-ffn"], 1, "LLAMA_ARG_N_CPU_FFN"),
        (&["-ncmoe", "--n-cpu-moe"], 1, "LLAMA_ARG_N_CPU_MOE"),
        (&["-ot", "--override-tensor"], 1, "LLAMA_ARG_OVERRIDE_TENSOR"),
        (&["-ts", "--tensor-split"], 1, "LLAMA_ARG_TENSOR_SPLIT"),
    ]),
    ("start the program with numactl", &[
        (&["--numa"], 1, "LLAMA_ARG_NUMA"),
    ]),
    ("write it into the file with gguf_set_metadata.py", &[
        (&["--override-kv"], 1, ""),
    ]),
    ("no files are served", &[
        (&["--path"], 1, "LLAMA_ARG_STATIC_PATH"),
    ]),
    ("one process serves a port; it runs requests in parallel", &[
        (&["--reuse-port"], 0, "LLAMA_ARG_REUSE_PORT"),
    ]),
    ("positions are scaled as the file says; write it there with gguf_set_metadata.py", &[
        (&["--rope-freq-base"], 1, "LLAMA_ARG_ROPE_FREQ_BASE"),
        (&["--rope-freq-scale"], 1, "LLAMA_ARG_ROPE_FREQ_SCALE"),
        (&["--rope-scale"], 1, "LLAMA_ARG_ROPE_SCALE"),
        (&["--rope-scaling"], 1, "LLAMA_ARG_ROPE_SCALING_TYPE"),
        (&["--yarn-attn-factor"], 1, "LLAMA_ARG_YARN_ATTN_FACTOR"),
        (&["--yarn-beta-fast"], 1, "LLAMA_ARG_YARN_BETA_FAST"),
        (&["--yarn-beta-slow"], 1, "LLAMA_ARG_YARN_BETA_SLOW"),
        (&["--yarn-ext-factor"], 1, "LLAMA_ARG_YARN_EXT_FACTOR"),
        (&["--yarn-orig-ctx"], 1, "LLAMA_ARG_YARN_ORIG_CTX"),
    ]),
    ("remote devices are not used by the server yet", &[
        (&["--rpc"], 1, "LLAMA_ARG_RPC"),
    ]),
    ("use --samplers with the names", &[
        (&["--sampler-seq", "--sampling-seq"], 1, ""),
    ]),
    ("the order of infill prompts follows the model", &[
        (&["--spm-infill"], 0, ""),
    ]),
    ("models have no tags here", &[
        (&["--tags"], 1, "LLAMA_ARG_TAGS"),
    ]),
    ("there is no web page yet", &[
        (&["--ui-config", "--webui-config"], 1, "LLAMA_ARG_UI_CONFIG"),
        (&["--ui-config-file", "--webui-config-file"], 1, "LLAMA_ARG_UI_CONFIG_FILE"),
    ]),
    ("turboquant --version", &[
        (&["--version"], 0, ""),
    ]),
    ("start the program with taskset", &[
        (&["-C", "--cpu-mask"], 1, ""),
        (&["-Cb", "--cpu-mask-batch"], 1, ""),
        (&["-Cr", "--cpu-range"], 1, ""),
        (&["-Crb", "--cpu-range-batch"], 1, ""),
    ]),
    ("sampling runs on the processor", &[
        (&["-bs", "--backend-sampling"], 0, "LLAMA_ARG_BACKEND_SAMPLING"),
    ]),
    ("turboquant list shows the models", &[
        (&["-cl", "--cache-list"], 0, ""),
    ]),
    ("the engine uses all devices; hide some with CUDA_VISIBLE_DEVICES or GGML_VK_VISIBLE_DEVICES", &[
        (&["-dev", "--device"], 1, "LLAMA_ARG_DEVICE"),
    ]),
    ("download it with docker, and name the file with --model", &[
        (&["-dr", "--docker-repo"], 1, "LLAMA_ARG_DOCKER_REPO"),
    ]),
    ("send response_format or json_schema with the request", &[
        (&["-j", "--json-schema"], 1, ""),
        (&["-jf", "--json-schema-file"], 1, ""),
    ]),
    ("send logit_bias with the request", &[
        (&["-l", "--logit-bias"], 1, ""),
    ]),
    ("download it, and name the file with --model; or use --hf-repo", &[
        (&["-mu", "--model-url"], 1, "LLAMA_ARG_MODEL_URL"),
    ]),
    ("send stop with the request", &[
        (&["-r", "--reverse-prompt"], 1, ""),
    ]),
    ("special tokens are not part of answers", &[
        (&["-sp", "--special"], 0, ""),
    ]),
    ("files are mapped, or read with --no-mmap", &[
        (&["--mlock"], 0, "LLAMA_ARG_MLOCK"),
    ]),
];
