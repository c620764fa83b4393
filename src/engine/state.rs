//! Saving and restoring one sequence's cache, whole or what of it cannot be cut. A header of our own says what the bytes
//! are, so that a state of another codec, layout or model is refused with a reason instead of misread.

use super::call;
use super::context::Context;
use crate::{Error, Result, sys};
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};

/// What of a sequence a state holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// All of it.
    Whole,
    /// Cells of sliding windows, and recurrent states.
    Checkpoint,
}

impl Part {
    const fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::Whole => b"TQKVSEQ1",
            Self::Checkpoint => b"TQKVCHK1",
        }
    }

    const fn partial(self) -> bool {
        matches!(self, Self::Checkpoint)
    }
}

/// A header is a few hundred bytes; a length beyond this is no header.
const MAX_HEADER: u32 = 1 << 20;

/// What a saved sequence is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeqInfo {
    /// Version of the codec that packed it.
    pub codec_version: u32,
    /// The model: architecture, parameters, layers, vocabulary, fingerprint.
    pub model: String,
    /// `layer:k/v` of each KV layer.
    pub kv: String,
    /// `fingerprint*scale` of each LoRA adapter that it was computed with; empty: none.
    #[serde(default)]
    pub loras: String,
    /// Last position of the sequence.
    pub last_position: Option<i32>,
    /// Bytes of the state that follow.
    pub bytes: u64,
}

impl Context {
    fn seq_info(&mut self, seq: i32, bytes: u64) -> SeqInfo {
        let meta = self.model().meta();
        let model = format!(
            "{} {} params, {} layers, n_embd {}, vocabulary {}, fingerprint {}",
            meta.architecture, meta.n_params, meta.n_layer, meta.n_embd, meta.n_vocab, meta.fingerprint
        );
        let kv: Vec<String> = self
            .kv()
            .layers
            .iter()
            .map(|t| format!("{}:{}/{}", t.layer, t.k, t.v))
            .collect();
        // SAFETY: takes no arguments and reads a constant.
        let codec_version = unsafe { sys::tq_codec_version() };
        let last_position = self.memory().positions(seq).map(|(_, last)| last);
        SeqInfo {
            codec_version,
            model,
            kv: kv.join(" "),
            loras: self.loras().to_string(),
            last_position,
            bytes,
        }
    }

    /// Writes the cache of sequence `seq`, as computed with the [adapters](Context::set_loras) that are set now; returns the bytes written.
    ///
    /// # Errors
    /// A sequence that does not exist, or writing fails.
    pub fn save_seq(&mut self, seq: i32, to: impl Write) -> Result<u64> {
        self.save_part(Part::Whole, seq, to)
    }

    /// Reads what [`save_seq`](Self::save_seq) wrote into sequence `seq`, replacing what it held.
    ///
    /// # Errors
    /// [`Error::Invalid`] with both sides when the state is of another codec version, cache layout or model, or of other
    /// LoRA adapters or scales than are set now, is cut short, or is no saved sequence at all.
    pub fn load_seq(&mut self, seq: i32, from: impl Read) -> Result<SeqInfo> {
        self.load_part(Part::Whole, seq, from)
    }

    /// Writes what [`load_checkpoint`](Self::load_checkpoint) needs to take sequence `seq` back to where it is now: the
    /// cells of its sliding windows and its recurrent states, which do not grow with the sequence. Returns the bytes
    /// written. Models without either need none: their sequences can be cut anywhere.
    ///
    /// # Errors
    /// A sequence that does not exist, or writing fails.
    pub fn save_checkpoint(&mut self, seq: i32, to: impl Write) -> Result<u64> {
        self.save_part(Part::Checkpoint, seq, to)
    }

    /// Takes sequence `seq` back to where [`save_checkpoint`](Self::save_checkpoint) was called: puts that state in place
    /// and removes the positions behind it. The other layers must still hold the positions before it, of the same tokens;
    /// this is the caller's to know.
    ///
    /// # Errors
    /// As [`load_seq`](Self::load_seq); [`Error::Invalid`] where the sequence ends before the checkpoint; [`Error::Engine`]
    /// where it does not end there afterwards. A sequence whose checkpoint failed has to be removed: it may hold a part.
    pub fn load_checkpoint(&mut self, seq: i32, from: impl Read) -> Result<SeqInfo> {
        let info = self.load_part(Part::Checkpoint, seq, from)?;
        let end = info.last_position.map_or(0, |last| last.saturating_add(1));
        let removed = self.memory().remove(seq, end..i32::MAX);
        let last = self.memory().positions(seq).map(|(_, last)| last);
        if !removed || last != info.last_position {
            return Err(Error::Engine(format!(
                "a checkpoint of position {:?} was loaded, and the sequence ends at {last:?}",
                info.last_position
            )));
        }
        Ok(info)
    }

    fn save_part(&mut self, part: Part, seq: i32, mut to: impl Write) -> Result<u64> {
        self.check_seq(seq)?;
        // SAFETY: the context is live and the sequence exists.
        let capacity = unsafe { sys::tq_context_state_size(self.raw(), seq, part.partial()) };
        let mut state = room_for(capacity)?;
        state.resize(capacity, 0);
        let (data, mut written) = (state.as_mut_ptr(), 0);
        // SAFETY: `state` has `capacity` bytes; the slots are valid.
        call::check(|error| unsafe {
            sys::tq_context_state_get(self.raw(), seq, part.partial(), data, capacity, &raw mut written, error)
        })?;
        state.truncate(written);
        let header = serde_json::to_vec(&self.seq_info(seq, written as u64))
            .map_err(|e| Error::Engine(format!("describing a saved sequence: {e}")))?;
        to.write_all(part.magic())?;
        to.write_all(&(header.len() as u32).to_le_bytes())?;
        to.write_all(&header)?;
        to.write_all(&state)?;
        Ok((part.magic().len() + 4 + header.len() + state.len()) as u64)
    }

    fn load_part(&mut self, part: Part, seq: i32, mut from: impl Read) -> Result<SeqInfo> {
        self.check_seq(seq)?;
        let info = read_header(part, &mut from)?;
        let here = self.seq_info(seq, info.bytes);
        let refuse = |what: &str, saved: &dyn std::fmt::Display, here: &dyn std::fmt::Display| {
            Err(Error::Invalid(format!(
                "the saved sequence has {what} `{saved}`, this context has `{here}`; it cannot be read here"
            )))
        };
        if info.codec_version != here.codec_version {
            return refuse("codec version", &info.codec_version, &here.codec_version);
        }
        if info.model != here.model {
            return refuse("model", &info.model, &here.model);
        }
        if info.kv != here.kv {
            return refuse("KV types", &info.kv, &here.kv);
        }
        if part == Part::Checkpoint && here.last_position < info.last_position {
            return Err(Error::Invalid(format!(
                "the checkpoint is of position {:?}, sequence {seq} ends at {:?}; a checkpoint only takes a sequence back",
                info.last_position, here.last_position
            )));
        }
        if info.loras != here.loras {
            let named = |loras: &str| {
                if loras.is_empty() {
                    "none".to_owned()
                } else {
                    loras.to_owned()
                }
            };
            return refuse("LoRA adapters", &named(&info.loras), &named(&here.loras));
        }
        let mut state = Vec::new(); // grows with what there is, whatever the header says
        from.take(info.bytes).read_to_end(&mut state)?;
        if state.len() as u64 != info.bytes {
            return Err(Error::Invalid(format!(
                "the saved sequence is cut short: {} of {} bytes",
                state.len(),
                info.bytes
            )));
        }
        let (data, len, mut read) = (state.as_ptr(), state.len(), 0);
        // SAFETY: `state` is valid for its length; the slots are valid; the context is borrowed mutably.
        call::check(|error| unsafe {
            sys::tq_context_state_set(self.raw(), seq, part.partial(), data, len, &raw mut read, error)
        })?;
        Ok(info)
    }

    fn check_seq(&self, seq: i32) -> Result<()> {
        if seq < 0 || seq.unsigned_abs() >= self.config().n_seq_max {
            return Err(Error::Invalid(format!(
                "sequence {seq} does not exist; the context has {}",
                self.config().n_seq_max
            )));
        }
        Ok(())
    }
}

impl SeqInfo {
    /// What the bytes that [`Context::save_seq`] wrote are.
    ///
    /// # Errors
    /// [`Error::Invalid`] if they are no saved sequence.
    pub fn of(saved: &[u8]) -> Result<Self> {
        read_header(Part::Whole, &mut &saved[..])
    }
}

/// A state may have gigabytes; where the system has no memory for a copy, that is an error and not the end of the process.
fn room_for(bytes: usize) -> Result<Vec<u8>> {
    let mut room = Vec::new();
    room.try_reserve_exact(bytes).map_err(|_| Error::OutOfMemory {
        what: "a copy of a sequence's cache".into(),
        need: bytes as u64,
        free: crate::memory::available_ram().unwrap_or(0),
    })?;
    Ok(room)
}

fn read_header(part: Part, from: &mut impl Read) -> Result<SeqInfo> {
    let cut = |_| Error::Invalid("this is no saved sequence: it ends inside the header".into());
    let mut magic = [0; 8];
    from.read_exact(&mut magic).map_err(cut)?;
    if &magic != part.magic() {
        return Err(Error::Invalid(
            "this is no saved sequence: the signature is missing".into(),
        ));
    }
    let mut len = [0; 4];
    from.read_exact(&mut len).map_err(cut)?;
    let len = u32::from_le_bytes(len);
    if len > MAX_HEADER {
        return Err(Error::Invalid(format!(
            "the saved sequence is damaged: a header of {len} bytes"
        )));
    }
    let mut header = vec![0; len as usize];
    from.read_exact(&mut header).map_err(cut)?;
    serde_json::from_slice(&header).map_err(|e| Error::Invalid(format!("the saved sequence is damaged: {e}")))
}
