//! Models that clients pull, copy, create and delete, in Ollama's dialect.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use http_body_util::BodyExt;
use llama_turboquant_cli::embedded;
use llama_turboquant_cli::hub::{Hub, HubSettings, Patience};
use llama_turboquant_cli::store::{Catalog, Store};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

use crate::hub::stand_in::{Fault, MODEL, StandIn, sha256};
use crate::serve::{AppState, Settings, app};
use crate::support::{Scripted, Server};

/// A router over a folder and a stand-in hub.
struct Folder {
    dir: TempDir,
    hub: StandIn,
    store: Arc<Store>,
    router: Router,
}

struct Answer {
    status: u16,
    kind: String,
    frames: Vec<String>,
}

impl Answer {
    fn text(&self) -> String {
        self.frames.concat()
    }

    /// The lines of a stream, each of which came as one chunk.
    fn lines(&self) -> Vec<Value> {
        assert_eq!(
            (self.status, self.kind.as_str()),
            (200, "application/x-ndjson"),
            "{}",
            self.text()
        );
        let line = |frame: &String| serde_json::from_str(frame.strip_suffix('\n').expect("one line")).unwrap();
        self.frames.iter().map(line).collect()
    }

    #[track_caller]
    fn fails(&self, status: u16, says: &str) {
        assert_eq!(self.status, status, "{}", self.text());
        let body: Value = serde_json::from_str(&self.text()).unwrap();
        assert_eq!(body.as_object().unwrap().len(), 1);
        assert!(body["error"].as_str().unwrap().contains(says), "{body}");
    }

    #[track_caller]
    fn is_empty_ok(&self) {
        assert_eq!((self.status, self.text().as_str()), (200, ""));
    }
}

impl Folder {
    fn new(hub: StandIn) -> Self {
        Self::with(hub, |store| store)
    }

    fn with(hub: StandIn, change: impl FnOnce(Store) -> Store) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap().with_model(embedded::entry());
        let store = Arc::new(change(store));
        let patience = Patience {
            attempts: 2,
            first_delay: Duration::from_millis(1),
            ..Patience::default()
        };
        let client = HubSettings {
            url: hub.url.clone(),
            token: None,
            patience,
        };
        let settings = Settings {
            body_limit: 4096,
            ..Settings::default()
        };
        let state = AppState::new(Arc::new(Scripted::answering([])), settings);
        let router = app(state.with_store(store.clone(), Arc::new(Hub::new(client).unwrap())));
        Self {
            dir,
            hub,
            store,
            router,
        }
    }

    async fn send(&self, method: Method, path: &str, body: impl Into<Body>) -> Answer {
        let request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let kind = response
            .headers()
            .get("content-type")
            .map(|kind| kind.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        let mut body = response.into_body();
        let mut frames = Vec::new();
        while let Some(frame) = body.frame().await {
            let bytes = frame.unwrap().into_data().unwrap();
            frames.push(String::from_utf8(bytes.to_vec()).unwrap());
        }
        Answer {
            status,
            kind: kind.unwrap_or_default(),
            frames,
        }
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, body.to_string()).await
    }

    async fn delete(&self, body: Value) -> Answer {
        self.send(Method::DELETE, "/api/delete", body.to_string()).await
    }

    fn has(&self, name: &str) -> bool {
        self.store.find(name).unwrap().is_some()
    }
}

// L16
#[tokio::test]
async fn a_pull_streams_its_steps() {
    let folder = Folder::new(StandIn::with_model());
    let lines = folder
        .post("/api/pull", json!({ "model": "hf.co/org/repo:Q8_0" }))
        .await
        .lines();
    let statuses: Vec<&str> = lines.iter().map(|line| line["status"].as_str().unwrap()).collect();
    let pulling = format!("pulling {}", &sha256(MODEL)[..12]);
    assert_eq!(statuses[0], "pulling manifest");
    assert_eq!(statuses[1], pulling);
    let end = ["verifying sha256 digest", "writing manifest", "success"];
    assert_eq!(statuses[statuses.len() - 3..], end);
    let last = lines.iter().rfind(|line| line["status"] == pulling.as_str()).unwrap();
    assert_eq!(last["digest"], format!("sha256:{}", sha256(MODEL)));
    assert_eq!(
        (&last["total"], &last["completed"]),
        (&json!(MODEL.len()), &json!(MODEL.len()))
    );
    assert!(folder.has("hf.co/org/repo:Q8_0"));
}

// L16
#[tokio::test]
async fn a_pull_without_a_stream_is_one_object() {
    let folder = Folder::new(StandIn::with_model());
    let answer = folder
        .post("/api/pull", json!({ "name": "org/repo", "stream": false }))
        .await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, r#"{"status":"success"}"#)
    );
    assert!(answer.kind.starts_with("application/json"));
    let missing = folder
        .post("/api/pull", json!({ "name": "org/repo:Q2_K", "stream": false }))
        .await;
    missing.fails(404, "it has Q8_0");
}

// L8
#[tokio::test]
async fn a_pull_that_fails_on_its_way_ends_with_an_error_line() {
    let folder = Folder::new(StandIn::with_model());
    let lines = folder
        .post("/api/pull", json!({ "model": "org/repo:Q2_K" }))
        .await
        .lines();
    assert_eq!(lines[0]["status"], "pulling manifest");
    assert!(lines[1]["error"].as_str().unwrap().contains("it has Q8_0"), "{lines:?}");
    assert_eq!(lines.len(), 2);
}

// L8
#[tokio::test]
async fn a_pull_of_no_hub_s_model_is_an_error_with_its_status() {
    let folder = Folder::new(StandIn::with_model());
    for name in ["llama3.2", "../../etc/passwd", "a/b/c"] {
        folder
            .post("/api/pull", json!({ "model": name }))
            .await
            .fails(400, "org/repo:QUANT");
    }
    folder.post("/api/pull", json!({})).await.fails(400, "model");
    folder
        .send(Method::POST, "/api/pull", "")
        .await
        .fails(400, "missing request body");
    folder.send(Method::POST, "/api/pull", "{").await.fails(400, "JSON");
}

#[tokio::test]
async fn pulling_a_model_of_one_s_own_asks_no_hub() {
    let folder = Folder::new(StandIn::with_model());
    folder.store.copy(embedded::NAME, "me/mine").unwrap();
    for name in [embedded::NAME, "me/mine"] {
        let lines = folder.post("/api/pull", json!({ "model": name })).await.lines();
        assert_eq!(lines.last().unwrap()["status"], "success");
    }
    assert!(folder.hub.seen().is_empty());
}

#[tokio::test]
async fn a_client_that_goes_away_stops_its_pull_and_the_part_is_kept() {
    let hub = StandIn::with_model();
    hub.fail([Fault::Slow(64 << 10, Duration::from_millis(20))]);
    let folder = Folder::new(hub);
    let request = Request::post("/api/pull")
        .body(Body::from(r#"{"model":"org/repo"}"#))
        .unwrap();
    let mut body = folder.router.clone().oneshot(request).await.unwrap().into_body();
    loop {
        let line = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let line: Value = serde_json::from_slice(&line).unwrap();
        if line["completed"].as_u64().is_some_and(|completed| completed > 0) {
            break;
        }
    }
    drop(body);
    // the lock is free when the pull has ended; then the next one goes on where it stopped
    let lines = folder.post("/api/pull", json!({ "model": "org/repo" })).await.lines();
    assert_eq!(lines.last().unwrap()["status"], "success");
    let transfers = folder.hub.transfers();
    assert_eq!(transfers.len(), 2);
    assert!(transfers[1].range.is_some());
}

// L16
#[tokio::test]
async fn copy_and_delete_answer_with_an_empty_body() {
    let folder = Folder::new(StandIn::with_model());
    let copy = json!({ "source": embedded::NAME, "destination": "mine:v1" });
    folder.post("/api/copy", copy).await.is_empty_ok();
    assert!(folder.has("mine:v1"));
    folder.delete(json!({ "model": "mine:v1" })).await.is_empty_ok();
    assert!(!folder.has("mine:v1"));
    let copy = json!({ "source": embedded::NAME, "destination": "mine" });
    folder.post("/api/copy", copy).await.is_empty_ok();
    folder.delete(json!({ "name": "mine" })).await.is_empty_ok();
}

// L8, L16
#[tokio::test]
async fn unknown_models_are_404_in_ollama_s_words() {
    let folder = Folder::new(StandIn::with_model());
    folder
        .delete(json!({ "model": "x" }))
        .await
        .fails(404, "model 'x' not found");
    let copy = json!({ "source": "x", "destination": "y" });
    folder.post("/api/copy", copy).await.fails(404, "model 'x' not found");
    folder
        .post("/api/create", json!({ "model": "y", "from": "x" }))
        .await
        .fails(404, "model 'x' not found");
}

#[tokio::test]
async fn deleting_what_the_program_did_not_bring_is_refused() {
    let folder = Folder::new(StandIn::with_model());
    std::fs::write(folder.dir.path().join("own.gguf"), MODEL).unwrap();
    folder
        .delete(json!({ "model": "own" }))
        .await
        .fails(400, "not downloaded by this program");
    folder
        .delete(json!({ "model": embedded::NAME }))
        .await
        .fails(400, "not deleted");
    assert!(folder.dir.path().join("own.gguf").exists());
}

#[tokio::test]
async fn hostile_names_are_400() {
    let folder = Folder::new(StandIn::with_model());
    for name in ["../x", "/etc/x", "a/b/c", "a\u{0}b", ".x"] {
        let copy = json!({ "source": embedded::NAME, "destination": name });
        folder.post("/api/copy", copy).await.fails(400, "invalid model name");
        let create = json!({ "model": name, "from": embedded::NAME });
        folder
            .post("/api/create", create)
            .await
            .fails(400, "invalid model name");
    }
}

#[tokio::test]
async fn create_streams_its_steps_and_makes_the_model() {
    let folder = Folder::new(StandIn::with_model());
    let create =
        json!({ "model": "pirate", "from": embedded::NAME, "system": "Arr.", "parameters": { "num_ctx": 512 } });
    let lines = folder.post("/api/create", create).await.lines();
    assert_eq!(lines.last().unwrap(), &json!({ "status": "success" }));
    let pirate = folder.store.find("pirate").unwrap().unwrap();
    assert_eq!(pirate.system.as_deref(), Some("Arr."));
    assert_eq!(pirate.parameters["num_ctx"], 512);
    let modelfile = json!({ "name": "two", "stream": false, "modelfile": "FROM pirate\nPARAMETER seed 7" });
    let answer = folder.post("/api/create", modelfile).await;
    assert_eq!(answer.text(), r#"{"status":"success"}"#);
    assert_eq!(folder.store.find("two").unwrap().unwrap().parameters["seed"], 7);
}

#[tokio::test]
async fn what_create_cannot_do_is_501_and_mistakes_are_400() {
    let folder = Folder::new(StandIn::with_model());
    let adapters = json!({ "model": "x", "from": embedded::NAME, "adapters": { "a": "b" } });
    folder.post("/api/create", adapters).await.fails(501, "adapters");
    folder
        .post("/api/create", json!({ "model": "x" }))
        .await
        .fails(400, "'from'");
}

// L16
#[tokio::test]
async fn a_blob_is_uploaded_once_and_becomes_a_model() {
    let folder = Folder::new(StandIn::with_model());
    let digest = format!("sha256:{}", sha256(MODEL));
    let path = format!("/api/blobs/{digest}");
    assert_eq!(folder.send(Method::HEAD, &path, "").await.status, 404);
    // far above the limit for other bodies
    let posted = folder.send(Method::POST, &path, MODEL).await;
    assert_eq!((posted.status, posted.text().as_str()), (201, ""));
    assert_eq!(folder.send(Method::HEAD, &path, "").await.status, 200);
    let create = json!({ "model": "up", "files": { "m.gguf": digest }, "stream": false });
    assert_eq!(folder.post("/api/create", create).await.status, 200);
    let file = folder.store.find("up").unwrap().unwrap().file.unwrap();
    assert!(std::fs::read(file).unwrap() == MODEL);
}

#[tokio::test]
async fn a_blob_of_other_bytes_is_refused_and_not_kept() {
    let folder = Folder::new(StandIn::with_model());
    let path = format!("/api/blobs/sha256:{}", sha256(b"announced"));
    folder.send(Method::POST, &path, "other").await.fails(400, "digest");
    assert_eq!(folder.send(Method::HEAD, &path, "").await.status, 404);
    for digest in ["sha256:abc", "x", "sha256:..%2F..%2Fetc%2Fpasswd"] {
        let path = format!("/api/blobs/{digest}");
        folder.send(Method::POST, &path, "x").await.fails(400, "invalid digest");
    }
}

#[tokio::test]
async fn a_blob_that_does_not_fit_is_507() {
    let folder = Folder::with(StandIn::with_model(), |store| {
        store.with_free_space(Arc::new(|_| Ok(3)))
    });
    let path = format!("/api/blobs/sha256:{}", sha256(b"bytes"));
    let request = Request::post(&path)
        .header("content-length", 5)
        .body(Body::from("bytes"))
        .unwrap();
    let response = folder.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 507);
    let text = response.into_body().collect().await.unwrap().to_bytes();
    assert!(
        !String::from_utf8_lossy(&text).contains(folder.dir.path().to_str().unwrap()),
        "no path of the server"
    );
}

#[tokio::test]
async fn what_this_server_does_not_do_is_501() {
    let folder = Folder::new(StandIn::with_model());
    for path in [
        "/api/push",
        "/api/me",
        "/api/web_search",
        "/api/web_fetch",
        "/api/signout",
    ] {
        folder.post(path, json!({ "model": "x" })).await.fails(501, path);
    }
}

#[tokio::test]
async fn a_server_without_a_folder_says_so() {
    let server = Server::answering([]);
    for (path, body) in [
        ("/api/pull", json!({ "model": "org/repo" })),
        ("/api/copy", json!({ "source": "a", "destination": "b" })),
        ("/api/create", json!({ "model": "a", "from": "b" })),
    ] {
        let reply = server.post(path, body).await;
        assert_eq!(reply.status, 501, "{path}");
        assert!(reply.json()["error"].as_str().unwrap().contains("--models-dir"));
    }
}
