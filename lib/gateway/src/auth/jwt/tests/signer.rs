//! Keys that sign in tests, one of each kind, made anew each time.
#![expect(clippy::wildcard_enum_match_arm, reason = "what is not named is the one that is left")]

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaKeyPair,
};
use aws_lc_rs::{hmac, rsa};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::super::Algorithm;

/// A key that signs by one algorithm.
pub(super) struct Signer {
    pub(super) algorithm: Algorithm,
    pub(super) kid: String,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Secret(Vec<u8>),
}

impl Signer {
    pub(super) fn new(algorithm: Algorithm, kid: &str) -> Self {
        let pair = match algorithm {
            Algorithm::Es256 => Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()),
            Algorithm::Es384 => Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()),
            Algorithm::Es512 => Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P521_SHA512_FIXED_SIGNING).unwrap()),
            Algorithm::EdDsa => Pair::Ed(Ed25519KeyPair::generate().unwrap()),
            Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => Pair::Secret(vec![7; 64]),
            Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512
            | Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512 => Pair::Rsa(rsa::KeyPair::generate(KeySize::Rsa2048).unwrap()),
        };
        Self { algorithm, kid: kid.to_owned(), pair }
    }

    /// The public key.
    pub(super) fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                // SEQUENCE { INTEGER n, INTEGER e } (RFC 8017 §A.1.1), of 2048 bits and 65537.
                let der = pair.public_key().as_ref();
                json!({"kty": "RSA", "n": b64(&der[9..265]), "e": b64(&der[267..])})
            }
            Pair::Ec(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = match self.algorithm {
                    Algorithm::Es256 => "P-256",
                    Algorithm::Es384 => "P-384",
                    _ => "P-521",
                };
                json!({"kty": "EC", "crv": curve, "x": b64(x), "y": b64(y)})
            }
            Pair::Ed(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key().as_ref())}),
            Pair::Secret(secret) => json!({"kty": "oct", "k": b64(secret)}),
        };
        jwk["kid"] = self.kid.clone().into();
        jwk
    }

    /// What signs it.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.sign_by(self.algorithm, message)
    }

    /// The signature of the key by an algorithm of its type.
    pub(super) fn sign_by(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let padding: &'static dyn aws_lc_rs::signature::RsaEncoding = match algorithm {
                    Algorithm::Rs256 => &RSA_PKCS1_SHA256,
                    Algorithm::Rs384 => &RSA_PKCS1_SHA384,
                    Algorithm::Rs512 => &RSA_PKCS1_SHA512,
                    Algorithm::Ps256 => &RSA_PSS_SHA256,
                    Algorithm::Ps384 => &RSA_PSS_SHA384,
                    _ => &RSA_PSS_SHA512,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signature).unwrap();
                signature
            }
            Pair::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Secret(secret) => mac(algorithm, secret, message),
        }
    }

    /// A token of this header and these claims.
    pub(super) fn token_of(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", b64(header), b64(claims));
        format!("{signed}.{}", b64(self.sign(signed.as_bytes())))
    }

    /// A token of these claims.
    pub(super) fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm.name(), "typ": "JWT", "kid": self.kid});
        self.token_of(&header.to_string(), &claims.to_string())
    }
}

/// HMAC with a secret of any length.
pub(super) fn mac(algorithm: Algorithm, secret: &[u8], message: &[u8]) -> Vec<u8> {
    let hash = match algorithm {
        Algorithm::Hs384 => hmac::HMAC_SHA384,
        Algorithm::Hs512 => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    };
    hmac::sign(&hmac::Key::new(hash, secret), message).as_ref().to_vec()
}

pub(super) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
