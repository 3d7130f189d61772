//! The examples of the standards: RFC 7515 appendix A, RFC 7520 §4, RFC 8037 appendix A.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

#[test]
fn the_examples_of_the_standards_are_verified_and_not_once_changed() {
    let published: Vec<Value> =
        serde_json::from_str(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/jwt/published.json")))
            .unwrap();
    assert_eq!(published.len(), 9);
    for example in published {
        let (source, key) = (example["source"].as_str().unwrap(), &example["key"]);
        let algorithm = Algorithm::named(example["algorithm"].as_str().unwrap()).unwrap();
        let keys = match key["k"].as_str() {
            Some(secret) => KeySet::secret(&URL_SAFE_NO_PAD.decode(secret).unwrap(), &[algorithm], 1).unwrap(),
            None => {
                let (keys, left_out) = KeySet::parse(json!({"keys": [key]}).to_string().as_bytes(), 1).unwrap();
                assert!(left_out.is_empty(), "{source}: {left_out:?}");
                keys
            }
        };
        let (signed, signature) = token::split(example["token"].as_str().unwrap().as_bytes()).unwrap();
        let (token, digest) = (Token::parse(signed, signature).unwrap(), digest(&SHA256, signed));
        assert_eq!(token.algorithm, algorithm, "{source}");
        let kid = token.kid.as_deref().filter(|_| !algorithm.is_secret());
        assert_eq!(keys.signed(kid, algorithm, signed, &digest, &token.signature), Ok(()), "{source}");
        let mut changed = token.signature.clone();
        changed[0] ^= 1;
        assert!(keys.signed(kid, algorithm, signed, &digest, &changed).is_err(), "{source}");
    }
}

#[test]
fn the_unsecured_example_is_refused() {
    // RFC 7515 §A.5.
    let token = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.";
    let (signed, signature) = token::split(token.as_bytes()).unwrap();
    assert_eq!(Token::parse(signed, signature).unwrap_err(), "the token's alg is \"none\"");
}

#[test]
fn the_example_with_an_extension_that_must_be_understood_is_refused() {
    // RFC 7515 §E.
    let token = "eyJhbGciOiJub25lIiwNCiAiY3JpdCI6WyJodHRwOi8vZXhhbXBsZS5jb20vVU5ERUZJTkVEIl0sDQogImh0dHA6Ly9leGFtcGxlLmNvbS9VTkRFRklORUQiOnRydWUNCn0.RkFJTA.";
    let (signed, signature) = token::split(token.as_bytes()).unwrap();
    assert!(Token::parse(signed, signature).unwrap_err().contains("`crit`"));
}
