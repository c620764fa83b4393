//! `turboquant run`: one answer, or a chat in the terminal.

use super::run_images::{self, Pictures};
use crate::args::RunArgs;
use crate::auto::{self, Auto};
use crate::console;
use crate::interrupt::{Interrupt, exit_code};
use crate::loras::LoraFiles;
use crate::settings::{ModelSettings, human_bytes, sampling};
use anyhow::{Context as _, Result, bail};
use llama_turboquant::engine::chat::{ChatRequest, ChatTemplate};
use llama_turboquant::generate::{FinishReason, GenParams, GenStats, Prompt, Session};
use llama_turboquant::machine::Machine;
use llama_turboquant::{CancelToken, Error};
use std::io::{BufRead, IsTerminal, Read, Write};
use std::process::ExitCode;

/// Answers the prompt, or chats until the input ends.
///
/// # Errors
/// Bad settings, a model that does not load, a prompt that does not fit.
pub fn run(args: &RunArgs) -> Result<ExitCode> {
    let mut settings = ModelSettings::new(&args.model, 1)?;
    let prompt = match (&args.prompt, &args.file) {
        (Some(text), _) => Some(text.clone()),
        (None, Some(file)) if file.as_os_str() == "-" => {
            Some(read_all(std::io::stdin().lock()).context("standard input")?)
        }
        (None, Some(file)) => {
            let open = std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
            Some(read_all(open).with_context(|| format!("cannot read {}", file.display()))?)
        }
        (None, None) => None,
    };
    let images = run_images::read(args, settings.projector.as_ref())?;
    let interrupt = Interrupt::install()?;
    if let Some(file) = args.remote.obtain(None, &interrupt.token())? {
        settings.engine.file = Some(file);
    }
    let projector = settings.projector.clone().filter(|_| !images.is_empty());
    let plan = match &projector {
        Some(projector) => Some(projector.plan(&mut settings.context)?),
        None => None,
    };
    settings.loras = LoraFiles::from(&args.lora);
    settle(&mut settings, plan.map_or(0, |plan| plan.bytes()))?;
    let model = settings.engine.load(&interrupt.token())?;
    let template = if args.raw {
        None
    } else if model.meta().chat_template {
        Some(ChatTemplate::from_model(&model)?)
    } else {
        tracing::info!("the model has no chat template: the prompt is continued as text");
        None
    };
    let pictures = Pictures::encode(&images, &model, projector.as_ref(), &interrupt.token())?;
    let mut context = settings.create_context(&model)?;
    let loras = settings.loras.load(&model)?;
    context.set_loras(&loras)?;
    tracing::info!(
        "{} tokens of context, KV cache {}/{}: {}",
        context.n_ctx_seq(),
        context.config().kv.k,
        context.config().kv.v,
        human_bytes(context.kv_bytes().cache())
    );
    let mut chat = Chat {
        session: Session::new(context),
        template,
        pictures,
        request: args
            .system_prompt
            .iter()
            .fold(ChatRequest::new(), |request, text| request.system(text)),
        params: {
            let mut params = GenParams::new().sampling(sampling(&args.sampling));
            params.max_tokens = usize::try_from(args.predict).ok();
            params
        },
    };
    match prompt {
        Some(text) => {
            let stats = chat.answer(&text, &interrupt.token())?;
            report(&stats);
            Ok(exit_code(stats.reason != FinishReason::Cancelled))
        }
        None => chat.talk(&interrupt),
    }
}

/// Chooses what the options leave open.
fn settle(settings: &mut ModelSettings, projector: u64) -> Result<()> {
    let mut auto = Auto::open(settings, projector)?;
    if let Some(decision) = auto.settle(settings, &Machine::detect()?, false)? {
        auto::say(&decision);
    }
    Ok(())
}

fn read_all(mut from: impl Read) -> Result<String> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes)?;
    String::from_utf8(bytes).context("the prompt is not UTF-8 text")
}

fn report(stats: &GenStats) {
    tracing::debug!(
        "{} tokens, {:.1} tokens/s, seed {}",
        stats.n_tokens,
        stats.tokens_per_second(),
        stats.seed
    );
}

struct Chat {
    session: Session,
    template: Option<ChatTemplate>,
    pictures: Pictures,
    request: ChatRequest,
    params: GenParams,
}

impl Chat {
    /// Reads lines and answers each, until the input ends or an empty answer was interrupted.
    fn talk(&mut self, interrupt: &Interrupt) -> Result<ExitCode> {
        let person = std::io::stdin().is_terminal();
        if person {
            console::hint("Type a message; Ctrl-C stops an answer, Ctrl-D ends.");
        }
        let mut lines = std::io::stdin().lock().lines();
        loop {
            if person {
                eprint!("> ");
            }
            // Nothing runs while we wait for a line: one Ctrl-C ends the program.
            interrupt.token().cancel();
            let Some(line) = lines.next() else {
                return Ok(ExitCode::SUCCESS);
            };
            let line = line.context("standard input")?;
            if line.trim().is_empty() {
                continue;
            }
            match self.answer(&line, &interrupt.token()) {
                Ok(stats) => report(&stats),
                Err(error) if matches!(error.downcast_ref(), Some(Error::ContextFull { .. })) => {
                    console::say!("{error:#}; the conversation starts anew");
                    self.request.messages.retain(|message| message["role"] == "system");
                    self.pictures.forget();
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Streams the answer to `text` to standard output and remembers both.
    fn answer(&mut self, text: &str, cancel: &CancelToken) -> Result<GenStats> {
        let mut params = self.params.clone().cancel(cancel.clone());
        let prompt = match &self.template {
            None => Prompt::Text(text.to_owned()),
            Some(template) => {
                self.request.messages.push(self.pictures.message(text));
                let prompt = template.apply(&self.request)?;
                params = params.answering(&prompt);
                self.pictures.prompt(&prompt, self.session.context().model())?.into()
            }
        };
        if matches!(&prompt, Prompt::Text(text) if text.is_empty()) {
            bail!("the prompt is empty");
        }
        self.session.prompt_until(prompt, Some(cancel.clone()))?;
        let mut stream = self.session.generate(&params)?;
        let mut answer = String::new();
        let mut out = std::io::stdout().lock();
        for piece in &mut stream {
            let piece = piece?;
            out.write_all(piece.text.as_bytes())
                .and_then(|()| out.flush())
                .context("cannot write the answer")?;
            answer += &piece.text;
        }
        let stats = stream.finish();
        writeln!(out).context("cannot write the answer")?;
        self.request = self.request.clone().assistant(&answer);
        Ok(stats)
    }
}
