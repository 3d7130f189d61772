//! What a bench of tokens needs, into a folder: two key pairs, their public keys as a JWK set and as PEM, and for each
//! as many tokens as were asked for, each of another user.

use std::fmt::Write as _;
use std::path::Path;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use tollgate::clock::{Clock, SystemClock};

type Fault = Box<dyn std::error::Error>;

fn main() -> Result<(), Fault> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().ok_or("tokens FOLDER COUNT")?;
    let count: u32 = args.next().ok_or("tokens FOLDER COUNT")?.parse()?;
    let (folder, random) = (Path::new(&folder), SystemRandom::new());
    std::fs::create_dir_all(folder)?;
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048)?;
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;

    // Uncompressed: 4, then both coordinates.
    let (x, y) = ec.public_key().as_ref().get(1..).ok_or("a point")?.split_at(32);
    let (n, e) = (rsa.public_key().modulus(), rsa.public_key().exponent());
    let [n, e] = [n.big_endian_without_leading_zero(), e.big_endian_without_leading_zero()].map(encoded);
    let set = format!(
        r#"{{"keys":[{{"kty":"RSA","kid":"r","alg":"RS256","use":"sig","n":"{n}","e":"{e}"}},{{"kty":"EC","kid":"e","alg":"ES256","use":"sig","crv":"P-256","x":"{}","y":"{}"}}]}}"#,
        encoded(x),
        encoded(y)
    );
    std::fs::write(folder.join("jwks.json"), set)?;
    std::fs::write(folder.join("rs256.pem"), pem(AsDer::as_der(rsa.public_key())?.as_ref()))?;
    std::fs::write(folder.join("es256.pem"), pem(AsDer::as_der(ec.public_key())?.as_ref()))?;

    let expires = SystemClock.now().secs() + 86_400;
    for (algorithm, kid) in [("RS256", "r"), ("ES256", "e")] {
        let mut tokens = String::new();
        for user in 0..count {
            let header = encoded(format!(r#"{{"alg":"{algorithm}","typ":"JWT","kid":"{kid}"}}"#));
            let claims = encoded(format!(
                r#"{{"iss":"https://login.example.com/","aud":"orders-api","sub":"user-{user}","org":"acme","scope":"orders:read","exp":{expires}}}"#
            ));
            let text = format!("{header}.{claims}");
            let signature = if algorithm == "RS256" {
                let mut signature = vec![0; rsa.public_modulus_len()];
                rsa.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature)?;
                encoded(signature)
            } else {
                encoded(ec.sign(&random, text.as_bytes())?)
            };
            writeln!(tokens, "{text}.{signature}")?;
        }
        std::fs::write(folder.join(format!("{}.txt", algorithm.to_lowercase())), tokens)?;
    }
    Ok(())
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A public key as PEM (RFC 7468 §13).
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut lines = "-----BEGIN PUBLIC KEY-----\n".to_owned();
    for (at, letter) in text.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            lines.push('\n');
        }
        lines.push(letter);
    }
    lines + "\n-----END PUBLIC KEY-----\n"
}
