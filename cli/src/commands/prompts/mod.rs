//! `turboquant prompts`: what people ask of a model, asked of every cache.

pub mod endpoint;
mod show;

use crate::args::prompts::{BuiltIn, PromptsArgs};
use crate::console;
use crate::interrupt::{Interrupt, exit_code};
use crate::measuring::caches::unique;
use crate::measuring::data;
use crate::measuring::progress::Progress;
use crate::measuring::record::{ModelFacts, Record, SCHEMA, Sink};
use crate::settings::EngineSettings;
use anyhow::{Context as _, Result, bail};
use endpoint::Endpoint;
use llama_turboquant::measure::Options;
use llama_turboquant::measure::prompts::{
    EstimatedSizer, NamedCache, Outcomes, Place, Plan, PromptSet, RunOptions, Summary, ask_all, run as ask_caches,
};
use llama_turboquant::{CancelToken, Error};
use serde::Serialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::process::ExitCode;

const PRACTICAL: &str = include_str!("../../../../benchmarks/test_prompts.json");
const TINY: &str = include_str!("../../../../benchmarks/tiny_prompts.json");

/// The results of a record.
#[derive(Debug, Clone, Serialize)]
struct Results {
    #[serde(flatten)]
    outcomes: Outcomes,
    summaries: Vec<SummaryRow>,
}

#[derive(Debug, Clone, Serialize)]
struct SummaryRow {
    #[serde(flatten)]
    summary: Summary,
    /// Null: nothing was decidable.
    passes: Option<bool>,
}

impl Results {
    fn of(outcomes: &Outcomes) -> Self {
        let row = |summary: Summary| SummaryRow {
            passes: summary.passes(),
            summary,
        };
        Self {
            outcomes: outcomes.clone(),
            summaries: outcomes.summaries().into_iter().map(row).collect(),
        }
    }
}

/// Asks the prompts and compares the answers.
///
/// # Errors
/// Bad settings or prompts, a model that does not load, a server that does not answer.
pub fn run(args: &PromptsArgs) -> Result<ExitCode> {
    let chosen = choose(args)?;
    if args.list {
        if args.output.json {
            println!("{:#}", serde_json::to_value(&chosen.set)?);
        } else {
            println!("{}", show::list(&chosen.set));
        }
        return Ok(ExitCode::SUCCESS);
    }
    for id in args.show.iter().filter(|id| *id != "all") {
        if chosen.set.get(id).is_none() {
            chosen.set.clone().only(std::slice::from_ref(id)).context("--show")?;
        }
    }
    if args.ubatch_size == 0 {
        bail!("--ubatch-size must be at least 1");
    }
    let reference = args.against.as_deref().map(read_record).transpose()?;
    let sink = Sink::open(&args.output)?;
    if args.url.is_empty() {
        here(args, &chosen, reference, &sink)
    } else {
        elsewhere(args, &chosen, reference, &sink)
    }
}

/// The prompts that are asked.
struct Chosen {
    set: PromptSet,
    name: String,
}

/// A set that comes with the program, and its name.
///
/// # Errors
/// None: the sets are tested.
pub fn built_in(set: BuiltIn) -> Result<(PromptSet, &'static str)> {
    let (text, name) = match set {
        BuiltIn::Practical => (Cow::Borrowed(PRACTICAL), "test_prompts.json"),
        BuiltIn::Tiny => (Cow::Borrowed(TINY), "tiny_prompts.json"),
        BuiltIn::Tools => (Cow::Owned(tool_prompts()?.to_string()), "tools.jsonl"),
    };
    Ok((PromptSet::from_json(&text).context(name)?, name))
}

/// The requests of tools.jsonl as prompts: the expected call with its arguments, or none.
fn tool_prompts() -> Result<Value> {
    let prompt = |line: &str| -> Result<Value> {
        let mut row: Value = serde_json::from_str(line).context("tools.jsonl")?;
        let checker = match row["expected"].take() {
            Value::Null => json!({"no_tool_call": true}),
            call => {
                let names: Vec<&String> = call["arguments"]
                    .as_object()
                    .map(|map| map.keys().collect())
                    .unwrap_or_default();
                json!({"tool_call": {"name": call["name"], "required": names, "arguments": call["arguments"]}})
            }
        };
        Ok(json!({
            "id": format!("tool_{}", row["id"]), "category": format!("tools, {}", row["kind"].as_str().unwrap_or("unknown")),
            "messages": row["messages"], "tools": row["tools"], "checker": checker, "max_tokens": 120,
        }))
    };
    data::TOOLS
        .lines()
        .map(prompt)
        .collect::<Result<Vec<Value>>>()
        .map(Value::Array)
}

fn choose(args: &PromptsArgs) -> Result<Chosen> {
    let embedded = args.engine.model.is_none() && args.url.is_empty();
    let built_in = args
        .set
        .unwrap_or(if embedded { BuiltIn::Tiny } else { BuiltIn::Practical });
    let file = args.prompts.as_deref();
    let (set, name) = match file {
        Some(_) => {
            let name = data::name(file, "");
            let set = PromptSet::from_json(&data::text(file, "")?).with_context(|| name.clone())?;
            (set, name)
        }
        None => {
            let (set, name) = self::built_in(built_in)?;
            (set, data::name(None, name))
        }
    };
    if embedded && args.set.is_none() && file.is_none() && !args.list {
        console::say!(
            "Asking the {} prompts the embedded model was trained for (--set tiny). The practical ones are for real models: \
             turboquant prompts -m MODEL.gguf; here they are asked with --set practical, but this model cannot do them.",
            set.prompts.len()
        );
    }
    let set = if args.only.is_empty() {
        set
    } else {
        set.only(&args.only).context("--only")?
    };
    Ok(Chosen { set, name })
}

fn read_record(path: &std::path::Path) -> Result<Outcomes> {
    let of = || format!("--against {}", path.display());
    let text = std::fs::read_to_string(path).with_context(of)?;
    let mut record: Value = serde_json::from_str(&text).with_context(of)?;
    if record["schema"] != SCHEMA || record["kind"] != "prompts" {
        bail!("{}: not a record of `turboquant prompts --out` ({SCHEMA})", of());
    }
    let outcomes: Outcomes = serde_json::from_value(record["results"].take()).with_context(of)?;
    if outcomes.caches.is_empty() {
        bail!("{}: the record has no answers", of());
    }
    Ok(outcomes)
}

fn settings(args: &PromptsArgs, chosen: &Chosen, caches: &[String]) -> Value {
    json!({
        "prompts": chosen.name, "n_prompts": chosen.set.prompts.len(), "caches": caches, "seed": args.seed,
        "n_ctx": (args.ctx_size > 0).then_some(args.ctx_size), "think": args.think, "temperature": 0,
        "against": args.against.as_deref().map(|path| data::name(Some(path), "")),
    })
}

/// The caches of a model in this process.
fn here(args: &PromptsArgs, chosen: &Chosen, reference: Option<Outcomes>, sink: &Sink) -> Result<ExitCode> {
    let engine = EngineSettings::new(&args.engine);
    let caches: Vec<NamedCache> = unique(args.kv.clone())
        .into_iter()
        .map(|spec| NamedCache {
            name: spec.to_string(),
            kv: engine.cache(spec.config()),
        })
        .collect();
    let cancel = Interrupt::install()?.token();
    let model = engine.load(&cancel)?;
    for cache in &caches {
        // found now, not after the caches before it were asked
        cache
            .kv
            .resolve(model.meta())
            .with_context(|| format!("--kv {}", cache.name))?;
    }
    let names: Vec<String> = caches.iter().map(|cache| cache.name.clone()).collect();
    let facts = ModelFacts::of(&model, &engine);
    let mut record = Record::new(
        "prompts",
        facts,
        settings(args, chosen, &names),
        Results::of(&Outcomes::default()),
    )?;
    if !model.meta().chat_template {
        record.warnings.push(
            "the model has no chat template: prompts are continued as plain text, which models seldom answer".into(),
        );
    }
    let options = RunOptions {
        seed: args.seed,
        n_ctx: args.ctx_size,
        think: args.think,
        reference,
        ..RunOptions::new(
            Options::default()
                .threads(engine.threads)
                .batch(args.ubatch_size)
                .cancel(cancel.clone()),
        )
    };
    let mut bar = Progress::new("prompts", chosen.set.prompts.len() * caches.len());
    let mut kept = Ok(());
    let outcomes = ask_caches(&model, &chosen.set, &caches, &options, |progress, outcomes| {
        bar.at(progress.done);
        record.results = Results::of(outcomes);
        kept = sink.keep(&record);
        if kept.is_err() {
            cancel.cancel();
        }
    });
    drop(bar);
    kept?;
    finish(args, chosen, outcomes?, record, sink)
}

/// Servers with an OpenAI API.
fn elsewhere(args: &PromptsArgs, chosen: &Chosen, reference: Option<Outcomes>, sink: &Sink) -> Result<ExitCode> {
    if args.url.len() > 2 {
        bail!("--url is given {} times; two servers can be compared", args.url.len());
    }
    let mut urls = args.url.clone();
    if urls.len() == 1 && reference.is_none() {
        urls.push(urls[0].clone());
    }
    let cancel = Interrupt::install()?.token();
    let mut endpoints = Vec::new();
    for url in &urls {
        endpoints.push(Endpoint::connect(url, args, &cancel)?);
    }
    let mut names: Vec<String> = urls.iter().map(|url| url.trim_end_matches('/').to_owned()).collect();
    if let [a, b] = &mut names[..]
        && a == b
    {
        *b += " (again)";
    }
    let limit = (args.ctx_size > 0).then_some(args.ctx_size as usize);
    let plan = Plan::new(&chosen.set, limit, &EstimatedSizer)?;
    let mut outcomes = plan.outcomes(&chosen.set, names.clone());
    if let Some(reference) = &reference {
        outcomes.refer_to(reference);
    }
    let facts = json!({
        "file": endpoints[0].model_name(), "description": "behind an OpenAI API", "size": null, "n_params": null,
        "n_kv_layers": null, "n_ctx_train": null,
    });
    let results = Results::of(&outcomes);
    let mut record = Record::new("prompts", facts, settings(args, chosen, &names), results)?;
    if chosen.set.prompts.iter().any(|prompt| prompt.generated.is_some()) {
        record.warnings.push(
            "the server's tokenizer is not known: generated texts are sized at four characters a token; `n_prompt` is the \
             server's own count"
                .into(),
        );
    }
    let mut bar = Progress::new("prompts", chosen.set.prompts.len() * endpoints.len());
    for (number, (endpoint, name)) in endpoints.iter_mut().zip(&names).enumerate() {
        let place = Place {
            number,
            of: names.len(),
        };
        let mut kept = Ok(());
        let asked = ask_all(
            &chosen.set,
            &plan,
            name,
            place,
            endpoint,
            &mut outcomes,
            |progress, outcomes| {
                bar.at(progress.done);
                record.results = Results::of(outcomes);
                kept = sink.keep(&record);
                if kept.is_err() {
                    cancel.cancel();
                }
            },
        );
        kept?;
        match asked {
            Err(error) if matches!(error.downcast_ref(), Some(Error::Cancelled)) => break,
            other => other?,
        }
    }
    drop(bar);
    finish(args, chosen, outcomes, record, sink)
}

fn finish<M: Serialize>(
    args: &PromptsArgs,
    chosen: &Chosen,
    outcomes: Outcomes,
    mut record: Record<Results, M>,
    sink: &Sink,
) -> Result<ExitCode> {
    let all = outcomes.caches.len();
    record.complete = outcomes.prompts.iter().all(|prompt| prompt.answers.len() == all);
    record.warnings.extend(show::shortened(&outcomes));
    record.results = Results::of(&outcomes);
    if !sink.json() {
        println!("{}", show::results(&outcomes, &args.show, &chosen.name));
    }
    sink.finish(&record)?;
    if !record.complete {
        console::say!("interrupted: what was asked until then is shown");
    }
    Ok(exit_code(record.complete))
}

/// Whether `cancel` was pressed, as an error.
fn check_cancelled(cancel: &CancelToken) -> Result<()> {
    if cancel.is_cancelled() {
        return Err(Error::Cancelled.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_prompts_are_valid_and_complete() {
        let practical = PromptSet::from_json(PRACTICAL).unwrap();
        assert_eq!(practical.prompts.len(), 11);
        assert_eq!(practical.prompts.last().unwrap().id, "tool_call_format");
        let mut categories: Vec<&str> = practical
            .prompts
            .iter()
            .map(|prompt| prompt.category.as_str())
            .collect();
        categories.sort_unstable();
        categories.dedup();
        assert_eq!(categories.len(), 11, "one prompt of each category");
        let sizes = |id: &str| practical.get(id).unwrap().generated.as_ref().unwrap().tokens;
        assert_eq!((sizes("long_summary"), sizes("early_recall")), (20_000, 8_000));
        assert_eq!(practical.get("technical_qa").unwrap().turns.len(), 10);
        assert!(PromptSet::from_json(TINY).unwrap().prompts.len() >= 20);
        assert!(TINY.len() <= 60_000);
    }

    #[test]
    fn the_requests_with_tools_are_prompts_with_their_expected_calls() {
        let (set, _) = built_in(BuiltIn::Tools).unwrap();
        assert_eq!(set.prompts.len(), 120);
        let fitting = set
            .prompts
            .iter()
            .filter(|prompt| prompt.category != "tools, none")
            .count();
        assert_eq!(fitting, 90);
        assert!(
            set.prompts
                .iter()
                .all(|prompt| prompt.checker.is_some() && !prompt.tools.is_empty())
        );
    }
}
