//! Which caches are considered, and which of them this model, its device and the wishes rule out.

use super::quality::{self, Quality, Row, TABLE};
use super::support::head_dims;
use super::{CPU, MapCandidate, NoFit, Reason, Rejected, Support, Wishes};
use crate::kv::{KvCacheConfig, KvSpec, has_sensitive_keys, needs_key_guard};
use crate::machine::Machine;
use crate::plan::Footprint;
use crate::{GpuLayers, KvType, LayerPolicy, ModelMeta};

/// A cache that may be chosen.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Candidate {
    pub(super) name: String,
    pub(super) k: KvType,
    pub(super) v: KvType,
    pub(super) layers: LayerPolicy,
    pub(super) quality: Option<Quality>,
    /// Divergence to rank by: measured, else the sum of what its sides were measured to cost.
    pub(super) rank: f64,
    pub(super) cpu_speed: Option<f64>,
    /// Quantized keys on a family known to suffer from them: taken last.
    pub(super) sensitive: bool,
}

/// What is considered, best first: what remains, and what is ruled out.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Considered {
    pub(super) possible: Vec<Candidate>,
    pub(super) rejected: Vec<(Candidate, Reason)>,
    /// The possible one that nothing better is paid for: turbo4 where it can be had.
    pub(super) standard: usize,
    /// The family loses quality with any quantized K.
    pub(super) sensitive: bool,
}

impl Candidate {
    /// The cache's settings under `wishes`; slots share all cells.
    pub(super) fn config(&self, wishes: &Wishes, n_slots: u32) -> KvCacheConfig {
        KvCacheConfig {
            k: self.k,
            v: self.v,
            layers: self.layers.clone(),
            unified: n_slots > 1,
            swa_full: wishes.swa_full,
            offload: !wishes.kv_in_main_memory,
            guard: !wishes.no_guard,
            allow_cpu_attention: wishes.allow_cpu_attention,
        }
    }

    fn of_row(row: &Row) -> Self {
        let KvSpec { k, v, mode } = row.spec;
        Self {
            name: row.spec.to_string(),
            k,
            v,
            layers: mode.map_or(LayerPolicy::Auto, |_| LayerPolicy::Uniform),
            quality: Some(row.quality),
            rank: row.quality.mean_kl,
            cpu_speed: row.cpu_speed,
            sensitive: false,
        }
    }

    /// A pair that the table may not have: the divergences of K and V add up (docs/results/2026-11-21-choosing.md), and a
    /// type's is half K's and half V's within a tenth.
    fn of_pair(k: KvType, v: KvType) -> Self {
        let spec = KvSpec { k, v, mode: None };
        let half = |ty: KvType| quality::of_type(ty).map_or(0.0, |quality| quality.mean_kl / 2.0);
        TABLE.iter().find(|row| row.spec == spec).map_or_else(
            || Self {
                name: spec.to_string(),
                k,
                v,
                layers: LayerPolicy::Auto,
                quality: None,
                rank: half(k) + half(v),
                cpu_speed: None,
                sensitive: false,
            },
            Self::of_row,
        )
    }

    fn of_map(map: &MapCandidate) -> Self {
        let policy = map.map.policy();
        let bits = |pair: &crate::kv::LayerPair| pair.k.bits_per_value() + pair.v.bits_per_value();
        let mean = map.map.layers.iter().map(bits).sum::<f64>() / (2.0 * map.map.layers.len().max(1) as f64);
        let like = quality::floors()
            .filter(|ty| ty.bits_per_value() <= mean)
            .filter_map(quality::of_type)
            .map(|quality| quality.mean_kl)
            .fold(f64::INFINITY, f64::min);
        let rank = map.mean_kl.unwrap_or(like.min(1.0) * 0.999);
        Self {
            layers: policy,
            rank,
            ..Self::of_policy(&map.map.policy())
        }
    }

    /// An explicit layer map. Its types stand for it where one pair is shown: those with the fewest bits.
    fn of_policy(policy: &LayerPolicy) -> Self {
        let least = |types: &mut dyn Iterator<Item = KvType>| {
            types
                .min_by(|a, b| a.bits_per_value().total_cmp(&b.bits_per_value()))
                .unwrap_or(KvType::F16)
        };
        let types = match policy {
            LayerPolicy::PerLayer(types) => types.as_slice(),
            _ => &[],
        };
        Self {
            name: "layer map".into(),
            k: least(&mut types.iter().map(|types| types.0)),
            v: least(&mut types.iter().map(|types| types.1)),
            layers: policy.clone(),
            quality: None,
            rank: 0.0,
            cpu_speed: None,
            sensitive: false,
        }
    }

    pub(super) fn rejected(&self, reason: Reason) -> Rejected {
        Rejected {
            name: self.name.clone(),
            k: self.k,
            v: self.v,
            quality: self.quality,
            reason,
        }
    }
}

/// The types that the free side of a half explicit pair can get.
const SIDES: [KvType; 5] = [
    KvType::F16,
    KvType::Q8_0,
    KvType::Turbo4,
    KvType::Turbo3,
    KvType::Turbo2,
];

/// Lists what is considered and rules out what cannot be.
pub(super) fn consider(
    footprint: &Footprint,
    machine: &Machine,
    support: &Support,
    wishes: &Wishes,
) -> Result<Considered, NoFit> {
    let meta = &footprint.meta;
    let sensitive = has_sensitive_keys(meta);
    let guarded = needs_key_guard(meta) && !wishes.no_guard;
    let mut all = listed(meta, wishes, guarded, sensitive);
    for candidate in &mut all {
        candidate.sensitive = sensitive && candidate.k.is_quantized();
    }
    all.sort_by(|a, b| a.sensitive.cmp(&b.sensitive).then(a.rank.total_cmp(&b.rank)));
    let floor = wishes.floor.and_then(|floor| Some((floor, quality::of_type(floor)?)));
    let mut possible = Vec::new();
    let mut rejected = Vec::new();
    for candidate in all {
        let reason = not_asked(&candidate, wishes)
            .or_else(|| impossible(&candidate, meta, wishes))
            .or_else(|| guarded.then(|| guard(&candidate, meta)).flatten())
            .or_else(|| no_device(&candidate, meta, machine, support, wishes))
            .or_else(|| below_floor(&candidate, floor));
        match reason {
            Some(reason) => rejected.push((candidate, reason)),
            None => possible.push(candidate),
        }
    }
    if possible.is_empty() {
        let rejected = rejected
            .into_iter()
            .map(|(candidate, reason)| candidate.rejected(reason));
        return Err(NoFit::Unsupported(rejected.collect()));
    }
    let standard = standard(&possible, &rejected, wishes, guarded, sensitive);
    Ok(Considered {
        possible,
        rejected,
        standard,
        sensitive,
    })
}

/// Everything that is considered, each once.
fn listed(meta: &ModelMeta, wishes: &Wishes, guarded: bool, sensitive: bool) -> Vec<Candidate> {
    if let Some(policy @ LayerPolicy::PerLayer(_)) = &wishes.layers {
        return vec![Candidate::of_policy(policy)];
    }
    let mut all: Vec<Candidate> = TABLE
        .iter()
        .filter(|row| {
            let spec = row.spec;
            match (spec.k, spec.v) {
                // pairs that pay for K what V needs more are for models whose K may not be compressed
                (KvType::F16, v) if v != KvType::F16 => sensitive,
                (KvType::Q8_0, v) if v != KvType::Q8_0 => guarded || v == KvType::Turbo4,
                _ => true,
            }
        })
        .map(Candidate::of_row)
        .collect();
    let sides = |asked: Option<KvType>| asked.map_or(SIDES.to_vec(), |ty| vec![ty]);
    if wishes.k.is_some() || wishes.v.is_some() {
        for k in sides(wishes.k) {
            for v in sides(wishes.v) {
                let pair = Candidate::of_pair(k, v);
                if !all.iter().any(|other| other.name == pair.name) {
                    all.push(pair);
                }
            }
        }
    }
    if let Some(map) = &wishes.map
        && map.map.layers.len() == meta.kv_layers().count()
    {
        all.push(Candidate::of_map(map));
    }
    if let Some(policy) = &wishes.layers {
        // one policy for all: what was listed with one of its own would be there twice
        all.retain(|candidate| candidate.layers == LayerPolicy::Auto);
        for candidate in &mut all {
            candidate.layers = policy.clone();
            if let Some(mode) = policy.effective_mode(candidate.v) {
                candidate.name = format!("{}@{mode}", candidate.name);
                candidate.quality = candidate
                    .name
                    .parse()
                    .ok()
                    .and_then(quality::measured)
                    .or(candidate.quality);
            }
        }
    }
    all
}

fn not_asked(candidate: &Candidate, wishes: &Wishes) -> Option<Reason> {
    if matches!(candidate.layers, LayerPolicy::PerLayer(_)) && wishes.layers.is_some() {
        return None;
    }
    let types_asked = wishes.k.is_some() || wishes.v.is_some();
    for (side, asked, has) in [("K", wishes.k, candidate.k), ("V", wishes.v, candidate.v)] {
        if let Some(asked) = asked.filter(|asked| *asked != has) {
            return Some(Reason::new("asked", format!("{side} was asked to be {asked}")));
        }
    }
    // the listed uniform turbo2 is a policy of our own; whoever names types gets the default policy
    (types_asked && candidate.layers != LayerPolicy::Auto && wishes.layers.is_none())
        .then(|| Reason::new("asked", "types were asked for, not a map of layers"))
}

fn impossible(candidate: &Candidate, meta: &ModelMeta, wishes: &Wishes) -> Option<Reason> {
    let config = KvCacheConfig {
        guard: false,
        ..candidate.config(wishes, 1)
    };
    let error = config.resolve(meta).err()?;
    Some(Reason::new("model", error.to_string()))
}

/// Whether a model and the devices can have this cache at all.
pub(super) fn check(
    name: &str,
    kv: &KvCacheConfig,
    footprint: &Footprint,
    machine: &Machine,
    support: &Support,
    wishes: &Wishes,
) -> Result<(), Rejected> {
    let candidate = Candidate {
        name: name.to_owned(),
        layers: kv.layers.clone(),
        ..Candidate::of_pair(kv.k, kv.v)
    };
    let meta = &footprint.meta;
    let reason = impossible(&candidate, meta, wishes).or_else(|| no_device(&candidate, meta, machine, support, wishes));
    reason.map_or(Ok(()), |reason| Err(candidate.rejected(reason)))
}

/// Every rotated low-bit K breaks these families, llama.cpp's own rotated q4_0 and q5_0 included.
fn guard(candidate: &Candidate, meta: &ModelMeta) -> Option<Reason> {
    let low = |ty: KvType| ty.is_quantized() && ty != KvType::Q8_0;
    let k = match &candidate.layers {
        LayerPolicy::PerLayer(types) => types.iter().map(|types| types.0).find(|k| low(*k)),
        _ => Some(candidate.k).filter(|k| low(*k)),
    }?;
    Some(Reason::new(
        "guard",
        format!(
            "{} has huge K biases that break every rotated low-bit K (perplexity rises a hundredfold), {k} too; keep K at q8_0 or f16, or \
             override with --no-kv-guard",
            meta.architecture
        ),
    ))
}

/// Pairs of types that occur in the layers of a candidate.
fn pairs(candidate: &Candidate, meta: &ModelMeta, wishes: &Wishes) -> Vec<(KvType, KvType, (u32, u32))> {
    let Ok(resolved) = candidate.config(wishes, 1).resolve(meta) else {
        return Vec::new();
    };
    let mut pairs = Vec::new();
    for types in resolved.layers {
        let layer = &meta.layers[types.layer];
        let pair = (types.k, types.v, (layer.head_dim_k, layer.head_dim_v));
        if !pairs.contains(&pair) {
            pairs.push(pair);
        }
    }
    pairs
}

fn no_device(
    candidate: &Candidate,
    meta: &ModelMeta,
    machine: &Machine,
    support: &Support,
    wishes: &Wishes,
) -> Option<Reason> {
    let on_cards = wishes.gpu_layers != Some(GpuLayers::Count(0)) && !wishes.kv_in_main_memory;
    let cards: Vec<&str> = machine
        .devices()
        .filter_map(|(_, gpu)| gpu.device.as_deref())
        .filter(|_| on_cards && !wishes.allow_cpu_attention)
        .collect();
    let devices = if cards.is_empty() { vec![CPU] } else { cards };
    for (k, v, dims) in pairs(candidate, meta, wishes) {
        for device in &devices {
            if support.runs(device, k, v, dims) == Some(false) {
                return Some(Reason::new(
                    "device",
                    format!(
                        "{device} cannot run attention over a {k}/{v} cache with heads of {} values; it runs {}",
                        dims.0,
                        support.list(device, &head_dims(meta))
                    ),
                ));
            }
        }
    }
    None
}

fn below_floor(candidate: &Candidate, floor: Option<(KvType, Quality)>) -> Option<Reason> {
    let (floor, least) = floor?;
    (candidate.rank > least.mean_kl).then(|| {
        Reason::new(
            "floor",
            format!(
                "its divergence of {:.4} is above that of the floor {floor}, {:.4}",
                candidate.rank, least.mean_kl
            ),
        )
    })
}

/// The candidate whose sides are turbo4, or as near to it as K may be; where turbo4 is impossible, q8_0, then f16.
fn standard(
    possible: &[Candidate],
    rejected: &[(Candidate, Reason)],
    wishes: &Wishes,
    guarded: bool,
    sensitive: bool,
) -> usize {
    let least_k = match (sensitive, guarded) {
        (true, _) => KvType::F16,
        (false, true) => KvType::Q8_0,
        (false, false) => KvType::Turbo4,
    };
    let is = |candidate: &Candidate, k: KvType, v: KvType| {
        candidate.k == wishes.k.unwrap_or(k)
            && candidate.v == wishes.v.unwrap_or(v)
            && !matches!(candidate.layers, LayerPolicy::PerLayer(_))
    };
    let find = |k, v| possible.iter().position(|candidate| is(candidate, k, v));
    if let Some(found) = find(least_k, KvType::Turbo4) {
        return found;
    }
    let floored =
        |(candidate, reason): &(Candidate, Reason)| reason.code == "floor" && is(candidate, least_k, KvType::Turbo4);
    if rejected.iter().any(floored) {
        return possible.len() - 1; // the floor says how much quality is paid for
    }
    find(KvType::Q8_0, KvType::Q8_0)
        .or_else(|| find(KvType::F16, KvType::F16))
        .unwrap_or(0)
}
