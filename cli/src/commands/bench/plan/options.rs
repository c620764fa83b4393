//! How models are loaded and attention is computed, in llama-bench's words.

use std::str::FromStr;

/// Whether flash attention must be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attention {
    /// Where the engine can.
    Auto,
    /// Or an error.
    On,
}

impl Attention {
    /// llama.cpp's number of it.
    pub const fn number(self) -> i8 {
        match self {
            Self::Auto => -1,
            Self::On => 1,
        }
    }
}

impl FromStr for Attention {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" | "-1" => Ok(Self::Auto),
            "on" | "enabled" | "true" | "1" => Ok(Self::On),
            "off" | "disabled" | "false" | "0" => {
                Err("this engine does not compute without flash attention where it is \
                 possible, and quantized V caches need it; use on or auto"
                    .into())
            }
            _ => Err("use on or auto".into()),
        }
    }
}

/// How a file gets into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadMode {
    /// Mapped.
    Auto,
    /// Mapped.
    Mmap,
    /// Read.
    None,
}

impl LoadMode {
    /// Whether the file is mapped.
    pub const fn maps(self) -> bool {
        !matches!(self, Self::None)
    }

    /// llama-bench's word for what happens; `auto` only where llama.cpp's `auto` would do the same.
    pub const fn name(self, auto_maps: bool) -> &'static str {
        match self {
            Self::Auto if auto_maps => "auto",
            Self::Auto | Self::Mmap => "mmap",
            Self::None => "none",
        }
    }
}

impl FromStr for LoadMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "mmap" => Ok(Self::Mmap),
            "none" => Ok(Self::None),
            "mlock" | "mmap+mlock" => Err("memory is not locked by this program; use auto, mmap or none".into()),
            "dio" => Err("files are not read past the system's cache by this program; use auto, mmap or none".into()),
            _ => Err("use auto, mmap or none".into()),
        }
    }
}
