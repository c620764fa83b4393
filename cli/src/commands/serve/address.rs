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
        let (host, port) = read(text)?;
        Ok(Self {
            host,
            port: port.unwrap_or(OLLAMA_PORT),
        })
    }
}

impl Address {
    /// Whether a socket for this address gets the connections to the other.
    fn covers(&self, other: &Self) -> bool {
        let all = ["", "0.0.0.0", "::"].contains(&self.host.as_str());
        let hosts = [self.host.as_str(), other.host.as_str()];
        let local = hosts.iter().all(|host| ["localhost", LOOPBACK, "::1"].contains(host));
        let same = self.host == other.host || (local && hosts.contains(&"localhost"));
        self.port == other.port && self.port != 0 && (all || same)
    }
}

/// The host, and the port where the text names one or a scheme that has one.
fn read(text: &str) -> Result<(String, Option<u16>), NoAddress> {
    let wrong = || NoAddress(text.to_owned());
    let bare = text.trim().trim_matches(['"', '\'']).trim();
    let (default_port, rest) = match bare.split_once("://") {
        Some(("http", rest)) => (Some(80), rest),
        Some(("https", rest)) => (Some(443), rest),
        Some(_) => return Err(wrong()),
        None => (None, bare),
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
        Some(port) => Some(port.parse().map_err(|_| wrong())?),
    };
    let host = if host.is_empty() && !rest.contains(':') {
        LOOPBACK
    } else {
        host
    };
    Ok((host.to_owned(), port))
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
/// A port that was named (`--port`) is for the clients of both APIs; one that was named for those of Ollama is there besides.
///
/// # Errors
/// An address that cannot be read.
pub fn addresses(args: &ListenArgs) -> Result<Vec<(Surface, Address)>, NoAddress> {
    let host = args.host.as_deref();
    let host = host.map(|host| host.trim_matches(['[', ']']).to_owned());
    let ollama = args.ollama_host.as_deref().map(read).transpose()?;
    let address = |host: Option<String>, port| Address {
        host: host.unwrap_or_else(|| LOOPBACK.into()),
        port,
    };
    let (first, ollama) = match (args.port, ollama) {
        (port, _) if !args.ollama => {
            let only = address(host, port.unwrap_or(OPENAI_PORT));
            return Ok(vec![(Surface::OpenAi, only)]);
        }
        (None, None) => (
            (Surface::OpenAi, address(host.clone(), OPENAI_PORT)),
            address(host, OLLAMA_PORT),
        ),
        (None, Some((of_ollama, port))) => (
            (Surface::OpenAi, address(host, OPENAI_PORT)),
            address(Some(of_ollama), port.unwrap_or(OLLAMA_PORT)),
        ),
        (Some(port), None) => return Ok(vec![(Surface::Both, address(host, port))]),
        // only a host: where to listen, not on which port
        (Some(port), Some((of_ollama, None))) => {
            return Ok(vec![(Surface::Both, address(host.or(Some(of_ollama)), port))]);
        }
        (Some(port), Some((of_ollama, Some(port_of_ollama)))) => (
            (Surface::Both, address(host, port)),
            address(Some(of_ollama), port_of_ollama),
        ),
    };
    let left_open = args.host.is_none() && ollama.port == first.1.port && ollama.port != 0;
    if left_open || ollama.covers(&first.1) {
        return Ok(vec![(Surface::Both, ollama)]);
    }
    if first.1.covers(&ollama) {
        return Ok(vec![(Surface::Both, first.1)]);
    }
    Ok(vec![first, (Surface::Ollama, ollama)])
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
