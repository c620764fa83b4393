//! Answers of a hub, which come piece by piece.

use super::Error;
use super::patience::{POLL, Trouble, check};
use llama_turboquant::CancelToken;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;
use ureq::http::{HeaderMap, header};

/// A part of an answer.
pub(super) enum Piece {
    /// The status and the headers.
    Head(u16, HeaderMap),
    /// The next bytes.
    Bytes(Vec<u8>),
    /// There are no more.
    End,
}

/// An answer on its way.
pub(super) struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pieces: Receiver<Result<Piece, Trouble>>,
}

impl Reply {
    /// One whose head has come.
    pub fn new(status: u16, headers: HeaderMap, pieces: Receiver<Result<Piece, Trouble>>) -> Self {
        Self {
            status,
            headers,
            pieces,
        }
    }

    /// The next bytes; none at the end.
    pub fn next(&mut self, cancel: &CancelToken) -> Result<Option<Vec<u8>>, Trouble> {
        Ok(match receive(&self.pieces, cancel)? {
            Some(Piece::Bytes(bytes)) => Some(bytes),
            _ => None,
        })
    }

    /// A header as text.
    pub fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// The next piece; none if the request broke off.
pub(super) fn receive(
    pieces: &Receiver<Result<Piece, Trouble>>,
    cancel: &CancelToken,
) -> Result<Option<Piece>, Trouble> {
    loop {
        check(cancel)?;
        match pieces.recv_timeout(POLL) {
            Ok(piece) => return piece.map(Some),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
    }
}

/// What a status other than success means.
pub(super) fn refused(url: &str, reply: &Reply) -> Trouble {
    match reply.status {
        404 | 410 => Error::NotFound(format!("{url}: the hub has no such file")).into(),
        status @ (401 | 403) => Error::Denied {
            url: url.to_owned(),
            status,
        }
        .into(),
        status @ (408 | 429 | 500..) => {
            let seconds = reply.header(header::RETRY_AFTER).and_then(|text| text.parse().ok());
            Trouble::Passing {
                reason: format!("the hub answers with status {status}"),
                after: seconds.map(Duration::from_secs),
            }
        }
        status => Error::Answer {
            url: url.to_owned(),
            reason: format!("the hub answers with status {status}"),
        }
        .into(),
    }
}

/// A request that was not answered.
pub(super) fn passing(error: &ureq::Error) -> Trouble {
    Trouble::Passing {
        reason: format!("cannot ask the hub: {error}"),
        after: None,
    }
}
