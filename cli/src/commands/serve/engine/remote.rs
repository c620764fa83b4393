//! Pictures from elsewhere, where the server was told to fetch them (`--allow-remote-images`).
//!
//! A server that fetches what strangers name can be used to reach what only it can reach. So only public addresses are
//! connected to: the check is on what names resolve to, at the moment of connecting, and on every redirect.

use llama_turboquant::vision::ImageLimits;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// For one picture, redirects included.
const TIMEOUT: Duration = Duration::from_secs(20);
const REDIRECTS: u32 = 3;

/// The bytes at an http or https URL. Blocks.
///
/// # Errors
/// In words, to go on after "image 1 of the request".
pub(super) fn fetch(url: &str) -> Result<Vec<u8>, String> {
    let config = Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .max_redirects(REDIRECTS)
        .max_redirects_will_error(true)
        // a proxy would do the connecting, and know nothing of what is public
        .proxy(None)
        .user_agent("turboquant")
        .build();
    let agent = Agent::with_parts(config, DefaultConnector::default(), PublicOnly::default());
    let limit = ImageLimits::default().bytes as u64;
    let response = agent.get(url).call();
    let read = response.and_then(|mut response| response.body_mut().with_config().limit(limit).read_to_vec());
    read.map_err(|error| format!("cannot be fetched: {error}"))
}

/// Finds the addresses of names, and refuses those that are not everybody's.
#[derive(Debug, Default)]
struct PublicOnly(DefaultResolver);

impl Resolver for PublicOnly {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.0.resolve(uri, config, timeout)?;
        match found.iter().all(|address| is_public(address.ip())) {
            true => Ok(found),
            false => Err(ureq::Error::Other("its host has no public address".into())),
        }
    }
}

/// Whether an address is one of the public Internet: no loopback, private, link-local, shared, multicast, reserved or
/// translated one (IANA's registries of special-purpose addresses).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_public_v4(v4),
            None => is_public_v6(v6),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let special: [(Ipv4Addr, u32); 15] = [
        (Ipv4Addr::new(0, 0, 0, 0), 8),
        (Ipv4Addr::new(10, 0, 0, 0), 8),
        (Ipv4Addr::new(100, 64, 0, 0), 10),
        (Ipv4Addr::new(127, 0, 0, 0), 8),
        (Ipv4Addr::new(169, 254, 0, 0), 16),
        (Ipv4Addr::new(172, 16, 0, 0), 12),
        (Ipv4Addr::new(192, 0, 0, 0), 24),
        (Ipv4Addr::new(192, 0, 2, 0), 24),
        (Ipv4Addr::new(192, 88, 99, 0), 24),
        (Ipv4Addr::new(192, 168, 0, 0), 16),
        (Ipv4Addr::new(198, 18, 0, 0), 15),
        (Ipv4Addr::new(198, 51, 100, 0), 24),
        (Ipv4Addr::new(203, 0, 113, 0), 24),
        (Ipv4Addr::new(224, 0, 0, 0), 4),
        (Ipv4Addr::new(240, 0, 0, 0), 4),
    ];
    let within = |&(net, bits): &(Ipv4Addr, u32)| (address.to_bits() ^ net.to_bits()) >> (32 - bits) == 0;
    !special.iter().any(within)
}

/// Of IPv6 only 2000::/3 is routed to everybody; parts of it are reserved, or hold IPv4 addresses.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let special: [(Ipv6Addr, u32); 4] = [
        (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
        (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
        (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
        (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    ];
    let within = |&(net, bits): &(Ipv6Addr, u32)| (address.to_bits() ^ net.to_bits()) >> (128 - bits) == 0;
    address.segments()[0] >> 13 == 1 && !special.iter().any(within)
}

#[cfg(test)]
mod tests {
    use super::{fetch, is_public};
    use std::net::TcpListener;

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        for public in [
            "1.1.1.1",
            "93.184.216.34",
            "100.128.0.1",
            "172.32.0.1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for special in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.8.9.10",
            "169.254.169.254",
            "172.31.255.255",
            "192.0.0.8",
            "192.168.1.1",
            "198.19.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
        ] {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
    }

    #[test]
    fn nothing_of_this_machine_is_fetched_however_it_is_spelled() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in [
            "127.0.0.1",
            "localhost",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "2130706433",
            "0",
        ] {
            let error = fetch(&format!("http://{host}:{port}/cat.png")).unwrap_err();
            assert!(error.starts_with("cannot be fetched"), "{host}: {error}");
            assert!(listener.accept().is_err(), "{host} was connected to");
        }
        assert!(fetch("ftp://example.com/cat.png").is_err());
        assert!(fetch("http://").is_err());
    }
}
