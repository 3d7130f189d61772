//! Signatures that are right, an attack table, and that no byte of what is signed may change.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderValue;
use proptest::prelude::*;

use super::*;
use crate::exchange::Body;
use crate::refusal::Refusal;
use crate::testkit;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const BODY: &str = "{\"hello\": \"world\"}";
const DATE_NOW: &str = "Tue, 20 Apr 2021 02:07:55 GMT";
const NOW: Timestamp = Timestamp::from_secs(1_618_884_475);

#[derive(Debug)]
struct Stopped;

impl crate::clock::Clock for Stopped {
    fn now(&self) -> Timestamp {
        NOW
    }
}

fn client(secrets: &[&'static [u8]]) -> Client {
    let secret = |value: &&'static [u8]| Arc::new(Secret::new("env:ALICE", Some(Bytes::from_static(value))));
    let identity = Identity { id: "alice".to_owned(), tenant: "acme".to_owned(), ..Identity::default() };
    Client::new(secrets.iter().map(secret).collect(), identity)
}

fn method(header: &'static str) -> Hmac {
    Hmac {
        name: "signed".into(),
        header: HeaderName::from_static(header),
        algorithms: vec![Algorithm::Sha256, Algorithm::Sha512],
        skew: Duration::from_secs(300),
        required: vec!["host".to_owned()],
        body: true,
        clients: BTreeMap::from([("alice".to_owned(), client(&[SECRET]))]),
    }
}

fn digest_of(body: &str) -> String {
    STANDARD.encode(digest(&SHA256, body.as_bytes()))
}

fn mac(text: &str) -> String {
    STANDARD.encode(hmac::sign(&Key::new(HMAC_SHA256, SECRET), text.as_bytes()))
}

fn set(request: &mut Request, name: &'static str, value: &str) {
    request.headers.insert(name, HeaderValue::from_str(value).expect("a value"));
}

/// What Kong's clients send, and the text that they sign.
fn kong() -> Request {
    let mut request = testkit::request("POST /orders/7?dry=1&b=%20");
    request.body = Body::Full(Bytes::from_static(BODY.as_bytes()));
    let digest = format!("SHA-256={}", digest_of(BODY));
    let text = format!(
        "date: {DATE_NOW}\nPOST /orders/7?dry=1&b=%20 HTTP/1.1\nhost: api.example.com\ndigest: {digest}\nx-amount: 100"
    );
    set(&mut request, "date", DATE_NOW);
    set(&mut request, "digest", &digest);
    set(&mut request, "x-amount", "100");
    let value = format!(
        "hmac username=\"alice\", algorithm=\"hmac-sha256\", headers=\"date request-line host digest x-amount\", signature=\"{}\"",
        mac(&text)
    );
    set(&mut request, "authorization", &value);
    request
}

/// The same by draft-cavage.
fn cavage() -> Request {
    let mut request = kong();
    let digest = format!("SHA-256={}", digest_of(BODY));
    let text = format!(
        "(request-target): post /orders/7?dry=1&b=%20\n(created): 1618884473\n(expires): 1618884480\nhost: api.example.com\ndigest: {digest}\nx-amount: 100"
    );
    let value = format!(
        "Signature keyId=\"alice\",algorithm=\"hs2019\",created=1618884473,expires=1618884480,headers=\"(request-target) (created) (expires) host digest x-amount\",signature=\"{}\"",
        mac(&text)
    );
    set(&mut request, "authorization", &value);
    request
}

/// The same by RFC 9421, whose field is `signature`.
fn message() -> Request {
    let mut request = kong();
    request.headers.remove("authorization");
    request.headers.remove("digest");
    let digest = format!("sha-256=:{}:", digest_of(BODY));
    let params = "(\"@method\" \"@authority\" \"@path\" \"@query\" \"content-digest\" \"x-amount\");created=1618884473;expires=1618884480;keyid=\"alice\";alg=\"hmac-sha256\";nonce=\"b3k2pp5k7z\"";
    let text = format!(
        "\"@method\": POST\n\"@authority\": api.example.com\n\"@path\": /orders/7\n\"@query\": ?dry=1&b=%20\n\"content-digest\": {digest}\n\"x-amount\": 100\n\"@signature-params\": {params}"
    );
    set(&mut request, "content-digest", &digest);
    set(&mut request, "signature-input", &format!("sig1={params}"));
    set(&mut request, "signature", &format!("sig1=:{}:", mac(&text)));
    request
}

type Make = fn() -> Request;

/// Each form with the header that carries it.
const FORMS: [(&str, Make); 3] = [("authorization", kong), ("authorization", cavage), ("signature", message)];

fn judge(method: &Hmac, request: &Request, now: Timestamp) -> Result<Caller, Denied> {
    let route = Arc::from("r");
    let body = match &request.body {
        Body::Full(bytes) => bytes.clone(),
        Body::Empty | Body::Stream(_) => Bytes::new(),
    };
    let body = method.reads_body(&request.headers).then_some(&body);
    method.judge(&Presented {
        method: &request.method,
        path: &request.path,
        query: request.query.as_deref(),
        headers: &request.headers,
        origin: &request.origin,
        body,
        route: &route,
        now,
    })
}

fn invalid(judged: &Result<Caller, Denied>) -> bool {
    matches!(judged, Err(Denied::Invalid(_)))
}

#[test]
fn each_form_that_clients_send_makes_the_client_the_caller() {
    for (header, make) in FORMS {
        let caller = judge(&method(header), &make(), NOW).expect("signed");
        assert_eq!((caller.id(), caller.tenant(), caller.via()), ("alice", "acme", "hmac"), "{header}");
    }
}

/// RFC 9421 §B.2.5.
#[test]
fn the_signature_of_the_standards_example_is_right() {
    let mut request = testkit::request("POST /foo?param=Value&Pet=dog");
    request.origin.host = "example.com".to_owned();
    set(&mut request, "date", DATE_NOW);
    set(&mut request, "content-type", "application/json");
    let input = "sig-b25=(\"date\" \"@authority\" \"content-type\");created=1618884473;keyid=\"test-shared-secret\"";
    let signature = "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:";
    let claim = message::claim(input, signature).expect("a claim");
    let route = Arc::from("r");
    let asked = Presented {
        method: &request.method,
        path: &request.path,
        query: None,
        headers: &request.headers,
        origin: &request.origin,
        body: None,
        route: &route,
        now: NOW,
    };
    let text = text::signed(&claim, &asked, "1.1").expect("a text");
    let secret = "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";
    let key = Algorithm::Sha256.key(&STANDARD.decode(secret).expect("base64"));
    assert!(hmac::verify(&key, &text, &claim.signature).is_ok(), "{}", String::from_utf8_lossy(&text));
}

/// One attack: its name, and what it does to a request that is signed.
type Attack = (&'static str, fn(&mut Request));

const ATTACKS: &[Attack] = &[
    ("another method", |request| request.method = http::Method::PUT),
    ("another path", |request| request.path = "/orders/8".to_owned()),
    ("the same path in another writing", |request| request.path = "/orders/%37".to_owned()),
    ("a path that ends in the query", |request| {
        request.path = "/orders/7?dry=1&b=%20".to_owned();
        request.query = None;
    }),
    ("another query", |request| request.query = Some("dry=0&b=%20".to_owned())),
    ("no query", |request| request.query = None),
    ("a query in front", |request| request.query = Some("a=1&dry=1&b=%20".to_owned())),
    ("another host", |request| request.origin.host = "evil.example.com".to_owned()),
    ("another body", |request| request.body = Body::Full(Bytes::from_static(b"{\"hello\": \"World\"}"))),
    ("no body", |request| request.body = Body::Empty),
    ("another amount", |request| set(request, "x-amount", "999")),
    ("a second amount", |request| {
        request.headers.append("x-amount", HeaderValue::from_static("999"));
    }),
    ("no amount", |request| drop(request.headers.remove("x-amount"))),
    ("a line in the path", |request| request.path = "/orders/7 HTTP/1.1\nhost: api.example.com".to_owned()),
    ("another digest, of another body", |request| {
        request.body = Body::Full(Bytes::from_static(b"x"));
        set(request, "digest", &format!("SHA-256={}", digest_of("x")));
        set(request, "content-digest", &format!("sha-256=:{}:", digest_of("x")));
    }),
    ("no digest and no body", |request| {
        request.body = Body::Empty;
        request.headers.remove("digest");
        request.headers.remove("content-digest");
    }),
    ("another client", |request| rewrite(request, "alice", "bob")),
    ("another algorithm", |request| {
        rewrite(request, "\"hs2019\"", "\"hmac-sha512\"");
        rewrite(request, "hmac-sha256", "hmac-sha512");
    }),
    ("an algorithm that is not taken", |request| {
        rewrite(request, "\"hs2019\"", "\"hmac-sha1\"");
        rewrite(request, "hmac-sha256", "none");
    }),
    ("another order of what is signed", |request| {
        rewrite(request, "digest x-amount", "x-amount digest");
        rewrite(request, "\"content-digest\" \"x-amount\"", "\"x-amount\" \"content-digest\"");
    }),
    ("the amount no longer signed", |request| {
        rewrite(request, " x-amount\"", "\"");
        rewrite(request, " \"x-amount\"", "");
    }),
    ("a second signature", |request| {
        for name in ["authorization", "signature", "signature-input"] {
            if let Some(value) = request.headers.get(name).cloned() {
                request.headers.append(name, value);
            }
        }
    }),
    ("an empty signature", |request| {
        if let Some(value) = request.headers.get("authorization").cloned() {
            let (before, _) = value.to_str().expect("text").rsplit_once("signature=").expect("a signature");
            set(request, "authorization", &format!("{before}signature=\"\""));
        } else {
            set(request, "signature", "sig1=::");
        }
    }),
    ("half a signature", |request| {
        if let Some(value) = request.headers.get("authorization").cloned() {
            let (before, _) = value.to_str().expect("text").rsplit_once("signature=").expect("a signature");
            set(request, "authorization", &format!("{before}signature=\"AAECAwQFBgcICQoLDA0ODw==\""));
        } else {
            set(request, "signature", "sig1=:AAECAwQFBgcICQoLDA0ODw==:");
        }
    }),
];

fn rewrite(request: &mut Request, from: &str, to: &str) {
    for name in ["authorization", "signature-input"] {
        if let Some(value) = request.headers.get(name).map(|value| value.to_str().expect("text").replace(from, to)) {
            set(request, name, &value);
        }
    }
}

#[test]
fn every_attack_of_the_table_is_refused_in_every_form() {
    for (header, make) in FORMS {
        for (name, attack) in ATTACKS {
            let mut request = make();
            attack(&mut request);
            let judged = judge(&method(header), &request, NOW);
            assert!(invalid(&judged), "{header}, {name}: {judged:?}");
        }
    }
}

#[test]
fn a_signature_is_good_within_the_skew_and_not_a_moment_longer() {
    for (header, make, made, expires) in [
        ("authorization", kong as Make, 1_618_884_475, u64::MAX),
        ("authorization", cavage, 1_618_884_473, 1_618_884_480),
        ("signature", message, 1_618_884_473, 1_618_884_480),
    ] {
        for (at, good) in [
            (made - 301, false),
            (made - 300, true),
            (made + 2, true),
            (made + 300, made + 300 < expires),
            (made + 301, false),
            (expires.min(made + 300) - 1, true),
        ] {
            let judged = judge(&method(header), &make(), Timestamp::from_secs(at));
            assert_eq!(judged.is_ok(), good, "{header} made at {made}, at {at}: {judged:?}");
        }
    }
}

/// A request of Kong's form whose signature is right, of these parts.
fn signed(parts: &str, request: &mut Request) {
    let value = |part: &str| match part {
        "request-line" => format!("{} {} HTTP/1.1", request.method, request.path),
        "host" => "host: api.example.com".to_owned(),
        _ => format!("{part}: {}", request.headers.get(part).and_then(|v| v.to_str().ok()).unwrap_or_default()),
    };
    let text: Vec<_> = parts.split(' ').map(value).collect();
    let signature = mac(&text.join("\n"));
    let field = format!(r#"hmac username="alice", headers="{parts}", signature="{signature}""#);
    set(request, "authorization", &field);
}

#[test]
fn what_must_be_signed_is_and_what_is_signed_must_be_there() {
    let method = method("authorization");
    for (parts, good) in [
        ("date request-line host digest", true),
        ("x-date request-line host digest", true),
        ("date host digest", false),
        ("request-line host digest", false),
        ("date request-line digest", false),
        ("date request-line host", false),
        ("date request-line host digest x-absent", false),
        ("date x-bad-date request-line host digest", true),
        ("x-old x-date request-line host digest", true),
    ] {
        let mut request = testkit::request("POST /orders");
        request.body = Body::Full(Bytes::from_static(BODY.as_bytes()));
        let digest = format!("SHA-256={}", digest_of(BODY));
        for (name, value) in
            [("date", DATE_NOW), ("x-date", DATE_NOW), ("x-bad-date", "x"), ("x-old", "1"), ("digest", &digest)]
        {
            set(&mut request, name, value);
        }
        signed(parts, &mut request);
        let judged = judge(&method, &request, NOW);
        assert_eq!(judged.is_ok(), good, "{parts}: {judged:?}");
    }
}

#[test]
fn every_date_that_is_signed_is_about_now_and_of_the_one_form() {
    for (date, x_date, good) in [
        (DATE_NOW, DATE_NOW, true),
        (DATE_NOW, "Tue, 20 Apr 2021 01:07:55 GMT", false),
        ("Tue, 20 Apr 2021 01:07:55 GMT", DATE_NOW, false),
        (DATE_NOW, "Tue, 20 Apr 2021 02:07:55 +0000", false),
        (DATE_NOW, "Wed, 20 Apr 2021 02:07:55 GMT", false),
        (DATE_NOW, "2021-04-20T02:07:55Z", false),
        (DATE_NOW, "1618884475", false),
    ] {
        let mut request = testkit::request("GET /orders");
        set(&mut request, "date", date);
        set(&mut request, "x-date", x_date);
        signed("date x-date request-line host", &mut request);
        let judged = judge(&method("authorization"), &request, NOW);
        assert_eq!(judged.is_ok(), good, "{date} {x_date}: {judged:?}");
    }
}

#[test]
fn without_a_body_no_digest_is_needed_and_one_that_is_added_is_refused() {
    let mut request = testkit::request("POST /orders");
    set(&mut request, "date", DATE_NOW);
    signed("date request-line host", &mut request);
    assert!(judge(&method("authorization"), &request, NOW).is_ok());
    request.body = Body::Full(Bytes::from_static(b"x"));
    assert!(invalid(&judge(&method("authorization"), &request, NOW)));
    let lax = Hmac { body: false, ..method("authorization") };
    assert!(judge(&lax, &request, NOW).is_ok(), "where the body need not be signed");
}

#[test]
fn a_request_line_signed_for_another_version_is_right_since_an_edge_speaks_its_own() {
    let mut request = kong();
    request.origin.version = "2.0";
    assert!(judge(&method("authorization"), &request, NOW).is_ok());
}

#[test]
fn while_secrets_rotate_both_are_good_and_one_that_is_not_there_is_our_fault() {
    const NEWER: &[u8] = b"fedcba9876543210fedcba9876543210";
    let with = |client| Hmac { clients: BTreeMap::from([("alice".to_owned(), client)]), ..method("authorization") };
    assert!(judge(&with(client(&[NEWER, SECRET])), &kong(), NOW).is_ok());
    assert!(judge(&with(client(&[b"0123456789abcdef0123456789abcdef\n"])), &kong(), NOW).is_ok());
    assert!(invalid(&judge(&with(client(&[NEWER])), &kong(), NOW)));
    let unresolved = Client { secrets: vec![Arc::new(Secret::new("env:ALICE", None))], ..client(&[]) };
    for client in [unresolved, client(&[b"short"])] {
        let judged = judge(&with(client), &kong(), NOW);
        assert!(matches!(&judged, Err(Denied::Unchecked(why)) if why.contains("env:ALICE")), "{judged:?}");
    }
}

#[test]
fn another_methods_credential_is_none_of_ours() {
    let mut request = testkit::request("GET /");
    for header in ["authorization", "signature", "x-signature"] {
        assert_eq!(judge(&method(header), &request, NOW), Err(Denied::Missing));
    }
    for value in ["Bearer eyJ", "Basic YTpi", "hmac", "hmacs username=\"alice\""] {
        set(&mut request, "authorization", value);
        assert_eq!(judge(&method("authorization"), &request, NOW), Err(Denied::Missing), "{value}");
    }
    set(&mut request, "x-signature", "username=\"alice\"");
    assert!(invalid(&judge(&method("x-signature"), &request, NOW)));
}

#[tokio::test]
async fn the_signature_is_taken_off_unless_it_is_kept_and_a_401_asks_for_one() {
    let world = testkit::world(Arc::new(Stopped));
    for (header, make) in FORMS {
        for keep in [false, true] {
            let auth = testkit::any_of(&[("signed", Arc::new(method(header)), keep)]);
            let mut request = make();
            let caller = testkit::identify(&auth, &mut request, &world).await.expect("signed");
            assert_eq!(caller.id(), "alice");
            let there = |name: &str| request.headers.contains_key(name);
            assert_eq!(there(header), keep, "{header}");
            assert_eq!(there("signature-input"), keep && header == "signature");
            assert!(matches!(&request.body, Body::Full(body) if body == BODY), "the body goes on");
        }
        let auth = testkit::any_of(&[("signed", Arc::new(method(header)), false)]);
        let refused = testkit::identify(&auth, &mut testkit::request("GET /"), &world).await.expect_err("unsigned");
        assert!(matches!(refused, Refusal::CredentialsMissing { .. }));
        assert_eq!(refused.into_response("ID").headers["www-authenticate"], "Hmac error=\"credentials_missing\"");
    }
}

proptest! {
    #[test]
    fn no_byte_of_what_is_signed_may_change(form in 0_usize..3, part in 0_usize..7, at in any::<prop::sample::Index>(), byte in 0x21_u8..0x7f) {
        let (header, make) = FORMS[form];
        let mut request = make();
        let changed = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            let at = at.index(bytes.len());
            let differs = bytes[at] != byte;
            bytes[at] = byte;
            differs.then(|| String::from_utf8(bytes).expect("text"))
        };
        let field = ["x-amount", "date", "digest", header][part % 4];
        let done = match part {
            0..4 => {
                let field = match (form, field) {
                    (2, "date" | "digest") => "content-digest",
                    (1, "date") => "digest",
                    _ => field,
                };
                let old = request.headers[field].to_str().expect("text").to_owned();
                // The scheme's word is not signed, and may be written in any case.
                let (scheme, rest) = if field == "authorization" { old.split_at(old.find(' ').expect("a scheme")) } else { ("", &*old) };
                changed(rest).map(|new| set(&mut request, field, &format!("{scheme}{new}")))
            }
            4 => changed(&request.path).map(|new| request.path = new),
            5 => changed(&request.query.clone().expect("a query")).map(|new| request.query = Some(new)),
            _ => changed(BODY).map(|new| request.body = Body::Full(new.into())),
        };
        prop_assume!(done.is_some());
        prop_assert!(judge(&method(header), &request, NOW).is_err());
    }

    #[test]
    fn no_field_makes_reading_a_signature_panic(text in "\\PC{0,80}", input in "[ -~]{0,80}") {
        let _ = Claim::lines(&text);
        let _ = message::claim(&input, &text);
        let _ = date(&text);
    }
}
