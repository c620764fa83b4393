//! Who may call: keys, origins, host names.

use axum::http::Method;

use crate::serve::Settings;
use crate::serve::guard::{ApiKeys, HostCheck, Origins};
use crate::support::{Reply, Scripted, Server};

fn locked() -> Server {
    let api_keys = ApiKeys::new(["secret".to_owned(), "other".to_owned()]);
    Server::with(
        Scripted::answering([]),
        Settings {
            api_keys,
            ..Settings::default()
        },
    )
}

async fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Reply {
    server.call(Method::GET, path, headers).await
}

// O16
#[tokio::test]
async fn either_header_opens_the_api_with_any_of_the_keys() {
    let server = locked();
    for header in [
        ("authorization", "Bearer secret"),
        ("authorization", "bearer other"),
        ("x-api-key", "secret"),
    ] {
        assert_eq!(get(&server, "/v1/models", &[header]).await.status, 200, "{header:?}");
    }
}

// O9, O16
#[tokio::test]
async fn a_missing_or_wrong_key_is_401() {
    let server = locked();
    for headers in [
        &[][..],
        &[("authorization", "Bearer secre")],
        &[("authorization", "Bearer secret2")],
        &[("authorization", "Basic secret")],
        &[("authorization", "Bearer ")],
        &[("x-api-key", "")],
    ] {
        let reply = get(&server, "/v1/models", headers).await;
        assert_eq!(reply.error(401, "authentication_error")["code"], "invalid_api_key");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    }
}

// O16
#[tokio::test]
async fn probes_need_no_key_and_everything_else_does() {
    let server = locked();
    for path in ["/health", "/v1/health", "/"] {
        assert_eq!(get(&server, path, &[]).await.status, 200, "{path}");
    }
    for path in [
        "/props",
        "/models",
        "/v1/models/tiny",
        "/nothing",
        "/v1/chat/completions",
    ] {
        assert_eq!(get(&server, path, &[]).await.status, 401, "{path}");
    }
}

// O16
#[tokio::test]
async fn a_preflight_needs_no_key_and_allows_the_headers_of_sdks() {
    let asked = "authorization,x-stainless-os,x-stainless-retry-count,openai-beta";
    let headers = [
        ("origin", "http://localhost:3000"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", asked),
    ];
    let reply = locked().call(Method::OPTIONS, "/v1/chat/completions", &headers).await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.header("access-control-allow-origin"),
        Some("http://localhost:3000")
    );
    assert_eq!(reply.header("access-control-allow-headers"), Some(asked));
    assert!(reply.header("access-control-allow-methods").unwrap().contains("POST"));
}

#[tokio::test]
async fn an_error_can_be_read_by_a_page_that_may_call() {
    let reply = get(&locked(), "/v1/models", &[("origin", "http://127.0.0.1:5173")]).await;
    assert_eq!(reply.status, 401);
    assert_eq!(
        reply.header("access-control-allow-origin"),
        Some("http://127.0.0.1:5173")
    );
}

// O9, O16
#[tokio::test]
async fn a_page_from_elsewhere_can_neither_read_nor_start_a_job() {
    let server = Server::answering([]);
    let headers = [("origin", "https://evil.example")];
    let reply = server.call(Method::POST, "/v1/completions", &headers).await;
    reply.error(403, "permission_error");
    assert_eq!(reply.header("access-control-allow-origin"), None);
    assert_eq!(server.backend.started(), 0);
}

#[tokio::test]
async fn origins_can_be_added() {
    let extra = vec!["https://chat.example".to_owned()];
    let settings = Settings {
        origins: Origins { any: false, extra },
        ..Settings::default()
    };
    let server = Server::with(Scripted::answering([]), settings);
    let reply = get(&server, "/v1/models", &[("origin", "https://chat.example")]).await;
    assert_eq!(
        reply.header("access-control-allow-origin"),
        Some("https://chat.example")
    );
}

#[tokio::test]
async fn a_rebound_host_name_is_refused_where_names_are_checked() {
    let settings = Settings {
        host_check: HostCheck::LocalNames,
        ..Settings::default()
    };
    let server = Server::with(Scripted::answering([]), settings);
    get(&server, "/v1/models", &[("host", "evil.example:8080")])
        .await
        .error(403, "permission_error");
    assert_eq!(
        get(&server, "/v1/models", &[("host", "localhost:8080")]).await.status,
        200
    );
}
