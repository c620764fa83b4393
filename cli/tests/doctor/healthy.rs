//! A machine on which all is well, to be made worse by one thing at a time.

use llama_turboquant::engine::EngineInfo;
use llama_turboquant::machine::{Fact, Gpu, GpuMemory, Machine, MainMemory};
use llama_turboquant_cli::doctor::facts::{
    Build, Facts, FileState, Folder, FolderState, Governor, Here, Limits, ModelFile, Port, PortState, Power,
};
use serde_json::json;

pub const GIB: u64 = 1 << 30;

/// Facts without a finding above ok.
pub fn facts() -> Facts {
    let engine: EngineInfo = serde_json::from_value(json!({
        "llama_cpp": "b12032", "compiler": "made up", "target": "x86_64-unknown-linux-gnu", "codec_version": 1, "codec": "avx2",
        "backends": ["CPU", "CUDA"], "cpu_features": {"AVX2": "1", "FMA": "1"},
    }))
    .unwrap();
    Facts {
        build: Build {
            program: "0.1.0".into(),
            engine,
            attention: "avx2".into(),
            cpu_has: vec!["AVX2".into(), "FMA".into()],
            turbo: vec![("CUDA0".into(), true)],
        },
        machine: Machine {
            label: String::new(),
            os: "linux".into(),
            arch: "x86_64".into(),
            chip: Fact::Known("made up".into()),
            cores: Fact::Known(8),
            memory: MainMemory {
                total: Fact::Known(32 * GIB),
                available: Fact::Known(28 * GIB),
                limit: Fact::Known(None),
                limit_used: Fact::Known(0),
                swap_total: Fact::Known(8 * GIB),
                swap_used: Fact::Known(0),
                bandwidth: Fact::unknown("not measured"),
            },
            gpus: vec![gpu()],
            sources: vec!["made up".into()],
        },
        here: Some(Here {
            ports: vec![port(8080, PortState::Free), port(11434, PortState::Free)],
            folders: vec![
                folder("models", FolderState::Writable),
                folder("embedded model", FolderState::Writable),
                folder("slots", FolderState::Absent),
            ],
            limits: Limits {
                open_files: Fact::Known(Some(65_536)),
                locked_memory: Fact::Known(Some(8 << 20)),
            },
            power: Power {
                governor: governor("schedutil", "acpi-cpufreq", None),
                heat: Fact::Known(0),
                firmware: Fact::unknown("no such file"),
                hypervisor: Fact::Known(None),
                stolen: Fact::Known(0.0),
                held_back: Fact::Known(0.0),
            },
        }),
        model: Some(ModelFile {
            path: "/models/m.gguf".into(),
            state: FileState::Whole {
                files: 1,
                bytes: 4 * GIB,
            },
            fits: Some(Ok("it fits: K turbo4 and V turbo4 with 32768 tokens".into())),
        }),
    }
}

pub fn gpu() -> Gpu {
    Gpu {
        name: "NVIDIA GeForce RTX 4090".into(),
        device: Some("CUDA0".into()),
        kind: GpuMemory::Discrete,
        total: Fact::Known(24 * GIB),
        free: Fact::Known(23 * GIB),
        bandwidth: Fact::Known(1_008_000_000_000),
        source: "made up".into(),
    }
}

pub fn port(number: u16, state: PortState) -> Port {
    let clients = if number == 11434 {
        "Ollama"
    } else {
        "OpenAI, llama-server"
    };
    Port { number, clients, state }
}

pub fn folder(purpose: &'static str, state: FolderState) -> Folder {
    Folder {
        purpose,
        path: format!("/data/{}", purpose.replace(' ', "-")).into(),
        state,
        free: Fact::Known(200 * GIB),
    }
}

pub fn governor(name: &str, driver: &str, preference: Option<&str>) -> Fact<Governor> {
    Fact::Known(Governor {
        name: name.into(),
        driver: driver.into(),
        preference: preference.map(str::to_owned),
    })
}
