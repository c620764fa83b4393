//! Downloads: whole and checked or absent, resumed where they broke off.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use llama_turboquant::CancelToken;
use llama_turboquant_cli::hub::{Error, Hub, HubSettings, Patience, Status, obtain, pull};
use llama_turboquant_cli::store::{self, Catalog, Entry, Store};
use tempfile::TempDir;

use super::stand_in::{Fault, MODEL, StandIn, sha256};

/// A folder and a hub, and what a pull said.
struct Bench {
    dir: TempDir,
    store: Store,
    hub: StandIn,
    silence: Duration,
    said: Vec<String>,
}

impl Bench {
    fn new(hub: StandIn) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        Self {
            dir,
            store,
            hub,
            // far more than a loaded machine needs
            silence: Duration::from_secs(20),
            said: Vec::new(),
        }
    }

    fn pull(&mut self, reference: &str) -> Result<Entry, Error> {
        self.pull_until(reference, u64::MAX)
    }

    /// Cancels when so many bytes of a file are there.
    fn pull_until(&mut self, reference: &str, limit: u64) -> Result<Entry, Error> {
        let cancel = CancelToken::new();
        let said = &mut self.said;
        pull(
            &self.store,
            &patient_client(&self.hub.url, self.silence),
            &reference.parse()?,
            &cancel,
            &mut |status| {
                if let Status::Transfer { completed, .. } = status
                    && completed >= limit
                {
                    cancel.cancel();
                }
                said.push(match status {
                    Status::Transfer { file, .. } => file.to_owned(),
                    Status::Retrying { .. } => "Retrying".into(),
                    other => format!("{other:?}"),
                });
                said.dedup();
            },
        )
    }

    /// Breaks a pull off in its middle; bytes that were kept.
    fn half(&mut self) -> u64 {
        self.hub.fail([Fault::Slow(1 << 20, Duration::from_millis(120))]);
        let error = self.pull_until("org/repo", 1 << 20).unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{error}");
        let part = self.one("part").expect("the part is kept");
        part.metadata().unwrap().len()
    }

    /// The file with that extension below the folder.
    fn one(&self, extension: &str) -> Option<PathBuf> {
        find(self.dir.path(), extension)
    }

    fn names(&self) -> Vec<String> {
        self.store
            .entries()
            .unwrap()
            .into_iter()
            .map(|entry| entry.name)
            .collect()
    }
}

fn find(dir: &Path, extension: &str) -> Option<PathBuf> {
    std::fs::read_dir(dir)
        .unwrap()
        .flatten()
        .find_map(|entry| match entry.path() {
            path if path.is_dir() => find(&path, extension),
            path => path.extension().is_some_and(|found| found == extension).then_some(path),
        })
}

fn patient(silence: Duration) -> Patience {
    Patience {
        attempts: 3,
        first_delay: Duration::from_millis(1),
        longest_delay: Duration::from_millis(4),
        silence,
    }
}

fn client(url: &str) -> Hub {
    patient_client(url, Duration::from_secs(20))
}

fn patient_client(url: &str, silence: Duration) -> Hub {
    let settings = HubSettings {
        url: url.into(),
        token: Some("secret".into()),
        patience: patient(silence),
    };
    Hub::new(settings).unwrap()
}

fn bytes(entry: &Entry) -> Vec<u8> {
    std::fs::read(entry.file.as_ref().unwrap()).unwrap()
}

#[test]
fn a_model_is_downloaded_checked_and_named() {
    let mut bench = Bench::new(StandIn::with_model());
    let entry = bench.pull("hf.co/org/repo").unwrap();
    assert_eq!(entry.name, "org/repo:Q8_0");
    assert_eq!(entry.sha256, Some(sha256(MODEL)));
    assert_eq!(entry.size, MODEL.len() as u64);
    assert!(bytes(&entry) == MODEL);
    assert_eq!(
        bench.said,
        ["Manifest", "m-Q8_0.gguf", "Verifying", "Writing", "Success"]
    );
    assert_eq!((bench.one("part"), bench.one("etag")), (None, None));
}

#[test]
fn a_downloaded_model_answers_to_every_way_to_write_its_name() {
    let mut bench = Bench::new(StandIn::with_model());
    bench.pull("org/repo:q8_0").unwrap();
    for name in [
        "org/repo:Q8_0",
        "org/repo",
        "org/repo:q8_0",
        "hf.co/org/repo:Q8_0",
        "huggingface.co/org/repo:latest",
    ] {
        assert!(bench.store.find(name).unwrap().is_some(), "{name}");
    }
    for name in ["org/repo:Q4_K_M", "repo", "org", "other/repo"] {
        assert!(bench.store.find(name).unwrap().is_none(), "{name}");
    }
}

#[test]
fn a_missing_tag_is_an_error_that_lists_what_there_is() {
    let mut bench = Bench::new(StandIn::new(&[
        ("m-Q4_0.gguf", b"a"),
        ("m-Q6_K.gguf", b"b"),
        ("mmproj-F16.gguf", b"c"),
    ]));
    let error = bench.pull("org/repo:Q8_0").unwrap_err();
    assert!(matches!(error, Error::NotFound(_)));
    assert!(error.to_string().ends_with("it has Q4_0, Q6_K"), "{error}");
}

#[test]
fn all_shards_are_downloaded_and_are_one_model() {
    let (a, b) = MODEL.split_at(MODEL.len() / 2);
    let mut bench = Bench::new(StandIn::new(&[
        ("q/m-Q8_0-00001-of-00002.gguf", a),
        ("q/m-Q8_0-00002-of-00002.gguf", b),
    ]));
    let entry = bench.pull("org/repo:Q8_0").unwrap();
    assert_eq!(entry.size, MODEL.len() as u64);
    let first = entry.file.unwrap();
    assert!(std::fs::read(&first).unwrap() == a);
    assert!(std::fs::read(first.with_file_name("m-Q8_0-00002-of-00002.gguf")).unwrap() == b);
    assert_eq!(bench.names(), ["org/repo:Q8_0"]);
}

#[test]
fn a_cancelled_download_is_resumed_where_it_stopped() {
    let mut bench = Bench::new(StandIn::with_model());
    let kept = bench.half();
    assert!(kept > 0 && kept < MODEL.len() as u64);
    assert!(bench.names().is_empty(), "half a model is no model");
    assert!(bytes(&bench.pull("org/repo").unwrap()) == MODEL);
    let second = &bench.hub.transfers()[1];
    assert_eq!(second.range, Some(format!("bytes={kept}-")));
    assert_eq!(second.if_range, Some(format!("\"{}\"", &sha256(MODEL)[..16])));
}

#[test]
fn cancelling_takes_effect_within_a_second_also_when_nothing_comes() {
    let mut bench = Bench::new(StandIn::with_model());
    bench.hub.fail([Fault::Silence(1000)]);
    let started = Instant::now();
    assert!(matches!(bench.pull_until("org/repo", 0), Err(Error::Cancelled)));
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_new_version_on_the_hub_starts_anew() {
    let mut bench = Bench::new(StandIn::with_model());
    bench.half();
    let other: Vec<u8> = MODEL.iter().rev().copied().collect();
    bench.hub.put("m-Q8_0.gguf", &other);
    assert!(bytes(&bench.pull("org/repo").unwrap()) == other);
    assert_eq!(bench.hub.transfers()[1].range, None);
    assert_eq!(bench.one("part"), None, "the part of the old version is gone");
}

#[test]
fn a_file_whose_etag_changed_starts_anew() {
    let mut bench = Bench::new(StandIn::with_model());
    bench.half();
    bench.hub.set_etag("\"another\"");
    assert!(bytes(&bench.pull("org/repo").unwrap()) == MODEL);
    assert!(bench.hub.transfers()[1].if_range.is_some());
}

#[test]
fn a_hub_that_ignores_ranges_is_read_from_the_start() {
    let mut bench = Bench::new(StandIn::with_model());
    bench.half();
    bench.hub.fail([Fault::Whole]);
    assert!(bytes(&bench.pull("org/repo").unwrap()) == MODEL);
}

#[test]
fn a_broken_connection_is_taken_up_again() {
    let mut bench = Bench::new(StandIn::with_model());
    bench.hub.fail([Fault::Cut(1 << 20), Fault::Cut(2 << 20)]);
    assert!(bytes(&bench.pull("org/repo").unwrap()) == MODEL);
    let ranges: Vec<_> = bench
        .hub
        .transfers()
        .into_iter()
        .map(|seen| seen.range.is_some())
        .collect();
    assert_eq!(ranges, [false, true, true]);
}

#[test]
fn a_connection_that_falls_silent_is_taken_up_again() {
    let mut bench = Bench::new(StandIn::with_model());
    bench.silence = Duration::from_secs(2);
    bench.hub.fail([Fault::Silence(1 << 20)]);
    assert!(bytes(&bench.pull("org/repo").unwrap()) == MODEL);
    assert!(bench.said.contains(&"Retrying".to_owned()));
}

#[test]
fn server_errors_are_tried_again() {
    let mut bench = Bench::new(StandIn::with_model());
    bench.hub.refuse_listing([503, 500]);
    bench.hub.fail([Fault::Status(502), Fault::Status(429)]);
    assert!(bytes(&bench.pull("org/repo").unwrap()) == MODEL);
    assert!(bench.said.contains(&"Retrying".to_owned()));
}

#[test]
fn after_some_attempts_without_a_byte_it_gives_up_and_keeps_what_came() {
    let mut bench = Bench::new(StandIn::with_model());
    bench.hub.fail([
        Fault::Cut(1 << 20),
        Fault::Status(503),
        Fault::Status(503),
        Fault::Status(503),
    ]);
    let error = bench.pull("org/repo").unwrap_err();
    assert!(matches!(error, Error::Connection { attempts: 3, .. }), "{error}");
    assert!(bench.one("part").unwrap().metadata().unwrap().len() > 0);
    assert!(bytes(&bench.pull("org/repo").unwrap()) == MODEL);
}

#[test]
fn a_hub_that_is_not_there_is_an_error_with_its_address() {
    let mut bench = Bench::new(StandIn::with_model());
    // a port that was free a moment ago
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    bench.hub.url = format!("http://{free}");
    let error = bench.pull("org/repo").unwrap_err();
    assert!(
        matches!(error, Error::Connection { .. }) && error.to_string().contains(&free.to_string()),
        "{error}"
    );
}

#[test]
fn a_wrong_checksum_leaves_nothing() {
    let mut bench = Bench::new(StandIn::with_model());
    bench.hub.fail([Fault::Garbage]);
    let error = bench.pull("org/repo").unwrap_err();
    assert!(matches!(error, Error::Checksum { .. }), "{error}");
    assert!(bench.names().is_empty());
    assert_eq!((bench.one("part"), bench.one("gguf")), (None, None));
}

#[test]
fn a_part_with_wrong_bytes_is_fetched_again() {
    let mut bench = Bench::new(StandIn::with_model());
    let kept = bench.half();
    std::fs::write(bench.one("part").unwrap(), vec![0; kept as usize]).unwrap();
    assert!(bytes(&bench.pull("org/repo").unwrap()) == MODEL);
}

#[test]
fn a_hub_without_a_checksum_is_refused() {
    let mut bench = Bench::new(StandIn::with_model());
    bench.hub.set_sha256("none");
    let error = bench.pull("org/repo").unwrap_err();
    assert!(error.to_string().contains("no SHA-256"), "{error}");
    assert!(bench.hub.transfers().is_empty());
}

#[test]
fn the_token_goes_to_the_hub_and_not_where_it_leads() {
    let elsewhere = StandIn::with_model();
    let mut bench = Bench::new(StandIn::with_model());
    bench
        .hub
        .fail([Fault::Redirect(format!("{}/cdn/m-Q8_0.gguf", elsewhere.url))]);
    bench.pull("org/repo").unwrap();
    assert!(
        bench
            .hub
            .seen()
            .iter()
            .all(|seen| seen.authorization.as_deref() == Some("Bearer secret"))
    );
    assert_eq!(elsewhere.seen().len(), 1);
    assert_eq!(elsewhere.seen()[0].authorization, None);
}

#[test]
fn a_redirect_to_another_scheme_is_not_followed() {
    for target in ["file:///etc/passwd", "ftp://127.0.0.1/x", ""] {
        let mut bench = Bench::new(StandIn::with_model());
        bench.hub.fail([Fault::Redirect(target.into())]);
        assert!(matches!(bench.pull("org/repo"), Err(Error::Answer { .. })), "{target}");
    }
}

#[test]
fn endless_redirects_end() {
    let mut bench = Bench::new(StandIn::with_model());
    bench
        .hub
        .fail(vec![Fault::Redirect("/org/repo/resolve/main/m-Q8_0.gguf".into()); 50]);
    assert!(matches!(bench.pull("org/repo"), Err(Error::Answer { .. })));
}

#[test]
fn a_model_that_needs_a_licence_says_what_to_do() {
    let mut bench = Bench::new(StandIn::with_model());
    bench.hub.refuse_listing([401]);
    let error = bench.pull("org/repo").unwrap_err();
    assert!(
        matches!(error, Error::Denied { status: 401, .. }) && error.to_string().contains("HF_TOKEN"),
        "{error}"
    );
}

#[test]
fn an_unknown_repository_is_not_found() {
    let mut bench = Bench::new(StandIn::with_model());
    let error = bench.pull("org/other").unwrap_err();
    assert!(
        matches!(error, Error::NotFound(_)) && error.to_string().contains("org/other"),
        "{error}"
    );
}

#[test]
fn a_full_disk_is_found_before_the_transfer() {
    let mut bench = Bench::new(StandIn::with_model());
    bench.store = Store::open(bench.dir.path())
        .unwrap()
        .with_free_space(Arc::new(|_| Ok(1000)));
    let error = bench.pull("org/repo").unwrap_err();
    assert!(
        matches!(error, Error::Store(store::Error::DiskFull { free: 1000, .. })),
        "{error}"
    );
    assert!(bench.hub.transfers().is_empty());
}

#[test]
fn two_pulls_at_once_transfer_once() {
    let bench = Bench::new(StandIn::with_model());
    bench.hub.fail([Fault::Slow(1 << 20, Duration::from_millis(30))]);
    let one = || {
        // as another process would
        let store = Store::open(bench.dir.path()).unwrap();
        let reference = "org/repo".parse().unwrap();
        pull(
            &store,
            &client(&bench.hub.url),
            &reference,
            &CancelToken::new(),
            &mut |_| {},
        )
        .unwrap()
    };
    let entries = std::thread::scope(|scope| {
        let both = [scope.spawn(one), scope.spawn(one)];
        both.map(|thread| thread.join().unwrap())
    });
    assert!(entries.iter().all(|entry| bytes(entry) == MODEL));
    assert_eq!(bench.hub.transfers().len(), 1);
}

#[test]
fn a_file_that_would_leave_the_folder_is_not_downloaded() {
    let mut bench = Bench::new(StandIn::new(&[
        ("../../../evil-Q8_0.gguf", b"x"),
        ("/etc/evil-Q8_0.gguf", b"x"),
    ]));
    let error = bench.pull("org/repo:Q8_0").unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error}");
    assert!(bench.hub.transfers().is_empty());
}

#[test]
fn a_listing_of_several_pages_is_read_to_its_end() {
    let mut bench = Bench::new(StandIn::new(&[
        ("a-Q2_K.gguf", b"a"),
        ("b-Q3_K.gguf", b"b"),
        ("c-Q8_0.gguf", b"c"),
    ]));
    bench.hub.set_page(1);
    assert_eq!(bytes(&bench.pull("org/repo:Q8_0").unwrap()), b"c");
}

#[test]
fn what_is_there_already_is_not_transferred_again() {
    let mut bench = Bench::new(StandIn::with_model());
    bench.pull("org/repo").unwrap();
    bench.pull("org/repo:m-Q8_0.gguf").unwrap();
    assert_eq!(bench.hub.transfers().len(), 1);
    assert_eq!(bench.names(), ["org/repo:Q8_0", "org/repo:m-Q8_0.gguf"]);
}

#[test]
fn obtaining_a_model_that_is_there_does_not_ask_the_hub() {
    let mut bench = Bench::new(StandIn::with_model());
    bench.pull("org/repo").unwrap();
    let asked = bench.hub.seen().len();
    let reference = "hf.co/org/repo".parse().unwrap();
    let entry = obtain(
        &bench.store,
        &client(&bench.hub.url),
        &reference,
        &CancelToken::new(),
        &mut |_| {},
    )
    .unwrap();
    assert_eq!((entry.name.as_str(), bench.hub.seen().len()), ("org/repo:Q8_0", asked));
}

#[test]
fn an_update_replaces_the_old_file_unless_an_alias_needs_it() {
    let mut bench = Bench::new(StandIn::new(&[("m-Q8_0.gguf", b"one")]));
    let first = bench.pull("org/repo").unwrap();
    bench.hub.put("m-Q8_0.gguf", b"two");
    let second = bench.pull("org/repo").unwrap();
    assert!(!first.file.unwrap().exists());
    bench.store.copy("org/repo", "kept").unwrap();
    bench.hub.put("m-Q8_0.gguf", b"three");
    let third = bench.pull("org/repo").unwrap();
    assert_eq!(
        (bytes(&third).as_slice(), bytes(&second).as_slice()),
        (&b"three"[..], &b"two"[..])
    );
}

#[test]
fn offline_the_folder_is_used_and_no_hub_is_asked() {
    let mut bench = Bench::new(StandIn::with_model());
    let pulled = bench.pull("org/repo").unwrap();
    let asked = bench.hub.seen().len();
    let hub = patient_client(&bench.hub.url, bench.silence).offline();
    let cancel = CancelToken::new();
    let get = |name: &str| obtain(&bench.store, &hub, &name.parse().unwrap(), &cancel, &mut |_| {});
    assert_eq!(get(&pulled.name).unwrap().file, pulled.file);
    let error = get("org/other").unwrap_err();
    assert!(matches!(error, Error::Offline { .. }), "{error}");
    assert!(error.to_string().contains("--offline"), "{error}");
    assert_eq!(bench.hub.seen().len(), asked);
}
