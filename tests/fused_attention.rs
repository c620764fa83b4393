//! Our attention kernels, every implementation that this CPU runs: right for every pair of types and shape, the same bits for
//! any number of threads, and counted by who computes. The selection is the process's, so the tests take turns.

#[path = "support/attention.rs"]
mod attention;
mod support;

use attention::{Case, Kernels, Problem, computed};
use llama_turboquant::engine::attention::{Implementation, Ops, UPSTREAM};
use llama_turboquant::measure::{
    Arm, AttentionUse, Corpus, Host, Options, Perplexity, Test, ThroughputOptions, Workload, perplexity, throughput,
};
use llama_turboquant::{Backend, Error, KvCacheConfig, KvSpec, Model};
use std::sync::{Mutex, MutexGuard, PoisonError};
use support::{context, decode_all, story_tokens, tiny, tiny_path};

/// One test at a time; the engine's own choice is back when it ends.
struct Turn {
    before: Implementation,
    _lock: MutexGuard<'static, ()>,
}

impl Turn {
    fn take() -> Self {
        static ONE: Mutex<()> = Mutex::new(());
        let lock = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        Backend::init().expect("the engine starts");
        Self {
            before: Implementation::active().expect("a list"),
            _lock: lock,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.before.select().expect("it was selected before");
    }
}

fn select(name: &str) {
    Implementation::named(name)
        .and_then(|it| it.select())
        .unwrap_or_else(|error| panic!("{name}: {error}"));
}

fn ours() -> Vec<Implementation> {
    let mut all = Implementation::all().expect("a list").runnable;
    all.retain(|it| !it.is_upstream());
    all
}

fn counted<T>(work: impl FnOnce() -> T) -> (T, Ops) {
    let before = Ops::counted().expect("counts");
    let result = work();
    (result, Ops::counted().expect("counts").since(before))
}

fn only_ours(n: u64) -> Ops {
    Ops {
        turboquant: n,
        upstream: 0,
    }
}

fn is_compressed(case: &Case) -> bool {
    case.types != ("f16", "f16")
}

/// Computes the compressed cases of a table with every implementation of ours.
fn check(cases: impl IntoIterator<Item = Case>) {
    Backend::init().expect("the engine starts");
    let ours_alone = |case| Case {
        kernels: Kernels::Turboquant,
        threads: 1,
        ..case
    };
    let compressed = cases.into_iter().filter(is_compressed).map(ours_alone);
    let problems: Vec<Problem> = compressed.map(Problem::new).collect();
    let _turn = Turn::take();
    let (mut count, mut failed, mut worst) = (0, Vec::new(), 0.0_f64);
    for kernels in ours() {
        kernels.select().expect("it runs here");
        for problem in &problems {
            let (error, ops) = counted(|| problem.error());
            let (case, bound) = (&problem.case, problem.case.bound());
            assert_eq!(ops, only_ours(1), "{}: {case:?}", kernels.name());
            count += 1;
            worst = worst.max(error);
            if error > bound {
                failed.push(format!("{}: {error:.2e} > {bound:.2e}: {case:?}", kernels.name()));
            }
        }
    }
    println!("{count} cases; worst error {worst:.1e}");
    assert!(count > 0);
    attention::assert_none(&failed, count);
}

#[test]
fn every_pair_of_types_at_every_head_size() {
    check(attention::head_sizes());
}

#[test]
fn decoding_one_query_with_every_pair() {
    check(attention::decoding());
}

#[test]
fn heads_share_keys_and_values() {
    check(attention::groups());
}

#[test]
fn masks_sinks_caps_and_slopes() {
    check(attention::masks());
}

#[test]
fn sequences_keep_apart() {
    check(attention::sequences());
}

#[test]
fn a_prompt_of_40_queries_with_every_pair() {
    check(attention::all_pairs().map(|types| Case {
        queries: 40,
        keys: 150,
        heads: (6, 2),
        ..Case::new(types)
    }));
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let _turn = Turn::take();
    for kernels in ours() {
        kernels.select().expect("it runs here");
        for types in attention::PAIRS.into_iter().filter(|types| *types != ("f16", "f16")) {
            // 1031 keys: more than a unit takes, so that parts of the cache are joined
            for (queries, keys) in [(1, 1031), (3, 517), (40, 300)] {
                let bits = |threads| -> Vec<u32> {
                    let case = Case {
                        threads,
                        queries,
                        keys,
                        ..Case::new(types)
                    };
                    computed(&case).iter().map(|value| value.to_bits()).collect()
                };
                let one = bits(1);
                for threads in [2, 3, 4] {
                    assert!(
                        one == bits(threads),
                        "{} over {types:?}, {queries} queries, {keys} keys: {threads} threads give other bits than one",
                        kernels.name()
                    );
                }
            }
        }
    }
}

#[test]
fn decoding_counts_who_computed_each_layer() {
    let _turn = Turn::take();
    let model = tiny();
    let layers = model.meta().kv_layers().count() as u64;
    let tokens = &story_tokens(&model)[..24];
    let run = |kv: &str| {
        let kv: KvSpec = kv.parse().expect("a cache");
        let mut context = context(&model, 64, kv.config());
        counted(|| {
            decode_all(&mut context, &tokens[..20], 0, 0, 20);
            decode_all(&mut context, &tokens[20..], 0, 20, 1);
        })
        .1
    };
    let steps = 5; // a prompt and four tokens
    for kernels in ours() {
        kernels.select().expect("it runs here");
        for kv in ["turbo4", "q8_0/turbo3", "f16/turbo4", "q4_0"] {
            assert_eq!(run(kv), only_ours(steps * layers), "{kv}, {}", kernels.name());
        }
        assert_eq!(run("f16"), Ops::default(), "plain caches are not counted");
    }
    select(UPSTREAM);
    let theirs = Ops {
        turboquant: 0,
        upstream: steps * layers,
    };
    assert_eq!(run("turbo4"), theirs);
    assert_eq!(run("f16"), Ops::default());
}

#[test]
fn all_kernels_predict_the_same() {
    let _turn = Turn::take();
    let model = tiny();
    let tokens = story_tokens(&model);
    let logits = |kernels: &Implementation| {
        kernels.select().expect("it runs here");
        let kv: KvSpec = "turbo4".parse().expect("a cache");
        decode_all(&mut context(&model, 1024, kv.config()), &tokens, 0, 0, 128)
    };
    let all = Implementation::all().expect("a list").runnable;
    let scalar = logits(&all[0]);
    for kernels in &all[1..] {
        let divergence = support::mean_divergence(&scalar, &logits(kernels));
        println!("{}: {divergence:.2e} nats", kernels.name());
        // A last digit can move a key or value of a later layer to the next level of its code, so this is not 0; turbo4
        // itself moves predictions by several times the bound.
        assert!(divergence < 1e-3, "{}: {divergence:.2e} nats", kernels.name());
        assert!(divergence > 0.0, "{} is another name of scalar", kernels.name());
    }
}

#[test]
fn a_measurement_names_the_kernels_of_each_cache_although_they_take_turns() {
    let _turn = Turn::take();
    let host = Host::load(Model::builder(tiny_path()), true).expect("the embedded model loads");
    let workloads = ["f16", "turbo4", "q8_0/turbo4@1"].map(|kv| Workload {
        test: Test {
            n_prompt: 8,
            n_gen: 2,
            n_depth: 0,
        },
        kv: kv.parse::<KvSpec>().expect("a cache").config(),
        n_batch: 32,
        n_ubatch: 32,
        n_threads: 1,
    });
    let mut options = ThroughputOptions::default();
    (options.runs, options.warm_up) = (2, false);
    let names = || -> Vec<String> {
        let found = throughput(&host, &workloads, &options, |_| {});
        assert!(found.stopped.is_none(), "{:?}", found.stopped);
        let warned = |attention: &AttentionUse| attention.warning().is_some();
        assert!(!found.arms.iter().any(|(_, speed)| warned(&speed.facts.attention)));
        let on = |(_, speed): &(usize, llama_turboquant::measure::Speed)| speed.facts.attention.to_string();
        found.arms.iter().map(on).collect()
    };
    for kernels in ours() {
        kernels.select().expect("it runs here");
        let ours = format!("CPU turboquant/{}", kernels.name());
        assert_eq!(names(), ["CPU llama.cpp".to_owned(), ours.clone(), ours]);
    }
    select(UPSTREAM);
    assert_eq!(names(), ["CPU llama.cpp"; 3]);
}

#[test]
fn a_score_names_the_kernels_of_its_cache() {
    let _turn = Turn::take();
    let model = tiny();
    let corpus = Corpus::from_text(&model, &support::story(8), 64)
        .expect("a corpus")
        .spread(1);
    let score = |kv: KvCacheConfig| -> Perplexity {
        let options = Options::default().threads(1);
        perplexity(&model, &corpus, &Arm::batched(kv), &options, |_| {}).expect("a score")
    };
    let turbo = |name: &str| {
        select(name);
        score("turbo4".parse::<KvSpec>().expect("a cache").config())
            .footprint
            .attention
            .to_string()
    };
    assert_eq!(turbo("scalar"), "CPU turboquant/scalar");
    assert_eq!(turbo(UPSTREAM), "CPU llama.cpp");
    let plain = score(KvCacheConfig::default()).footprint.attention;
    assert_eq!((plain.to_string().as_str(), plain.cpu_compressed), ("CPU llama.cpp", 0));
}

#[test]
fn an_unknown_name_is_an_error_that_lists_the_names() {
    let _turn = Turn::take();
    let all = Implementation::all().expect("a list");
    assert_eq!(all.runnable[0].name(), "scalar");
    assert!(all.runnable.last().expect("upstream").is_upstream());
    assert!(all.runnable.contains(&all.active));
    let error = Implementation::named("sse9").expect_err("there are none");
    assert!(matches!(error, Error::Invalid(_)), "{error:?}");
    let message = error.to_string();
    for name in ["sse9"]
        .into_iter()
        .chain(all.runnable.iter().map(Implementation::name))
    {
        assert!(message.contains(name), "{message}");
    }
    for name in &all.skipped {
        let error = Implementation::named(name).expect_err("this CPU cannot run them");
        assert!(matches!(error, Error::Unsupported(_)), "{error:?}");
    }
    assert!(Implementation::named("a\0b").is_err());
}

#[test]
fn a_selection_holds_until_the_next() {
    let _turn = Turn::take();
    for name in Implementation::all().expect("a list").runnable.iter().rev() {
        name.select().expect("it runs here");
        assert_eq!(&Implementation::active().expect("a list"), name);
    }
}
