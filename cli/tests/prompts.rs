//! `turboquant prompts` as a user meets it: on the embedded model, against servers, and with bad input.

mod support;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use support::{interrupt, outcome_of, says, turboquant};

/// Standard output, standard error and exit code; one thread, because the tests run side by side.
fn prompts(args: &[&str]) -> (String, String, Option<i32>) {
    let mut command = turboquant();
    command.args(["prompts", "-t", "1"]).args(args).env("COLUMNS", "100");
    let (code, out, err) = outcome_of(&mut command);
    (out, err, code)
}

#[track_caller]
fn fails(args: &[&str], words: &[&str]) {
    let (_, err, code) = prompts(args);
    assert_eq!(code, Some(1), "{args:?}: {err}");
    says(&err, words);
}

fn file(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

const TURBO3: &str = "faq_explain_turbo3";

#[test]
fn the_embedded_model_is_asked_what_it_knows_and_the_record_has_it_all() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("record.json");
    let only = format!("{TURBO3},tool_get_time,no_tool_34,recall_6_turns_a,json_eva,needle_600");
    let args = [
        "--only",
        &only,
        "--kv",
        "f16,turbo2",
        "--show",
        TURBO3,
        "--out",
        out.to_str().unwrap(),
    ];
    let (stdout, stderr, code) = prompts(&args);
    assert_eq!(code, Some(0), "{stderr}");
    says(
        &stdout,
        &[
            "the reference is f16",
            "6 of 6 decidable prompts kept",
            "the answers are equal",
            "turbo2: pass",
        ],
    );
    says(&stderr, &["--set tiny", "-m MODEL.gguf", "--set practical"]);
    let record: Value = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!(
        (&record["kind"], &record["complete"]),
        (&json!("prompts"), &json!(true))
    );
    assert_eq!(record["results"]["caches"], json!(["f16", "turbo2"]));
    let tool = &record["results"]["prompts"][1];
    assert_eq!(tool["id"], "tool_get_time");
    assert_eq!(tool["answers"][1]["verdict"], "kept");
    says(tool["answers"][0]["answer"].as_str().unwrap(), &["get_time", "Athens"]);
    assert_eq!(record["results"]["summaries"][0]["passes"], true);
}

#[test]
fn a_candidate_that_fails_where_the_reference_passes_is_degraded_and_shown_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("record.json");
    let out_path = out.to_str().unwrap();
    let set = file(
        dir.path(),
        "p.json",
        r#"[{"id":"q","category":"c","prompt":"Explain turbo3.","max_tokens":50,"expected_pattern":"a tiny thing"}]"#,
    );
    let (stdout, err, code) = prompts(&["--prompts", &set, "--kv", "f16,q8_0", "--out", out_path]);
    assert_eq!(code, Some(0), "{err}");
    says(
        &stdout,
        &[
            "q (f16, q8_0): nothing matches `a tiny thing`",
            "1 not decidable",
            "nothing was decidable",
        ],
    );
    // a reference that answered otherwise, and rightly
    let mut record: Value = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    let answer = &mut record["results"]["prompts"][0]["answers"][0];
    answer["answer"] = json!(
        answer["answer"]
            .as_str()
            .unwrap()
            .replace("a 3-bit", "a tiny thing, 3-bit")
    );
    answer["passed"] = json!(true);
    std::fs::write(&out, record.to_string()).unwrap();
    let against = ["--prompts", &set, "--kv", "turbo4", "--against", out_path];
    let (stdout, err, code) = prompts(&against);
    assert_eq!(code, Some(0), "{err}");
    says(
        &stdout,
        &[
            "f16 (record)",
            "DEGRADED, parts at character 12",
            "turbo3 is a \u{bb}tiny",
            "turbo3 is a \u{bb}3-bit",
        ],
    );
    says(&stdout, &["0 of 1 decidable prompts kept, 1 degraded: FAILS"]);
    // another definition of the prompt is not compared
    record["results"]["prompts"][0]["fingerprint"] = json!("0000000000000000");
    std::fs::write(&out, record.to_string()).unwrap();
    says(
        &prompts(&against).0,
        &["another definition", "1 not run", "nothing was decidable"],
    );
}

#[test]
fn a_long_prompt_is_shortened_loudly_and_one_that_cannot_be_is_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(
        dir.path(),
        "p.json",
        &json!([
            {"id": "long", "category": "c", "prompt": "{generated}\nWhat is turbo4?", "max_tokens": 20, "expected_pattern": "turbo4",
             "generated": {"kind": "filler", "tokens": 5000, "seed": 1, "min_tokens": 50}},
            {"id": "fixed", "category": "c", "prompt": "word ".repeat(600), "max_tokens": 20, "expected_pattern": "x"},
            {"id": "impossible", "category": "c", "prompt": "What is turbo3?", "max_tokens": 5, "expected_pattern": "never this"}
        ])
        .to_string(),
    );
    let (stdout, stderr, code) = prompts(&["--prompts", &path, "-c", "400", "--kv", "f16,turbo4", "--json"]);
    assert_eq!(code, Some(0), "{stderr}");
    let record: Value = serde_json::from_str(&stdout).unwrap();
    let long = &record["results"]["prompts"][0];
    let used = long["generated"]["used"].as_u64().unwrap();
    assert!(used < 400 && long["generated"]["asked"] == 5000, "{used}");
    says(&stderr, &["long: its generated text was shortened from 5000"]);
    let n_prompt = long["answers"][0]["n_prompt"].as_u64().unwrap();
    assert!(n_prompt < 400 && n_prompt + 40 > used, "{n_prompt} tokens");
    let fixed = &record["results"]["prompts"][1];
    says(fixed["not_run"].as_str().unwrap(), &["400", "shortened"]);
    assert_eq!(fixed["answers"][0]["passed"], Value::Null);
    let summary = &record["results"]["summaries"][0];
    assert_eq!(summary["not_run"], 1);
    assert_eq!(
        record["results"]["prompts"][2]["answers"][1]["verdict"],
        "not_decidable"
    );
}

#[test]
fn a_model_without_a_chat_template_gets_plain_text_and_no_tools() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("m.gguf");
    let model = model.to_str().unwrap();
    support::succeeds(&["model", "synth", model, "--layers", "2"]);
    // under another name of the same length the template is not found
    let mut bytes = std::fs::read(model).unwrap();
    let key = b"tokenizer.chat_template";
    let at = bytes.windows(key.len()).position(|window| window == key).unwrap();
    bytes[at + key.len() - 1] = b'X';
    std::fs::write(model, bytes).unwrap();
    let only = format!("{TURBO3},tool_get_time");
    let (stdout, stderr, code) = prompts(&["-m", model, "--set", "tiny", "--only", &only, "--kv", "f16"]);
    assert_eq!(code, Some(0), "{stderr}");
    says(&stderr, &["no chat template"]);
    says(&stdout, &["not run", "cannot be offered tools"]);
}

#[test]
fn lists_name_the_prompts_of_the_set_that_would_be_asked() {
    let (out, ..) = prompts(&["--list", "--set", "practical"]);
    says(
        &out,
        &["tool_call_format", "20000 generated tokens", "10 turns", "2 tools"],
    );
    let (out, ..) = prompts(&["--list"]);
    says(&out, &[TURBO3, "needle_600"]);
}

#[test]
fn bad_input_is_named_before_any_model_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let broken = file(dir.path(), "broken.json", "[\n{\"id\": }]");
    fails(&["--prompts", &broken], &["broken.json", "line 2"]);
    let wrong = file(
        dir.path(),
        "wrong.json",
        r#"[{"id":"q","category":"c","prompt":"p","max_tokens":1,"expected_pattern":"("}]"#,
    );
    fails(&["--prompts", &wrong], &["number 1", "`q`", "unclosed"]);
    fails(&["--prompts", "/no/such/file.json"], &["/no/such/file.json"]);
    fails(&["--only", "nothing"], &["`nothing`", TURBO3]);
    fails(&["--show", "nothing"], &["`nothing`"]);
    fails(&["--against", &broken], &["--against", "line 2"]);
    fails(&["--against", &wrong], &["not a record"]);
    fails(&["--out", "/no/such/dir/r.json"], &["/no/such/dir/r.json"]);
    fails(&["--url", "localhost:80"], &["localhost:80", "http://"]);
    let (_, err, code) = prompts(&["--kv", "turbo5"]);
    assert_eq!(code, Some(2));
    says(&err, &["turbo5", "turbo4"]);
}

fn spawn(args: &[&str]) -> Child {
    std::process::Command::new(env!("CARGO_BIN_EXE_turboquant"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Our own server on the port it chose; killed at the end of the test.
struct Served(Child, String);

impl Served {
    fn start(args: &[&str]) -> Self {
        let mut child = spawn(&[&["serve", "--port", "0", "-t", "1"], args].concat());
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        let end = Instant::now() + Duration::from_secs(30);
        while !Self::is_ready(&url) {
            assert!(Instant::now() < end, "{url} does not get ready");
            std::thread::sleep(Duration::from_millis(50));
        }
        Self(child, url)
    }

    /// It listens before its model is loaded, and says 503 until then.
    fn is_ready(url: &str) -> bool {
        let Ok(mut socket) = TcpStream::connect(url.trim_start_matches("http://")) else {
            return false;
        };
        let mut answer = String::new();
        let asked = socket.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        asked.and_then(|()| socket.read_to_string(&mut answer)).is_ok() && answer.starts_with("HTTP/1.1 200")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn our_own_server_is_asked_like_any_other_and_compared_with_a_record() {
    let server = Served::start(&["--api-key", "secret", "-c", "2048"]);
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("r.json");
    let only = format!("{TURBO3},tool_get_time,no_tool_34");
    let common = ["--set", "tiny", "--only", &only, "--url", &server.1];
    fails(&common, &[&server.1, "401", "--api-key"]);
    let with = |more: &[&str]| prompts(&[&common[..], &["--api-key", "secret"], more].concat());
    let (stdout, stderr, code) = with(&["--out", out.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{stderr}");
    says(
        &stdout,
        &[
            "(again)",
            "3 of 3 decidable prompts kept",
            "3 of 3 answers are the reference's",
        ],
    );
    let record = std::fs::read_to_string(&out).unwrap();
    assert!(!record.contains("\"passed\": false"), "{record}");
    let (stdout, stderr, code) = with(&["--against", out.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{stderr}");
    says(&stdout, &["(record)", "3 of 3 decidable"]);
    let other = format!("{}/v1", server.1);
    let (stdout, stderr, code) = with(&["--url", &other, "--only", TURBO3]);
    assert_eq!(code, Some(0), "{stderr}");
    says(&stdout, &[&format!("| {other} |")]);
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["model"]["n_params"], Value::Null);
    assert!(
        record["results"]["prompts"][0]["answers"][0]["n_prompt"]
            .as_u64()
            .unwrap()
            > 5
    );
}

#[test]
fn a_prompt_too_long_for_the_server_is_not_run_and_the_others_are() {
    let server = Served::start(&["-c", "300", "--parallel", "1"]);
    let only = format!("{TURBO3},needle_2000");
    let (stdout, stderr, code) = prompts(&["--set", "tiny", "--only", &only, "--url", &server.1]);
    assert_eq!(code, Some(0), "{stderr}");
    says(
        &stdout,
        &["not run", "the server refuses it", "1 of 1 decidable", "1 not run"],
    );
    says(&stderr, &["four characters a token"]);
}

/// A server that lists a model and then answers every prompt with `response`; `None`: never.
fn scripted(response: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut read = vec![0; 1 << 16];
            let n = socket.read(&mut read).unwrap();
            let models = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"data\": [{\"id\": \"m\"}]}";
            let text = if read[..n].starts_with(b"GET") {
                Some(models)
            } else {
                response
            };
            match text {
                Some(text) => drop(socket.write_all(text.as_bytes())),
                None => silent.push(socket),
            }
        }
    });
    url
}

#[test]
fn a_server_that_misbehaves_is_named_with_what_it_did() {
    const GARBAGE: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n<html>hello</html>";
    const OTHER_JSON: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"choices\": []}";
    const BROKEN: &str =
        "HTTP/1.1 500 Internal Server Error\r\nconnection: close\r\n\r\n{\"error\": {\"message\": \"out of coffee\"}}";
    for (response, words) in [
        (Some(GARBAGE), vec!["OpenAI API", "<html>hello"]),
        (Some(OTHER_JSON), vec!["OpenAI API"]),
        (Some(BROKEN), vec!["500", "out of coffee"]),
        (Some("nonsense\r\n\r\n"), vec!["cannot ask"]),
        (Some(""), vec!["cannot ask"]),
        (None, vec!["within 1 s", "--timeout"]),
    ] {
        let url = scripted(response);
        let args = ["--set", "tiny", "--only", TURBO3, "--timeout", "1", "--url", &url];
        fails(&args, &[&[url.as_str()], &words[..]].concat());
    }
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    fails(&["--url", &url, "--timeout", "5"], &[&url, "cannot ask"]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_what_was_answered() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("r.json");
    let mut child = spawn(&["prompts", "-t", "1", "--out", out.to_str().unwrap()]);
    let end = Instant::now() + Duration::from_secs(60);
    while !out.exists() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    says(&stdout, &["not asked", "pass"]);
    let record: Value = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!(record["complete"], false);
    assert_eq!(record["results"]["prompts"][0]["answers"][0]["passed"], true);
}
