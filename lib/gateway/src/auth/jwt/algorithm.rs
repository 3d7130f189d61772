//! Algorithms of signatures (RFC 7518 §3, RFC 8037 §3.1): those that are safe, and no `none`.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, EcdsaVerificationAlgorithm,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
};

/// An algorithm that a token may be signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
    /// Ed25519.
    EdDsa,
    /// HMAC with SHA-256: whoever can check can sign.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
}

/// What checks a signature of an algorithm.
pub(super) enum Scheme {
    Rsa(&'static RsaParameters),
    Ec { curve: &'static str, coordinate: usize, check: &'static EcdsaVerificationAlgorithm },
    Ed25519,
    Hmac { check: hmac::Algorithm, least: usize },
}

impl Algorithm {
    /// All of them, with the words of `alg`.
    pub const ALL: [(&'static str, Self); 13] = [
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("ES512", Self::Es512),
        ("EdDSA", Self::EdDsa),
        ("HS256", Self::Hs256),
        ("HS384", Self::Hs384),
        ("HS512", Self::Hs512),
    ];

    /// Those of keys that may be public.
    pub(super) fn public() -> impl Iterator<Item = Self> {
        Self::ALL.iter().map(|(_, algorithm)| *algorithm).filter(|algorithm| !algorithm.is_secret())
    }

    /// The algorithm of a word, which is compared exactly.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(word, _)| *word == name).map(|(_, algorithm)| *algorithm)
    }

    /// Its word.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, algorithm)| *algorithm == self).map_or("", |(word, _)| word)
    }

    /// Whether its key is a secret that both sides hold.
    pub const fn is_secret(self) -> bool {
        matches!(self, Self::Hs256 | Self::Hs384 | Self::Hs512)
    }

    /// Whether what is signed is the SHA-256 of a message.
    pub(super) const fn signs_sha256(self) -> bool {
        matches!(self, Self::Rs256 | Self::Ps256 | Self::Es256)
    }

    /// The shortest secret that it takes, in bytes: that of its hash (RFC 7518 §3.2).
    pub fn shortest_secret(self) -> usize {
        match self.scheme() {
            Scheme::Hmac { least, .. } => least,
            Scheme::Rsa(_) | Scheme::Ec { .. } | Scheme::Ed25519 => 0,
        }
    }

    pub(super) const fn scheme(self) -> Scheme {
        match self {
            Self::Rs256 => Scheme::Rsa(&RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Scheme::Rsa(&RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Scheme::Rsa(&RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Scheme::Rsa(&RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Scheme::Rsa(&RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Scheme::Rsa(&RSA_PSS_2048_8192_SHA512),
            Self::Es256 => Scheme::Ec { curve: "P-256", coordinate: 32, check: &ECDSA_P256_SHA256_FIXED },
            Self::Es384 => Scheme::Ec { curve: "P-384", coordinate: 48, check: &ECDSA_P384_SHA384_FIXED },
            Self::Es512 => Scheme::Ec { curve: "P-521", coordinate: 66, check: &ECDSA_P521_SHA512_FIXED },
            Self::EdDsa => Scheme::Ed25519,
            Self::Hs256 => Scheme::Hmac { check: hmac::HMAC_SHA256, least: 32 },
            Self::Hs384 => Scheme::Hmac { check: hmac::HMAC_SHA384, least: 48 },
            Self::Hs512 => Scheme::Hmac { check: hmac::HMAC_SHA512, least: 64 },
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_algorithm_is_named_by_its_word_alone() {
        for (word, algorithm) in Algorithm::ALL {
            assert_eq!((Algorithm::named(word), algorithm.name()), (Some(algorithm), word));
            assert_eq!(Algorithm::named(&word.to_lowercase()), None);
        }
        for word in ["", "none", "None", "NONE", "RS256\0", "RS256 ", "ES256K", "ES521", "RSA-OAEP", "HS1"] {
            assert_eq!(Algorithm::named(word), None, "{word:?}");
        }
    }
}
