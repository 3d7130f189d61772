//! A small OpenID Connect issuer: metadata, keys that are exchanged, and tokens.

use std::sync::{Arc, Mutex};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::site::{Answer, Asked, Site};

pub(super) const METADATA: &str = "/.well-known/openid-configuration";
pub(super) const KEYS: &str = "/keys";

/// A day before and a year after the gateway's clock begins.
const ISSUED: u64 = 1_799_913_600;
const EXPIRES: u64 = 1_831_536_000;

/// A key of ES256.
struct Key {
    kid: String,
    pair: EcdsaKeyPair,
    /// What it says otherwise.
    more: Value,
}

#[derive(Default)]
struct Books {
    keys: Vec<Key>,
    /// Those that are published.
    published: Vec<String>,
    /// What it does instead of what it should.
    fault: Option<Answer>,
    url: String,
}

pub(super) struct Issuer {
    pub(super) site: Site,
    books: Arc<Mutex<Books>>,
}

impl Issuer {
    /// With one key, `one`.
    pub(super) async fn http() -> Self {
        let (books, serve) = books();
        Self::open(Site::http(serve).await, books)
    }

    pub(super) async fn https() -> Self {
        let (books, serve) = books();
        Self::open(Site::https(serve).await, books)
    }

    fn open(site: Site, books: Arc<Mutex<Books>>) -> Self {
        books.lock().unwrap().url.clone_from(&site.url);
        let issuer = Self { site, books };
        issuer.publish(&["one"]);
        issuer
    }

    /// Publishes these keys and no others; those that are new are made.
    pub(super) fn publish(&self, kids: &[&str]) {
        let mut books = self.books.lock().unwrap();
        for kid in kids {
            if books.keys.iter().all(|key| key.kid != *kid) {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
                books.keys.push(Key { kid: (*kid).to_owned(), pair, more: json!({}) });
            }
        }
        books.published = kids.iter().map(|kid| (*kid).to_owned()).collect();
    }

    /// Publishes one key more, which says this of itself.
    pub(super) fn publish_with(&self, kid: &str, more: Value) {
        let published = self.books.lock().unwrap().published.clone();
        self.publish(&[&published.iter().map(String::as_str).collect::<Vec<_>>()[..], &[kid]].concat());
        let mut books = self.books.lock().unwrap();
        books.keys.iter_mut().find(|key| key.kid == kid).unwrap().more = more;
    }

    /// What it does from now on; `None` for what it should.
    pub(super) fn does(&self, fault: Option<Answer>) {
        self.books.lock().unwrap().fault = fault;
    }

    /// A token of this key for `orders`.
    pub(super) fn token(&self, kid: &str) -> String {
        self.token_with(kid, json!({}), json!({}))
    }

    /// The same with these members more, or instead, in its header and in its claims.
    pub(super) fn token_with(&self, kid: &str, header: Value, claims: Value) -> String {
        let books = self.books.lock().unwrap();
        let key = books.keys.iter().find(|key| key.kid == kid).unwrap();
        let all_claims = json!({"iss": books.url, "sub": "ada", "aud": "orders", "iat": ISSUED, "exp": EXPIRES});
        let signed = [merged(json!({"alg": "ES256", "kid": kid}), header), merged(all_claims, claims)]
            .map(|part| URL_SAFE_NO_PAD.encode(part.to_string()))
            .join(".");
        let signature = key.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn merged(mut all: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("{more} is no object") };
    all.as_object_mut().unwrap().extend(more);
    all
}

type Serve = Box<dyn Fn(&Asked) -> Answer + Send + Sync>;

fn books() -> (Arc<Mutex<Books>>, Serve) {
    let books = Arc::new(Mutex::new(Books::default()));
    let serving = Arc::clone(&books);
    (books, Box::new(move |asked| serving.lock().unwrap().serve(asked)))
}

impl Books {
    fn serve(&self, asked: &Asked) -> Answer {
        if let Some(fault) = &self.fault {
            return fault.clone();
        }
        let page = match (asked.method.as_str(), asked.target.as_str()) {
            ("GET", METADATA) => json!({"issuer": self.url, "jwks_uri": format!("{}{KEYS}", self.url)}),
            ("GET", KEYS) => {
                let published = self.keys.iter().filter(|key| self.published.contains(&key.kid));
                json!({ "keys": published.map(Key::public).collect::<Vec<_>>() })
            }
            _ => return Answer::Says(404, String::new()),
        };
        Answer::Says(200, page.to_string())
    }
}

impl Key {
    fn public(&self) -> Value {
        // An uncompressed point (SEC 1 §2.3.3).
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
        let key = json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid, "x": x, "y": y});
        merged(key, self.more.clone())
    }
}
