//! `bench serve` against a server whose answers are written here: what it counts is what happened.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use llama_turboquant::CancelToken;
use llama_turboquant_cli::load::api::Sampling;
use llama_turboquant_cli::load::drive::lock;
use llama_turboquant_cli::load::report::Report;
use llama_turboquant_cli::load::tally::Tally;
use llama_turboquant_cli::load::{Api, Client, Drive, Loop, Plan, Target};

use crate::serve::backend::{BackendError, Event, Finish, Progress};
use crate::serve::{AppState, Settings, bind, serve};
use crate::support::{Scripted, Step, done, greeting, started};

/// A load of `requests` requests by 4 clients, one after the other, on the seed 1.
fn load(requests: u64) -> Drive {
    Drive {
        plan: Plan {
            seed: 1,
            mix: "4x16:3,20x16".parse().unwrap(),
            leaving: 0.0,
        },
        pace: Loop::Closed,
        clients: 4,
        duration: None,
        requests: Some(requests),
        retries: 0,
        cancel: CancelToken::new(),
    }
}

async fn listening(backend: Scripted) -> (Arc<Scripted>, SocketAddr) {
    let backend = Arc::new(backend);
    let listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let state = AppState::new(backend.clone(), Settings::default());
    tokio::spawn(serve(listener, state, std::future::pending()));
    (backend, addr)
}

fn client(addr: SocketAddr, api: Api) -> Client {
    Client::new(Target {
        base: format!("http://{addr}"),
        api,
        model: "tiny".into(),
        key: None,
        timeout: Duration::from_secs(10),
        sampling: Sampling {
            temperature: 0.0,
            ignore_eos: true,
            reuse: true,
        },
    })
}

async fn run_with(drive: &Drive, backend: Scripted, api: Api) -> (Arc<Scripted>, Report) {
    let (backend, addr) = listening(backend).await;
    let tally = Arc::new(Mutex::new(Tally::new(&drive.plan.mix, drive.clients, 0, 1)));
    drive.run(&client(addr, api), &tally).await;
    let report = lock(&tally).report(drive.pace != Loop::Closed);
    (backend, report)
}

async fn run(drive: &Drive, backend: Scripted) -> (Arc<Scripted>, Report) {
    run_with(drive, backend, Api::Openai).await
}

/// An answer of `pieces` pieces, with a pause before each.
fn slowly(pieces: usize, pause: Duration) -> Vec<Step> {
    let text = (0..pieces).flat_map(|_| [Step::Sleep(pause), Event::text("a").into()]);
    let script = std::iter::once(started().into()).chain(text);
    script.chain([done(Finish::Stop).into()]).collect()
}

fn near(value: Option<f64>, expected: f64) -> bool {
    value.is_some_and(|value| (value / expected - 1.0).abs() < 1e-9)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_counted_in_both_apis_with_the_tokens_the_server_tells() {
    for api in [Api::Openai, Api::Ollama] {
        let (backend, report) = run_with(&load(40), Scripted::answering(greeting()), api).await;
        assert_eq!(backend.started(), 40, "{api:?}");
        let requests = report.requests;
        assert_eq!((requests.sent, requests.answered), (40, 40), "{report:?}");
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        assert_eq!(report.latency.ttft_ms.n, 40);
        assert_eq!(report.latency.gap_ms.n, 40, "two pieces each have one gap");
        // 9 and 3 tokens, as the script says
        let written = report.throughput.answer_tokens * report.seconds;
        assert!(near(Some(written), 120.0), "{api:?}: {written}");
        let read = report.throughput.prompt_tokens.map(|rate| rate * report.seconds);
        assert!(near(read, 360.0), "{api:?}: {read:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_seed_sends_the_same_requests() {
    let mut sent = Vec::new();
    for seed in [1, 1, 2] {
        let mut drive = load(60);
        drive.clients = 1;
        drive.plan.seed = seed;
        let (backend, _) = run(&drive, Scripted::answering(greeting())).await;
        let chats = backend.chats();
        assert_eq!(chats.len(), 60);
        sent.push(chats.iter().map(|job| format!("{job:?}")).collect::<Vec<_>>());
    }
    assert_eq!(sent[0], sent[1]);
    assert_ne!(sent[0], sent[2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_leave_are_counted_by_where_they_left_and_leave_nothing_behind() {
    let mut drive = load(60);
    drive.plan.leaving = 1.0;
    let (backend, report) = run(&drive, Scripted::playing([slowly(20, Duration::from_millis(2))])).await;
    assert_eq!(report.requests.left, 60, "{report:?}");
    let left = report.left;
    assert_eq!(left.waiting + left.prefill + left.decode, 60);
    // one of three leaves in the answer by plan, and of the others those do that the first token comes to before
    let planned = (0..4).flat_map(|client| (0..15).map(move |number| (client, number)));
    let in_answer = planned.filter(|&(client, number)| {
        use llama_turboquant_cli::load::plan::Leave;
        matches!(drive.plan.request(client, number).leave, Some(Leave::Decode(_)))
    });
    assert!(left.decode > 0 && in_answer.count() > 0, "{left:?}");
    backend.all_cancelled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_in_the_prompt_does_so_with_its_first_progress() {
    use llama_turboquant_cli::load::outcome::{Ending, Stage};
    use llama_turboquant_cli::load::plan::Leave;
    let progress = Event::Progress(Progress {
        total: 9,
        cached: 0,
        processed: 4,
        time_ms: 1.0,
    });
    let script = vec![started().into(), progress.into(), Step::Hang];
    let (backend, addr) = listening(Scripted::playing([script])).await;
    let mut request = load(1).plan.request(0, 0);
    request.leave = Some(Leave::Prefill);
    let exchange = client(addr, Api::Openai).ask(&request, None, false).await;
    assert_eq!(exchange.ending, Ending::Left(Stage::Prefill));
    backend.all_cancelled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_others_overtake_is_seen() {
    let mut drive = load(20);
    drive.clients = 2;
    // the first job waits for all others
    let scripts = [
        slowly(1, Duration::from_millis(600)),
        slowly(1, Duration::from_millis(1)),
    ];
    let (_, report) = run(&drive, Scripted::playing(scripts)).await;
    let overtaken = &report.fairness.overtaken;
    assert!(
        (overtaken.n, overtaken.any) == (20, 1) && overtaken.most >= 17,
        "{overtaken:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_a_refusal_that_is_obeyed_when_asked_to() {
    for (retries, count) in [(0, 4), (1, 8)] {
        let mut drive = load(4);
        drive.retries = retries;
        let error = BackendError::Overloaded {
            retry_after: Duration::from_millis(10),
        };
        let start = std::time::Instant::now();
        let (_, report) = run(&drive, Scripted::refusing(error)).await;
        let refusals = report.refusals;
        assert_eq!((report.requests.refused, report.requests.failed), (4, 0));
        assert_eq!(
            (refusals.count, refusals.with_retry_after),
            (count, count),
            "{report:?}"
        );
        assert_eq!(refusals.retries, count - 4);
        assert_eq!((report.problems[0].status, report.problems[0].count), (Some(429), 4));
        assert!(
            retries == 0 || start.elapsed() >= Duration::from_secs(1),
            "Retry-After is in whole seconds"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_within_an_answer_is_a_failure() {
    let script = [
        started(),
        Event::text("Hel"),
        Event::Failed(BackendError::invalid("broken")),
    ];
    let (_, report) = run(&load(4), Scripted::answering(script)).await;
    assert_eq!((report.requests.answered, report.requests.failed), (0, 4));
    let problem = &report.problems[0];
    assert_eq!((problem.status, problem.count, problem.refusal), (Some(200), 4, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_a_failure_of_the_connection() {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let drive = load(4);
    let tally = Arc::new(Mutex::new(Tally::new(&drive.plan.mix, 4, 0, 1)));
    drive.run(&client(addr, Api::Openai), &tally).await;
    let report = lock(&tally).report(false);
    let problem = &report.problems[0];
    assert_eq!(
        (problem.status, problem.code.as_str(), problem.count),
        (None, "connection", 4)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_loop_counts_the_time_that_a_slow_server_keeps_requests_from_being_sent() {
    let mut drive = load(10);
    drive.clients = 1;
    drive.pace = Loop::Open(1000.0);
    let last = drive.plan.arrivals(1000.0).nth(9).unwrap();
    let (_, report) = run(&drive, Scripted::playing([slowly(1, Duration::from_millis(40))])).await;
    assert_eq!(report.requests.answered, 10);
    // ten, one after the other, of at least 40 ms each; the last was due at `last`
    let least = 400.0 - last.as_secs_f64() * 1e3;
    let longest = report.latency.ttft_ms.max.unwrap();
    assert!(longest >= least * 0.998, "{longest} ms, at least {least} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interruption_ends_it_at_once_and_what_was_is_reported() {
    let mut drive = load(1000);
    let cancel = CancelToken::new();
    drive.cancel = cancel.clone();
    let stop = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        cancel.cancel();
    });
    let script: Vec<Step> = vec![started().into(), Step::Hang];
    let (backend, report) = run(&drive, Scripted::playing([script])).await;
    stop.await.unwrap();
    assert_eq!((report.requests.sent, report.requests.cut), (4, 4));
    backend.all_cancelled().await;
}
