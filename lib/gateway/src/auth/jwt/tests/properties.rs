//! What holds for all tokens.

use proptest::prelude::*;

use super::*;

/// Every byte of a token, changed to others.
fn no_change_is_taken(algorithm: Algorithm, others: impl Fn(u8) -> Vec<u8>) {
    let signer = Signer::new(algorithm, "k");
    let keys = if algorithm.is_secret() {
        KeySet::secret(&[7; 64], &[algorithm], 1).unwrap()
    } else {
        Arc::try_unwrap(set_of(&[&signer])).unwrap()
    };
    let mut policy = policy(Keys::Fixed(Arc::new(keys)));
    policy.algorithms = Algorithm::ALL.map(|(_, algorithm)| algorithm).to_vec();
    let jwt = Jwt::new("customers", policy);
    let header = json!({"alg": algorithm.name()}).to_string();
    let token = signer.token_of(&header, &good().to_string());
    assert!(check(&jwt, &token).is_ok());
    for position in 0..token.len() {
        for other in others(token.as_bytes()[position]) {
            let mut changed = token.clone().into_bytes();
            if changed[position] == other {
                continue;
            }
            changed[position] = other;
            let Ok(changed) = String::from_utf8(changed) else { continue };
            assert!(check(&jwt, &changed).is_err(), "{algorithm}: {other} at {position} of {token}");
        }
    }
}

#[test]
fn no_change_of_one_byte_is_taken_whatever_it_is_changed_to() {
    for algorithm in [Algorithm::Hs256, Algorithm::Hs512] {
        no_change_is_taken(algorithm, |_| (0..128).collect());
    }
}

#[test]
fn no_change_of_one_byte_is_taken_with_any_algorithm() {
    // The neighbours in the alphabet of base64url differ in one bit each, the last in those that are cut off.
    for (_, algorithm) in Algorithm::ALL {
        no_change_is_taken(algorithm, |byte| vec![byte ^ 1, byte ^ 2, b'.']);
    }
}

proptest! {
    #[test]
    fn nothing_that_is_not_signed_is_taken_and_nothing_panics(text in any::<String>(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let signer = Signer::new(Algorithm::EdDsa, "k");
        let jwt = entry(&[&signer]);
        prop_assert!(check(&jwt, &text).is_err());
        let part = signer::b64(&bytes);
        for token in [format!("{part}.{part}.{part}"), signer.token_of(&text, &good().to_string()), format!("{}.{part}.{part}", signer::b64(r#"{"alg":"EdDSA"}"#))] {
            prop_assert!(check(&jwt, &token).is_err());
        }
        drop(check(&jwt, &signer.token_of(r#"{"alg":"EdDSA"}"#, &text)));
        drop(KeySet::parse(&bytes, 1));
        drop(KeySet::parse(text.as_bytes(), 1));
        drop(KeySet::parse(format!("{{\"keys\":[{text}]}}").as_bytes(), 1));
    }

    #[test]
    fn claims_that_are_signed_come_out_as_they_went_in(id in "[^\\p{Cc}]{1,40}", note in any::<String>(), number in any::<i64>()) {
        let signer = Signer::new(Algorithm::EdDsa, "k");
        let mut claims = good();
        claims["sub"] = id.clone().into();
        claims["note"] = note.into();
        claims["number"] = number.into();
        let caller = check(&entry(&[&signer]), &signer.token(&claims)).unwrap();
        prop_assert_eq!(caller.id(), id);
        prop_assert_eq!(caller.claims(), claims.as_object().unwrap());
    }
}
