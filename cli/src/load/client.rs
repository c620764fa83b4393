//! One request over HTTP, watched as it is answered.

use super::api::{Api, Line, Sampling, excerpt, problem};
use super::outcome::{Ending, Exchange, Problem, Stage, Told};
use super::plan::{Leave, Request};
use anyhow::{Context, Result, anyhow, bail};
use axum::body::Bytes;
use axum::http::{self, HeaderMap, Method, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Longest line of an answer, and longest error, that is read.
const LONGEST: usize = 4 << 20;
/// For questions beside the load.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a request is waited for by a client that leaves while it waits, before any answer has told what is usual.
const USUAL: Duration = Duration::from_millis(50);

/// Whom to ask, and how.
#[derive(Debug, Clone)]
pub struct Target {
    /// Scheme, host and port, without a path.
    pub base: String,
    /// Which API.
    pub api: Api,
    /// The model's name there.
    pub model: String,
    /// The key it wants.
    pub key: Option<String>,
    /// The longest silence.
    pub timeout: Duration,
    /// How answers are sampled.
    pub sampling: Sampling,
}

/// A pool of connections to one server. One that an answer is left on is closed.
#[derive(Debug, Clone)]
pub struct Client {
    http: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    target: Target,
}

/// Checks a URL; without `/v1` and slashes at its end.
///
/// # Errors
/// What is no URL of a server.
pub fn base(url: &str) -> Result<String> {
    let parsed: Uri = url.parse().with_context(|| format!("--url {url}"))?;
    if !matches!(parsed.scheme_str(), Some("http" | "https"))
        || parsed.host().is_none_or(str::is_empty)
        || parsed.query().is_some()
    {
        bail!("--url {url}: a URL such as http://127.0.0.1:8080 is needed");
    }
    let trimmed = url.trim_end_matches('/');
    Ok(trimmed.strip_suffix("/v1").unwrap_or(trimmed).to_owned())
}

impl Client {
    /// Of one server; connects when it is first used.
    pub fn new(target: Target) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(PATIENCE));
        let https = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Self {
            http: legacy::Client::builder(TokioExecutor::new()).build(https),
            target,
        }
    }

    /// Whom it asks.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Asks the server for the name of its first model, if none was given: so a wrong URL is found before the load.
    ///
    /// # Errors
    /// A server that does not answer or is none of this API; each names the URL.
    pub async fn find_model(&mut self) -> Result<()> {
        let path = self.target.api.models();
        let (status, body) = self.get(path).await?;
        match status {
            200 => {}
            // servers of one model need not list it
            404 | 405 if !self.target.model.is_empty() => return Ok(()),
            404 | 405 => {
                self.target.model = "default".into();
                return Ok(());
            }
            status => {
                let help = match status {
                    401 | 403 => "; --api-key-file gives the key",
                    429 | 503 => "; the server is not ready: try again later",
                    _ => "",
                };
                bail!(
                    "{}{path}: status {status}: {}{help}",
                    self.target.base,
                    problem(None, &body).message
                );
            }
        }
        if self.target.model.is_empty() {
            let list: Value = serde_json::from_str(&body).unwrap_or_default();
            self.target.model = self.target.api.first_model(&list).ok_or_else(|| {
                anyhow!(
                    "{}{path}: this is not a list of models: `{}`; name the model with --model-name",
                    self.target.base,
                    excerpt(&body)
                )
            })?;
        }
        Ok(())
    }

    /// Status and body of a question beside the load.
    ///
    /// # Errors
    /// A server that does not answer.
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        let url = format!("{}{path}", self.target.base);
        let asked = async {
            let response = self.http.request(self.build(Method::GET, path, Vec::new())?).await?;
            let status = response.status().as_u16();
            let body = http_body_util::Limited::new(response.into_body(), LONGEST)
                .collect()
                .await;
            let body = body.map_err(|error| anyhow!(error))?.to_bytes();
            anyhow::Ok((status, String::from_utf8_lossy(&body).into_owned()))
        };
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        answer
            .unwrap_or_else(|_| bail!("no answer within {} s", PATIENCE.as_secs()))
            .with_context(|| format!("{url}: cannot ask the server"))
    }

    fn build(&self, method: Method, path: &str, body: Vec<u8>) -> Result<http::Request<Full<Bytes>>> {
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.target.base))
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = &self.target.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        Ok(request.body(Full::new(body.into()))?)
    }

    /// Sends a request and reads its answer, or leaves, as the request says. `usual`: when the first token of such requests
    /// comes. `alone`: nothing may be taken from what was computed before.
    pub async fn ask(&self, request: &Request, usual: Option<Duration>, alone: bool) -> Exchange {
        let mut watch = Watch::new(self.target.api, request.leave);
        let ending = match request.leave {
            Some(Leave::Waiting(share)) => {
                let patience = usual.unwrap_or(USUAL).mul_f64(share);
                let first = self.exchange(request, alone, &mut watch);
                match tokio::time::timeout(patience, first).await {
                    Ok(ending) => ending,
                    Err(_) => Ending::Left(watch.stage),
                }
            }
            _ => self.exchange(request, alone, &mut watch).await,
        };
        Exchange {
            ending,
            end: watch.sent.elapsed(),
            pieces: watch.pieces,
            text: watch.text,
            told: watch.told,
        }
    }

    async fn exchange(&self, request: &Request, alone: bool, watch: &mut Watch) -> Ending {
        match self.read(request, alone, watch).await {
            Ok(ending) => ending,
            Err(error) => Ending::Failed(Problem {
                code: if error.is::<Silence>() { "timeout" } else { "connection" }.into(),
                message: excerpt(&format!("{error:#}")),
                ..Problem::default()
            }),
        }
    }

    async fn read(&self, request: &Request, alone: bool, watch: &mut Watch) -> Result<Ending> {
        let api = self.target.api;
        let body = api
            .body(&self.target.model, request, self.target.sampling, alone)
            .to_string();
        let sent = self
            .http
            .request(self.build(Method::POST, api.path(), body.into_bytes())?);
        let response = self.soon(sent).await??;
        let (head, mut body) = response.into_parts();
        if head.status != http::StatusCode::OK {
            let status = head.status.as_u16();
            let whole = self.soon(http_body_util::Limited::new(body, LONGEST).collect()).await?;
            let text = whole.map_err(|error| anyhow!(error))?.to_bytes();
            let problem = Problem {
                retry_after: retry_after(&head.headers),
                ..problem(Some(status), &String::from_utf8_lossy(&text))
            };
            return Ok(match status {
                429 | 503 => Ending::Refused(problem),
                _ => Ending::Failed(problem),
            });
        }
        let mut rest: Vec<u8> = Vec::new();
        while let Some(frame) = self.soon(body.frame()).await? {
            let Ok(data) = frame?.into_data() else { continue };
            let now = watch.sent.elapsed();
            rest.extend_from_slice(&data);
            while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line);
                if let Some(ending) = watch.line(line.trim_end(), now) {
                    if ending == Ending::Answered {
                        // what is left of the body frees the connection for the next request
                        while let Some(Ok(_)) = self.soon(body.frame()).await? {}
                    }
                    return Ok(ending);
                }
            }
            if rest.len() > LONGEST {
                bail!("a line of more than {LONGEST} bytes");
            }
        }
        Ok(Ending::Failed(Problem {
            status: Some(200),
            code: "incomplete".into(),
            message: "the answer ended without its end".into(),
            retry_after: None,
        }))
    }

    async fn soon<T>(&self, next: impl Future<Output = T>) -> Result<T> {
        let timeout = self.target.timeout;
        tokio::time::timeout(timeout, next)
            .await
            .map_err(|_| Silence(timeout).into())
    }
}

/// Nothing came.
#[derive(Debug, thiserror::Error)]
#[error("nothing came for {} s", .0.as_secs())]
struct Silence(Duration);

/// Seconds, as servers of models say it; a date is not understood, and none is sent by these.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// What has come of an answer.
struct Watch {
    api: Api,
    leave: Option<Leave>,
    sent: Instant,
    stage: Stage,
    pieces: Vec<Duration>,
    text: String,
    told: Told,
}

impl Watch {
    fn new(api: Api, leave: Option<Leave>) -> Self {
        Self {
            api,
            leave,
            sent: Instant::now(),
            stage: Stage::Waiting,
            pieces: Vec::new(),
            text: String::new(),
            told: Told::default(),
        }
    }

    /// A line that has come at `now`; tells when it was the last, or the client leaves.
    fn line(&mut self, line: &str, now: Duration) -> Option<Ending> {
        match self.api.line(line) {
            Line::Nothing => return None,
            Line::Progress => {
                if self.stage == Stage::Waiting {
                    self.stage = Stage::Prefill;
                }
            }
            Line::Piece(text) => {
                self.stage = Stage::Decode;
                self.pieces.push(now);
                self.text += &text;
            }
            Line::Told(told) => self.note(told),
            Line::End(told) => {
                self.note(told);
                return Some(Ending::Answered);
            }
            Line::Error(problem) => {
                let problem = Problem {
                    status: Some(200),
                    ..problem
                };
                return Some(Ending::Failed(problem));
            }
            Line::Garbage => {
                return Some(Ending::Failed(Problem {
                    status: Some(200),
                    code: "not_this_api".into(),
                    message: excerpt(line),
                    retry_after: None,
                }));
            }
        }
        let leaves = match self.leave? {
            // one that came to its first token sooner than usual
            Leave::Waiting(_) => self.stage == Stage::Decode,
            Leave::Prefill => self.stage != Stage::Waiting,
            Leave::Decode(n) => self.pieces.len() >= n as usize,
        };
        leaves.then_some(Ending::Left(self.stage))
    }

    fn note(&mut self, told: Told) {
        self.told = Told {
            n_prompt: told.n_prompt.or(self.told.n_prompt),
            n_answer: told.n_answer.or(self.told.n_answer),
            prefill: told.prefill.or(self.told.prefill),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece() -> String {
        r#"data: {"choices":[{"delta":{"content":"a"}}]}"#.into()
    }

    #[test]
    fn a_client_leaves_where_it_was_told_to() {
        let progress = r#"data: {"choices":[],"prompt_progress":{"total":5}}"#;
        let left = |leave, lines: &[&str]| {
            let mut watch = Watch::new(Api::Openai, Some(leave));
            lines.iter().find_map(|line| watch.line(line, Duration::ZERO))
        };
        let (one, end) = (piece(), "data: [DONE]");
        assert_eq!(
            left(Leave::Prefill, &[progress, &one]),
            Some(Ending::Left(Stage::Prefill))
        );
        assert_eq!(
            left(Leave::Prefill, &[&one]),
            Some(Ending::Left(Stage::Decode)),
            "no progress is told"
        );
        assert_eq!(left(Leave::Decode(2), &[progress, &one]), None);
        assert_eq!(left(Leave::Decode(2), &[&one, &one]), Some(Ending::Left(Stage::Decode)));
        assert_eq!(
            left(Leave::Decode(9), &[&one, end]),
            Some(Ending::Answered),
            "the answer was shorter"
        );
        assert_eq!(left(Leave::Waiting(0.5), &[&one]), Some(Ending::Left(Stage::Decode)));
    }

    #[test]
    fn urls_are_checked_and_cut() {
        for (url, cut) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("https://host/v1/", "https://host"),
            ("http://host/under/v1", "http://host/under"),
        ] {
            assert_eq!(base(url).unwrap(), cut);
        }
        for wrong in ["", "127.0.0.1:8080", "ftp://host", "http://", "http://host?x=1"] {
            assert!(base(wrong).unwrap_err().to_string().contains("--url"), "{wrong}");
        }
    }
}
