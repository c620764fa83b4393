//! The web page: who gets it, what it is sent with, and what it cannot reach.

use axum::http::Method;

use crate::serve::Settings;
use crate::serve::guard::ApiKeys;
use crate::serve::web::{FILES, PAGE, WebFile};
use crate::support::{Reply, Scripted, Server};

const BROWSER: (&str, &str) = (
    "accept",
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
);

/// All that a browser loads may have so many bytes.
const LIMIT: usize = 150_000;

fn files() -> impl Iterator<Item = &'static WebFile> {
    std::iter::once(&PAGE).chain(&FILES)
}

async fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Reply {
    server.call(Method::GET, path, headers).await
}

// L1
#[tokio::test]
async fn browsers_get_the_page_and_others_the_line_of_ollama() {
    let server = Server::answering([]);
    let page = get(&server, "/", &[BROWSER]).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.text.starts_with("<!doctype html>"));
    for headers in [
        &[][..],
        &[("accept", "*/*")],
        &[("accept", "application/json, text/plain, */*")],
    ] {
        let line = get(&server, "/", headers).await;
        assert_eq!((line.status.as_u16(), line.text.as_str()), (200, "Ollama is running"));
        assert_eq!(line.header("content-type"), Some("text/plain; charset=utf-8"));
    }
}

#[tokio::test]
async fn caches_are_told_that_the_answer_depends_on_accept() {
    let server = Server::answering([]);
    for headers in [&[][..], &[BROWSER]] {
        let reply = get(&server, "/", headers).await;
        let vary: Vec<_> = reply.headers.get_all("vary").iter().collect();
        assert!(vary.iter().any(|value| *value == "accept"), "{vary:?}");
    }
}

#[tokio::test]
async fn head_has_the_headers_of_what_get_would_send() {
    let server = Server::answering([]);
    for (headers, kind) in [
        (&[BROWSER][..], "text/html; charset=utf-8"),
        (&[], "text/plain; charset=utf-8"),
    ] {
        let reply = server.call(Method::HEAD, "/", headers).await;
        assert_eq!((reply.status.as_u16(), reply.text.as_str()), (200, ""));
        assert_eq!(reply.header("content-type"), Some(kind));
    }
}

#[tokio::test]
async fn every_file_is_served_with_a_policy_that_allows_nothing_from_elsewhere() {
    let server = Server::answering([]);
    let paths = FILES.iter().map(|file| format!("/web/{}", file.name));
    for path in paths.chain(["/".to_owned()]) {
        let reply = get(&server, &path, &[BROWSER]).await;
        assert_eq!(reply.status, 200, "{path}");
        let policy = reply.header("content-security-policy").unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "img-src 'self' data: blob:",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.split("; ").any(|given| given == part), "{part} in {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(reply.header("x-frame-options"), Some("DENY"));
        assert_eq!(reply.header("cache-control"), Some("no-cache"));
    }
}

#[tokio::test]
async fn a_file_that_the_browser_has_is_not_sent_again() {
    let server = Server::answering([]);
    let first = get(&server, "/web/app.js", &[]).await;
    let tag = first.header("etag").unwrap();
    let again = get(&server, "/web/app.js", &[("if-none-match", tag)]).await;
    assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""));
    assert_eq!(again.header("etag"), Some(tag));
    let listed = format!("\"other\", W/{tag}");
    assert_eq!(
        get(&server, "/web/app.js", &[("if-none-match", &listed)]).await.status,
        304
    );
    let other = get(&server, "/web/app.js", &[("if-none-match", "\"other\"")]).await;
    assert_eq!(other.status, 200);
    assert_ne!(get(&server, "/web/dom.js", &[]).await.header("etag"), Some(tag));
}

#[test]
fn the_page_with_all_its_files_is_smaller_than_150_kb() {
    let bytes: usize = files().map(|file| file.text.len()).sum();
    assert!(bytes < LIMIT, "{bytes}");
}

/// Addresses that are names and not loaded: the namespace of SVG.
const NAMES: [&str; 1] = ["http://www.w3.org/2000/svg"];

#[test]
fn no_file_names_an_address_elsewhere() {
    for file in files() {
        for scheme in ["http://", "https://", "ws://", "wss://", "//cdn"] {
            for (at, _) in file.text.match_indices(scheme) {
                let address: &str = file.text[at..].split(['"', '\'', '`', ')', ' ', '\n']).next().unwrap();
                assert!(NAMES.contains(&address), "{}: {address}", file.name);
            }
        }
        for word in ["@import", "url(", "importScripts"] {
            assert!(!file.text.contains(word), "{}: {word}", file.name);
        }
    }
}

#[test]
fn no_file_makes_markup_or_code_from_strings() {
    for file in files() {
        for word in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "srcdoc",
            "createContextualFragment",
            "DOMParser",
            "javascript:",
        ] {
            assert!(!file.text.contains(word), "{}: {word}", file.name);
        }
    }
    for inline in [" style=", "<style", " onclick=", " onload=", "<script>"] {
        assert!(!PAGE.text.contains(inline), "{inline}");
    }
}

#[tokio::test]
async fn every_file_the_page_asks_for_is_there() {
    let server = Server::answering([]);
    let named = files().flat_map(|file| {
        let absolute = file
            .text
            .split('"')
            .filter(|text| text.starts_with("/web/"))
            .map(str::to_owned);
        let imported = file.text.split("from \"./").skip(1);
        let imported = imported.map(|rest| format!("/web/{}", rest.split('"').next().unwrap()));
        absolute.chain(imported).collect::<Vec<_>>()
    });
    let mut found = 0;
    for path in named {
        assert_eq!(get(&server, &path, &[]).await.status, 200, "{path}");
        found += 1;
    }
    assert!(found > FILES.len(), "{found}");
}

#[tokio::test]
async fn only_files_of_the_page_are_served_below_it() {
    let server = Server::answering([]);
    for path in [
        "/web/nothing.js",
        "/web/..%2fCargo.toml",
        "/web/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/web/",
    ] {
        get(&server, path, &[]).await.error(404, "not_found_error");
    }
}

#[tokio::test]
async fn the_page_needs_no_key_and_the_measurements_do() {
    let settings = Settings {
        api_keys: ApiKeys::new(["secret".to_owned()]),
        ..Settings::default()
    };
    let server = Server::with(Scripted::answering([]), settings);
    for path in ["/", "/web/app.js", "/web/style.css"] {
        assert_eq!(get(&server, path, &[BROWSER]).await.status, 200, "{path}");
    }
    for path in ["/results", "/results/gate.json", "/webb/app.js"] {
        assert_eq!(get(&server, path, &[BROWSER]).await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn without_the_page_browsers_get_the_line_too() {
    let settings = Settings {
        webui: false,
        ..Settings::default()
    };
    let server = Server::with(Scripted::answering([]), settings);
    let reply = get(&server, "/", &[BROWSER]).await;
    assert_eq!((reply.status.as_u16(), reply.text.as_str()), (200, "Ollama is running"));
    get(&server, "/web/app.js", &[]).await.error(404, "not_found_error");
}
