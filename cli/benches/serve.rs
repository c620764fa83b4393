//! What the server costs: the same answers through HTTP on loopback and from the bare library, in turns, in one run.
//!
//! ```text
//! cargo bench -p llama-turboquant-cli --features native --bench serve -- --rounds 15 --threads 1
//! ```
//! Both arms compute the same prompt from nothing and choose the same tokens, which is checked first. Differences are of
//! neighbouring rounds; medians with quartiles are printed.

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use llama_turboquant::engine::chat::{ChatPrompt, ChatRequest, ChatTemplate};
use llama_turboquant::generate::{GenParams, Session};
use llama_turboquant_cli::args::ModelArgs;
use llama_turboquant_cli::commands::serve::engine::{Engine, Limits};
use llama_turboquant_cli::commands::serve::{AppState, Settings, bind, serve};
use llama_turboquant_cli::settings::ModelSettings;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Parser)]
struct Options {
    /// Rounds of every comparison.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Tokens of every answer.
    #[arg(long, default_value_t = 200)]
    tokens: usize,
    /// Slots of the server. With one, the answers lie in the same cells of the cache with a server and without; with
    /// several, they lie behind what others left there.
    #[arg(long, default_value_t = 4)]
    parallel: u32,
    #[command(flatten)]
    model: ModelArgs,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    llama_turboquant::Backend::init()?;
    let server = Server::start(&options)?;
    let mut bare = Bare::new(&options)?;
    let cores = std::thread::available_parallelism()?;
    println!(
        "{} rounds of {} tokens, {} threads, {cores} cores, {}",
        options.rounds,
        options.tokens,
        bare.session.context().config().n_threads,
        server.engine.describe()
    );
    compare(&options, &server, &mut bare)?;
    if options.parallel < 4 {
        return Ok(());
    }
    streams(&options, &server)?;
    company(&options, &server)
}

/// The server of `turboquant serve`, in this process.
struct Server {
    engine: Arc<Engine>,
    addr: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    fn start(options: &Options) -> Result<Self> {
        let settings = ModelSettings::new(&options.model, options.parallel)?;
        let engine = Arc::new(Engine::of_model("bench", &settings, Limits::default())?);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let listener = runtime.block_on(bind(SocketAddr::from(([127, 0, 0, 1], 0))))?;
        let addr = listener.local_addr()?;
        let state = AppState::new(engine.clone(), Settings::default());
        runtime.spawn(serve(listener, state, std::future::pending()));
        Ok(Self {
            engine,
            addr,
            _runtime: runtime,
        })
    }
}

/// When the parts of an answer came.
struct Answer {
    text: String,
    first: Duration,
    /// Of every part, since the request.
    parts: Vec<Duration>,
    tokens: usize,
}

impl Answer {
    /// Seconds per token after the first.
    fn per_token(&self) -> f64 {
        let last = self.parts.last().copied().unwrap_or(self.first);
        (last - self.first).as_secs_f64() / (self.tokens.max(2) - 1) as f64
    }
}

fn messages(text: &str) -> Vec<Value> {
    vec![json!({"role": "user", "content": text})]
}

/// A streamed chat over a connection of its own, as clients without a pool have it.
fn chat(addr: SocketAddr, text: &str, tokens: usize) -> Result<Answer> {
    let body = json!({
        "messages": messages(text), "stream": true, "temperature": 0, "max_tokens": tokens, "ignore_eos": true,
        "cache_prompt": false,
    })
    .to_string();
    let mut socket = TcpStream::connect(addr)?;
    socket.set_nodelay(true)?;
    let start = Instant::now();
    write!(
        socket,
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Answer {
        text: String::new(),
        first: Duration::ZERO,
        parts: Vec::new(),
        tokens: 0,
    };
    for line in BufReader::new(socket).lines() {
        let line = line?;
        let now = start.elapsed();
        let Some(data) = line.strip_prefix("data: ").filter(|data| *data != "[DONE]") else {
            continue;
        };
        let event: Value = serde_json::from_str(data)?;
        ensure!(event.get("error").is_none(), "{data}");
        if let Some(n) = event["timings"]["predicted_n"].as_u64() {
            answer.tokens = n as usize;
        }
        let part = event["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
        if !part.is_empty() {
            if answer.parts.is_empty() {
                answer.first = now;
            }
            answer.parts.push(now);
            answer.text += part;
        }
    }
    ensure!(answer.tokens == tokens, "{} of {tokens} tokens came", answer.tokens);
    Ok(answer)
}

/// The library without a server.
struct Bare {
    session: Session,
    template: ChatTemplate,
}

impl Bare {
    fn new(options: &Options) -> Result<Self> {
        // as many sequences as the server has
        let settings = ModelSettings::new(&options.model, options.parallel)?;
        let model = settings.engine.load(&llama_turboquant::CancelToken::new())?;
        Ok(Self {
            session: Session::new(settings.create_context(&model)?),
            template: ChatTemplate::from_model(&model)?,
        })
    }

    fn chat(&mut self, text: &str, tokens: usize) -> Result<Answer> {
        let start = Instant::now();
        let prompt: ChatPrompt = self.template.apply(&ChatRequest {
            messages: messages(text),
            ..ChatRequest::new()
        })?;
        let mut params = GenParams::greedy().max_tokens(tokens).answering(&prompt);
        params.sampling.ignore_eos = Some(true);
        self.session.truncate(0)?;
        self.session.prompt(&prompt)?;
        let mut answer = Answer {
            text: String::new(),
            first: Duration::ZERO,
            parts: Vec::with_capacity(tokens),
            tokens: 0,
        };
        for piece in self.session.generate(&params)? {
            let piece = piece?;
            answer.tokens += 1;
            if !piece.text.is_empty() {
                if answer.parts.is_empty() {
                    answer.first = start.elapsed();
                }
                answer.parts.push(start.elapsed());
                answer.text += &piece.text;
            }
        }
        Ok(answer)
    }
}

/// First quartile, median and third quartile.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    [at(0.25), at(0.5), at(0.75)]
}

fn show(what: &str, unit: &str, values: Vec<f64>) -> f64 {
    let [low, median, high] = quartiles(values);
    println!("{what:<44} {median:>9.3} {unit} (quartiles {low:.3} to {high:.3})");
    median
}

/// Time per token and to the first token, with a server and without.
fn compare(options: &Options, server: &Server, bare: &mut Bare) -> Result<()> {
    let question = |round: usize| format!("{round}. {}What is turbo3?", "The code is 8634. ".repeat(30));
    let (a, b) = (
        chat(server.addr, &question(0), options.tokens)?,
        bare.chat(&question(0), options.tokens)?,
    );
    ensure!(
        a.text == b.text,
        "the arms give different answers:\n{}\n{}",
        a.text,
        b.text
    );
    let (mut served, mut alone) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        let text = question(round + 1);
        // who comes first takes turns: whatever drifts, drifts for both
        if round % 2 == 0 {
            served.push(chat(server.addr, &text, options.tokens)?);
            alone.push(bare.chat(&text, options.tokens)?);
        } else {
            alone.push(bare.chat(&text, options.tokens)?);
            served.push(chat(server.addr, &text, options.tokens)?);
        }
    }
    let us = |answers: &[Answer]| answers.iter().map(|a| a.per_token() * 1e6).collect::<Vec<_>>();
    let ms = |answers: &[Answer]| answers.iter().map(|a| a.first.as_secs_f64() * 1e3).collect::<Vec<_>>();
    let minus = |a: Vec<f64>, b: Vec<f64>| a.iter().zip(&b).map(|(a, b)| a - b).collect::<Vec<_>>();
    println!("\none stream");
    show("time per token, server", "us", us(&served));
    let library = show("time per token, library", "us", us(&alone));
    let over = show("difference per token", "us", minus(us(&served), us(&alone)));
    println!("{:<44} {:>9.2} %", "that is", over / library * 100.0);
    show("time to the first token, server", "ms", ms(&served));
    show("time to the first token, library", "ms", ms(&alone));
    show("difference to the first token", "ms", minus(ms(&served), ms(&alone)));
    Ok(())
}

/// Tokens per second of several streams at once.
fn streams(options: &Options, server: &Server) -> Result<()> {
    println!("\nstreams at once");
    let counts = [1_usize, 2, 4];
    let mut rates = vec![Vec::new(); counts.len()];
    for round in 0..options.rounds {
        for (at, &count) in counts.iter().enumerate() {
            let begun = Instant::now();
            let threads: Vec<_> = (0..count)
                .map(|stream| {
                    let (addr, tokens) = (server.addr, options.tokens);
                    std::thread::spawn(move || chat(addr, &format!("{round} {stream}: what is turbo4?"), tokens))
                })
                .collect();
            let mut tokens = 0;
            let mut first = Duration::MAX;
            for thread in threads {
                let answer = thread.join().ok().context("a client failed")??;
                tokens += answer.tokens;
                first = first.min(answer.first);
            }
            rates[at].push(tokens as f64 / (begun.elapsed() - first).as_secs_f64());
        }
    }
    let mut one = f64::NAN;
    for (rates, count) in rates.into_iter().zip(counts) {
        let rate = show(&format!("{count}"), "tokens/s", rates);
        if count == 1 {
            one = rate;
        }
        println!("{:<44} {:>9.2} x", "  of one", rate / one);
    }
    Ok(())
}

/// Time between tokens of an answer while another job computes a prompt of about 4096 tokens.
fn company(options: &Options, server: &Server) -> Result<()> {
    println!("\none stream while a long prompt is computed");
    let n_ctx = server.engine.describe();
    let (mut quiet, mut during, mut longest, mut prefill) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..options.rounds.min(5) {
        let addr = server.addr;
        let stream = std::thread::spawn(move || (Instant::now(), chat(addr, &format!("{round}: go on"), 1200)));
        std::thread::sleep(Duration::from_millis(600));
        let from = Instant::now();
        let long = chat(addr, &format!("{round} {}", "The code is 8634. ".repeat(500)), 2)
            .with_context(|| format!("a prompt of about 4096 tokens ({n_ctx}); use -c 16384"))?;
        let to = from + long.first;
        let (begun, answer) = stream.join().ok().context("a client failed")?;
        let answer = answer?;
        let gaps = answer
            .parts
            .windows(2)
            .map(|pair| (begun + pair[1], (pair[1] - pair[0]).as_secs_f64() * 1e3));
        let (inside, outside): (Vec<_>, Vec<_>) = gaps.partition(|&(at, _)| at >= from && at <= to);
        longest.push(inside.iter().map(|&(_, gap)| gap).fold(0.0, f64::max));
        during.extend(inside.into_iter().map(|(_, gap)| gap));
        quiet.extend(outside.into_iter().map(|(_, gap)| gap));
        prefill.push(long.first.as_secs_f64() * 1e3);
    }
    show("time to the first token of the prompt", "ms", prefill);
    show("between tokens, alone", "ms", quiet);
    show("between tokens, during the prompt", "ms", during);
    show("the longest of each round", "ms", longest);
    Ok(())
}
