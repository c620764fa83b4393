//! Addresses to listen on, as people write them.

use std::fmt;
use std::str::FromStr;

use crate::args::serve::ListenArgs;

const LOOPBACK: &str = "127.0.0.1";
const OPENAI_PORT: u16 = 8080;
const OLLAMA_PORT: u16 = 11434;

/// A host, by name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Name or address; empty: all addresses of this machine.
    pub host: String,
    /// Port; 0: any free one.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

/// Why an address cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address; write HOST, HOST:PORT, :PORT, [IPV6]:PORT or http://HOST:PORT")]
pub struct NoAddress(String);

/// As Ollama reads OLLAMA_HOST: the port is 11434, or that of the scheme if there is one; a path is ignored.
impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        let wrong = || NoAddress(text.to_owned());
        let bare = text.trim().trim_matches(['"', '\'']).trim();
        let (default_port, rest) = match bare.split_once("://") {
            Some(("http", rest)) => (80, rest),
            Some(("https", rest)) => (443, rest),
            Some(_) => return Err(wrong()),
            None => (OLLAMA_PORT, bare),
        };
        let rest = rest.split('/').next().unwrap_or_default();
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(wrong)?;
                (host, port.strip_prefix(':'))
            }
            // more than one colon: an IPv6 address without brackets
            None if rest.matches(':').count() > 1 => (rest, None),
            None => rest
                .split_once(':')
                .map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let fits = host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:%".contains(c));
        if !fits || host.contains(':') && host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(wrong());
        }
        let port = match port {
            None | Some("") => default_port,
            Some(port) => port.parse().map_err(|_| wrong())?,
        };
        let host = if host.is_empty() && !rest.contains(':') {
            LOOPBACK
        } else {
            host
        };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

/// Whose clients look for the server at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// OpenAI's.
    OpenAi,
    /// Ollama's.
    Ollama,
    /// Both.
    Both,
}

/// Where to listen. All addresses serve all routes; there are two because clients look in two places.
///
/// # Errors
/// An address that cannot be read.
pub fn addresses(args: &ListenArgs) -> Result<Vec<(Surface, Address)>, NoAddress> {
    let host = args
        .host
        .as_deref()
        .map(|host| host.trim_matches(['[', ']']).to_owned());
    let ollama: Option<Address> = args.ollama_host.as_deref().map(str::parse).transpose()?;
    let address = |host: Option<String>, port| Address {
        host: host.unwrap_or_else(|| LOOPBACK.into()),
        port,
    };
    if !args.ollama {
        return Ok(vec![(Surface::OpenAi, address(host, args.port.unwrap_or(OPENAI_PORT)))]);
    }
    if let Some(port) = args.port {
        if let Some(ollama) = ollama.as_ref().filter(|ollama| ollama.port != port) {
            tracing::warn!("both APIs are on port {port} (--port), not on {ollama} (--ollama-host, OLLAMA_HOST)");
        }
        let host = host.or(ollama.map(|ollama| ollama.host));
        return Ok(vec![(Surface::Both, address(host, port))]);
    }
    let ollama = ollama.unwrap_or_else(|| address(host.clone(), OLLAMA_PORT));
    if ollama.port == OPENAI_PORT {
        return Ok(vec![(Surface::Both, ollama)]);
    }
    Ok(vec![
        (Surface::OpenAi, address(host, OPENAI_PORT)),
        (Surface::Ollama, ollama),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ollama_host_has_all_its_forms() {
        // L18; as the tests of Ollama's envconfig have it
        for (text, host, port) in [
            ("", "127.0.0.1", 11434),
            ("1.2.3.4", "1.2.3.4", 11434),
            (":1234", "", 1234),
            (":0", "", 0),
            ("1.2.3.4:", "1.2.3.4", 11434),
            ("1.2.3.4:5678", "1.2.3.4", 5678),
            ("example.com", "example.com", 11434),
            ("example.com:5678", "example.com", 5678),
            ("http://1.2.3.4", "1.2.3.4", 80),
            ("https://1.2.3.4", "1.2.3.4", 443),
            ("https://1.2.3.4:5678/ollama", "1.2.3.4", 5678),
            ("::1", "::1", 11434),
            ("[::1]", "::1", 11434),
            ("[::]:5678", "::", 5678),
            ("\" 1.2.3.4 \"", "1.2.3.4", 11434),
        ] {
            let host = host.to_owned();
            assert_eq!(text.parse(), Ok(Address { host, port }), "{text}");
        }
        for text in ["1.2.3.4:99999", "ftp://1.2.3.4", "a b", "[::1", "x:y:z"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
