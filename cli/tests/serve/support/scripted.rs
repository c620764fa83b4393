//! A backend that plays back what the test wrote, and remembers what it was asked.

use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, json};

use crate::serve::backend::{
    Abilities, Backend, BackendError, CancelToken, ChatJob, ChatPrompt, CompletionJob, Counts, Details, EmbedJob,
    Embeddings, Event, EventStream, Health, Inside, KvCard, Lease, LoraScale, LoraStatus, ModelCard, ModelMemory,
    Offer, Opened, Prompt, PromptCacheUse, RerankJob, Running, Scores, SlotStatus, TokenPiece, TokenizeJob, Wanted,
};

/// One thing a job does.
#[derive(Clone, Debug)]
pub enum Step {
    Send(Event),
    Sleep(Duration),
    /// Wait for ever, as in a long prefill.
    Hang,
}

impl From<Event> for Step {
    fn from(event: Event) -> Self {
        Self::Send(event)
    }
}

/// The backend. Job `i` plays script `i`; the last script serves all later jobs too.
pub struct Scripted {
    pub cards: Vec<ModelCard>,
    /// What the engine tells about itself.
    pub watched: Watched,
    /// What is told of a model beyond its card.
    pub about: Vec<Details>,
    /// How long loading is said to take.
    pub load: Duration,
    /// When loaded models are said to be unloaded.
    pub expires: Option<SystemTime>,
    health: Health,
    /// Jobs after this many are refused while others run.
    queue: usize,
    refusal: Option<BackendError>,
    scripts: Vec<Vec<Step>>,
    seen: Mutex<Seen>,
}

/// What [`Backend::running`], [`Backend::counts`], [`Backend::details`] and [`Backend::inside`] say.
#[derive(Default)]
pub struct Watched {
    /// Names of models on offer that are not loaded.
    pub unloaded: Vec<String>,
    /// The state of the first slots of every model; the others are idle.
    pub slots: Vec<SlotStatus>,
    pub queued: u32,
    pub kv_cells_used: u32,
    pub prompt_cache: PromptCacheUse,
    pub counts: Counts,
    pub inside: Option<Inside>,
    /// The LoRA adapters of every model; their cards must say how many.
    pub loras: Vec<LoraStatus>,
}

#[derive(Default)]
struct Seen {
    chats: Vec<ChatJob>,
    completions: Vec<CompletionJob>,
    embeds: Vec<EmbedJob>,
    reranks: Vec<RerankJob>,
    opened: Vec<Wanted>,
    tokens: Vec<CancelToken>,
    unloaded: Vec<String>,
    scaled: Vec<Vec<LoraScale>>,
}

impl Scripted {
    pub fn answering(events: impl IntoIterator<Item = Event>) -> Self {
        Self::playing([events.into_iter().map(Step::Send).collect()])
    }

    pub fn playing(scripts: impl IntoIterator<Item = Vec<Step>>) -> Self {
        Self {
            cards: vec![card("tiny")],
            watched: Watched::default(),
            about: Vec::new(),
            load: Duration::ZERO,
            expires: None,
            health: Health::Ready,
            queue: usize::MAX,
            refusal: None,
            scripts: scripts.into_iter().collect(),
            seen: Mutex::default(),
        }
    }

    pub fn with_health(self, health: Health) -> Self {
        Self { health, ..self }
    }

    pub fn with_queue(self, queue: usize) -> Self {
        Self { queue, ..self }
    }

    pub fn refusing(error: BackendError) -> Self {
        Self {
            refusal: Some(error),
            ..Self::playing([Vec::new()])
        }
    }

    /// The jobs of all chats so far.
    pub fn chats(&self) -> Vec<ChatJob> {
        self.seen.lock().unwrap().chats.clone()
    }

    /// The job of the only chat.
    #[track_caller]
    pub fn chat_job(&self) -> ChatJob {
        let mut chats = self.chats();
        assert_eq!(chats.len(), 1);
        chats.remove(0)
    }

    /// The jobs of all completions so far.
    pub fn completions(&self) -> Vec<CompletionJob> {
        self.seen.lock().unwrap().completions.clone()
    }

    /// The jobs of all embeddings so far.
    pub fn embeds(&self) -> Vec<EmbedJob> {
        self.seen.lock().unwrap().embeds.clone()
    }

    /// The jobs of all rerankings so far.
    pub fn reranks(&self) -> Vec<RerankJob> {
        self.seen.lock().unwrap().reranks.clone()
    }

    /// How LoRA adapters were scaled so far.
    pub fn scaled(&self) -> Vec<Vec<LoraScale>> {
        self.seen.lock().unwrap().scaled.clone()
    }

    /// What was asked of [`Backend::open`] so far.
    pub fn opened(&self) -> Vec<Wanted> {
        self.seen.lock().unwrap().opened.clone()
    }

    /// The models that were unloaded and not loaded again.
    pub fn unloaded(&self) -> Vec<String> {
        self.seen.lock().unwrap().unloaded.clone()
    }

    /// Jobs that were started and not cancelled or finished.
    pub fn running(&self) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.tokens.iter().filter(|token| !token.is_cancelled()).count()
    }

    /// Jobs that were started.
    pub fn started(&self) -> usize {
        self.seen.lock().unwrap().tokens.len()
    }

    /// Waits until every started job was cancelled; fails after the second that O17 allows.
    pub async fn all_cancelled(&self) {
        let wait = async {
            while self.started() == 0 || self.running() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(1), wait)
            .await
            .expect("cancelled in time");
    }

    fn play(&self) -> Result<EventStream, BackendError> {
        if let Some(error) = &self.refusal {
            return Err(error.clone());
        }
        if self.running() >= self.queue {
            return Err(BackendError::Overloaded {
                retry_after: Duration::from_millis(1500),
            });
        }
        let mut seen = self.seen.lock().unwrap();
        let script = self.scripts[seen.tokens.len().min(self.scripts.len() - 1)].clone();
        let (events, stream) = EventStream::channel(4);
        seen.tokens.push(events.cancel_token().clone());
        tokio::spawn(async move {
            for step in script {
                match step {
                    Step::Send(event) => {
                        if events.send(event).await.is_err() {
                            return;
                        }
                    }
                    Step::Sleep(time) => tokio::time::sleep(time).await,
                    Step::Hang => std::future::pending().await,
                }
            }
        });
        Ok(stream)
    }
}

impl Backend for Scripted {
    fn health(&self) -> Health {
        self.health.clone()
    }

    fn offers(&self) -> Result<Vec<Offer>, BackendError> {
        let unloaded = self.watched.unloaded.iter().map(|id| offer(&card(id)));
        Ok(self.cards.iter().map(offer).chain(unloaded).collect())
    }

    fn counts(&self) -> Counts {
        self.watched.counts
    }

    fn inside(&self, model: &str) -> Option<Inside> {
        let loaded = self.cards.iter().any(|card| card.id == model);
        self.watched.inside.clone().filter(|_| loaded)
    }

    fn details(&self, name: &str) -> Result<Details, BackendError> {
        if let Some(about) = self.about.iter().find(|about| is_called(&about.offer.id, name)) {
            return Ok(about.clone());
        }
        let unloaded = self.watched.unloaded.iter().map(|id| card(id));
        let mut known = self.cards.iter().cloned().chain(unloaded);
        let card = known.find(|card| is_called(&card.id, name));
        card.as_ref()
            .map(about)
            .ok_or_else(|| BackendError::UnknownModel(name.into()))
    }

    fn unload(&self, name: &str) -> Result<bool, BackendError> {
        self.seen.lock().unwrap().unloaded.push(name.into());
        Ok(true)
    }

    /// One model answers to every name; of several, the name must match.
    fn open(&self, wanted: &Wanted, _cancel: &CancelToken) -> Result<Opened, BackendError> {
        let name = wanted.name.as_deref();
        let card = match self.cards.as_slice() {
            [only] if !wanted.exact => Some(only),
            cards => cards
                .iter()
                .find(|card| name.is_some_and(|name| is_called(&card.id, name))),
        };
        let card = card.ok_or_else(|| match name {
            Some(name) => BackendError::UnknownModel(name.into()),
            None => BackendError::InvalidRequest {
                message: "'model' is required, because several models are served".into(),
                param: Some("model".into()),
            },
        })?;
        let mut seen = self.seen.lock().unwrap();
        seen.opened.push(wanted.clone());
        seen.unloaded.retain(|name| *name != card.id);
        Ok(Opened {
            card: card.clone().within(wanted.n_ctx),
            load: self.load,
            lease: Lease::new(()),
        })
    }

    fn running(&self) -> Vec<Running> {
        let watched = &self.watched;
        let slot = |id: u32| SlotStatus {
            id,
            ..watched.slots.get(id as usize).cloned().unwrap_or_default()
        };
        let running = |card: &ModelCard| Running {
            card: card.clone(),
            slots: (0..card.slots).map(slot).collect(),
            queued: watched.queued,
            queue_limit: 8,
            memory: ModelMemory {
                weights: card.size,
                kv: 500_000,
                compute: 100_000,
                gpu: 0,
            },
            kv_cells_used: watched.kv_cells_used,
            prompt_cache: watched.prompt_cache,
            expires: self.expires,
        };
        let unloaded = self.unloaded();
        let loaded = self.cards.iter().filter(|card| !unloaded.contains(&card.id));
        loaded.map(running).collect()
    }

    fn loras(&self, _model: &str) -> Result<Vec<LoraStatus>, BackendError> {
        Ok(self.watched.loras.clone())
    }

    fn scale_loras(&self, _model: &str, scales: &[LoraScale]) -> Result<(), BackendError> {
        self.seen.lock().unwrap().scaled.push(scales.to_vec());
        Ok(())
    }

    fn chat(&self, job: ChatJob) -> Result<EventStream, BackendError> {
        self.seen.lock().unwrap().chats.push(job);
        self.play()
    }

    fn complete(&self, job: CompletionJob) -> Result<EventStream, BackendError> {
        self.seen.lock().unwrap().completions.push(job);
        self.play()
    }

    /// A line per message.
    fn render(&self, _model: &str, prompt: ChatPrompt) -> Result<String, BackendError> {
        let messages = prompt.messages.as_array().unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let line = |message: &serde_json::Value| format!("{}:{}\n", text(&message["role"]), text(&message["content"]));
        Ok(messages.iter().map(line).collect())
    }

    /// Vectors `(3, 4, 0, n)` of length 1, where `n` is the number of the text; a token per byte.
    fn embed(&self, job: EmbedJob) -> Result<Embeddings, BackendError> {
        let size = |input: &Prompt| match input {
            Prompt::Text(text) => text.len() as u32,
            Prompt::Tokens(tokens) => tokens.len() as u32,
            Prompt::Infill(_) => 0,
        };
        let n_tokens = job.inputs.iter().map(size).sum();
        let vector = |index: usize| {
            let mut vector = vec![3.0, 4.0, 0.0, index as f32];
            llama_turboquant::embed::normalize(&mut vector);
            vector
        };
        let vectors = (0..job.inputs.len()).map(vector).collect();
        self.seen.lock().unwrap().embeds.push(job);
        match &self.refusal {
            Some(error) => Err(error.clone()),
            None => Ok(Embeddings { vectors, n_tokens }),
        }
    }

    /// A document's score is how often it has an `x`.
    fn rerank(&self, job: RerankJob) -> Result<Scores, BackendError> {
        let score = |document: &String| document.matches('x').count() as f32;
        let scores = job.documents.iter().map(score).collect();
        self.seen.lock().unwrap().reranks.push(job);
        match &self.refusal {
            Some(error) => Err(error.clone()),
            None => Ok(Scores { scores, n_tokens: 7 }),
        }
    }

    /// One token per byte.
    fn tokenize(&self, job: TokenizeJob) -> Result<Vec<TokenPiece>, BackendError> {
        let piece = |byte: u8| TokenPiece {
            id: i32::from(byte),
            bytes: vec![byte],
        };
        Ok(job.content.bytes().map(piece).collect())
    }

    fn detokenize(&self, _model: &str, tokens: &[i32]) -> Result<String, BackendError> {
        let bytes: Vec<u8> = tokens.iter().map(|&token| token as u8).collect();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

pub fn card(id: &str) -> ModelCard {
    ModelCard {
        id: id.into(),
        created: 1_700_000_000,
        n_vocab: 256,
        n_ctx: 4096,
        n_ctx_total: 4096,
        slots: 2,
        n_ctx_train: 8192,
        n_embd: 64,
        n_params: 1_000_000,
        size: 2_000_000,
        kv: KvCard {
            type_k: "turbo4".into(),
            type_v: "turbo3".into(),
            bytes_per_token: 60.5,
        },
        abilities: Abilities {
            completion: true,
            tools: true,
            ..Abilities::default()
        },
        loras: 0,
    }
}

/// A model on offer as the card says.
pub fn offer(card: &ModelCard) -> Offer {
    Offer {
        id: card.id.clone(),
        modified: UNIX_EPOCH + Duration::from_secs(card.created),
        size: card.size,
        digest: "0123456789abcdef".repeat(4),
        architecture: "qwen3".into(),
        quantization: "Q8_0".into(),
        n_params: card.n_params,
        n_vocab: card.n_vocab,
        n_ctx_train: card.n_ctx_train,
        n_embd: card.n_embd,
        abilities: card.abilities,
    }
}

/// Whether `name` means the model `id`; the tag `latest` may be left out.
fn is_called(id: &str, name: &str) -> bool {
    name.strip_suffix(":latest").unwrap_or(name) == id
}

/// All about a model that nothing was said about.
pub fn about(card: &ModelCard) -> Details {
    let metadata = json!({ "general.name": "Tiny", "qwen3.context_length": card.n_ctx_train });
    Details {
        offer: offer(card),
        template: Some("{{ messages }}".into()),
        system: None,
        parameters: Map::new(),
        license: None,
        metadata: metadata.as_object().unwrap().clone(),
        file: format!("{}.gguf", card.id),
        parent: None,
    }
}
