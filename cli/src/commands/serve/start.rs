//! From the options of `serve` to sockets and settings.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::net::{TcpListener, lookup_host};

use crate::args::serve::{ListenArgs, ServeArgs};
use crate::commands::serve::Settings;
use crate::commands::serve::access::{api_keys, origins};
use crate::commands::serve::address::{Address, Surface, addresses};
use crate::commands::serve::crowd::Crowd;
use crate::commands::serve::listen::Connections;
use crate::commands::serve::results::ResultsFolder;
use crate::commands::serve::tls;

/// How the server behaves, by the options.
///
/// # Errors
/// Keys and origins that cannot be read, a folder of results that is none.
pub fn settings(args: &ServeArgs) -> Result<Settings> {
    Ok(Settings {
        api_keys: api_keys(&args.access)?,
        origins: origins(&args.access)?,
        allowed_hosts: args
            .access
            .allowed_hosts
            .iter()
            .map(|name| name.trim().to_owned())
            .collect(),
        metrics: args.serving.metrics,
        slots: args.serving.slots,
        webui: args.serving.webui,
        results: args.serving.results.as_deref().map(ResultsFolder::open).transpose()?,
        reasoning_alias: args.serving.reasoning_alias,
        body_limit: args.access.body_limit as usize * (1 << 20),
        load_timeout: args.serving.load_timeout,
        ping_interval: Duration::from_secs(args.listen.sse_ping_interval),
        ..Settings::default()
    })
}

/// How connections are served, by the options.
///
/// # Errors
/// A certificate or key that cannot be read, or that do not belong together.
pub fn connections(args: &ListenArgs) -> Result<Connections> {
    let files: Option<(&PathBuf, &PathBuf)> = args.ssl_key_file.as_ref().zip(args.ssl_cert_file.as_ref());
    Ok(Connections {
        tls: files.map(|(key, cert)| tls::acceptor(key, cert)).transpose()?,
        timeout: Duration::from_secs(args.timeout),
        crowd: Crowd::new(places(args.max_connections as usize, open_files())),
    })
}

/// Files that a server has open besides its connections: models in shards, downloads, logs, sockets that listen.
pub const OTHER_FILES: u64 = 64;

/// Raises this process' limit of open files to the highest that it may have, and returns it; None: there is none.
fn open_files() -> Option<u64> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: limit.maximum,
            ..limit
        };
        // macOS says that there is no limit, and has one
        match limit.current == limit.maximum || setrlimit(Resource::Nofile, raised).is_ok() {
            true => limit.maximum,
            false => limit.current,
        }
    }
    #[cfg(not(unix))]
    None
}

/// The connections that can be served at once; fewer than asked for where the system does not let so many files be open.
fn places(asked: usize, open_files: Option<u64>) -> usize {
    let most = open_files.map_or(u64::MAX, |files| files.saturating_sub(OTHER_FILES).max(1));
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    if asked > most {
        tracing::warn!(
            "this process may have {} files open, so at most {most} connections are served at once, not the {asked} of \
             --max-connections; raise the limit (`ulimit -Hn`, LimitNOFILE= in a service file) or lower --max-connections",
            open_files.unwrap_or_default(),
        );
    }
    asked.min(most)
}

/// A socket and whose clients look for it.
pub struct Socket {
    /// Whose.
    pub surface: Surface,
    /// The socket.
    pub listener: TcpListener,
    /// Its address.
    pub addr: SocketAddr,
}

/// Takes all addresses.
///
/// # Errors
/// An address that is none, that does not exist here, or that another program has; with the way out.
pub async fn bind_all(args: &ListenArgs) -> Result<Vec<Socket>> {
    let mut sockets = Vec::new();
    for (surface, address) in addresses(args).context("--ollama-host (OLLAMA_HOST)")? {
        let listener = bind(&address, surface).await?;
        let addr = listener.local_addr().context("cannot read the address of the socket")?;
        sockets.push(Socket {
            surface,
            listener,
            addr,
        });
    }
    Ok(sockets)
}

/// Takes one address.
///
/// # Errors
/// As [`bind_all`].
pub async fn bind(address: &Address, surface: Surface) -> Result<TcpListener> {
    // no host: all addresses, of both kinds where there are both
    let hosts = if address.host.is_empty() {
        vec!["::", "0.0.0.0"]
    } else {
        vec![address.host.as_str()]
    };
    let mut refused = None;
    for host in hosts {
        let found = lookup_host((host, address.port))
            .await
            .with_context(|| format!("cannot listen on {address}: `{host}` is no address, nor a name that has one"))?;
        for addr in found {
            match TcpListener::bind(addr).await {
                Ok(listener) => return Ok(listener),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
    }
    let Some(error) = refused else {
        bail!("cannot listen on {address}: the name has no address")
    };
    let advice = advice(error.kind(), surface);
    Err(anyhow::Error::new(error).context(format!("cannot listen on {address}{advice}")))
}

fn advice(error: std::io::ErrorKind, surface: Surface) -> &'static str {
    use std::io::ErrorKind::{AddrInUse, AddrNotAvailable, PermissionDenied};
    match (error, surface) {
        (AddrInUse, Surface::Ollama) => {
            "; another program uses this port: if it is Ollama, stop it (`systemctl stop ollama`, or quit the app), or choose \
             another port with --ollama-host HOST:PORT"
        }
        (AddrInUse, _) => "; another program uses this port, choose one with --port",
        (PermissionDenied, Surface::Ollama) => "; ports below 1024 need privileges, choose one with --ollama-host",
        (PermissionDenied, _) => "; ports below 1024 need privileges, choose one with --port",
        (AddrNotAvailable, Surface::Ollama) => "; this machine has no such address, choose one with --ollama-host",
        (AddrNotAvailable, _) => "; this machine has no such address, choose one with --host",
        _ => "",
    }
}

/// What to know before others do: a server that everybody can use.
pub fn warnings(settings: &Settings, sockets: &[Socket], tls: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    let open = settings.api_keys.is_empty();
    for Socket { addr, .. } in sockets.iter().filter(|socket| !socket.addr.ip().is_loopback()) {
        if open {
            warnings.push(format!(
                "everybody who reaches {addr} can use this server; set --api-key"
            ));
        } else if !tls {
            warnings.push(format!(
                "keys and prompts go to {addr} unencrypted; set --ssl-key-file and --ssl-cert-file"
            ));
        }
    }
    if settings.origins.any && open {
        warnings.push("every web page that you open can use this server (--cors-origins *); set --api-key".into());
    }
    if open && settings.allowed_hosts.iter().any(|name| name == "*") {
        warnings.push(
            "host names are not checked (--allowed-hosts *), so web pages can reach the server by a trick".into(),
        );
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_places_than_the_system_lets_files_be_open() {
        assert_eq!(places(1024, None), 1024);
        assert_eq!(places(1024, Some(4096)), 1024);
        assert_eq!(places(1024, Some(256)), 256 - OTHER_FILES as usize);
        assert_eq!(places(1024, Some(10)), 1);
    }
}
