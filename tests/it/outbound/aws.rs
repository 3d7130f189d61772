//! A small AWS on loopback: parameters, secrets, and functions. It takes a request only after it has computed its
//! signature anew, by the rules of Signature Version 4 and not by the code that made it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tollgate_adapters::table::StaticCredentials;

pub(super) const REGION: &str = "eu-west-1";

/// Who calls.
pub(super) fn credentials() -> StaticCredentials {
    StaticCredentials {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
        session_token: Some("the-session".to_owned()),
    }
}

#[derive(Clone)]
pub(super) struct Aws {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// What each `Name` and `SecretId` is answered with.
    answers: Mutex<BTreeMap<String, (StatusCode, Value)>>,
    asked: Mutex<Vec<String>>,
    /// The fields of the calls of functions.
    called: Mutex<Vec<HeaderMap>>,
}

impl Aws {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shared) = (listener.local_addr().unwrap(), Arc::new(Shared::default()));
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let shared = Arc::clone(&serving);
                let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
                tokio::spawn(Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, shared }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub(super) fn parameter(&self, name: &str, value: &str) {
        self.answers(name, 200, json!({"Parameter": {"Name": name, "Value": value, "Version": 3}}));
    }

    pub(super) fn answers(&self, name: &str, status: u16, answer: Value) {
        let answer = (StatusCode::from_u16(status).unwrap(), answer);
        self.shared.answers.lock().unwrap().insert(name.to_owned(), answer);
    }

    /// The names asked for since this was last read.
    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.asked.lock().unwrap())
    }

    pub(super) fn called(&self) -> Vec<HeaderMap> {
        self.shared.called.lock().unwrap().clone()
    }
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let reply = |status: StatusCode, answer: Value| {
        Ok(Response::builder().status(status).body(Full::new(Bytes::from(answer.to_string()))).unwrap())
    };
    if let Err(why) = verify(&head, &body) {
        let refusal = json!({"__type": "com.amazon#InvalidSignatureException", "message": why});
        return reply(StatusCode::FORBIDDEN, refusal);
    }
    if head.uri.path() != "/" {
        shared.called.lock().unwrap().push(head.headers);
        return reply(StatusCode::OK, json!({"path": head.uri.to_string(), "body": String::from_utf8_lossy(&body)}));
    }
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let name = match head.headers["x-amz-target"].to_str().unwrap() {
        "AmazonSSM.GetParameter" if asked["WithDecryption"] == true => asked["Name"].as_str(),
        "secretsmanager.GetSecretValue" => asked["SecretId"].as_str(),
        other => panic!("{other} {asked}"),
    };
    let name = name.unwrap().to_owned();
    let known = shared.answers.lock().unwrap().get(&name).cloned();
    shared.asked.lock().unwrap().push(name);
    let (status, answer) = known.unwrap_or((StatusCode::BAD_REQUEST, json!({"__type": "ParameterNotFound"})));
    reply(status, answer)
}

/// Computes the signature anew (AWS IAM User Guide, "Create a signed AWS API request").
fn verify(head: &http::request::Parts, body: &[u8]) -> Result<(), String> {
    let field = |name: &str| {
        let mut values = head.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value.to_str().unwrap().to_owned()),
            (one, _) => Err(format!("{} {name}", if one.is_some() { "two" } else { "no" })),
        }
    };
    let authorization = field("authorization")?;
    let parts = authorization.strip_prefix("AWS4-HMAC-SHA256 ").ok_or("another scheme")?;
    let parts: BTreeMap<_, _> = parts.split(", ").filter_map(|part| part.split_once('=')).collect();
    let scope = parts["Credential"].strip_prefix("AKIDEXAMPLE/").ok_or("another's credential")?;
    let [date, region, service, "aws4_request"] = scope.split('/').collect::<Vec<_>>()[..] else {
        return Err("the scope".to_owned());
    };
    let (at, hashed) = (field("x-amz-date")?, hex(&Sha256::digest(body)));
    if field("x-amz-content-sha256")? != hashed || field("x-amz-security-token")? != "the-session" {
        return Err("the content or the token".to_owned());
    }
    let mut canonical = format!("{}\n{}\n{}\n", head.method, encode(head.uri.path(), "/"), query(head.uri.query()));
    for name in parts["SignedHeaders"].split(';') {
        canonical += &format!("{name}:{}\n", field(name)?.trim());
    }
    let must: Vec<_> =
        head.headers.keys().map(|name| name.as_str()).filter(|name| name.starts_with("x-amz-")).collect();
    if let Some(name) =
        must.into_iter().chain(["host"]).find(|name| !parts["SignedHeaders"].split(';').any(|s| s == *name))
    {
        return Err(format!("{name} is not signed"));
    }
    canonical += &format!("\n{}\n{hashed}", parts["SignedHeaders"]);
    let to_sign = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
    let key = [date, region, service, "aws4_request"]
        .into_iter()
        .fold(format!("AWS4{}", credentials().secret_access_key).into_bytes(), |key, part| mac(&key, part.as_bytes()));
    if hex(&mac(&key, to_sign.as_bytes())) == parts["Signature"] {
        Ok(())
    } else {
        Err(format!("signed otherwise:\n{canonical}"))
    }
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All but unreserved letters (RFC 3986 §2.3) and those in `kept`.
fn encode(text: &str, kept: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.as_bytes().contains(&byte);
    text.bytes().map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn query(query: Option<&str>) -> String {
    let decoded = |text: &str| {
        let mut bytes = text.bytes();
        let mut out = Vec::new();
        while let Some(byte) = bytes.next() {
            if byte == b'%' {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                out.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
            } else {
                out.push(byte);
            }
        }
        String::from_utf8(out).unwrap()
    };
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut pairs: Vec<_> =
        pairs.map(|(name, value)| format!("{}={}", encode(&decoded(name), ""), encode(&decoded(value), ""))).collect();
    pairs.sort();
    pairs.join("&")
}
