//! Prompts of a given length, in the model's own tokens, with a fact at a given depth.

use super::{ANSWER_TOKENS, NeedleKind, NeedleQuestion};
use crate::engine::chat::{ChatRequest, ChatTemplate};
use crate::measure::wording;
use crate::verify::rng::Rng;
use crate::{Error, Model, Result, Token};

/// What surrounds the facts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Haystack {
    /// Unconnected sentences, other ones in each trial.
    #[default]
    Generated,
    /// This text, from another place in each trial, repeated where it is too short.
    Text(String),
}

/// Which prompts to write. Equal settings give equal prompts.
#[derive(Debug, Clone, PartialEq)]
pub struct NeedleGrid {
    /// Lengths of the prompts in tokens: each has at most so many and at most 3 % fewer.
    pub lengths: Vec<u32>,
    /// Where the fact is that is asked for, from 0 (first sentence) to 1 (last).
    pub depths: Vec<f64>,
    /// Facts in each haystack; one of them is asked for.
    pub facts: usize,
    /// Prompts for each length and depth.
    pub trials: usize,
    /// How they are asked, by turns.
    pub kinds: Vec<NeedleKind>,
    /// What surrounds the facts.
    pub haystack: Haystack,
    /// Of everything that is drawn.
    pub seed: u64,
}

/// The share of a length that a prompt may be shorter, at most.
const SLACK: f64 = 0.03;
/// Kinds of facts: numbers, which cannot be guessed.
const ATTRIBUTES: [&str; 5] = [
    "access code",
    "locker number",
    "badge number",
    "ticket number",
    "phone number",
];

#[derive(Debug)]
struct Fact {
    statement: String,
    question: String,
    value: String,
}

/// A part of a haystack, with the white space before it, and its tokens.
#[derive(Debug, Clone)]
struct Piece {
    text: String,
    tokens: usize,
}

/// What the prompts of one trial share, so that they begin alike and the cache of one serves the next.
struct Trial<'a> {
    grid: &'a NeedleGrid,
    writer: &'a Writer<'a>,
    kind: NeedleKind,
    /// Of all facts: the name alone tells them apart.
    attribute: &'static str,
    /// The most tokens.
    limit: usize,
    pool: Vec<Piece>,
    /// Facts that are not asked for, with their places as shares.
    others: Vec<(f64, Fact)>,
    rng: Rng,
}

struct Writer<'a> {
    model: &'a Model,
    template: Option<ChatTemplate>,
    /// The pieces of a text.
    text: Vec<&'a str>,
}

impl NeedleGrid {
    /// Writes the prompts: all trials of the first length, each from its smallest depth to its largest, then the next length.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty or impossible grid, a length beyond what the model was trained with, a length that the
    /// facts do not fit, or [`NeedleKind::Chat`] for a model without a chat template; otherwise as
    /// [`Model::tokenize`] and [`ChatTemplate::apply`].
    pub fn questions(&self, model: &Model) -> Result<Vec<NeedleQuestion>> {
        self.check(model)?;
        let writer = Writer {
            model,
            template: if self.kinds.contains(&NeedleKind::Chat) {
                Some(ChatTemplate::from_model(model)?)
            } else {
                None
            },
            text: match &self.haystack {
                Haystack::Generated => Vec::new(),
                Haystack::Text(text) => pieces(text),
            },
        };
        let mut depths = self.depths.clone();
        depths.sort_by(f64::total_cmp);
        depths.dedup();
        let mut questions = Vec::new();
        for &length in &self.lengths {
            // some models have no positions beyond those they were trained with; the answer needs some
            let limit = length.min(model.meta().n_ctx_train.saturating_sub(ANSWER_TOKENS)) as usize;
            for number in 0..self.trials {
                let mut trial = Trial::new(self, &writer, limit, length, number)?;
                for &depth in &depths {
                    let (tokens, expected, placed) = trial.prompt(depth)?;
                    questions.push(NeedleQuestion {
                        n_ctx: length,
                        depth: Some(depth),
                        placed: Some(placed),
                        kind: trial.kind,
                        trial: number,
                        expected,
                        tokens,
                    });
                }
            }
        }
        Ok(questions)
    }

    fn check(&self, model: &Model) -> Result<()> {
        let refuse = |text: String| Err(Error::Invalid(text));
        if self.lengths.is_empty()
            || self.depths.is_empty()
            || self.kinds.is_empty()
            || self.trials == 0
            || self.facts == 0
        {
            return refuse("needles need at least one length, depth, kind, trial and fact".into());
        }
        if let Some(depth) = self.depths.iter().find(|depth| !(0.0..=1.0).contains(*depth)) {
            return refuse(format!("depth {depth} is not between 0 (start) and 1 (end)"));
        }
        let n_ctx_train = model.meta().n_ctx_train;
        if let Some(length) = self.lengths.iter().find(|length| **length > n_ctx_train) {
            return refuse(format!(
                "a needle at {length} tokens: the model was trained with {n_ctx_train}; use lengths up to that"
            ));
        }
        if self.kinds.contains(&NeedleKind::Chat) && !model.meta().chat_template {
            return refuse(
                "the model has no chat template, so needles cannot be asked as chat; ask them as plain text".into(),
            );
        }
        if let Haystack::Text(text) = &self.haystack
            && text.trim().is_empty()
        {
            return refuse("the text for the haystack is empty".into());
        }
        Ok(())
    }
}

impl<'a> Trial<'a> {
    fn new(grid: &'a NeedleGrid, writer: &'a Writer<'a>, limit: usize, length: u32, number: usize) -> Result<Self> {
        let mut rng = Rng::new(grid.seed);
        for part in [u64::from(length), number as u64] {
            rng = Rng::new(rng.bits() ^ part);
        }
        let mut trial = Self {
            grid,
            writer,
            kind: grid.kinds[number % grid.kinds.len()],
            attribute: wording::pick(&mut rng, &ATTRIBUTES),
            limit,
            pool: Vec::new(),
            others: Vec::new(),
            rng,
        };
        let mut tokens = 0;
        let mut place = trial.place();
        while tokens < limit {
            let piece = trial.piece(&mut place)?;
            tokens += piece.tokens;
            trial.pool.push(piece);
        }
        for _ in 1..grid.facts {
            let at = trial.rng.below(1000) as f64 / 1000.0;
            let fact = trial.fact()?;
            trial.others.push((at, fact));
        }
        trial.others.sort_by(|a, b| a.0.total_cmp(&b.0));
        Ok(trial)
    }

    /// Somewhere in the text.
    fn place(&mut self) -> usize {
        self.rng.below(self.writer.text.len().max(1))
    }

    /// The next piece of filler.
    fn piece(&mut self, place: &mut usize) -> Result<Piece> {
        let text = match &self.grid.haystack {
            Haystack::Generated => format!(" {}", wording::sentence(&mut self.rng)),
            Haystack::Text(_) => {
                let text = self.writer.text[*place % self.writer.text.len()];
                *place += 1;
                // the end of the text does not know what follows it
                if text.starts_with(char::is_whitespace) {
                    text.to_owned()
                } else {
                    format!("\n{text}")
                }
            }
        };
        self.writer.piece(text)
    }

    /// A fact that is nowhere else in the haystack, about a person of its own.
    fn fact(&mut self) -> Result<Fact> {
        let attribute = self.attribute;
        for _ in 0..1000 {
            let person = wording::person(&mut self.rng);
            let digits = 4 + self.rng.below(3) as u32;
            let value = wording::number(&mut self.rng, digits);
            let taken = |text: &str| text.contains(&person) || text.contains(&value);
            if self.pool.iter().any(|piece| taken(&piece.text))
                || self.others.iter().any(|(_, other)| taken(&other.statement))
            {
                continue;
            }
            return Ok(Fact {
                statement: format!(" The {attribute} for {person} is {value}."),
                question: format!("What is the {attribute} for {person}?"),
                value,
            });
        }
        Err(Error::Invalid(format!(
            "{} facts and this haystack leave no names for another fact; use fewer",
            self.grid.facts
        )))
    }

    /// A prompt within the limits, its answer, and the depth the fact has got.
    fn prompt(&mut self, depth: f64) -> Result<(Vec<Token>, String, f64)> {
        let fact = self.fact()?;
        let needle = self.writer.piece(fact.statement.clone())?;
        let (least, most) = ((self.limit as f64 * (1.0 - SLACK)).ceil() as usize, self.limit);
        let empty = self.arrange(&[], &needle, depth)?;
        let overhead = self.writer.tokens(self.kind, &empty.0, &fact.question)?.len();
        let mut wanted = most.saturating_sub(overhead);
        // The sum over the pieces is not quite the length of the whole; each attempt corrects it by what the last one missed.
        for _ in 0..12 {
            let filler = self.filler(wanted)?;
            let (haystack, placed) = self.arrange(&filler, &needle, depth)?;
            let tokens = self.writer.tokens(self.kind, &haystack, &fact.question)?;
            let values = haystack.matches(&fact.value).count();
            if (least..=most).contains(&tokens.len()) && values == 1 && !filler.is_empty() {
                return Ok((tokens, fact.value, placed));
            }
            let aim = (least + most).div_ceil(2);
            wanted = (wanted + aim).saturating_sub(tokens.len());
        }
        Err(Error::Invalid(format!(
            "no prompt of {least} to {most} tokens with {} facts can be written; use a greater length or fewer facts",
            self.grid.facts
        )))
    }

    /// Pieces of the pool with `wanted` tokens together, the last ones chosen to fit.
    fn filler(&mut self, wanted: usize) -> Result<Vec<Piece>> {
        let mut left = wanted;
        let mut filler: Vec<Piece> = Vec::new();
        for piece in &self.pool {
            if piece.tokens > left {
                break;
            }
            left -= piece.tokens;
            filler.push(piece.clone());
        }
        let candidates = (0..64)
            .map(|_| {
                let mut place = self.place();
                self.piece(&mut place)
            })
            .collect::<Result<Vec<_>>>()?;
        while let Some(best) = candidates
            .iter()
            .filter(|c| c.tokens <= left && c.tokens > 0)
            .max_by_key(|c| c.tokens)
        {
            left -= best.tokens;
            filler.push(best.clone());
        }
        Ok(filler)
    }

    /// The haystack with all facts in it, and the depth the needle has got.
    fn arrange(&self, filler: &[Piece], needle: &Piece, depth: f64) -> Result<(String, f64)> {
        let mut pieces: Vec<Piece> = Vec::with_capacity(filler.len() + self.others.len());
        let mut others = self.others.iter().peekable();
        let mut sum = 0;
        for piece in filler {
            // shares of the limit and not of the filler: then they stay where they are from depth to depth
            while let Some((_, other)) = others.next_if(|(at, _)| at * 0.9 * self.limit as f64 <= sum as f64) {
                pieces.push(self.writer.piece(other.statement.clone())?);
            }
            sum += piece.tokens;
            pieces.push(piece.clone());
        }
        for (_, other) in others {
            pieces.push(self.writer.piece(other.statement.clone())?);
        }
        let total: usize = pieces.iter().map(|piece| piece.tokens).sum();
        let mut before = 0;
        let (mut best, mut best_before) = (0, 0);
        for (i, piece) in pieces.iter().enumerate() {
            before += piece.tokens;
            let off = |sum: usize| (sum as f64 - depth * total as f64).abs();
            if off(before) < off(best_before) {
                (best, best_before) = (i + 1, before);
            }
        }
        pieces.insert(best, needle.clone());
        let text: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
        Ok((text.trim_start().to_owned(), best_before as f64 / total.max(1) as f64))
    }
}

impl Writer<'_> {
    fn piece(&self, text: String) -> Result<Piece> {
        let tokens = self.model.tokenize(&text, false, false)?.len();
        Ok(Piece { text, tokens })
    }

    /// The prompt, without control tokens that a text may spell out.
    fn tokens(&self, kind: NeedleKind, haystack: &str, question: &str) -> Result<Vec<Token>> {
        match (&self.template, kind) {
            (Some(template), NeedleKind::Chat) => {
                let text = format!("Read the following text and answer the question.\n\n{haystack}\n\n{question}");
                let mut request = ChatRequest::new().user(&text);
                request.enable_thinking = Some(false);
                template.apply(&request)?.tokenize(self.model)
            }
            _ => {
                let text = format!("{haystack}\n\nQuestion: {question}\nAnswer:");
                self.model.tokenize(&text, true, false)
            }
        }
    }
}

/// Cuts a text behind its lines and sentences; each piece has the white space before it.
fn pieces(text: &str) -> Vec<&str> {
    /// Bytes after which any space will do.
    const LONG: usize = 240;
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut last = ' ';
    for (at, c) in text.char_indices() {
        let ends = c.is_whitespace() && (c == '\n' || ".!?".contains(last) || at - start > LONG);
        if ends && !text[start..at].trim().is_empty() {
            pieces.push(&text[start..at]);
            start = at;
        }
        last = c;
    }
    pieces.push(text[start..].trim_end());
    pieces.retain(|piece| !piece.trim().is_empty());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_sentences_and_lines_and_stays_the_same() {
        let text = "One. Two is longer! Three\nfour, five.\n\n  Six? ";
        let cut = pieces(text);
        assert_eq!(
            cut,
            ["One.", " Two is longer!", " Three", "\nfour, five.", "\n\n  Six?"]
        );
        assert_eq!(cut.concat(), text.trim_end());
        let long = "word ".repeat(200);
        assert!(pieces(&long).iter().all(|piece| piece.len() < 260) && pieces(&long).len() > 3);
        assert!(pieces(" \n ").is_empty());
    }
}
