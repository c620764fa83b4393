//! Memory that the system refuses.
#![cfg(target_os = "linux")]

use rustix::process::Resource;

use super::{limit, model, parts, status};
use crate::serve::Server;

#[test]
fn a_context_that_the_system_has_no_memory_for_is_503_and_the_server_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    model(dir.path(), "one.gguf");
    let server = Server::start(&["-c", "512", "--models-dir", dir.path().to_str().unwrap()]);
    let ask = |options: &str| {
        let body = format!(r#"{{"model":"one","prompt":"x","stream":false,"options":{{"num_predict":2{options}}}}}"#);
        parts(&server.call("POST /api/generate", &body))
    };
    // once, so that what is loaded lazily is there
    assert_eq!(ask(r#","num_ctx":1024"#).0, 200);
    assert_eq!(ask("").0, 200);
    let now = status(&server.child, "VmSize") << 10;
    limit(&server.child, Resource::As, Some(now + (48 << 20)));
    let (status, refusal) = ask(r#","num_ctx":8192,"kv_cache_type":"f32""#);
    assert_eq!(status, 503, "{refusal}");
    let text = refusal["error"].as_str().unwrap();
    assert!(
        text.contains("model 'one' cannot be loaded") && text.contains("memory"),
        "{text}"
    );
    assert!(!text.contains(dir.path().to_str().unwrap()), "{text}");
    limit(&server.child, Resource::As, None);
    assert_eq!(ask("").0, 200);
}
