//! Where a server is found, and what it has to listen on to be found there.

use anyhow::{Result, anyhow, bail};
use axum::http::Uri;
use std::fmt;
use std::net::IpAddr;

/// An address of a server without a path: `http://127.0.0.1:8080`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    tls: bool,
    host: String,
    port: u16,
    port_is_default: bool,
}

impl Endpoint {
    /// Reads a URL.
    ///
    /// # Errors
    /// Anything but http or https with a host and no path, name or query.
    pub fn new(url: &str) -> Result<Self> {
        let wrong = |why: &str| anyhow!("`{}` is no endpoint: {why}", excerpt(url));
        let uri: Uri = url
            .trim()
            .parse()
            .map_err(|_| wrong("write it as http://127.0.0.1:8080"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) => return Err(wrong("its scheme must be http or https")),
            None => return Err(wrong("write it as http://127.0.0.1:8080")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("a name and a password have no place in it"));
        }
        if uri.query().is_some() || !matches!(uri.path(), "" | "/") {
            return Err(wrong(
                "it must end with the host or the port; paths like /v1 have fields of their own",
            ));
        }
        let host = authority.host();
        if host.is_empty() {
            return Err(wrong("it has no host"));
        }
        // `Authority::port` has none also where there is one that is no number
        let port_is_default = authority.as_str() == host;
        let port = match authority.as_str().strip_prefix(host) {
            Some("") => Some(if tls { 443 } else { 80 }),
            _ => authority.port_u16().filter(|port| *port > 0),
        };
        Ok(Self {
            tls,
            host: host.to_owned(),
            port: port.ok_or_else(|| wrong("its port must be a number from 1 to 65535"))?,
            port_is_default,
        })
    }

    /// The host as `--host` has it.
    fn bare_host(&self) -> &str {
        self.host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(&self.host)
    }

    /// Host and port that a server must listen on to be found here.
    ///
    /// # Errors
    /// Why it cannot be told: there is something between (TLS, a name).
    pub fn listens(&self) -> Result<(&str, u16)> {
        let host = self.bare_host();
        if self.tls {
            bail!(
                "{self} is https: --ssl-key-file and --ssl-cert-file, or the proxy before the server, are yours to set"
            );
        }
        if host == "localhost" {
            return Ok(("127.0.0.1", self.port));
        }
        if host.parse::<IpAddr>().is_err() {
            bail!("{self} is a name: --host says which address of this machine that is");
        }
        Ok((host, self.port))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host)?;
        if self.port_is_default {
            return Ok(());
        }
        write!(f, ":{}", self.port)
    }
}

/// The beginning of a text, for errors.
pub(super) fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        short.push_str("...");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_kept_as_it_was_written() {
        for url in [
            "http://127.0.0.1:8080",
            "http://localhost:1",
            "https://models.example",
            "http://[::1]:8080",
        ] {
            assert_eq!(Endpoint::new(url).unwrap().to_string(), url);
        }
        assert_eq!(Endpoint::new("http://a:1/").unwrap().to_string(), "http://a:1");
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_the_reason() {
        for (url, why) in [
            ("127.0.0.1:8080", "http://"),
            ("ftp://a", "http or https"),
            ("http://a/v1", "/v1"),
            ("http://a?x=1", "must end"),
            ("http://me:secret@a", "password"),
            ("http://a:70000", "65535"),
            ("http://a:0", "65535"),
            ("http://", "no endpoint"),
            ("", "no endpoint"),
            ("http://a b", "no endpoint"),
        ] {
            let error = Endpoint::new(url).unwrap_err().to_string();
            assert!(error.contains(why), "{url}: {error}");
        }
    }

    #[test]
    fn an_address_says_where_to_listen_and_a_name_does_not() {
        let listens = |url: &str| {
            Endpoint::new(url)
                .unwrap()
                .listens()
                .map(|(host, port)| (host.to_owned(), port))
                .map_err(|error| error.to_string())
        };
        assert_eq!(listens("http://localhost:9"), Ok(("127.0.0.1".into(), 9)));
        assert_eq!(listens("http://[::1]:9"), Ok(("::1".into(), 9)));
        assert_eq!(listens("http://10.0.0.2"), Ok(("10.0.0.2".into(), 80)));
        assert!(listens("http://models.example:9").unwrap_err().contains("--host"));
        assert!(listens("https://127.0.0.1").unwrap_err().contains("--ssl-cert-file"));
    }
}
