//! What the clients share: one line per check, and what the server says about itself.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Runs checks and prints `PASS client check` or `FAIL client check: why`.
pub struct Checks {
    client: &'static str,
    pub failed: usize,
}

impl Checks {
    pub fn new(client: &'static str) -> Self {
        Self { client, failed: 0 }
    }

    pub async fn run(&mut self, name: &str, check: impl Future<Output = Result<()>>) {
        match check.await {
            Ok(()) => println!("PASS {} {name}", self.client),
            Err(error) => {
                self.failed += 1;
                let text: String = format!("{error:#}").replace('\n', " ").chars().take(400).collect();
                println!("FAIL {} {name}: {text}", self.client);
            }
        }
    }
}

/// The address of the server, without a slash at its end.
pub fn url() -> String {
    std::env::var("TURBOQUANT_URL").expect("scripts/test-clients.sh sets TURBOQUANT_URL")
}

/// A prompt with tools that the embedded model was trained on; the call it should make is [`CALL`].
pub fn tool_prompt() -> Result<(Value, Value)> {
    let file = std::env::var("TURBOQUANT_TOOLS").context("TURBOQUANT_TOOLS")?;
    let text = std::fs::read_to_string(&file).context(file)?;
    let line: Value = serde_json::from_str(text.lines().next().context("the first line")?)?;
    Ok((line["messages"].clone(), line["tools"].clone()))
}

pub const CALL: (&str, &str) = ("calculator", "554 - 603");

pub fn verdict_schema() -> Value {
    json!({
        "type": "object",
        "properties": { "verdict": { "enum": ["yes", "no"] }, "sure": { "type": "boolean" } },
        "required": ["verdict", "sure"],
        "additionalProperties": false,
    })
}

pub fn is_verdict(text: &str) -> Result<()> {
    let value: Value = serde_json::from_str(text)?;
    ensure!(
        value["sure"].is_boolean() && ["yes", "no"].iter().any(|word| value["verdict"] == *word),
        "{value}"
    );
    Ok(())
}

pub fn length(vector: &[f32]) -> f32 {
    vector.iter().map(|x| x * x).sum::<f32>().sqrt()
}

/// `leave` is dropped while its job runs. The job must be gone within the second that O17 allows.
pub async fn frees_its_slot<T>(stream: T) -> Result<()> {
    let before = cancelled_jobs().await?;
    wait_until("a slot at work", 10, async || Ok(busy_slots().await? > 0)).await?;
    drop(stream);
    wait_until("the slot is free", 1, async || Ok(busy_slots().await? == 0)).await?;
    // not just done by chance
    wait_until("the job counts as cancelled", 1, async || {
        Ok(cancelled_jobs().await? > before)
    })
    .await
}

async fn wait_until(what: &str, seconds: u64, condition: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !condition().await? {
        ensure!(Instant::now() < end, "{what}: not within {seconds} s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// The model that is served, by the other API: a list that fails should not fail all that comes after it.
pub async fn first_model() -> Result<String> {
    let models: Value = serde_json::from_str(&get("/v1/models").await?)?;
    Ok(models["data"][0]["id"].as_str().context("an id")?.to_owned())
}

/// A prompt that does not fit: each word is at least a token.
pub async fn too_long() -> Result<String> {
    let props: Value = serde_json::from_str(&get(&format!("/props?model={}", first_model().await?)).await?)?;
    let n_ctx = props["default_generation_settings"]["n_ctx"]
        .as_u64()
        .context("n_ctx")?;
    Ok("hello ".repeat(n_ctx as usize + 100))
}

async fn busy_slots() -> Result<usize> {
    let slots: Value = serde_json::from_str(&get("/slots").await?)?;
    let slots = slots.as_array().context("/slots is a list")?;
    Ok(slots.iter().filter(|slot| slot["is_processing"] == true).count())
}

async fn cancelled_jobs() -> Result<f64> {
    let metrics = get("/metrics").await?;
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("turboquant_jobs_total{outcome=\"cancelled\"} "));
    Ok(line.unwrap_or("0").parse()?)
}

/// A request without a client library, whose body must have a known length.
async fn get(path: &str) -> Result<String> {
    let url = url();
    let host = url.strip_prefix("http://").context("http only")?;
    let mut socket = TcpStream::connect(host).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut reply = String::new();
    socket.read_to_string(&mut reply).await?;
    let (head, body) = reply.split_once("\r\n\r\n").context("a head")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
    Ok(body.to_owned())
}
