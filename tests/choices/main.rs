//! Choosing: from facts and wishes to a configuration, on machines that are not here.

mod limits;
mod properties;
mod rows;
mod rules;
mod selector;

use llama_turboquant::choose::{Decision, NoFit, Reason, Support, Wishes, choose};
use llama_turboquant::machine::{Fact, Machine};
use llama_turboquant::plan::{Estimate, Footprint};
use llama_turboquant::{GpuLayers, KvType};
use std::path::Path;

pub const GIB: u64 = 1 << 30;

/// A machine of tests/data/machines.
pub fn machine(name: &str) -> Machine {
    let path = format!("tests/data/machines/{name}.json");
    Machine::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a facts file")
}

/// A machine without graphics device and with this much available; everything else is beside the point.
pub fn with_memory(bytes: u64) -> Machine {
    let mut machine = machine("pc-no-gpu-32gb");
    machine.memory.total = Fact::Known(bytes.max(32 * GIB));
    machine.memory.available = Fact::Known(bytes);
    machine
}

/// A machine whose card has this much, all of it free.
pub fn with_card(bytes: u64) -> Machine {
    let mut machine = machine("pc-gpu-24gb");
    machine.gpus[0].total = Fact::Known(bytes);
    machine.gpus[0].free = Fact::Known(bytes);
    machine
}

/// A model whose layers all have full attention; weights in GiB.
pub fn model(gib: f64, layers: u32, kv_heads: u32, head_dim: u32) -> Footprint {
    let mut footprint = Footprint::estimated(&Estimate {
        model_bytes: (gib * GIB as f64) as u64,
        layers,
        kv_heads,
        head_dim,
        n_vocab: 0,
        n_embd: 0,
    })
    .expect("an estimate");
    footprint.program = 64 << 20; // not what this test program happens to take
    footprint
}

pub fn of_architecture(mut footprint: Footprint, architecture: &str) -> Footprint {
    footprint.meta.architecture = architecture.into();
    footprint
}

/// The 27B class reference model at Q4_K_M: 160 KiB of f16 cache per token.
pub fn model_27b() -> Footprint {
    model(16.5, 40, 8, 128)
}

/// An 8B model at Q4_K_M: 128 KiB of f16 cache per token.
pub fn model_8b() -> Footprint {
    model(4.58, 32, 8, 128)
}

pub fn context(n_ctx: u32) -> Wishes {
    Wishes {
        n_ctx: Some(n_ctx),
        ..Wishes::default()
    }
}

pub fn decide(footprint: &Footprint, machine: &Machine, wishes: &Wishes) -> Result<Decision, NoFit> {
    choose(footprint, machine, &Support::unknown(), wishes)
}

#[track_caller]
pub fn decided(footprint: &Footprint, machine: &Machine, wishes: &Wishes) -> Decision {
    decide(footprint, machine, wishes).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
pub fn refused(footprint: &Footprint, machine: &Machine, wishes: &Wishes) -> String {
    match decide(footprint, machine, wishes) {
        Ok(decision) => panic!("decided: {}", decision.summary()),
        Err(error) => error.to_string(),
    }
}

/// `turbo4, 32768 tokens, all layers`.
pub fn short(decision: &Decision) -> String {
    let layers = match decision.gpu_layers {
        GpuLayers::All => "all layers".to_owned(),
        GpuLayers::Count(0) => "processor".to_owned(),
        GpuLayers::Count(n) => format!("{n} layers"),
        _ => unreachable!("there are two kinds"),
    };
    format!("{}, {} tokens, {layers}", decision.name, decision.n_ctx)
}

/// What CUDA runs without kernels of ours: equal upstream types.
pub fn upstream_only(footprint: &Footprint, device: &str) -> Support {
    let layer = &footprint.meta.layers[0];
    let dims = [(layer.head_dim_k, layer.head_dim_v)];
    let runs = |k: KvType, v: KvType| k == v && matches!(k, KvType::F16 | KvType::Q8_0 | KvType::Q4_0);
    Support::unknown().with(device, &dims, runs)
}

pub fn pair(k: KvType, v: KvType) -> Wishes {
    Wishes {
        k: Some(k),
        v: Some(v),
        ..Wishes::default()
    }
}

#[track_caller]
pub fn reason_for(decision: &Decision, name: &str) -> (&'static str, String) {
    let found = decision.rejected.iter().find(|rejected| rejected.name == name);
    let rejected = found.unwrap_or_else(|| panic!("{name} is not among the rejected"));
    (rejected.reason.code, rejected.reason.text.clone())
}

#[track_caller]
pub fn text_of<'a>(reasons: &'a [Reason], code: &str) -> &'a str {
    let found = reasons.iter().find(|reason| reason.code == code);
    &found.unwrap_or_else(|| panic!("no {code} in {reasons:?}")).text
}
