//! Who may call: API keys, web origins and host names. Pure decisions here; `app.rs` applies them
//! to requests.

use std::net::IpAddr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, header};
use subtle::{Choice, ConstantTimeEq};

/// Keys that open the API.
#[derive(Clone, Default)]
pub struct ApiKeys(Vec<String>);

impl ApiKeys {
    /// Accepts any of `keys`; blank ones are dropped, so that an empty line in a key file opens
    /// nothing.
    pub fn new(keys: impl IntoIterator<Item = String>) -> Self {
        Self(
            keys.into_iter()
                .map(|key| key.trim().to_owned())
                .filter(|key| !key.is_empty())
                .collect(),
        )
    }

    /// Whether there are none, so that the API is open to all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the request carries a key, as `Authorization: Bearer` or `X-Api-Key`, or none is
    /// needed.
    pub fn allow(&self, headers: &HeaderMap) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let bearer = headers
            .get(header::AUTHORIZATION)
            .map(HeaderValue::as_bytes)
            .and_then(bearer);
        let named = headers.get("x-api-key").map(HeaderValue::as_bytes);
        // Every key is compared in full, so that the time taken tells nothing about how close a
        // guess is.
        let mut allowed = Choice::from(0);
        for given in [bearer, named].into_iter().flatten() {
            for key in &self.0 {
                allowed |= key.as_bytes().ct_eq(given);
            }
        }
        allowed.into()
    }
}

/// Keys stay out of logs.
impl std::fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiKeys({})", self.0.len())
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// Web pages that may call the API, besides those on this machine, those this server sent, and
/// desktop apps.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// Accept every page.
    pub any: bool,
    /// Accept these, written as browsers send them: `https://chat.example`. A `*` stands for anything, once in each.
    pub extra: Vec<String>,
}

/// Schemes under which desktop shells serve their own pages. A web page cannot take one on.
const APP_SCHEMES: [&str; 5] = ["app", "file", "tauri", "vscode-file", "vscode-webview"];

impl Origins {
    /// Whether a page from `origin` may call the server that it addresses as `host`.
    pub fn allow(&self, origin: &str, host: Option<&str>) -> bool {
        if self.any
            || self
                .extra
                .iter()
                .any(|extra| matches(extra.trim_end_matches('/'), origin))
        {
            return true;
        }
        let Some((scheme, authority)) = origin.split_once("://") else {
            return false;
        };
        if APP_SCHEMES.contains(&scheme) {
            return true;
        }
        host.is_some_and(|host| host.eq_ignore_ascii_case(authority)) || is_loopback(authority)
    }
}

/// Whether an origin is what a pattern with at most one `*` describes.
fn matches(pattern: &str, origin: &str) -> bool {
    let (pattern, origin) = (pattern.to_ascii_lowercase(), origin.to_ascii_lowercase());
    match pattern.split_once('*') {
        None => pattern == origin,
        Some((start, end)) => {
            origin.len() >= start.len() + end.len() && origin.starts_with(start) && origin.ends_with(end)
        }
    }
}

fn is_loopback(authority: &str) -> bool {
    match host_name(authority) {
        Some(Host::Ip(ip)) => ip.is_loopback(),
        Some(Host::Name(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

/// Whether the `Host` header is looked at.
///
/// A page can have its own domain name resolve to 127.0.0.1 and then counts as same-origin with a
/// server there (DNS rebinding). The name in `Host` gives it away. A server that listens on the
/// network has names we cannot know, so there the check is for those who name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostCheck {
    /// Any name will do.
    Off,
    /// Addresses and local names only.
    LocalNames,
    /// Addresses, local names and these.
    Names(Vec<String>),
}

impl HostCheck {
    /// Whether a request for `host` is served. Without the header it is: browsers always send one.
    pub fn allow(&self, host: Option<&str>) -> bool {
        let named: &[String] = match self {
            Self::Off => return true,
            Self::LocalNames => &[],
            Self::Names(names) => names,
        };
        let Some(host) = host else { return true };
        match host_name(host) {
            // An address cannot be rebound.
            Some(Host::Ip(_)) => true,
            // `.internal` is reserved for private networks: containers reach their host under such
            // a name.
            Some(Host::Name(name)) => {
                name == "localhost"
                    || [".localhost", ".internal"].iter().any(|suffix| name.ends_with(suffix))
                    || named.iter().any(|named| named.eq_ignore_ascii_case(&name))
            }
            None => false,
        }
    }
}

enum Host {
    Ip(IpAddr),
    Name(String),
}

fn host_name(authority: &str) -> Option<Host> {
    let authority: Authority = authority.parse().ok()?;
    let host = authority.host();
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    Some(match bare.parse() {
        Ok(ip) => Host::Ip(ip),
        Err(_) => Host::Name(host.trim_end_matches('.').to_ascii_lowercase()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_pages_and_apps_may_call_and_others_may_not() {
        let origins = Origins::default();
        let good = [
            "http://localhost:3000",
            "http://127.0.0.1",
            "https://[::1]:5173",
            "tauri://localhost",
            "app://obsidian.md",
        ];
        let bad = [
            "https://evil.example",
            "http://localhost.evil.example",
            "null",
            "",
            "http://127.0.0.1@evil.example",
        ];
        assert!(good.iter().all(|origin| origins.allow(origin, None)));
        for origin in bad {
            assert!(!origins.allow(origin, Some("localhost:8080")), "{origin}");
        }
    }

    #[test]
    fn a_page_served_by_us_may_call_us() {
        assert!(Origins::default().allow("http://192.168.1.5:8080", Some("192.168.1.5:8080")));
        assert!(!Origins::default().allow("http://192.168.1.6:8080", Some("192.168.1.5:8080")));
    }

    #[test]
    fn rebound_names_are_refused_and_local_names_served() {
        for host in [
            "localhost:8080",
            "127.0.0.1:8080",
            "[::1]:8080",
            "192.168.1.5",
            "host.docker.internal:8080",
        ] {
            assert!(HostCheck::LocalNames.allow(Some(host)), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
        ] {
            assert!(!HostCheck::LocalNames.allow(Some(host)), "{host}");
            assert!(HostCheck::Off.allow(Some(host)));
        }
    }

    #[test]
    fn blank_keys_open_nothing() {
        assert!(ApiKeys::new(["  ".into()]).0.is_empty());
    }
}
