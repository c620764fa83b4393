//! Requests to a hub: redirects, the token, answers that come piece by piece and can be given up at any time.

use super::Error;
use super::address::{Origin, next_page, resolve};
use super::patience::{Patience, Trouble, check};
use super::reply::{Piece, Reply, passing, receive, refused};
use llama_turboquant::CancelToken;
use std::io::Read;
use std::sync::mpsc::{SyncSender, sync_channel};
use ureq::Agent;
use ureq::http::header;

/// Bytes that are passed on at once.
const PIECE: usize = 256 << 10;
/// Pieces that wait for the disk.
const QUEUE: usize = 8;
/// Addresses that a hub may send us to before the last.
const MAX_REDIRECTS: usize = 10;

/// Which hub, and how it is spoken to.
#[derive(Clone)]
pub struct HubSettings {
    /// Where it is: `https://huggingface.co`, a mirror, a hub of one's own.
    pub url: String,
    /// Proves who asks. Sent to this hub only.
    pub token: Option<String>,
    /// When to give up.
    pub patience: Patience,
}

impl std::fmt::Debug for HubSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // never the token: this may go into a log
        f.debug_struct("HubSettings")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// A hub; cheap to clone.
#[derive(Debug, Clone)]
pub struct Hub {
    settings: HubSettings,
    origin: Origin,
    agent: Agent,
    offline: bool,
}

impl Hub {
    /// Checks the settings; nothing is asked of the hub yet.
    ///
    /// # Errors
    /// [`Error::Url`].
    pub fn new(settings: HubSettings) -> Result<Self, Error> {
        let wrong = |reason| Error::Url {
            url: settings.url.clone(),
            reason,
        };
        let url = settings.url.trim_end_matches('/').to_owned();
        if url.contains(['?', '#']) {
            return Err(wrong("it must end with a host or a path"));
        }
        let origin = Origin::of(&url).map_err(wrong)?;
        let agent = Agent::config_builder()
            .timeout_connect(Some(settings.patience.silence))
            .timeout_per_read(Some(settings.patience.silence))
            .http_status_as_error(false)
            // followed here, so that the token stays with its hub
            .max_redirects(0)
            .user_agent(concat!("turboquant/", env!("CARGO_PKG_VERSION")))
            .build();
        let settings = HubSettings { url, ..settings };
        Ok(Self {
            settings,
            origin,
            agent: agent.into(),
            offline: false,
        })
    }

    /// The same hub, of which nothing is asked: what would need it fails with [`Error::Offline`].
    #[must_use]
    pub fn offline(mut self) -> Self {
        self.offline = true;
        self
    }

    /// Its address, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.settings.url
    }

    pub(super) fn patience(&self) -> &Patience {
        &self.settings.patience
    }

    /// A text of at most `limit` bytes, tried again where that may help, and the address of the next page.
    pub(super) fn text(
        &self,
        url: &str,
        limit: usize,
        cancel: &CancelToken,
    ) -> Result<(String, Option<String>), Error> {
        let mut failures = 0;
        loop {
            let (reason, after) = match self.text_once(url, limit, cancel) {
                Ok(answer) => return Ok(answer),
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Passing { reason, after }) => (reason, after),
            };
            failures += 1;
            if failures >= self.patience().attempts {
                return Err(Error::Connection {
                    url: url.to_owned(),
                    reason,
                    attempts: failures,
                });
            }
            tracing::info!("{url}: {reason}; trying again");
            self.patience().wait(failures, after, cancel)?;
        }
    }

    fn text_once(&self, url: &str, limit: usize, cancel: &CancelToken) -> Result<(String, Option<String>), Trouble> {
        let mut reply = self.get(url, Vec::new(), cancel)?;
        if reply.status != 200 {
            return Err(refused(url, &reply));
        }
        let next = next_page(&reply.headers)
            .map(|next| resolve(url, next))
            .transpose()
            .map_err(|reason| Error::Answer {
                url: url.to_owned(),
                reason: reason.to_owned(),
            })?;
        let answer = |reason: &str| Error::Answer {
            url: url.to_owned(),
            reason: reason.to_owned(),
        };
        let mut bytes = Vec::new();
        while let Some(piece) = reply.next(cancel)? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > limit {
                return Err(answer("the answer is too long").into());
            }
        }
        let text = String::from_utf8(bytes).map_err(|_| answer("the answer is not text"))?;
        Ok((text, next))
    }

    /// Asks for `url` and follows redirects. The request runs beside, so that a cancelled one is left at once.
    pub(super) fn get(
        &self,
        url: &str,
        headers: Vec<(header::HeaderName, String)>,
        cancel: &CancelToken,
    ) -> Result<Reply, Trouble> {
        check(cancel)?;
        if self.offline {
            return Err(Error::Offline { url: url.to_owned() }.into());
        }
        let (sender, receiver) = sync_channel(QUEUE);
        let (hub, url) = (self.clone(), url.to_owned());
        std::thread::spawn(move || hub.exchange(&url, &headers, &sender));
        match receive(&receiver, cancel)? {
            Some(Piece::Head(status, headers)) => Ok(Reply::new(status, headers, receiver)),
            _ => Err(Trouble::Passing {
                reason: "the request broke off".into(),
                after: None,
            }),
        }
    }

    /// Sends the answer piece by piece. Ends when nobody wants it any more, at the latest after a silence.
    fn exchange(
        &self,
        url: &str,
        headers: &[(header::HeaderName, String)],
        sender: &SyncSender<Result<Piece, Trouble>>,
    ) {
        let response = match self.follow(url, headers) {
            Ok(response) => response,
            Err(trouble) => {
                // an error means that nobody waits any more, which is all right here and below
                let _ = sender.send(Err(trouble));
                return;
            }
        };
        let (parts, body) = response.into_parts();
        if sender
            .send(Ok(Piece::Head(parts.status.as_u16(), parts.headers)))
            .is_err()
        {
            return;
        }
        let mut reader = body.into_reader();
        loop {
            let mut piece = vec![0; PIECE];
            let sent = match reader.read(&mut piece) {
                Ok(0) => {
                    let _ = sender.send(Ok(Piece::End));
                    return;
                }
                Ok(count) => {
                    piece.truncate(count);
                    sender.send(Ok(Piece::Bytes(piece)))
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let reason = format!("the transfer broke off: {error}");
                    let _ = sender.send(Err(Trouble::Passing { reason, after: None }));
                    return;
                }
            };
            if sent.is_err() {
                return;
            }
        }
    }

    fn follow(
        &self,
        url: &str,
        headers: &[(header::HeaderName, String)],
    ) -> Result<ureq::http::Response<ureq::Body>, Trouble> {
        let mut url = url.to_owned();
        let mut origin = self.origin.clone();
        // once the way leads elsewhere, the token stays behind, also if it leads back
        let mut at_home = true;
        for _ in 0..=MAX_REDIRECTS {
            let answer = |reason: &str| Error::Answer {
                url: url.clone(),
                reason: reason.to_owned(),
            };
            let here = Origin::of(&url).map_err(answer)?;
            if origin.scheme == "https" && here.scheme == "http" {
                return Err(answer("the hub leads from https to http, which is not followed").into());
            }
            at_home &= here == self.origin;
            origin = here;
            let mut request = self.agent.get(&url);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            if let Some(token) = self.settings.token.as_deref().filter(|_| at_home) {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            let response = request.call().map_err(|error| passing(&error))?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let target = response
                .headers()
                .get(header::LOCATION)
                .and_then(|target| target.to_str().ok());
            url = resolve(&url, target.unwrap_or_default()).map_err(answer)?;
        }
        Err(Error::Answer {
            url,
            reason: format!("the hub redirects more than {MAX_REDIRECTS} times"),
        }
        .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(url: &str) -> Result<Hub, Error> {
        Hub::new(HubSettings {
            url: url.into(),
            token: Some("secret".into()),
            patience: Patience::default(),
        })
    }

    #[test]
    fn urls_of_hubs_are_checked() {
        assert_eq!(hub("https://hub.example/hf/").unwrap().url(), "https://hub.example/hf");
        for url in [
            "",
            "hub.example",
            "ftp://x",
            "file:///etc",
            "http://user:pw@x",
            "http://x?y",
        ] {
            assert!(matches!(hub(url), Err(Error::Url { .. })), "{url}");
        }
    }

    #[test]
    fn the_token_is_not_printed() {
        assert!(!format!("{:?}", hub("https://hub.example").unwrap()).contains("secret"));
    }
}
