//! Three small upstreams for `tollgate dev --demo`: orders, users, and one that echoes what reaches it.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Starts them on the ports that infra/gateway.yaml names by default; they live as long as the process.
pub(crate) async fn start() -> std::io::Result<()> {
    listen(9101, orders).await?;
    listen(9102, users).await?;
    listen(9103, echo).await
}

/// What an upstream makes of a request: its parts and its body.
type Answer = fn(&http::request::Parts, &[u8]) -> (StatusCode, Value);

async fn listen(port: u16, answer: Answer) -> std::io::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let service = service_fn(move |request| serve(request, answer));
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(())
}

async fn serve(request: Request<Incoming>, answer: Answer) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, 8 << 20).collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let (status, value) = answer(&parts, &body);
    let mut response = Response::new(Full::new(Bytes::from(format!("{value:#}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(http::header::SERVER, HeaderValue::from_static("demo"));
    Ok(response)
}

fn orders(parts: &http::request::Parts, _: &[u8]) -> (StatusCode, Value) {
    let all = [json!({"id": 1, "item": "lamp", "total": 40}), json!({"id": 2, "item": "desk", "total": 310})];
    one_or_all(parts, "orders", &all)
}

fn users(parts: &http::request::Parts, _: &[u8]) -> (StatusCode, Value) {
    let all = [json!({"id": 1, "name": "Ada"}), json!({"id": 2, "name": "Grace"})];
    one_or_all(parts, "users", &all)
}

/// `/` gives all, `/ID` one.
fn one_or_all(parts: &http::request::Parts, name: &str, all: &[Value]) -> (StatusCode, Value) {
    let id = parts.uri.path().rsplit('/').next().unwrap_or_default();
    if id.is_empty() || id == name {
        return (StatusCode::OK, json!({name: all}));
    }
    match all.iter().find(|entry| entry.get("id").and_then(Value::as_u64).is_some_and(|own| id.parse() == Ok(own))) {
        Some(entry) => (StatusCode::OK, entry.clone()),
        None => (StatusCode::NOT_FOUND, json!({"error": format!("no such entry in {name}"), "id": id})),
    }
}

/// What reached the upstream, so that a newcomer sees what the gateway changed.
fn echo(parts: &http::request::Parts, body: &[u8]) -> (StatusCode, Value) {
    let mut headers = serde_json::Map::new();
    for name in parts.headers.keys() {
        let values: Vec<_> =
            parts.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        headers.insert(name.to_string(), Value::from(values.join(", ")));
    }
    let seen = json!({
        "method": parts.method.as_str(),
        "path": parts.uri.path(),
        "query": parts.uri.query(),
        "headers": headers,
        "body": String::from_utf8_lossy(body),
    });
    (StatusCode::OK, seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(answer: Answer, path: &str) -> (u16, Value) {
        let (parts, ()) = Request::get(path).body(()).unwrap().into_parts();
        let (status, value) = answer(&parts, b"");
        (status.as_u16(), value)
    }

    #[test]
    fn an_entry_is_found_by_its_number_and_all_by_the_name() {
        assert_eq!(asked(orders, "/1"), (200, json!({"id": 1, "item": "lamp", "total": 40})));
        assert_eq!(asked(users, "/2"), (200, json!({"id": 2, "name": "Grace"})));
        assert_eq!(asked(orders, "/").1["orders"].as_array().map(Vec::len), Some(2));
        assert_eq!(asked(orders, "/3").0, 404);
    }

    #[test]
    fn the_echo_tells_what_reached_it() {
        let (status, seen) = asked(echo, "/a?b=c");
        assert_eq!((status, &seen["path"], &seen["query"]), (200, &json!("/a"), &json!("b=c")));
    }
}
