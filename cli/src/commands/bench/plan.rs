//! What was typed, as the list of measurements it means.

mod caches;
mod group;
mod options;

pub use caches::AskedCache;
pub use group::Group;
pub use options::{Attention, LoadMode};

use crate::args::BenchArgs;
use crate::args::lists::{Counts, Switches};
use crate::measuring::caches::unique;
use crate::settings::CacheType;
use anyhow::{Result, bail};
use llama_turboquant::measure::Test;
use llama_turboquant::{KvSpec, KvType, memory};

/// More results than this are a slip of the pen.
const MOST: usize = 10_000;

/// Which columns a table needs beyond the fixed ones: what varies or is not llama-bench's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Varies {
    pub n_threads: bool,
    pub n_batch: bool,
    pub n_ubatch: bool,
    pub type_k: bool,
    pub type_v: bool,
    pub mode: bool,
    pub no_kv_offload: bool,
    pub flash_attn: bool,
    pub load_mode: bool,
}

/// All measurements, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan<C = KvSpec> {
    pub groups: Vec<Group<C>>,
    pub varies: Varies,
}

fn counts(lists: &[Counts]) -> Vec<u32> {
    lists.iter().flat_map(|list| list.0.clone()).collect()
}

fn switches(lists: &[Switches]) -> Vec<bool> {
    lists.iter().flat_map(|list| list.0.clone()).collect()
}

impl Plan<AskedCache> {
    /// The full cross product, in llama-bench's order, so that models are loaded as rarely as possible.
    ///
    /// # Errors
    /// Options of llama-bench without an equivalent; modes that do not exist; nothing or far too much to measure.
    pub fn new(args: &BenchArgs) -> Result<Self> {
        if let Some((option, value, why)) = args.unsupported.refused() {
            if matches!(option, "--hf-token") {
                bail!("{option} is not supported: {why}");
            }
            bail!("{option} {value} is not supported: {why}");
        }
        let caches = caches::asked(args)?;
        let sets: Vec<Vec<AskedCache>> = match args.ab {
            None => caches.iter().map(|cache| vec![*cache]).collect(),
            Some(_) => vec![caches.clone()],
        };
        let load_modes: Vec<LoadMode> = if args.mmap.is_empty() {
            args.load_mode.clone()
        } else {
            let mode = |map| if map { LoadMode::Mmap } else { LoadMode::None };
            switches(&args.mmap).into_iter().map(mode).collect()
        };
        let (batches, ubatches) = (counts(&args.batch_size), counts(&args.ubatch_size));
        if batches.iter().chain(&ubatches).any(|n| *n == 0) {
            bail!("--batch-size and --ubatch-size must be at least 1");
        }
        let gpu_layers: Vec<Option<u32>> = args.gpu_layers.iter().flat_map(|list| list.0.clone()).collect();
        let no_kv_offload = switches(&args.no_kv_offload);
        let default_threads = memory::physical_cores();
        let threads: Vec<u32> = counts(&args.threads)
            .into_iter()
            .map(|n| if n == 0 { default_threads } else { n })
            .collect();
        let tests = tests_of(args);
        let depths = counts(&args.n_depth);

        let n_models = args.model.len().max(1);
        let total = [
            n_models,
            gpu_layers.len(),
            load_modes.len(),
            batches.len(),
            ubatches.len(),
            caches.len(),
            no_kv_offload.len(),
            args.flash_attn.len(),
            threads.len(),
            depths.len(),
            tests.len(),
        ]
        .iter()
        .try_fold(1_usize, |product, n| product.checked_mul(*n))
        .unwrap_or(usize::MAX);
        if total == 0 {
            bail!("there is nothing to measure: -p and -n are 0, and there is no -pg");
        }
        if total > MOST {
            bail!("these lists make more than {MOST} combinations; all of them would be measured");
        }

        // the first list varies slowest
        let models: Vec<usize> = (0..n_models).collect();
        let mut groups = vec![Group::default().over(Vec::new())];
        groups = each(&groups, &models, |group, model| group.model = *model);
        groups = each(&groups, &gpu_layers, |group, layers| group.gpu_layers = *layers);
        groups = each(&groups, &load_modes, |group, mode| group.load_mode = *mode);
        groups = each(&groups, &batches, |group, n| group.n_batch = *n);
        groups = each(&groups, &ubatches, |group, n| group.n_ubatch = *n);
        groups = each(&groups, &sets, |group, set| group.caches.clone_from(set));
        groups = each(&groups, &no_kv_offload, |group, stays| group.no_kv_offload = *stays);
        groups = each(&groups, &args.flash_attn, |group, attention| {
            group.attention = *attention
        });
        groups = each(&groups, &threads, |group, n| group.n_threads = *n);
        groups = each(&groups, &depths, |group, n| group.test.n_depth = *n);
        groups = each(&groups, &tests, |group, test| {
            (group.test.n_prompt, group.test.n_gen) = (test.n_prompt, test.n_gen);
        });
        let side = |side: fn(&AskedCache) -> CacheType| {
            let mut types: Vec<CacheType> = caches.iter().map(side).collect();
            types.dedup();
            varies(&types, &CacheType::Fixed(KvType::F16))
        };
        Ok(Self {
            groups,
            varies: Varies {
                n_threads: varies(&threads, &default_threads),
                n_batch: varies(&batches, &2048),
                n_ubatch: varies(&ubatches, &512),
                type_k: side(|cache| cache.k),
                type_v: side(|cache| cache.v),
                mode: caches.iter().any(|cache| cache.mode.is_some()),
                no_kv_offload: varies(&no_kv_offload, &false),
                flash_attn: varies(&args.flash_attn, &Attention::Auto),
                load_mode: varies(&load_modes, &LoadMode::Auto),
            },
        })
    }

    /// With the types that are left open chosen by `choose`, which is told for which group. What comes to a cache that is measured
    /// anyway is not measured twice.
    ///
    /// # Errors
    /// `choose`'s.
    pub fn resolve(self, mut choose: impl FnMut(&Group<AskedCache>, AskedCache) -> Result<KvSpec>) -> Result<Plan> {
        let mut found: Vec<(&Group<AskedCache>, Group)> = Vec::new();
        for asked in &self.groups {
            let caches: Result<Vec<KvSpec>> = asked
                .caches
                .iter()
                .map(|cache| caches::fixed(*cache).map_or_else(|| choose(asked, *cache), Ok))
                .collect();
            let group = asked.over(unique(caches?));
            let known = |(other, made): &(&Group<AskedCache>, Group)| *made == group && other.caches != asked.caches;
            if !found.iter().any(known) {
                found.push((asked, group));
            }
        }
        let groups: Vec<Group> = found.into_iter().map(|(_, group)| group).collect();
        let with_mode = |group: &Group| group.caches.iter().any(|cache| cache.mode.is_some());
        Ok(Plan {
            varies: Varies {
                mode: groups.iter().any(with_mode),
                ..self.varies
            },
            groups,
        })
    }
}

impl<C> Plan<C> {
    /// Steps of the whole plan: each cache is opened once and run `runs` times.
    pub fn steps(&self, runs: usize) -> usize {
        self.groups.iter().map(|group| group.caches.len() * (runs + 1)).sum()
    }

    /// Cells of the longest context.
    pub fn n_ctx(&self) -> u32 {
        self.groups.iter().map(|group| group.test.n_ctx()).max().unwrap_or(0)
    }

    /// The most tokens computed at once.
    pub fn n_ubatch(&self) -> u32 {
        let n_ubatch = |group: &Group<C>| group.n_ubatch.min(group.n_batch);
        self.groups.iter().map(n_ubatch).max().unwrap_or(0)
    }
}

/// Each group once with each value.
fn each<C: Clone, T>(groups: &[Group<C>], values: &[T], set: impl Fn(&mut Group<C>, &T)) -> Vec<Group<C>> {
    let mut all = Vec::with_capacity(groups.len() * values.len());
    for group in groups {
        for value in values {
            let mut group = group.clone();
            set(&mut group, value);
            all.push(group);
        }
    }
    all
}

/// llama-bench's rule for a column.
fn varies<T: PartialEq>(values: &[T], default: &T) -> bool {
    values.len() != 1 || values[0] != *default
}

fn tests_of(args: &BenchArgs) -> Vec<Test> {
    let test = |n_prompt, n_gen| Test {
        n_prompt,
        n_gen,
        n_depth: 0,
    };
    let prompts = counts(&args.n_prompt).into_iter().map(|n| test(n, 0));
    let answers = counts(&args.n_gen).into_iter().map(|n| test(0, n));
    let both = args.pg.iter().map(|pair| test(pair.n_prompt, pair.n_gen));
    prompts
        .chain(answers)
        .chain(both)
        .filter(|test| test.n_tokens() > 0)
        .collect()
}

#[cfg(test)]
mod tests;
