//! Sets of keys: what is used, and what is left out and why.

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::super::{Algorithm, KeySet};
use super::signer::{Signer, b64};

/// The set of one good key beside this one, and why this one is left out.
fn left_out(jwk: &Value) -> String {
    let good = Signer::new(Algorithm::Es256, "good");
    let set = json!({"keys": [jwk, good.jwk()]}).to_string();
    let (set, left_out) = KeySet::parse(set.as_bytes(), 1).unwrap();
    assert!(set.has("good"), "a key of no use makes no other unusable");
    assert_eq!((set.len(), left_out.len()), (1, 1), "{jwk} {left_out:?}");
    left_out.into_iter().next().unwrap()
}

/// The key with some members changed, `null` for none.
fn with(jwk: &Value, members: &Value) -> Value {
    let mut jwk = jwk.clone();
    for (name, value) in members.as_object().unwrap() {
        jwk.as_object_mut().unwrap().remove(name);
        if !value.is_null() {
            jwk[name] = value.clone();
        }
    }
    jwk
}

/// Whether a key of the set signed the message.
fn signed(
    set: &KeySet,
    kid: Option<&str>,
    algorithm: Algorithm,
    message: &[u8],
    signature: &[u8],
) -> Result<(), String> {
    set.signed(kid, algorithm, message, &digest(&SHA256, message), signature)
}

#[test]
fn keys_of_no_use_are_left_out_and_the_others_are_used() {
    let rsa = Signer::new(Algorithm::Rs256, "r").jwk();
    let ec = Signer::new(Algorithm::Es256, "e").jwk();
    let large = Signer::new(Algorithm::Es512, "l").jwk();
    let ed = Signer::new(Algorithm::EdDsa, "d").jwk();
    for (jwk, why) in [
        (with(&rsa, &json!({"use": "enc"})), "its use is \"enc\", not \"sig\""),
        (with(&rsa, &json!({"key_ops": ["encrypt", "wrapKey"]})), "its key_ops have no \"verify\""),
        (with(&rsa, &json!({"key_ops": "verify"})), "its key_ops are no list of strings"),
        (with(&rsa, &json!({"key_ops": [1]})), "its key_ops are no list of strings"),
        (with(&rsa, &json!({"alg": "RSA-OAEP"})), "its alg is \"RSA-OAEP\""),
        (with(&rsa, &json!({"alg": "ES256"})), "its alg is none of its type and curve"),
        (with(&rsa, &json!({"alg": "HS256"})), "its alg is none of its type and curve"),
        (with(&rsa, &json!({"alg": "none"})), "its alg is \"none\""),
        (with(&rsa, &json!({"alg": 256})), "its alg is no string"),
        (with(&rsa, &json!({"d": "AQAB"})), "it has `d`, so it is no public key"),
        (with(&rsa, &json!({"kty": null})), "it has no kty"),
        (with(&rsa, &json!({"kty": "rsa"})), "its kty is \"rsa\""),
        (with(&rsa, &json!({"kty": "oct", "k": b64([7; 32])})), "a symmetric key has no place in a set of public keys"),
        (with(&rsa, &json!({"kid": ""})), "its kid must have 1 to 256 bytes"),
        (with(&rsa, &json!({"kid": "k".repeat(257)})), "its kid must have 1 to 256 bytes"),
        (with(&rsa, &json!({"kid": 7})), "its kid is no string"),
        (with(&rsa, &json!({"n": null})), "it has no n"),
        (with(&rsa, &json!({"n": b64([0xff; 128])})), "it has 1024 bits, not 2048 to 8192"),
        (with(&rsa, &json!({"n": b64([vec![0x7f], vec![0xff; 255]].concat())})), "it has 2047 bits, not 2048 to 8192"),
        (with(&rsa, &json!({"n": b64([0xff; 1025])})), "it has 8200 bits, not 2048 to 8192"),
        (with(&rsa, &json!({"n": b64([0xfe; 256])})), "its n is no modulus"),
        (with(&rsa, &json!({"n": ""})), "it has 0 bits, not 2048 to 8192"),
        (with(&rsa, &json!({"n": "AQ=="})), "its n is no base64url text without padding"),
        (with(&rsa, &json!({"n": "A+/A"})), "its n is no base64url text without padding"),
        (with(&rsa, &json!({"e": "AR"})), "its e is no base64url text without padding"),
        (with(&rsa, &json!({"e": "AQ"})), "its e is no exponent that is taken here"),
        (with(&rsa, &json!({"e": "Ag"})), "its e is no exponent that is taken here"),
        (with(&rsa, &json!({"e": ""})), "its e is no exponent that is taken here"),
        (with(&rsa, &json!({"e": b64([1, 0, 0, 0, 1])})), "its e is no exponent that is taken here"),
        (with(&ec, &json!({"crv": "P-521"})), "its x and y must have 66 bytes each"),
        (with(&ec, &json!({"crv": "secp256k1"})), "its crv is \"secp256k1\""),
        (with(&ec, &json!({"crv": "P-521", "alg": "ES256"})), "its alg is none of its type and curve"),
        (with(&ec, &json!({"x": b64([1; 32])})), "it is no point of P-256"),
        (with(&ec, &json!({"x": b64([0; 31])})), "its x and y must have 32 bytes each"),
        (with(&large, &json!({"x": b64([1; 65])})), "its x and y must have 66 bytes each"),
        (with(&ed, &json!({"crv": "Ed448"})), "its crv is \"Ed448\""),
        (with(&ed, &json!({"crv": "X25519"})), "its crv is \"X25519\""),
        (with(&ed, &json!({"x": b64([0; 32])})), "anyone can sign for it: its x is of small order"),
        (with(&ed, &json!({"x": b64([9; 33])})), "it is no point of Ed25519"),
        (json!({"kty": "AKP", "kid": "p", "pub": "AA"}), "its kty is \"AKP\""),
        (json!("text"), "it is no object"),
        (json!(null), "it is no object"),
        (json!([1, [2]]), "it is no object"),
        (json!(1.5), "it is no object"),
    ] {
        assert_eq!(left_out(&jwk).split_once(" is left out: ").unwrap().1, why, "{jwk}");
    }
}

#[test]
fn a_key_that_has_a_member_twice_is_left_out_alone() {
    let good = Signer::new(Algorithm::EdDsa, "good").jwk();
    let set = format!(r#"{{"keys": [{{"kty": "RSA", "kid": "a", "kid": "b"}}, {good}, {{"x5c": 1, "x5c": 2}}]}}"#);
    let (set, left_out) = KeySet::parse(set.as_bytes(), 1).unwrap();
    assert_eq!(set.len(), 1);
    assert_eq!(left_out, ["key \"a\" is left out: it has kid twice", "key 3 is left out: it has no kty"]);
}

#[test]
fn what_is_no_set_is_told() {
    for (bytes, why) in [
        ("", "EOF while parsing a value"),
        ("[]", "invalid type: sequence, expected an object with `keys`"),
        ("{}", "it has no `keys`"),
        (r#"{"keys": {}}"#, "invalid type: map, expected a list of keys"),
        (r#"{"keys": [], "keys": []}"#, "it has `keys` twice"),
        (r#"{"keys": []} {}"#, "trailing characters"),
        (r#"{"keys": [{"kty": "\ud800"}]}"#, "hex escape"),
    ] {
        let error = KeySet::parse(bytes.as_bytes(), 1).unwrap_err();
        assert!(error.starts_with("it is no JWK set: ") && error.contains(why), "{bytes}: {error}");
    }
    let large = format!(r#"{{"keys": [], "pad": "{}"}}"#, "x".repeat(256 * 1024));
    assert!(KeySet::parse(large.as_bytes(), 1).unwrap_err().ends_with("more than 262144"));
    let nested = "[".repeat(50_000) + &"]".repeat(50_000);
    let unknown = format!(r#"{{"keys": [{{"other": {nested}}}], "other": {nested}}}"#);
    assert!(KeySet::parse(unknown.as_bytes(), 1).unwrap().0.is_empty(), "what is not looked at is skipped");
    let known = format!(r#"{{"keys": [{{"kid": {nested}}}]}}"#);
    assert!(KeySet::parse(known.as_bytes(), 1).unwrap_err().contains("recursion limit"));
}

#[test]
fn a_set_is_bounded_and_may_be_empty() {
    let many = json!({"keys": vec![json!({}); 500]}).to_string();
    let (set, left_out) = KeySet::parse(many.as_bytes(), 3).unwrap();
    assert_eq!((set.len(), set.generation, left_out.len()), (0, 3, 129));
    assert_eq!(left_out[128], "keys after the first 128 are left out");
    let (set, left_out) = KeySet::parse(br#"{"keys": [], "other": {"a": [1]}}"#, 4).unwrap();
    assert!(set.is_empty() && left_out.is_empty());
}

#[test]
fn a_key_serves_the_algorithms_of_its_type_and_curve_or_the_one_it_names() {
    for (_, algorithm) in Algorithm::ALL {
        if algorithm.is_secret() {
            continue;
        }
        let signer = Signer::new(algorithm, "k");
        for named in [json!(null), json!(algorithm.name())] {
            let jwk = with(&signer.jwk(), &json!({"alg": named, "use": "sig", "key_ops": ["verify"]}));
            let (set, left_out) = KeySet::parse(json!({"keys": [jwk]}).to_string().as_bytes(), 1).unwrap();
            assert!(left_out.is_empty(), "{left_out:?}");
            let signature = signer.sign(b"message");
            for kid in [Some("k"), None] {
                assert_eq!(signed(&set, kid, algorithm, b"message", &signature), Ok(()), "{algorithm}");
                let wrong = signed(&set, kid, algorithm, b"massage", &signature).unwrap_err();
                assert_eq!(wrong, "the signature is wrong");
            }
            let unknown = signed(&set, Some("other"), algorithm, b"message", &signature).unwrap_err();
            assert_eq!(unknown, "there is no key \"other\"");
            for (_, other) in Algorithm::ALL {
                if other != algorithm {
                    assert!(signed(&set, Some("k"), other, b"message", &signature).is_err(), "{algorithm} as {other}");
                }
            }
        }
    }
}

#[test]
fn of_keys_that_may_be_meant_the_first_eight_are_tried() {
    let signers: Vec<_> = (0..10).map(|number| Signer::new(Algorithm::EdDsa, &format!("k{number}"))).collect();
    let set = json!({"keys": signers.iter().map(Signer::jwk).collect::<Vec<_>>()}).to_string();
    let (set, _) = KeySet::parse(set.as_bytes(), 1).unwrap();
    for (number, signer) in signers.iter().enumerate() {
        let signature = signer.sign(b"m");
        assert_eq!(signed(&set, Some(&signer.kid), Algorithm::EdDsa, b"m", &signature), Ok(()));
        let unnamed = signed(&set, None, Algorithm::EdDsa, b"m", &signature);
        assert_eq!(unnamed.is_ok(), number < 8, "{number}");
    }
}

#[test]
fn a_secret_is_as_long_as_its_hash_at_least() {
    for (algorithm, least) in [(Algorithm::Hs256, 32), (Algorithm::Hs384, 48), (Algorithm::Hs512, 64)] {
        assert_eq!(algorithm.shortest_secret(), least);
        let short = KeySet::secret(&vec![7; least - 1], &[algorithm], 1).unwrap_err();
        assert_eq!(short, format!("{algorithm} needs {least} bytes at least, it has {}", least - 1));
        assert_eq!(KeySet::secret(&vec![7; least], &[algorithm], 1).unwrap().len(), 1);
    }
}

#[test]
fn what_an_issuer_writes_makes_no_long_lines() {
    let long = "x".repeat(10_000);
    let ec = Signer::new(Algorithm::Es256, "e").jwk();
    for name in ["kty", "crv", "alg", "use", "kid"] {
        let why = left_out(&with(&ec, &json!({ name: long })));
        assert!(why.len() < 400 && why.contains(name), "{why}");
    }
    let why = KeySet::parse(json!(long).to_string().as_bytes(), 1).unwrap_err();
    assert!(why.len() < 400 && why.starts_with("it is no JWK set: "), "{why}");
}
