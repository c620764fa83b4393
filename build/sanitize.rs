//! Engines for the sanitizers (docs/sanitizers.md): which instrumentation, and the compiler's flags for it.

use super::Result;

/// What `TURBOQUANT_SANITIZE` asks for.
#[derive(Clone, Copy, PartialEq)]
pub enum Sanitizer {
    /// `address`: AddressSanitizer with LeakSanitizer, and UndefinedBehaviorSanitizer.
    Address,
    /// `thread`: ThreadSanitizer, which cannot be combined with the others.
    Thread,
}

impl Sanitizer {
    pub fn parse(value: &str) -> Result<Self> {
        match value {
            "address" => Ok(Self::Address),
            "thread" => Ok(Self::Thread),
            _ => Err(format!(
                "TURBOQUANT_SANITIZE={value}: expected `address` or `thread`. scripts/sanitize.sh sets it, together with \
                 what the linker needs."
            )),
        }
    }

    /// As part of an engine's name, beside target and features.
    pub fn name(self) -> &'static str {
        match self {
            Self::Address => "address-sanitizer",
            Self::Thread => "thread-sanitizer",
        }
    }

    /// In place of CMake's flags for a release. Lines for the reports' stacks, frame pointers so that a stack costs
    /// little, and the standard library's own checks of indices. Findings do not end the program by themselves: the
    /// runtime's option `halt_on_error` does, after the list of suppressions was asked.
    pub fn flags(self) -> String {
        let sanitize = match self {
            Self::Address => {
                "-fsanitize=address,undefined,float-cast-overflow -fsanitize-recover=undefined,float-cast-overflow"
            }
            Self::Thread => "-fsanitize=thread",
        };
        format!("-O1 -g1 -DNDEBUG -fno-omit-frame-pointer -D_GLIBCXX_ASSERTIONS {sanitize}")
    }
}
