//! What a token costs: µs to verify one by `jwt`, beside what the crypto library alone takes for the same signatures with
//! its key parsed once, and µs for one that is remembered. Each figure is the least of many rounds, which take turns, so
//! that whatever else the machine does falls on both. There are more tokens than are remembered: by the time that one
//! comes again it is forgotten.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};
use tokio::time::Instant;
use tollgate::auth::{self, Auth, Presented};
use tollgate::clock::{SystemClock, Timestamp};
use tollgate::config::{Files, Host, compile};
use tollgate::exchange::{After, Origin, Response, Scheme};
use tollgate::forward::{BoxFuture, FaultKind, Outbound, Target, Upstream, UpstreamFault};
use tollgate::gateway::World;
use tollgate::secret::NoVault;
use tollgate::table::MemoryTable;

type Fault = Box<dyn std::error::Error>;

const CONFIG: &str = "
version: 1
auth:
  customers:
    jwt:
      issuer: https://login.example.com/
      audiences: [orders-api]
      keys: {file: jwks.json}
      caller: {id: claims.sub, tenant: claims.org, scopes: claims.scope}
routes:
  - {name: a, auth: customers, match: {path: /}, to: {respond: {}}}
";

const ROUNDS: u32 = 10;
const TOKENS: u32 = 4_096;

/// How many are timed at once.
const CHUNK: u32 = 128;

/// A key that signs, and the same one as the crypto library checks with it.
struct Signer {
    alg: &'static str,
    jwk: Value,
    sign: Box<dyn Fn(&[u8]) -> Result<Vec<u8>, Fault>>,
    check: ParsedPublicKey,
}

impl Signer {
    /// As the library checks a message, or its hash: what takes less is compared with.
    fn check(&self, token: &Token, whole: bool) -> Result<(), Fault> {
        let message = token.signed.as_bytes();
        let checked = if whole {
            self.check.verify_sig(message, &token.signature)
        } else {
            self.check.verify_digest_sig(&digest(&SHA256, message), &token.signature)
        };
        checked.map_err(|_| "a signature is wrong".into())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Fault> {
    let world = World {
        table: Arc::new(MemoryTable::default()),
        upstream: Arc::new(Nowhere),
        clock: Arc::new(SystemClock),
        environments: None,
        vault: Arc::new(NoVault),
    };
    for signer in [es256()?, rs256()?] {
        figures(&signer, &world).await?;
    }
    Ok(())
}

async fn figures(signer: &Signer, world: &World) -> Result<(), Fault> {
    let now = world.clock.now();
    let tokens = (0..TOKENS).map(|number| token(signer, number, now)).collect::<Result<Vec<_>, _>>()?;
    let method = method(signer)?;
    let (mut ours, mut library, mut remembered) = (f64::MAX, f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        for tokens in tokens.chunks_exact(CHUNK as usize) {
            // A door has just read them: they are in the processor's cache.
            for token in tokens {
                std::hint::black_box(
                    token.signature.iter().chain(token.headers.values().flat_map(HeaderValue::as_bytes)).max(),
                );
            }
            let started = Instant::now();
            for token in tokens {
                identify(&*method, token, world, now).await?;
            }
            ours = ours.min(each(started));
            for whole in [true, false] {
                let started = Instant::now();
                for token in tokens {
                    signer.check(token, whole)?;
                }
                library = library.min(each(started));
            }
            let started = Instant::now();
            for token in tokens {
                identify(&*method, token, world, now).await?;
            }
            remembered = remembered.min(each(started));
        }
    }
    let (alg, bytes) = (signer.alg, tokens.first().map_or(0, |token| token.headers.iter().map(|(_, v)| v.len()).sum()));
    print(&format!(
        "{alg}: verified in {ours:.2} µs, by the crypto library alone in {library:.2} µs, {:.2} times; remembered \
         {remembered:.2} µs ({bytes} bytes of a field)",
        ours / library
    ));
    Ok(())
}

fn each(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1e6 / f64::from(CHUNK)
}

async fn identify(method: &dyn auth::Method, token: &Token, world: &World, now: Timestamp) -> Result<(), Fault> {
    let asked = Presented {
        method: &Method::GET,
        path: "/",
        query: None,
        headers: &token.headers,
        origin: &token.origin,
        body: None,
        route: &token.route,
        now,
    };
    let caller = method.identify(&asked, world, &mut After::default()).await.map_err(|why| format!("{why:?}"))?;
    std::hint::black_box(caller);
    Ok(())
}

/// A token, as a request brings it and in parts.
struct Token {
    headers: HeaderMap,
    origin: Origin,
    route: Arc<str>,
    signed: String,
    signature: Vec<u8>,
}

/// The claims are those of a common access token.
fn token(signer: &Signer, number: u32, now: Timestamp) -> Result<Token, Fault> {
    let header = json!({"alg": signer.alg, "typ": "at+jwt", "kid": "2026-11"});
    let claims = json!({
        "iss": "https://login.example.com/", "aud": ["orders-api", "https://login.example.com/userinfo"],
        "sub": format!("auth0|{number:024}"), "client_id": "b1946ac92492d2347c6235b4d2611184", "org": "acme",
        "iat": now.secs() - 10, "exp": now.secs() + 86_400, "jti": format!("{number:032x}"),
        "scope": "openid profile orders:read orders:write",
    });
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature = (signer.sign)(signed.as_bytes())?;
    let text = format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(&signature));
    let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(&text)?)]);
    let origin = Origin {
        ip: [192, 0, 2, 1].into(),
        scheme: Scheme::Https,
        host: "api.example.com".to_owned(),
        version: "1.1",
        id: "id".to_owned(),
        seed: 7,
        deadline: None,
        front_time: None,
        client_certificate: None,
        iam: None,
    };
    Ok(Token { headers, origin, route: "a".into(), signed, signature })
}

fn es256() -> Result<Signer, Fault> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let point = pair.public_key().as_ref();
    let (x, y) = point.get(1..).and_then(|point| point.split_at_checked(32)).ok_or("no point")?;
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)});
    let check = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)?;
    let sign = move |message: &[u8]| Ok(pair.sign(&SystemRandom::new(), message)?.as_ref().to_vec());
    Ok(Signer { alg: "ES256", jwk, sign: Box::new(sign), check })
}

fn rs256() -> Result<Signer, Fault> {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048)?;
    // SEQUENCE { INTEGER n, INTEGER e } (RFC 8017 §A.1.1), of 2048 bits and 65537.
    let der = pair.public_key().as_ref();
    let (n, e) = der.get(9..265).zip(der.get(267..)).ok_or("no key of 2048 bits")?;
    let jwk = json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(n), "e": URL_SAFE_NO_PAD.encode(e)});
    let check = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der)?;
    let sign = move |message: &[u8]| {
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)?;
        Ok(signature)
    };
    Ok(Signer { alg: "RS256", jwk, sign: Box::new(sign), check })
}

/// The config's entry, with this signer's key.
fn method(signer: &Signer) -> Result<Arc<dyn auth::Method>, Fault> {
    let mut jwk = signer.jwk.clone();
    jwk["kid"] = "2026-11".into();
    let files = Texts(json!({"keys": [jwk]}).to_string());
    let compiled =
        compile("gateway.yaml", Host { files: &files, env: &|_| None }).map_err(|wrong| wrong.to_string())?;
    let route = compiled.routes.routes.first().ok_or("no route")?;
    let Auth::Any(ways) = &route.auth else { return Err("the route takes anyone".into()) };
    let used = ways.all().iter().flat_map(|way| way.uses()).next().ok_or("no method")?;
    Ok(Arc::clone(&used.entry.method))
}

/// The config, and the keys.
struct Texts(String);

impl Files for Texts {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        Ok(if path == "gateway.yaml" { CONFIG.as_bytes() } else { self.0.as_bytes() }.to_vec())
    }

    fn list(&self, _: &str) -> Result<Vec<String>, String> {
        Err("there is no folder".to_owned())
    }
}

/// Nothing is behind.
#[derive(Debug)]
struct Nowhere;

impl Upstream for Nowhere {
    fn send<'a>(&'a self, _: &'a Target, _: Outbound) -> BoxFuture<'a, Result<Response, UpstreamFault>> {
        let detail = "nothing is there".to_owned();
        let fault = UpstreamFault { kind: FaultKind::Connect, stale_connection: false, detail };
        Box::pin(std::future::ready(Err(fault)))
    }
}

#[expect(clippy::print_stdout, reason = "a figure is what this program is for")]
fn print(line: &str) {
    println!("{line}");
}
