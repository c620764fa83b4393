//! Ports that servers use unless told otherwise.

use crate::doctor::facts::{Port, PortState};
use crate::doctor::{Finding, Level};

pub(super) fn check(port: &Port) -> Finding {
    const ID: &str = "ports";
    let Port { number, clients, state } = port;
    let ollama = *number == 11434;
    let other = if ollama {
        "--ollama-host 127.0.0.1:11435"
    } else {
        "--port 8081"
    };
    // only `serve --ollama` wants that port
    let level = if ollama { Level::Note } else { Level::Warning };
    let taken = |level, what: String| {
        Finding::new(
            ID,
            level,
            what,
            format!("A server for clients of {clients} cannot listen there; `serve` says so and ends."),
        )
    };
    match state {
        PortState::Free => Finding::ok(ID, format!("port {number} ({clients}) is free")),
        PortState::Ours(version) => taken(
            Level::Note,
            format!("port {number} ({clients}): a turboquant {version} answers there already"),
        )
        .remedy(format!("Use that one, stop it, or start another with {other}.")),
        PortState::Ollama(version) => taken(
            level,
            format!("port {number} ({clients}): Ollama {version} answers there"),
        )
        .remedy(format!(
            "Stop Ollama (`systemctl stop ollama`, or quit the app), or choose another port with {other}."
        )),
        PortState::Other => taken(level, format!("port {number} ({clients}): another program has it")).remedy(format!(
            "Choose another port with {other}, or stop that program (`lsof -i :{number}` names it)."
        )),
        PortState::Refused(why) => taken(level, format!("port {number} ({clients}) cannot be taken: {why}"))
            .remedy(format!("Choose another port with {other}.")),
    }
}
