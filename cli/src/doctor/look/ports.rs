//! Who has a port.

use crate::doctor::facts::{Port, PortState};
use serde_json::Value;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

/// A server on this machine answers sooner, or is no server of ours.
const PATIENCE: Duration = Duration::from_secs(1);
/// An answer to `/api/version` is a line.
const MAX_BYTES: u64 = 4096;

/// Tries to take the port, and asks who has it if that fails.
pub(super) fn look(number: u16, clients: &'static str) -> Port {
    let state = match TcpListener::bind((Ipv4Addr::LOCALHOST, number)) {
        Ok(_) => PortState::Free,
        Err(error) if error.kind() == ErrorKind::AddrInUse => who(number),
        Err(error) => PortState::Refused(error.to_string()),
    };
    Port { number, clients, state }
}

fn who(number: u16) -> PortState {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .max_redirects(0)
        .proxy(None)
        .build()
        .into();
    let url = format!("http://127.0.0.1:{number}/api/version");
    let answer = agent.get(url).call().ok().and_then(|mut response| {
        let text = response.body_mut().with_config().limit(MAX_BYTES).read_to_string();
        serde_json::from_str::<Value>(&text.ok()?).ok()
    });
    let version = |field: &str| {
        let version = answer.as_ref()?.get(field)?.as_str()?;
        // it is printed to a terminal
        let plain = version.chars().all(|c| c.is_ascii_alphanumeric() || ".-+".contains(c));
        (plain && version.len() <= 40).then(|| version.to_owned())
    };
    match (version("turboquant"), version("version")) {
        (Some(ours), _) => PortState::Ours(ours),
        (None, Some(ollama)) => PortState::Ollama(ollama),
        (None, None) => PortState::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    /// A port whose first visitor gets this body; `None`: silence.
    fn answering(body: Option<&'static str>) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut visitor, _) = listener.accept().unwrap();
            let _ = visitor.read(&mut [0; 1024]);
            if let Some(body) = body {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                visitor.write_all((head + body).as_bytes()).unwrap();
            }
            let _ = visitor.read(&mut [0; 1024]);
        });
        port
    }

    #[test]
    fn servers_are_recognized_by_their_version() {
        let ours = answering(Some(r#"{"version":"0.12.11","turboquant":"0.1.0"}"#));
        assert_eq!(look(ours, "x").state, PortState::Ours("0.1.0".into()));
        let ollama = answering(Some(r#"{"version":"0.9.6"}"#));
        assert_eq!(look(ollama, "x").state, PortState::Ollama("0.9.6".into()));
    }

    #[test]
    fn what_does_not_say_its_version_is_another_program() {
        for body in [Some("hello"), Some("{}"), Some(r#"{"version":"\u001b[2J"}"#), None] {
            assert_eq!(look(answering(body), "x").state, PortState::Other, "{body:?}");
        }
    }

    #[test]
    fn a_port_that_nobody_has_is_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        assert_eq!(look(port, "x").state, PortState::Free);
    }
}
