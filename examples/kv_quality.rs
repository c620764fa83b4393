//! The quality of every KV type on one model and text: `cargo run --release --features native --example kv_quality`.
//!
//! Options: `--model FILE --text FILE --needles FILE --chunks N --decode-chunks N --needle-ctx N --needles-each N
//! --threads N --out DIR --rows NAME,NAME`. Writes
//! `DIR/DATE-kv-quality.md` and `.json`. All rows are measured side by side, so each of about 25 contexts of 512 tokens must
//! fit the memory; rows with equal layer types are measured once.

use llama_turboquant::kv::LayerTypes;
use llama_turboquant::measure::stats::{Bootstrap, Interval};
use llama_turboquant::measure::{
    Arm, Corpus, Divergence, Footprint, NeedleAnswer, NeedleKind, Options, Pair, Progress, Summary, divergence,
    needle_questions, needles, parse_needles,
};
use llama_turboquant::{Backend, KvCacheConfig, KvType, LayerPolicy, Model, memory};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

const N_CTX: u32 = 512;

/// A name, K, V and a layer-adaptive mode.
type Row = (&'static str, KvType, KvType, u8);

/// What is measured. The first row is what the others are compared with.
const ROWS: [Row; 16] = {
    use KvType::{F16, Q4_0, Q5_0, Q8_0, Turbo2, Turbo3, Turbo4};
    [
        ("f16", F16, F16, 0),
        ("q8_0", Q8_0, Q8_0, 0),
        ("q5_0", Q5_0, Q5_0, 0),
        ("q4_0", Q4_0, Q4_0, 0),
        ("turbo4", Turbo4, Turbo4, 0),
        ("turbo3", Turbo3, Turbo3, 0),
        ("turbo2", Turbo2, Turbo2, 0),
        ("turbo2, mode 7 (default)", Turbo2, Turbo2, 7),
        ("q8_0/turbo4", Q8_0, Turbo4, 0),
        ("q8_0/turbo3", Q8_0, Turbo3, 0),
        ("turbo4/turbo3", Turbo4, Turbo3, 0),
        ("turbo4, mode 1", Turbo4, Turbo4, 1),
        ("turbo3, mode 1", Turbo3, Turbo3, 1),
        ("turbo2, mode 1", Turbo2, Turbo2, 1),
        ("turbo4, mode 7", Turbo4, Turbo4, 7),
        ("turbo3, mode 7", Turbo3, Turbo3, 7),
    ]
};

/// The bars of a trained 8-layer model at 512 tokens: row, most divergence, least same-top share.
const BARS: [(&str, f64, f64); 7] = [
    ("q8_0", 5e-5, 0.0),
    ("turbo4", 0.0037, 0.96),
    ("turbo3", 0.0150, 0.93),
    ("q8_0/turbo3", f64::INFINITY, 0.945),
    ("turbo4/turbo3", f64::INFINITY, 0.945),
    ("turbo2", 0.060, 0.87),
    ("turbo2, mode 7 (default)", 0.060, 0.87),
];

type Failure = Box<dyn Error>;

struct Args {
    model: PathBuf,
    text: PathBuf,
    needles: PathBuf,
    out: PathBuf,
    chunks: usize,
    decode_chunks: usize,
    needle_ctx: u32,
    /// Per size and kind.
    needles_each: usize,
    threads: u32,
    rows: Vec<Row>,
}

impl Args {
    fn parse() -> Result<Self, Failure> {
        let root = Path::new(".");
        let mut args = Self {
            model: root.join("models/tiny-q8_0.gguf"),
            text: root.join("tests/data/eval.txt"),
            needles: root.join("tests/data/needles.jsonl"),
            out: root.join("docs/results"),
            chunks: usize::MAX,
            decode_chunks: 10,
            needle_ctx: 2048,
            needles_each: 2,
            threads: memory::physical_cores(),
            rows: ROWS.to_vec(),
        };
        let mut words = std::env::args().skip(1);
        while let Some(flag) = words.next() {
            let value = words.next().ok_or(format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--model" => args.model = value.into(),
                "--text" => args.text = value.into(),
                "--needles" => args.needles = value.into(),
                "--out" => args.out = value.into(),
                "--chunks" => args.chunks = value.parse()?,
                "--decode-chunks" => args.decode_chunks = value.parse()?,
                "--needle-ctx" => args.needle_ctx = value.parse()?,
                "--rows" => {
                    let wanted: Vec<&str> = value.split(',').collect();
                    args.rows.retain(|row| row.0 == ROWS[0].0 || wanted.contains(&row.0));
                }
                "--needles-each" => args.needles_each = value.parse()?,
                "--threads" => args.threads = value.parse()?,
                _ => return Err(format!("unknown option {flag}").into()),
            }
        }
        Ok(args)
    }
}

/// What was measured of one set of layer types.
struct Arms {
    footprints: Vec<Footprint>,
    batched: Vec<Divergence>,
    /// Decode mode: against f16 in decode mode, and against the same cache filled in batches.
    decode: Vec<Divergence>,
    between: Vec<Divergence>,
    answers: Vec<Vec<NeedleAnswer>>,
    seconds: [f64; 3],
}

fn main() -> Result<(), Failure> {
    let args = Args::parse()?;
    let files = ["md", "json"].map(|extension| {
        let model = if args.model.ends_with("tiny-q8_0.gguf") {
            String::new()
        } else {
            format!("-{}", stem(&args.model))
        };
        args.out.join(format!("{}-kv-quality{model}.{extension}", today()))
    });
    for file in &files {
        // before the long part, not after it
        std::fs::File::options()
            .create(true)
            .append(true)
            .open(file)
            .map_err(|e| format!("{}: {e}", file.display()))?;
    }
    let commit = commit(); // now: a long run may end on another one
    let model = Model::load(&args.model)?;
    let corpus = Corpus::from_text(&model, &std::fs::read_to_string(&args.text)?, N_CTX)?.spread(args.chunks);

    // rows that come to the same layer types are one arm
    let mut kinds: Vec<Vec<LayerTypes>> = Vec::new();
    let mut configs: Vec<KvCacheConfig> = Vec::new();
    let mut arm_of_row = Vec::new();
    for &(_, k, v, mode) in &args.rows {
        let config = KvCacheConfig {
            guard: false,
            ..KvCacheConfig::asymmetric(k, v).with_layers(LayerPolicy::mode(mode)?)
        };
        let layers = config.resolve(model.meta())?.layers;
        let arm = kinds.iter().position(|kind| *kind == layers).unwrap_or_else(|| {
            kinds.push(layers);
            configs.push(config);
            configs.len() - 1
        });
        arm_of_row.push(arm);
    }
    let arms = measure(&model, &corpus, &configs, &args)?;
    for footprint in &arms.footprints {
        assert_eq!(
            footprint.predicted.total(),
            footprint.allocated,
            "memory differs from the plan: {footprint:?}"
        );
    }

    let (markdown, report) = report(&args, &commit, &model, &corpus, &arms, &arm_of_row)?;
    std::fs::write(&files[0], &markdown)?;
    std::fs::write(&files[1], serde_json::to_string(&report)? + "\n")?;
    println!("{markdown}");
    Ok(())
}

fn measure(model: &Model, corpus: &Corpus, configs: &[KvCacheConfig], args: &Args) -> Result<Arms, Failure> {
    // arms side by side on one thread each: the same numbers as one after the other
    let options = Options::default().threads(1).parallel(args.threads);
    let n = configs.len();
    let show = |what: &'static str| {
        move |p: Progress| eprint!("\r{what} {}/{}{}", p.done, p.of, if p.done == p.of { "\n" } else { "" })
    };
    let mut seconds = [0.0; 3];

    let clock = Instant::now();
    let batched: Vec<Arm> = configs.iter().cloned().map(Arm::batched).collect();
    let pairs: Vec<Pair> = (0..n).map(|candidate| Pair { base: 0, candidate }).collect();
    let all = divergence(model, corpus, &batched, &pairs, &options, show("batched"))?;
    seconds[0] = clock.elapsed().as_secs_f64();

    let clock = Instant::now();
    let arms: Vec<Arm> = batched
        .into_iter()
        .chain(configs.iter().cloned().map(Arm::decode))
        .collect();
    let pairs: Vec<Pair> = (0..n)
        .flat_map(|i| {
            [
                Pair {
                    base: n,
                    candidate: n + i,
                },
                Pair {
                    base: i,
                    candidate: n + i,
                },
            ]
        })
        .collect();
    let subset = corpus.spread(args.decode_chunks);
    let mut one_by_one = divergence(model, &subset, &arms, &pairs, &options, show("decode"))?
        .pairs
        .into_iter();
    let (mut decode, mut between) = (Vec::new(), Vec::new());
    while let (Some(to_f16), Some(to_batched)) = (one_by_one.next(), one_by_one.next()) {
        decode.push(to_f16);
        between.push(to_batched);
    }
    seconds[1] = clock.elapsed().as_secs_f64();

    let clock = Instant::now();
    let wanted = parse_needles(&std::fs::read_to_string(&args.needles)?)?;
    let mut counts: BTreeMap<(u32, bool), usize> = BTreeMap::new();
    let wanted: Vec<_> = wanted
        .into_iter()
        .filter(|needle| {
            let count = counts.entry((needle.ctx, needle.kind == NeedleKind::Chat)).or_default();
            *count += 1;
            needle.ctx <= args.needle_ctx && *count <= args.needles_each
        })
        .collect();
    let options = Options::default().threads(1).parallel(args.threads.max(1));
    let run = needles(
        model,
        &needle_questions(model, &wanted)?,
        configs,
        &options,
        |at, _| {
            if at.done % wanted.len().max(1) == 0 {
                eprintln!("needles: {} of {}", at.done, at.of);
            }
        },
    )?;
    let mut answers = vec![Vec::new(); configs.len()];
    for answer in run.answers {
        answers[answer.cache].push(answer);
    }
    seconds[2] = clock.elapsed().as_secs_f64();
    Ok(Arms {
        footprints: all.arms,
        batched: all.pairs,
        decode,
        between,
        answers,
        seconds,
    })
}

fn report(
    args: &Args,
    commit: &str,
    model: &Model,
    corpus: &Corpus,
    arms: &Arms,
    arm_of_row: &[usize],
) -> Result<(String, Value), Failure> {
    let bootstrap = Bootstrap::default();
    let summaries: Vec<Summary> = arms.batched.iter().map(|pair| pair.summary(&bootstrap)).collect();
    let f16 = &arms.footprints[0];
    let (wrote, cpu) = (command_line(), cpu()?);
    let mut md = String::new();
    writeln!(md, "# Quality of the KV cache types, {}\n", today())?;
    writeln!(
        md,
        "Model: {} ({}), {} layers with a cache.",
        file_name(&args.model),
        model.meta().description,
        f16.layers.len()
    )?;
    writeln!(
        md,
        "Text: {}, {} chunks of {N_CTX} tokens, {} scored tokens; base: f16 cache, same weights, same mode.",
        file_name(&args.text),
        summaries[0].n_chunks,
        summaries[0].n_tokens
    )?;
    writeln!(
        md,
        "Machine: {cpu}, {} threads. Commit: {}. Engine: {}.",
        args.threads,
        commit,
        engine()?
    )?;
    writeln!(md, "Command: `{wrote}`.")?;
    writeln!(
        md,
        "Time: {:.0} s batched, {:.0} s decode, {:.0} s needles. \u{b1} is a 95 % bootstrap over chunks ({} resamples, seed {}).\n",
        arms.seconds[0], arms.seconds[1], arms.seconds[2], bootstrap.resamples, bootstrap.seed
    )?;

    writeln!(md, "## Batched\n")?;
    writeln!(
        md,
        "KL divergence in nats, times 1000. KV bytes at {N_CTX} tokens, predicted = allocated (asserted). Needles of up to {} tokens.\n",
        args.needle_ctx
    )?;
    writeln!(
        md,
        "| K/V | bits | KV bytes | f16 is | PPL | PPL ratio | mean KLD | 99.9 % KLD | same top % | needles |"
    )?;
    writeln!(md, "|---|---|---|---|---|---|---|---|---|---|")?;
    for (row, &arm) in arm_of_row.iter().enumerate() {
        let (s, f) = (&summaries[arm], &arms.footprints[arm]);
        let same = arm_of_row[..row].iter().position(|&other| other == arm);
        let name = same.map_or(args.rows[row].0.into(), |other| {
            format!("{} (= {})", args.rows[row].0, args.rows[other].0)
        });
        writeln!(
            md,
            "| {name} | {:.4} | {} | {:.2}x | {:.4} | {:.5} \u{b1} {:.5} | {} | {:.3} | {:.2} \u{b1} {:.2} | {} |",
            f.bits_per_value,
            f.allocated,
            f16.predicted.cache() as f64 / f.predicted.cache() as f64,
            s.ppl.estimate,
            s.ppl_ratio.estimate,
            s.ppl_ratio.half_width(),
            milli(s.kl),
            1000.0 * s.kl_p999,
            100.0 * s.same_top.estimate,
            100.0 * s.same_top.half_width(),
            found(&arms.answers[arm]),
        )?;
    }

    let numbers: Vec<usize> = arms.decode[0].chunks.iter().map(|chunk| chunk.number).collect();
    writeln!(
        md,
        "\n## Decode (one token at a time) beside batched, the same {} chunks\n",
        numbers.len()
    )?;
    writeln!(
        md,
        "Last column: the cache filled one by one against the same cache filled in batches. Its f16 row is the noise floor.\n"
    )?;
    writeln!(
        md,
        "| K/V | KLD batched | KLD decode | difference | same top % batched | decode | PPL ratio batched | decode | decode to batched |"
    )?;
    writeln!(md, "|---|---|---|---|---|---|---|---|---|")?;
    for (row, &arm) in arm_of_row
        .iter()
        .enumerate()
        .filter(|(row, arm)| !arm_of_row[..*row].contains(arm))
    {
        let (batched, decode) = (arms.batched[arm].only(&numbers), &arms.decode[arm]);
        let difference = bootstrap.mean_difference(&decode.chunk_kl(), &batched.chunk_kl());
        let ratio = |pair: &Divergence| pair.summary(&bootstrap).ppl_ratio.estimate;
        writeln!(
            md,
            "| {} | {:.4} | {:.4} | {:+.4} ({:+.4} .. {:+.4}) | {:.2} | {:.2} | {:.5} | {:.5} | {:.5} |",
            args.rows[row].0,
            1000.0 * batched.mean_kl(),
            1000.0 * decode.mean_kl(),
            1000.0 * difference.estimate,
            1000.0 * difference.low,
            1000.0 * difference.high,
            100.0 * batched.same_top(),
            100.0 * decode.same_top(),
            ratio(&batched),
            ratio(decode),
            1000.0 * arms.between[arm].mean_kl(),
        )?;
    }

    let arm = |name: &str| {
        args.rows
            .iter()
            .position(|row| row.0 == name)
            .map(|row| arm_of_row[row])
    };
    let mut ratios = Vec::new();
    if let (Some(turbo4), Some(q4_0)) = (arm("turbo4"), arm("q4_0")) {
        ratios = [&arms.batched, &arms.decode]
            .map(|mode| bootstrap.mean_ratio(&mode[turbo4].chunk_kl(), &mode[q4_0].chunk_kl()))
            .to_vec();
        let better = arms.batched[turbo4]
            .chunk_kl()
            .iter()
            .zip(arms.batched[q4_0].chunk_kl())
            .filter(|(t, q)| *t < q)
            .count();
        writeln!(md, "\n## turbo4 against q4_0, paired by chunk\n")?;
        writeln!(
            md,
            "Mean KLD of turbo4 over that of q4_0: {} batched, {} decode; lower in {better} of {} chunks. Bits: {} against {}.",
            plain(ratios[0]),
            plain(ratios[1]),
            corpus.chunks().len(),
            arms.footprints[turbo4].bits_per_value,
            arms.footprints[q4_0].bits_per_value
        )?;
    }

    writeln!(
        md,
        "\n## Bars\n\n| K/V | mean KLD, at most | same top %, at least | batched | decode |\n|---|---|---|---|---|"
    )?;
    let floor = arms.between[0].mean_kl();
    let verdict = |ok: bool| if ok { "met" } else { "MISSED" };
    for (name, kl, same_top) in BARS {
        let Some(arm) = arm(name) else { continue };
        let [batched, decode] = [&arms.batched[arm], &arms.decode[arm]].map(|pair| {
            match pair.mean_kl() <= kl && pair.same_top() >= same_top {
                false if kl < floor => "MISSED (the bar is below the noise floor)",
                met => verdict(met),
            }
        });
        let most = if kl.is_finite() {
            format!("{:.3}", 1000.0 * kl)
        } else {
            "-".into()
        };
        writeln!(
            md,
            "| {name} | {most} | {:.1} | {batched} | {decode} |",
            100.0 * same_top
        )?;
    }
    if let [batched, decode] = ratios[..] {
        writeln!(
            md,
            "| turbo4 | q4_0's | - | {} | {} |",
            verdict(batched.estimate <= 1.0),
            verdict(decode.estimate <= 1.0)
        )?;
    }

    let rows: Vec<Value> = arm_of_row
        .iter()
        .enumerate()
        .map(|(row, &arm)| {
            let (name, k, v, mode) = args.rows[row];
            json!({
                "name": name, "type_k": k, "type_v": v, "layer_adaptive": mode, "arm": arm,
                "footprint": arms.footprints[arm],
                "batched": summaries[arm],
                "decode": arms.decode[arm].summary(&bootstrap),
                "decode_to_batched": arms.between[arm].summary(&bootstrap),
                "needles": { "found": arms.answers[arm].iter().filter(|a| a.found).count(), "asked": arms.answers[arm].len() },
            })
        })
        .collect();
    let samples: Vec<Value> = arms
        .batched
        .iter()
        .zip(&arms.decode)
        .map(|(batched, decode)| {
            json!({
                "batched_kl": rounded(&batched.chunk_kl()), "batched_ln_ppl_ratio": rounded(&batched.chunk_ln_ratio()),
                "decode_kl": rounded(&decode.chunk_kl()),
            })
        })
        .collect();
    let report = json!({
        "date": today(), "commit": commit, "command": wrote, "cpu": cpu, "threads": args.threads, "engine": Backend::init()?.describe()?,
        "model": file_name(&args.model), "model_description": model.meta().description, "text": file_name(&args.text),
        "n_ctx": N_CTX, "decode_chunks": numbers, "bootstrap": bootstrap, "seconds": arms.seconds,
        "turbo4_over_q4_0_kl": ratios, "rows": rows, "chunk_means_by_arm": samples,
    });
    Ok((md, report))
}

fn milli(interval: Interval) -> String {
    format!(
        "{:.4} \u{b1} {:.4}",
        1000.0 * interval.estimate,
        1000.0 * interval.half_width()
    )
}

fn plain(interval: Interval) -> String {
    format!("{:.3} ({:.3} .. {:.3})", interval.estimate, interval.low, interval.high)
}

fn found(answers: &[NeedleAnswer]) -> String {
    format!(
        "{}/{}",
        answers.iter().filter(|answer| answer.found).count(),
        answers.len()
    )
}

/// Six significant digits are enough for samples.
fn rounded(values: &[f64]) -> Vec<f64> {
    values
        .iter()
        .map(|value| format!("{value:.5e}").parse().unwrap_or(*value))
        .collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn cpu() -> Result<String, Failure> {
    let devices = Backend::init()?.devices()?;
    Ok(devices
        .into_iter()
        .find(|device| device.name == "CPU")
        .map_or("unknown CPU".into(), |device| device.description))
}

fn engine() -> Result<String, Failure> {
    let engine = Backend::init()?.describe()?;
    Ok(format!(
        "llama.cpp {}, codec {} version {}",
        engine.llama_cpp, engine.codec, engine.codec_version
    ))
}

fn commit() -> String {
    let git = |args: &[&str]| {
        let output = std::process::Command::new("git")
            .args(args)
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    match (
        git(&["rev-parse", "--short=12", "HEAD"]),
        git(&["status", "--porcelain"]),
    ) {
        (Some(commit), Some(changes)) if changes.is_empty() => commit,
        (Some(commit), _) => format!("{commit} with uncommitted changes"),
        _ => "unknown".into(),
    }
}

fn command_line() -> String {
    // files by their name: where they lie on this machine is nobody's business
    let short = |option: String| {
        if Path::new(&option).exists() {
            file_name(Path::new(&option))
        } else {
            option
        }
    };
    let options: Vec<String> = std::env::args().skip(1).map(short).collect();
    let separator = if options.is_empty() { "" } else { " -- " };
    format!(
        "cargo run --release --features native --example kv_quality{separator}{}",
        options.join(" ")
    )
}

/// The date (UTC), by the civil calendar: days since 1970-01-01, counted in years that start in March.
fn today() -> String {
    let seconds = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + next)
}
