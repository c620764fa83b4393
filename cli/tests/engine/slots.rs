//! Slots over the real engine and the embedded model, as llama-server's clients use them.

use crate::served;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use clap::Parser;
use http_body_util::BodyExt;
use llama_turboquant_cli::args::{Args, Command};
use llama_turboquant_cli::commands::serve::backend::Backend;
use llama_turboquant_cli::commands::serve::engine::{Engine, SlotSettings, is_plain};
use llama_turboquant_cli::commands::serve::{AppState, Settings, app};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tower::ServiceExt;

/// The embedded model behind a router.
struct Server {
    router: axum::Router,
    engine: Arc<Engine>,
}

impl Server {
    fn new(options: &[&str]) -> Self {
        let engine = served::engine(&[&["-c", "4096"], options].concat());
        let router = app(AppState::new(engine.clone(), Settings::default()));
        Self { router, engine }
    }

    async fn open(&self, path: &str, body: Value) -> axum::response::Response {
        let request = Request::post(path).body(Body::from(body.to_string())).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, String) {
        let response = self.open(path, body).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    async fn json(&self, path: &str, body: Value) -> (StatusCode, Value) {
        let (status, body) = self.post(path, body).await;
        (status, serde_json::from_str(&body).unwrap())
    }

    /// The engine's thread notes that a job has ended just after it has told the client.
    async fn idle(&self) {
        let start = Instant::now();
        while self.engine.running()[0].slots.iter().any(|slot| slot.busy) {
            assert!(start.elapsed() < Duration::from_secs(1), "a slot is still busy");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The greedy answer to a long question.
    async fn ask(&self) -> Value {
        let text = "The code is 8634. ".repeat(30) + "What is the code?";
        let body = json!({"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 12});
        let (status, answer) = self.json("/v1/chat/completions", body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        self.idle().await;
        answer
    }
}

fn content(answer: &Value) -> &Value {
    &answer["choices"][0]["message"]["content"]
}

fn cached(answer: &Value) -> u64 {
    answer["usage"]["prompt_tokens_details"]["cached_tokens"]
        .as_u64()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_is_saved_and_restored_into_another_server_which_goes_on_there() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["--slot-save-path", folder.path().to_str().unwrap(), "--parallel", "2"];
    let server = Server::new(&options);
    let first = server.ask().await;
    let (status, saved) = server
        .json("/slots/0?action=save", json!({"filename": "conversation.bin"}))
        .await;
    assert_eq!(status, StatusCode::OK, "{saved}");
    assert_eq!(
        (&saved["id_slot"], &saved["filename"]),
        (&json!(0), &json!("conversation.bin"))
    );
    let written = std::fs::metadata(folder.path().join("conversation.bin")).unwrap().len();
    assert_eq!(saved["n_written"], written);
    assert!(saved["n_saved"].as_u64().unwrap() > 100 && saved["timings"]["save_ms"].as_f64().unwrap() > 0.0);

    let server = Server::new(&options);
    let (status, restored) = server
        .json("/slots/1?action=restore", json!({"filename": "conversation.bin"}))
        .await;
    assert_eq!(status, StatusCode::OK, "{restored}");
    assert_eq!(
        (&restored["id_slot"], &restored["n_restored"]),
        (&json!(1), &saved["n_saved"])
    );
    assert_eq!(restored["n_read"], written);
    assert!(restored["timings"]["restore_ms"].as_f64().unwrap() > 0.0);
    let running = &server.engine.running()[0];
    assert_eq!(Some(u64::from(running.kv_cells_used)), saved["n_saved"].as_u64());
    let again = server.ask().await;
    assert!(cached(&again) > 100, "{again}");
    assert_eq!(content(&again), content(&first));

    let (status, erased) = server.json("/slots/1?action=erase", json!({})).await;
    assert_eq!(status, StatusCode::OK, "{erased}");
    assert!(erased["n_erased"].as_u64().unwrap() > 100);
    assert_eq!(server.engine.running()[0].kv_cells_used, 0);
    assert_eq!(cached(&server.ask().await), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_another_cache_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let with = |ty| {
        Server::new(&[
            "--slot-save-path",
            folder.path().to_str().unwrap(),
            "--parallel",
            "1",
            "--cache-type-k",
            ty,
        ])
    };
    let server = with("turbo4");
    server.ask().await;
    let name = json!({"filename": "a"});
    assert_eq!(
        server.post("/slots/0?action=save", name.clone()).await.0,
        StatusCode::OK
    );
    let (status, body) = with("turbo3").json("/slots/0?action=restore", name).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let message = body["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("KV types") && message.contains("turbo4/") && message.contains("turbo3/"),
        "{message}"
    );
    assert!(!message.contains(folder.path().to_str().unwrap()), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_with_a_slot_is_the_callers_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(&["--slot-save-path", folder.path().to_str().unwrap(), "--parallel", "1"]);
    let good = json!({"filename": "a"});
    for (path, body, param) in [
        ("/slots/0?action=save", json!({"filename": "../a"}), "filename"),
        ("/slots/0?action=save", json!({}), "filename"),
        ("/slots/0?action=save", json!({"filename": 5}), "filename"),
        ("/slots/0?action=restore", json!({"filename": "missing"}), "filename"),
        ("/slots/7?action=erase", json!({}), "id_slot"),
        ("/slots/-1?action=erase", json!({}), "id_slot"),
        ("/slots/x?action=erase", json!({}), "id_slot"),
        ("/slots/0?action=copy", good.clone(), "action"),
        ("/slots/0", good.clone(), "action"),
    ] {
        let (status, answer) = server.json(path, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {answer}");
        assert_eq!(answer["error"]["param"], param, "{path}: {answer}");
    }

    let long = json!({"prompt": "The fox", "ignore_eos": true, "stream": true, "temperature": 1, "seed": 1});
    let mut stream = server.open("/v1/completions", long).await.into_body();
    stream.frame().await.unwrap().unwrap();
    let (status, answer) = server.json("/slots/0?action=save", good).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        answer["error"]["message"].as_str().unwrap().contains("busy"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_folder_slots_are_not_saved_but_erased() {
    let server = Server::new(&["--parallel", "1"]);
    for action in ["save", "restore"] {
        let path = format!("/slots/0?action={action}");
        let (status, answer) = server.json(&path, json!({"filename": "a"})).await;
        assert_eq!(status, StatusCode::NOT_IMPLEMENTED);
        assert_eq!(answer["error"]["type"], "not_supported_error");
        assert!(
            answer["error"]["message"]
                .as_str()
                .unwrap()
                .contains("--slot-save-path"),
            "{answer}"
        );
    }
    let (status, answer) = server.json("/slots/0?action=erase", json!({})).await;
    assert_eq!((status, &answer["n_erased"]), (StatusCode::OK, &json!(0)));
}

#[test]
fn file_names_from_requests_stay_in_their_folder() {
    for name in ["a", "slot_0.bin", "My slot-1+2.tqs", "größe.bin"] {
        assert!(is_plain(name), "{name}");
    }
    let long = "a".repeat(129);
    for name in [
        "",
        ".",
        "..",
        "../a",
        "a/b",
        "a\\b",
        "/etc/passwd",
        "C:a",
        ".hidden",
        "a.",
        "a ",
        " a",
        "a\0",
        "a\nb",
        "con",
        "COM1.bin",
        "nul.txt",
        "a*",
        "a:b",
        "\u{202e}a",
        &long,
    ] {
        assert!(!is_plain(name), "{name:?}");
    }
}

#[test]
fn the_folder_must_exist_and_memory_for_prompts_is_in_mebibytes() {
    let settings = |options: &[&str]| {
        let line = [&["turboquant", "serve"], options].concat();
        let Command::Serve(args) = Args::parse_from(line).command else {
            unreachable!()
        };
        SlotSettings::new(&args.slots)
    };
    let error = settings(&["--slot-save-path", "/no/such/folder"]).unwrap_err();
    assert!(error.to_string().contains("/no/such/folder"), "{error}");
    for (given, bytes) in [("0", Some(0)), ("100", Some(100 << 20)), ("-1", None)] {
        assert_eq!(settings(&["--cache-ram", given]).unwrap().prompt_cache, bytes);
    }
    let default = settings(&[]).unwrap();
    assert!((1..=8192 << 20).contains(&default.prompt_cache.unwrap()));
    assert_eq!((default.checkpoints, default.checkpoint_min_step), (32, 8192));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_prompts_take_in_main_memory_is_told_with_its_limit() {
    let server = Server::new(&["--parallel", "1", "--cache-ram", "100"]);
    for word in ["alpha ", "omega "] {
        let body = json!({ "prompt": word.repeat(100), "max_tokens": 1 });
        assert_eq!(server.post("/v1/completions", body).await.0, StatusCode::OK);
        server.idle().await;
    }
    let get = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let body = server.router.clone().oneshot(request).await.unwrap().into_body();
        String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
    };
    let kept = server.engine.running()[0].prompt_cache;
    assert!(kept.entries == 1 && kept.bytes > 100 * 1024, "{kept:?}");
    let kept = json!({ "bytes": kept.bytes, "limit": 100 << 20, "prompts": 1, "tokens": kept.tokens });
    let props: Value = serde_json::from_str(&get("/props").await).unwrap();
    assert_eq!(props["kv"]["prompt_cache"], kept);
    let running: Value = serde_json::from_str(&get("/api/ps").await).unwrap();
    assert_eq!(running["models"][0]["kv"]["prompt_cache"], kept);
    let metrics = get("/metrics").await;
    for (name, value) in [("bytes", &kept["bytes"]), ("limit_bytes", &kept["limit"])] {
        let line = format!("turboquant_prompt_cache_{name}{{model=\"tiny\"}} {value}");
        assert!(metrics.lines().any(|found| found == line), "{line} is not in {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_progress_of_a_prompt_is_streamed_when_asked_for() {
    let server = Server::new(&["--parallel", "1", "--batch-size", "64", "--ubatch-size", "64"]);
    let text = "The code is 8634. ".repeat(30);
    let chat = json!({"messages": [{"role": "user", "content": text}], "max_tokens": 2, "stream": true, "return_progress": true});
    let native =
        json!({"prompt": text, "n_predict": 2, "stream": true, "return_progress": true, "cache_prompt": false});
    for (path, request) in [("/v1/chat/completions", chat), ("/completion", native)] {
        let (_, body) = server.post(path, request.clone()).await;
        let progress: Vec<Value> = body
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
            .filter_map(|event| event.get("prompt_progress").cloned())
            .collect();
        assert!(progress.len() > 2, "{path}: {body}");
        let number = |value: &Value, name: &str| value[name].as_f64().unwrap_or_else(|| panic!("{name} in {value}"));
        for pair in progress.windows(2) {
            assert!(number(&pair[1], "processed") > number(&pair[0], "processed"));
            assert!(number(&pair[1], "time_ms") >= number(&pair[0], "time_ms"));
        }
        let last = progress.last().unwrap();
        assert_eq!((&last["processed"], &last["cache"]), (&last["total"], &json!(0)));

        let mut request = request;
        request["return_progress"] = json!(false);
        assert!(!server.post(path, request).await.1.contains("prompt_progress"));
    }
}
