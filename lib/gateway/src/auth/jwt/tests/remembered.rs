//! Tokens that come again: known without a signature, and never for longer than they are good.

use bytes::Bytes;

use super::*;
use crate::secret::Secret;

fn is_remembered(jwt: &Jwt, token: &str) -> bool {
    let (signed, signature) = token::split(token.as_bytes()).unwrap();
    let hash = digest(&SHA256, signed).as_ref().try_into().unwrap();
    jwt.remembered.get(&hash, signature).is_some()
}

#[tokio::test]
async fn a_token_that_comes_again_is_the_same_caller_until_it_expires() {
    let signer = Signer::new(Algorithm::Es256, "k");
    let (jwt, clock) = (entry(&[&signer]), TestClock::at(NOON));
    let token = signer.token(&good());
    let first = ask(&jwt, &bearer(&token), &clock).await.unwrap();
    assert!(is_remembered(&jwt, &token));
    let again = ask(&jwt, &bearer(&token), &clock).await.unwrap();
    assert!(std::ptr::eq(first.claims(), again.claims()), "the very same, not one made anew");
    clock.set(NOON + 599);
    assert!(ask(&jwt, &bearer(&token), &clock).await.is_ok());
    clock.set(NOON + 600);
    let expired = Err(Denied::Invalid("customers: the token has expired".to_owned()));
    assert_eq!(ask(&jwt, &bearer(&token), &clock).await, expired);
    clock.set(NOON - 61);
    let early = "customers: the token is not good yet: its nbf or iat lies ahead";
    assert_eq!(
        ask(&jwt, &bearer(&token), &clock).await,
        Err(Denied::Invalid(early.to_owned())),
        "a clock that was set back"
    );
}

#[tokio::test]
async fn a_token_that_is_refused_is_not_remembered() {
    let (signer, other) = (Signer::new(Algorithm::Es256, "k"), Signer::new(Algorithm::Es256, "k"));
    let (jwt, clock) = (entry(&[&signer]), TestClock::at(NOON));
    let token = other.token(&good());
    for _ in 0..2 {
        assert!(ask(&jwt, &bearer(&token), &clock).await.is_err());
        assert!(!is_remembered(&jwt, &token));
    }
}

#[tokio::test]
async fn a_token_does_not_outlive_the_secret_that_signed_it() {
    let signer = Signer::new(Algorithm::Hs256, "k");
    let secret = Arc::new(Secret::new("env:S", None));
    let jwt = Jwt::new("customers", policy(Keys::secret(Arc::clone(&secret), &[Algorithm::Hs256])));
    let (clock, token) = (TestClock::at(NOON), signer.token(&good()));
    let unchecked = Err(Denied::Unchecked("customers: env:S is not resolved".to_owned()));
    assert_eq!(ask(&jwt, &bearer(&token), &clock).await, unchecked);
    secret.set(Bytes::from(vec![7; 64]));
    for _ in 0..2 {
        assert!(ask(&jwt, &bearer(&token), &clock).await.is_ok(), "a `kid` names nothing where there is one secret");
    }
    secret.set(Bytes::from(vec![8; 64]));
    let wrong = Err(Denied::Invalid("customers: the signature is wrong".to_owned()));
    assert_eq!(ask(&jwt, &bearer(&token), &clock).await, wrong);
    secret.set(Bytes::from(vec![7; 64]));
    assert!(ask(&jwt, &bearer(&token), &clock).await.is_ok());
    secret.set(Bytes::from_static(b"short"));
    let unchecked = "customers: env:S: HS256 needs 32 bytes at least, it has 5";
    assert_eq!(ask(&jwt, &bearer(&token), &clock).await, Err(Denied::Unchecked(unchecked.to_owned())));
}

#[tokio::test]
async fn the_largest_tokens_are_verified_each_time() {
    let signer = Signer::new(Algorithm::EdDsa, "k");
    let (jwt, clock) = (entry(&[&signer]), TestClock::at(NOON));
    let mut claims = good();
    claims["pad"] = "x".repeat(9 * 1024).into();
    let request = bearer(&signer.token(&claims));
    let (one, two) = (ask(&jwt, &request, &clock).await.unwrap(), ask(&jwt, &request, &clock).await.unwrap());
    assert_eq!(one, two);
    assert!(!std::ptr::eq(one.claims(), two.claims()));
}

#[tokio::test]
async fn what_is_remembered_is_a_token_with_its_signature() {
    let signer = Signer::new(Algorithm::Es256, "k");
    let (jwt, clock, token) = (entry(&[&signer]), TestClock::at(NOON), signer.token(&good()));
    assert!(ask(&jwt, &bearer(&token), &clock).await.is_ok());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let other = if signature.starts_with('A') { "B" } else { "A" };
    for signature in [format!("{other}{}", &signature[1..]), signature[1..].to_owned(), String::new()] {
        let changed = format!("{signed}.{signature}");
        let wrong = Err(Denied::Invalid("customers: the signature is wrong".to_owned()));
        let found = ask(&jwt, &bearer(&changed), &clock).await;
        assert!(found == wrong || signature.len() == 85, "{found:?}");
        assert!(found.is_err() && !is_remembered(&jwt, &changed) && is_remembered(&jwt, &token));
    }
    // The same claims, signed once more: ECDSA is not the same twice.
    let again = signer.token(&good());
    assert_ne!(token, again);
    assert!(!is_remembered(&jwt, &again) && ask(&jwt, &bearer(&again), &clock).await.is_ok());
    assert!(is_remembered(&jwt, &again));
}
