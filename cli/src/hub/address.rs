//! Addresses: what a hub's URL and its redirects may be.

use ureq::http::{HeaderMap, Uri, header};

/// Scheme, host and port: whom a token is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub scheme: String,
    pub host: String,
    pub port: u16,
}

impl Origin {
    /// Of a URL that may be asked.
    pub fn of(url: &str) -> Result<Self, &'static str> {
        let url: Uri = url.parse().map_err(|_| "it is not a URL")?;
        let scheme = url.scheme_str().unwrap_or_default().to_owned();
        let default = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return Err("only http and https are followed"),
        };
        let authority = url.authority().ok_or("it names no host")?;
        if authority.as_str().contains('@') {
            return Err("it contains a user name; a token goes into HF_TOKEN");
        }
        Ok(Self {
            scheme,
            host: authority.host().to_ascii_lowercase(),
            port: authority.port_u16().unwrap_or(default),
        })
    }
}

/// Where `target`, as a server wrote it, leads from `url`.
pub(super) fn resolve(url: &str, target: &str) -> Result<String, &'static str> {
    let base: Uri = url.parse().map_err(|_| "it is not a URL")?;
    let scheme = base.scheme_str().unwrap_or_default();
    let authority = base.authority().map(|authority| authority.as_str()).unwrap_or_default();
    if target.starts_with("//") {
        return Ok(format!("{scheme}:{target}"));
    }
    if target.starts_with('/') {
        return Ok(format!("{scheme}://{authority}{target}"));
    }
    Origin::of(target).map_err(|_| "the hub leads to an address that is not followed")?;
    Ok(target.to_owned())
}

/// The address in `Link: <...>; rel="next"`.
pub(super) fn next_page(headers: &HeaderMap) -> Option<&str> {
    let links = headers.get(header::LINK)?.to_str().ok()?;
    links.split(',').find_map(|link| {
        let (address, about) = link.trim().strip_prefix('<')?.split_once('>')?;
        about.replace(['"', ' '], "").contains("rel=next").then_some(address)
    })
}

/// A path for a URL.
pub(super) fn escaped(path: &str) -> String {
    path.bytes().fold(String::with_capacity(path.len()), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_to_http_and_https_only() {
        let from = "https://hub.example/a/b";
        assert_eq!(resolve(from, "/c?d").unwrap(), "https://hub.example/c?d");
        assert_eq!(resolve(from, "//cdn.example/c").unwrap(), "https://cdn.example/c");
        assert_eq!(resolve(from, "https://cdn.example/c").unwrap(), "https://cdn.example/c");
        for target in ["", "file:///etc/passwd", "ftp://x/y", "gopher://x", "c", "javascript:x"] {
            assert!(resolve(from, target).is_err(), "{target}");
        }
    }
}
