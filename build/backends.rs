//! Which ggml backends exist for us: how CMake switches them on and what they link.

use super::config::Config;

pub struct Backend {
    /// As `ggml` names its library: `ggml-<name>`.
    pub name: &'static str,
    /// Whether this build has it.
    pub enabled: fn(&Config) -> bool,
    pub cmake: &'static [(&'static str, &'static str)],
    /// System libraries or frameworks that the backend needs.
    pub links: &'static [&'static str],
}

pub const BACKENDS: &[Backend] = &[
    Backend {
        name: "metal",
        enabled: Config::is_apple,
        // Embedded: the program must run without a .metallib beside it.
        cmake: &[("GGML_METAL", "ON"), ("GGML_METAL_EMBED_LIBRARY", "ON")],
        links: &["framework=Foundation", "framework=Metal", "framework=MetalKit"],
    },
    Backend {
        name: "blas",
        enabled: Config::is_apple,
        cmake: &[("GGML_BLAS", "ON"), ("GGML_ACCELERATE", "ON")],
        links: &["framework=Accelerate"],
    },
    Backend {
        name: "cuda",
        enabled: |config| config.has("cuda"),
        cmake: &[("GGML_CUDA", "ON")],
        links: &["dylib=cudart", "dylib=cublas", "dylib=cublasLt", "dylib=cuda"],
    },
    Backend {
        name: "vulkan",
        enabled: |config| config.has("vulkan"),
        cmake: &[("GGML_VULKAN", "ON")],
        links: &["dylib=vulkan"],
    },
    Backend {
        name: "rpc",
        enabled: |config| config.has("rpc"),
        cmake: &[("GGML_RPC", "ON")],
        links: &[],
    },
];

/// The backends of this build.
pub fn enabled(config: &Config) -> impl Iterator<Item = &'static Backend> {
    BACKENDS.iter().filter(|backend| (backend.enabled)(config))
}
