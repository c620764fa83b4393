//! The web page: its files, which are a part of the program, and the headers they are served with.

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

/// What the page may do: run its own scripts and styles, call this server, and show pictures that it has itself. Inline code,
/// frames, forms that go elsewhere and markup made from strings are off, so that what a model writes stays text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

/// A file of the page.
pub struct WebFile {
    /// Its name below `/web/`.
    pub name: &'static str,
    /// Its content type.
    pub kind: &'static str,
    /// Its text.
    pub text: &'static str,
}

macro_rules! file {
    ($name:literal, $kind:literal) => {
        WebFile {
            name: $name,
            kind: $kind,
            text: include_str!(concat!("../../../web/", $name)),
        }
    };
}

/// The page itself, at `/`.
pub static PAGE: WebFile = file!("index.html", "text/html; charset=utf-8");

/// The files it asks for.
pub static FILES: [WebFile; 20] = [
    file!("style.css", "text/css; charset=utf-8"),
    file!("icon.svg", "image/svg+xml"),
    file!("theme.js", "text/javascript; charset=utf-8"),
    file!("app.js", "text/javascript; charset=utf-8"),
    file!("dom.js", "text/javascript; charset=utf-8"),
    file!("format.js", "text/javascript; charset=utf-8"),
    file!("api.js", "text/javascript; charset=utf-8"),
    file!("markdown.js", "text/javascript; charset=utf-8"),
    file!("store.js", "text/javascript; charset=utf-8"),
    file!("settings.js", "text/javascript; charset=utf-8"),
    file!("dialogs.js", "text/javascript; charset=utf-8"),
    file!("model.js", "text/javascript; charset=utf-8"),
    file!("chat.js", "text/javascript; charset=utf-8"),
    file!("turns.js", "text/javascript; charset=utf-8"),
    file!("images.js", "text/javascript; charset=utf-8"),
    file!("meter.js", "text/javascript; charset=utf-8"),
    file!("history.js", "text/javascript; charset=utf-8"),
    file!("plot.js", "text/javascript; charset=utf-8"),
    file!("server.js", "text/javascript; charset=utf-8"),
    file!("results.js", "text/javascript; charset=utf-8"),
];

/// The file of that name.
pub fn find(name: &str) -> Option<&'static WebFile> {
    FILES.iter().find(|file| file.name == name)
}

/// Whether a request wants HTML: it names the type, and likes it no less than plain text. `*/*` is what programs send, among them
/// Ollama's clients, and they compare the plain text that they have always had.
pub fn wants_html(headers: &HeaderMap) -> bool {
    let accepted: Vec<(String, f32)> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(media_range)
        .collect();
    let named = |range: &str| accepted.iter().find(|(name, _)| name == range).map(|&(_, q)| q);
    // the most specific range counts (RFC 9110, 12.5.1)
    let plain = named("text/plain").or_else(|| named("text/*")).or_else(|| named("*/*"));
    let html = named("text/html").or_else(|| named("application/xhtml+xml"));
    html.is_some_and(|html| html > 0.0 && html >= plain.unwrap_or(0.0))
}

/// Name and weight of one part of an `Accept` header; None: it is malformed.
fn media_range(part: &str) -> Option<(String, f32)> {
    let mut parameters = part.split(';').map(str::trim);
    let name = parameters.next()?.to_ascii_lowercase();
    let weight = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("q")
            .then(|| value.trim().parse::<f32>())
    });
    let weight = weight.transpose().ok()?.unwrap_or(1.0);
    (0.0..=1.0).contains(&weight).then_some((name, weight))
}

/// Sends a file, or 304 when the browser has this very one. Names carry no version, so browsers ask each time: over loopback
/// that costs less than a stale script after an upgrade would.
pub fn respond(file: &'static WebFile, asked: &HeaderMap) -> Response {
    let tag = etag(file);
    let known = asked
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|tags| {
            tags.split(',')
                .any(|given| given.trim().trim_start_matches("W/") == tag)
        });
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let kind = HeaderValue::from_static(file.kind);
        ([(header::CONTENT_TYPE, kind)], file.text).into_response()
    };
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    for (name, value) in [
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A name for the bytes of a file, in quotes as the header wants it.
fn etag(file: &'static WebFile) -> String {
    static TAGS: LazyLock<Vec<(&'static str, String)>> = LazyLock::new(|| {
        let tag = |file: &'static WebFile| {
            let digest = Sha256::digest(file.text.as_bytes());
            let hex: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
            (file.name, format!("\"{hex}\""))
        };
        std::iter::once(&PAGE).chain(&FILES).map(tag).collect()
    });
    let found = TAGS.iter().find(|(name, _)| *name == file.name);
    found.map(|(_, tag)| tag.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_is_for_those_who_name_it_and_do_not_like_text_better() {
        let wants = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
            wants_html(&headers)
        };
        for accept in [
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/html",
            "TEXT/HTML ; Q=0.5",
            "text/html, text/plain",
            "text/plain;q=0.5, text/html;level=1;q=0.7",
            "application/xhtml+xml",
            "text/html;q=0.6, text/*;q=0.5, */*",
        ] {
            assert!(wants(accept), "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/*",
            "text/plain",
            "application/json, text/plain, */*",
            "text/html;q=0",
            "text/html;q=0.3, text/plain",
            "text/html;q=0.3, */*;q=0.5",
            "text/html;q=x",
            "text/html;q=2",
            "text/htmlx",
        ] {
            assert!(!wants(accept), "{accept}");
        }
        assert!(!wants_html(&HeaderMap::new()));
    }
}
