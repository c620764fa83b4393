//! `turboquant bench serve`: a server under many clients.

mod own;
mod settings;
mod show;

use crate::args::bench_serve::BenchServeArgs;
use crate::console;
use crate::interrupt::{Interrupt, exit_code};
use crate::load::drive::lock;
use crate::load::tally::Tally;
use crate::load::verify::{Verified, verify};
use crate::load::watch::{Growth, Resident, Slots, slots};
use crate::load::{Client, Drive, Loop, Report};
use crate::measuring::progress::Progress;
use crate::measuring::record::{Record, Sink};
use anyhow::{Context, Result};
use llama_turboquant::measure::NoiseMeter;
use llama_turboquant::{CancelToken, memory};
use own::Own;
use serde::Serialize;
use serde_json::{Value, json};
use settings::Settings;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Between two looks at how far it is.
const TICK: Duration = Duration::from_millis(250);
/// Between two writings of the record.
const KEEP: Duration = Duration::from_secs(10);

/// What is told of the load.
#[derive(Debug, Serialize)]
struct Results {
    #[serde(flatten)]
    load: Report,
    /// The server's memory; null where it is not on this machine.
    resident: Option<Memory>,
    /// Its slots afterwards; null where it does not list them.
    slots: Option<Slots>,
    /// Answers compared with those alone; null: not asked for.
    verify: Option<Verified>,
}

/// The server's memory.
#[derive(Debug, Serialize)]
struct Memory {
    /// Whether the clients are in the same process.
    with_clients: bool,
    growth: Option<Growth>,
    samples: Vec<(f64, u64)>,
}

/// Loads a server, and prints what it did. Exit code 130 if it was interrupted.
///
/// # Errors
/// Settings out of range, a server that does not answer, a model that cannot be loaded, a record that cannot be written.
pub fn run(args: &BenchServeArgs) -> Result<ExitCode> {
    let settings = Settings::new(args)?;
    let sink = Sink::open(&args.output)?;
    let cancel = Interrupt::install()?.token();
    if args.url.is_none() {
        memory::prepare_heap_to_last(); // as `serve` does
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the clients' threads")?;
    let own = match &args.url {
        None => Some(Own::start(args, &runtime, &cancel)?),
        Some(_) => None,
    };
    let mut client = Client::new(settings.target(own.as_ref().map(Own::url))?);
    let found = runtime.block_on(client.find_model());
    let outcome = found.and_then(|()| {
        let model = own.as_ref().map_or_else(|| elsewhere(&client), |own| own.facts.clone());
        let pid = own.as_ref().map(|_| std::process::id()).or(args.server_pid);
        let tally = settings.tally();
        let mut load = Load {
            drive: settings.drive(&cancel),
            record: Record::new("load", model, &settings, Results::of(tally.report(false)))?,
            tally: Arc::new(Mutex::new(tally)),
            client,
            sink,
            pid,
            own: own.is_some(),
            verify: args.verify > 0,
        };
        runtime.block_on(load.measure())?;
        load.tell()
    });
    if let Some(own) = own {
        own.stop(&runtime);
    }
    outcome
}

/// What is known of a model that is served elsewhere.
fn elsewhere(client: &Client) -> Value {
    json!({
        "file": client.target().model, "description": client.target().base, "size": null, "n_params": null, "n_kv_layers": null,
        "n_ctx_train": null,
    })
}

/// A measurement.
struct Load {
    drive: Drive,
    client: Client,
    tally: Arc<Mutex<Tally>>,
    record: Record<Results, Value>,
    sink: Sink,
    /// The server's process, if it is on this machine.
    pid: Option<u32>,
    /// It is this one.
    own: bool,
    verify: bool,
}

impl Load {
    async fn measure(&mut self) -> Result<()> {
        let meter = NoiseMeter::start();
        let over = CancelToken::new();
        let memory = self.pid.map(|pid| {
            let over = over.clone();
            tokio::spawn(async move { Resident::watch(pid, &over).await })
        });
        let watched = self.watch().await;
        over.cancel();
        let open = matches!(self.drive.pace, Loop::Open(_));
        self.record.results = Results::of(lock(&self.tally).report(open));
        self.record.results.slots = slots(&self.client).await;
        if let Some(memory) = memory {
            let resident = memory.await.context("the look at the server's memory failed")?;
            self.record.results.resident = Some(Memory {
                with_clients: self.own,
                growth: resident.growth(),
                samples: resident.samples,
            });
        }
        self.record.heard(meter.finish());
        watched?;
        self.record.complete = !self.drive.cancel.is_cancelled();
        if self.verify && self.record.complete {
            let sample = lock(&self.tally).take_sample();
            let mut progress = Progress::new("the same requests alone", sample.len());
            let asked = sample.len();
            let verified = verify(&self.client, sample, &self.drive.cancel, |done| progress.at(done)).await;
            self.record.complete = verified.compared + verified.unanswered == asked;
            self.record.results.verify = Some(verified);
        }
        Ok(())
    }

    /// Lets it run, and tells how far it is.
    async fn watch(&mut self) -> Result<()> {
        let (drive, client, tally) = (self.drive.clone(), self.client.clone(), Arc::clone(&self.tally));
        let mut running = tokio::spawn(async move { drive.run(&client, &tally).await });
        let open = matches!(self.drive.pace, Loop::Open(_));
        // requests where their number is the end, seconds where time is
        let (total, by_time) = match (self.drive.requests, self.drive.duration) {
            (Some(requests), None) => (requests as usize, false),
            (_, duration) => (duration.unwrap_or_default().as_secs() as usize, true),
        };
        let mut progress = Progress::new("load", total);
        let (start, mut kept) = (Instant::now(), Instant::now());
        loop {
            match tokio::time::timeout(TICK, &mut running).await {
                Ok(ended) => return ended.context("the clients failed"),
                Err(_still) => {}
            }
            let (ended, (answered, refused, failed)) = {
                let tally = lock(&self.tally);
                (tally.ended(), tally.so_far())
            };
            progress.say(format!(
                "load: {answered} answered, {refused} refused, {failed} failed;"
            ));
            let seconds = start.elapsed().as_secs() as usize;
            progress.at((if by_time { seconds } else { ended as usize }).min(total));
            if kept.elapsed() >= KEEP {
                kept = Instant::now();
                self.record.results = Results::of(lock(&self.tally).report(open));
                self.sink.keep(&self.record)?;
            }
        }
    }

    fn tell(self) -> Result<ExitCode> {
        if !self.sink.json() {
            print!("{}", show::text(&self.record.results));
        }
        self.sink.finish(&self.record)?;
        if !self.record.complete {
            console::say!(
                "interrupted: the report is of the {} requests until then",
                self.record.results.load.requests.sent
            );
        }
        Ok(exit_code(self.record.complete))
    }
}

impl Results {
    fn of(load: Report) -> Self {
        Self {
            load,
            resident: None,
            slots: None,
            verify: None,
        }
    }
}
