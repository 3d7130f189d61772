//! The shared vectors: Wycheproof's of JSON web signatures and keys, and those of a gateway's tokens.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;

use super::*;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors/jwt");

fn vectors(file: &str) -> Option<Value> {
    match std::fs::read(format!("{FOLDER}/{file}")) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).unwrap()),
        Err(_) => {
            println!("SKIPPED: no vectors at ../shared/vectors/jwt/{file}");
            None
        }
    }
}

/// Whether a signed text is one of the keys', as an entry with these keys would find.
fn verified(jwk: &Value, jws: &str) -> Result<(), String> {
    let (signed, signature) = token::split(jws.as_bytes())?;
    let (token, digest) = (Token::parse(signed, signature)?, digest(&SHA256, signed));
    let keys = if jwk.get("keys").is_some() { jwk.clone() } else { json!({"keys": [jwk]}) };
    let (set, left_out) = KeySet::parse(keys.to_string().as_bytes(), 1)?;
    let symmetric = keys["keys"].as_array().unwrap().iter().find(|key| key["kty"] == "oct");
    let Some(symmetric) = symmetric else {
        return set.signed(token.kid.as_deref(), token.algorithm, signed, &digest, &token.signature);
    };
    // A set does not take it. As an entry's `secret`, it serves the algorithm that it names.
    assert!(set.is_empty() && left_out[0].contains("symmetric"), "{left_out:?}");
    let algorithm = Algorithm::named(symmetric["alg"].as_str().unwrap()).ok_or("no algorithm of tokens")?;
    let secret = URL_SAFE_NO_PAD.decode(symmetric["k"].as_str().unwrap()).unwrap();
    let set = KeySet::secret(&secret, &[algorithm], 1)?;
    set.signed(None, token.algorithm, signed, &digest, &token.signature)
}

#[test]
fn wycheproof_s_signatures_are_taken_and_refused_as_it_says() {
    let Some(vectors) = vectors("wycheproof-jws.json") else { return };
    let (mut wrong, mut count) = (Vec::new(), BTreeMap::<&str, u32>::new());
    for part in ["json_web_signature_test", "json_web_key_test"] {
        for group in vectors[part]["groups"].as_array().unwrap() {
            for test in group["tests"].as_array().unwrap() {
                let (number, comment) = (&test["tc"], test["comment"].as_str().unwrap());
                let found = verified(&group["key"], test["jws"].as_str().unwrap());
                let expected = test["result"].as_str().unwrap();
                if test.get("doubt").is_some() {
                    continue;
                }
                *count.entry(expected).or_default() += 1;
                if found.is_ok() != (expected == "valid") {
                    wrong.push(format!("{part} {number} {comment}: {expected}, and {found:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count["valid"] >= 24 && count["invalid"] >= 280, "{count:?}");
}

fn of_vectors(config: &Value) -> Jwt {
    let keys = match config.get("jwks") {
        Some(jwks) => {
            let (keys, left_out) = KeySet::parse(jwks.to_string().as_bytes(), 1).unwrap();
            let why = [
                "key \"weak\" is left out: it has 1024 bits, not 2048 to 8192",
                "key \"enc-1\" is left out: its use is \"enc\", not \"sig\"",
            ];
            assert_eq!(left_out, why);
            Keys::Fixed(Arc::new(keys))
        }
        None => {
            let secret = URL_SAFE_NO_PAD.decode(config["secret_base64url"].as_str().unwrap()).unwrap();
            Keys::secret(Arc::new(crate::secret::Secret::new("env:S", Some(secret.into()))), &[Algorithm::Hs256])
        }
    };
    let mut policy = policy(keys);
    let algorithms = config["algorithms"].as_array().unwrap().iter();
    policy.algorithms = algorithms.map(|name| Algorithm::named(name.as_str().unwrap()).unwrap()).collect();
    assert_eq!(policy.rules.issuer, config["issuer"]);
    assert_eq!(policy.rules.audiences, [config["audience"].as_str().unwrap()]);
    policy.mapping.forward = vec![(crate::auth::ClaimPath::named("sub"), "x-user-id".parse().unwrap())];
    Jwt::new("vectors", policy)
}

#[tokio::test]
async fn a_gateway_s_tokens_are_taken_and_refused_as_they_should() {
    let Some(vectors) = vectors("gateway-jwt.json") else { return };
    let entries: BTreeMap<&str, Jwt> =
        ["jwks", "hs256"].map(|name| (name, of_vectors(&vectors["gateway_config"][name]))).into_iter().collect();
    let clock = TestClock::at(NOON);
    let (mut wrong, mut count) = (Vec::new(), BTreeMap::<&str, u32>::new());
    for case in vectors["cases"].as_array().unwrap() {
        let (id, expected) = (case["id"].as_str().unwrap(), case["expect"].as_str().unwrap());
        let mut request = request("GET /");
        let mut refused_by_the_door = false;
        for header in case["headers"].as_array().unwrap() {
            let name: HeaderName = header[0].as_str().unwrap().parse().unwrap();
            match HeaderValue::from_bytes(header[1].as_str().unwrap().as_bytes()) {
                Ok(value) => drop(request.headers.append(name, value)),
                Err(_) => refused_by_the_door = true,
            }
        }
        // Twice: what is remembered must not be taken for more than it is.
        for _ in 0..2 {
            let found = ask(&entries[case["config"].as_str().unwrap()], &request, &clock).await;
            let right = match (expected, &found) {
                ("accept", Ok(caller)) => caller.id() == "user-1" && !refused_by_the_door,
                ("reject", Err(Denied::Missing | Denied::Invalid(_))) => true,
                ("either", Ok(_) | Err(Denied::Missing | Denied::Invalid(_))) => true,
                _ => refused_by_the_door && expected == "reject",
            };
            if !right {
                wrong.push(format!("{id}: {expected}, and {found:?}"));
            }
        }
        *count.entry(expected).or_default() += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(count, BTreeMap::from([("accept", 17), ("reject", 136), ("either", 11)]));
}
