//! Divergence: every cache against the base, chunk by chunk, all on one model.

use super::results::{ArmResult, Results};
use super::settings::Cache;
use super::{Run, bars, print};
use crate::console;
use crate::measuring::progress::Progress;
use crate::settings::human_bytes;
use anyhow::Result;
use llama_turboquant::Error;
use llama_turboquant::measure::stats::Bootstrap;
use llama_turboquant::measure::{Arm, Comparison, Corpus, Divergence, Footprint, MemoryPlan, Mode, Pair};

/// A set of arms that are computed together.
struct Phase<'a> {
    title: String,
    corpus: &'a Corpus,
    arms: Vec<Arm>,
    /// Pairs that belong together, with their names: where memory is short, the jobs are done one after the other.
    jobs: Vec<Job>,
}

struct Job {
    name: String,
    pairs: Vec<Pair>,
}

/// What a job came to.
struct Outcome {
    job: usize,
    /// Of the candidate of the first pair.
    footprint: Footprint,
    pairs: Vec<Divergence>,
}

/// Compares every cache with `base` in every mode; false: interrupted, with what was measured in the record.
///
/// # Errors
/// A cache that this model cannot have, a broken model, [`Error::Cancelled`] before anything is measured.
pub fn run(run: &mut Run<'_>, base: &Cache) -> Result<bool> {
    run.record.results.base = Some(base.name.clone());
    let complete = floor(run, base)? && modes(run, base)?;
    let nothing = run.record.results.arms.is_empty() && run.record.results.floor.is_none();
    if !complete && nothing {
        return Err(Error::Cancelled.into());
    }
    run.record.results.paired = run.record.results.pair(bars::RIVALS.0, bars::RIVALS.1);
    Ok(complete)
}

/// The base against itself: how far apart two correct computations are here.
fn floor(run: &mut Run<'_>, base: &Cache) -> Result<bool> {
    let chunks = run.settings.floor_chunks;
    if chunks == 0 {
        return Ok(true);
    }
    let corpus = run.corpus.spread(chunks);
    let batched = Arm::batched(base.config.clone());
    let pair = |base, candidate| Pair { base, candidate };
    let phase = Phase {
        title: format!("noise floor of {}", base.name),
        corpus: &corpus,
        arms: vec![batched.clone(), batched, Arm::decode(base.config.clone())],
        jobs: vec![Job {
            name: base.name.clone(),
            pairs: vec![pair(0, 2), pair(0, 1)],
        }],
    };
    let (name, buckets) = (base.name.clone(), run.settings.depth_buckets);
    measure(run, &phase, |results, outcome| {
        let arm = |mode, pair| ArmResult::compared(&name, mode, &outcome.footprint, pair, buckets);
        results.floor = Some(arm(Mode::Decode, &outcome.pairs[0]));
        results.floor_repeat = Some(arm(Mode::Batched, &outcome.pairs[1]));
    })
}

fn modes(run: &mut Run<'_>, base: &Cache) -> Result<bool> {
    let settings = run.settings;
    let both = settings.modes.len() > 1;
    for &mode in &settings.modes {
        let corpus = match (mode, settings.decode_chunks) {
            (Mode::Decode, Some(n)) => &run.corpus.spread(n),
            _ => run.corpus,
        };
        let caches = || std::iter::once(base).chain(&settings.caches);
        let arm = |mode| {
            move |cache: &Cache| Arm {
                kv: cache.config.clone(),
                mode,
            }
        };
        let mut arms: Vec<Arm> = caches().map(arm(mode)).collect();
        let n = arms.len();
        let between = both && mode == Mode::Decode;
        if between {
            arms.extend(caches().map(arm(Mode::Batched)));
        }
        let job = |(i, cache): (usize, &Cache)| {
            let against_base = Pair { base: 0, candidate: i };
            let between_modes = Pair {
                base: n + i,
                candidate: i,
            };
            Job {
                name: cache.name.clone(),
                pairs: std::iter::once(against_base)
                    .chain(between.then_some(between_modes))
                    .collect(),
            }
        };
        // job 0 is the base itself, for its row in the table
        let phase = Phase {
            title: format!("against {}, {}", base.name, print::mode(mode)),
            corpus,
            jobs: caches().enumerate().map(job).collect(),
            arms,
        };
        let buckets = settings.depth_buckets;
        let finished = run.record.results.arms.len();
        let complete = measure(run, &phase, |results, outcome| {
            let name = &phase.jobs[outcome.job].name;
            let of = |pair| ArmResult::compared(name, mode, &outcome.footprint, pair, buckets);
            let mut arm = of(&outcome.pairs[0]);
            if let Some(between) = outcome.pairs.get(1) {
                arm.kl_between_modes = Some(Bootstrap::default().mean(&between.chunk_kl()));
                if outcome.job == 0 {
                    // more chunks than the floor's own
                    results.floor = Some(of(between));
                }
            }
            results.arms.truncate(finished + outcome.job);
            results
                .arms
                .push(if outcome.job == 0 { arm.without_base() } else { arm });
        })?;
        if !complete {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Computes a phase, all jobs side by side if they fit the memory. `put` takes what a job came to, and comes to it again as
/// it grows. False: interrupted.
fn measure(run: &mut Run<'_>, phase: &Phase<'_>, put: impl Fn(&mut Results, &Outcome)) -> Result<bool> {
    let options = run.settings.options(phase.arms.len())?;
    let plan = MemoryPlan::new(run.model, phase.corpus, &phase.arms, &options)?;
    run.record.results.memory = Some(plan);
    let all: Vec<usize> = (0..phase.jobs.len()).collect();
    let together = all.len() <= 2 || (plan.fits() && !run.settings.one_by_one);
    let groups: Vec<&[usize]> = if together {
        vec![&all]
    } else {
        // the base's own job needs nothing that the first candidate's does not
        std::iter::once(&all[..2]).chain(all[2..].chunks(1)).collect()
    };
    if !plan.fits() {
        let message = format!(
            "{}: {} caches side by side need {} and {} are free: one after the other, {} computed anew for each",
            phase.title,
            phase.arms.len(),
            human_bytes(plan.need),
            plan.available.map_or_else(|| "?".into(), human_bytes),
            run.record.results.base.as_deref().unwrap_or("the base"),
        );
        console::say!("{message}");
        run.record.warnings.push(message);
    }
    for jobs in groups {
        if !group(run, phase, jobs, &put)? {
            return Ok(false);
        }
        run.sink.keep(&run.record)?;
    }
    Ok(true)
}

/// Computes some jobs of a phase side by side.
fn group(run: &mut Run<'_>, phase: &Phase<'_>, jobs: &[usize], put: &impl Fn(&mut Results, &Outcome)) -> Result<bool> {
    // the arms that these jobs use, and the pairs with their new numbers
    let mut used: Vec<usize> = Vec::new();
    let mut number = |arm: usize| {
        used.iter().position(|&it| it == arm).unwrap_or_else(|| {
            used.push(arm);
            used.len() - 1
        })
    };
    let pairs: Vec<Pair> = jobs
        .iter()
        .flat_map(|&job| &phase.jobs[job].pairs)
        .map(|pair| Pair {
            base: number(pair.base),
            candidate: number(pair.candidate),
        })
        .collect();
    let arms: Vec<Arm> = used.iter().map(|&arm| phase.arms[arm].clone()).collect();
    let options = run.settings.options(arms.len())?.cancel(run.cancel.clone());
    let mut comparison = Comparison::new(run.model, phase.corpus, &arms, &pairs, &options)?;
    let mut first_pair = 0;
    let mut at = Vec::new();
    for &job in jobs {
        at.push(first_pair..first_pair + phase.jobs[job].pairs.len());
        first_pair += phase.jobs[job].pairs.len();
    }
    for (&job, at) in jobs.iter().zip(&at) {
        let footprint = comparison.result().arms[pairs[at.start].candidate].clone();
        run.check_footprint(&phase.jobs[job].name, &footprint);
    }
    let outcomes = |comparison: &Comparison<'_>, results: &mut Results| {
        for (&job, at) in jobs.iter().zip(&at) {
            let result = comparison.result();
            let outcome = Outcome {
                job,
                footprint: result.arms[pairs[at.start].candidate].clone(),
                pairs: result.pairs[at.clone()].to_vec(),
            };
            put(results, &outcome);
        }
    };

    // the base has no divergence to show
    let shown: Vec<(&str, usize)> = jobs
        .iter()
        .zip(&at)
        .filter(|(_, at)| pairs[at.start].base != pairs[at.start].candidate)
        .map(|(&job, at)| (phase.jobs[job].name.as_str(), at.start))
        .collect();
    let names: Vec<&str> = shown.iter().map(|(name, _)| *name).collect();
    let total = phase.corpus.chunks().len();
    let mut progress = Progress::new(phase.title.clone(), total);
    let text = !run.sink.json();
    if text {
        progress.println(&print::running_header(&phase.title, &names));
    }
    let mut done = 0;
    let complete = loop {
        match comparison.step() {
            Ok(true) => {}
            Ok(false) => break true,
            Err(Error::Cancelled) => break false,
            Err(error) => return Err(error.into()),
        }
        done += 1;
        if text {
            let heads: Vec<&Divergence> = shown.iter().map(|(_, at)| &comparison.result().pairs[*at]).collect();
            progress.println(&print::running_pairs(done, &heads));
        }
        progress.at(done);
        run.keep(|sofar| {
            let mut results = sofar.clone();
            outcomes(&comparison, &mut results);
            results
        })?;
    };
    drop(progress);
    if done > 0 {
        outcomes(&comparison, &mut run.record.results);
    }
    Ok(complete)
}
