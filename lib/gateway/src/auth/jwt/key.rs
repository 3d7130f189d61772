//! One public key, from its JWK (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2) to what checks signatures.

use aws_lc_rs::digest::Digest;
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, ParsedPublicKey, RsaPublicKeyComponents};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::algorithm::{Algorithm, Scheme};
use super::jwk::Jwk;
use super::weak;

/// The bounds of an RSA modulus in bits (RFC 7518 §3.3; above, a check costs more than a token is worth).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The largest public exponent, in bytes: what the crypto library takes.
const MOST_EXPONENT: usize = 4;

/// The longest `kid` that is looked at.
pub(super) const LONGEST_KID: usize = 256;

/// A key that tokens are checked with, parsed once for each algorithm that it may serve.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name in its set.
    pub(super) kid: Option<String>,
    checks: Vec<(Algorithm, Check)>,
}

#[derive(Debug)]
enum Check {
    Public(ParsedPublicKey),
    Secret(Box<hmac::Key>),
}

impl Key {
    /// The key of a JWK.
    ///
    /// # Errors
    /// Why it is of no use here.
    pub(super) fn of(jwk: &Jwk) -> Result<Self, String> {
        if let Some(private) = jwk.private() {
            return Err(format!("it has `{private}`, so it is no public key"));
        }
        if jwk.kty()? == "oct" {
            return Err("a symmetric key has no place in a set of public keys".to_owned());
        }
        if let Some(usage) = jwk.text("use")?.filter(|usage| *usage != "sig") {
            return Err(format!("its use is {usage:?}, not \"sig\""));
        }
        if jwk.operations()?.is_some_and(|operations| !operations.contains(&"verify")) {
            return Err("its key_ops have no \"verify\"".to_owned());
        }
        let kid = jwk.text("kid")?.map(str::to_owned);
        if kid.as_ref().is_some_and(|kid| kid.is_empty() || kid.len() > LONGEST_KID) {
            return Err(format!("its kid must have 1 to {LONGEST_KID} bytes"));
        }
        let serves = match jwk.text("alg")? {
            Some(name) => vec![Algorithm::named(name).ok_or_else(|| format!("its alg is {name:?}"))?],
            None => Algorithm::public().collect(),
        };
        let checks: Vec<_> =
            checks(jwk, &serves)?.into_iter().map(|(serves, key)| (serves, Check::Public(key))).collect();
        if checks.is_empty() {
            return Err("its alg is none of its type and curve".to_owned());
        }
        Ok(Self { kid, checks })
    }

    /// The key that a secret is, for these of the HMAC algorithms.
    ///
    /// # Errors
    /// That it is too short (RFC 7518 §3.2), without a part of it.
    pub(super) fn secret(secret: &[u8], algorithms: &[Algorithm]) -> Result<Self, String> {
        let mut checks = Vec::new();
        for algorithm in algorithms {
            let Scheme::Hmac { check, least } = algorithm.scheme() else { continue };
            if secret.len() < least {
                return Err(format!("{algorithm} needs {least} bytes at least, it has {}", secret.len()));
            }
            checks.push((*algorithm, Check::Secret(Box::new(hmac::Key::new(check, secret)))));
        }
        Ok(Self { kid: None, checks })
    }

    /// Whether it can check signatures of an algorithm.
    pub(super) fn serves(&self, algorithm: Algorithm) -> bool {
        self.checks.iter().any(|(own, _)| *own == algorithm)
    }

    /// Whether it signed `message`, whose SHA-256 is `digest`.
    pub(super) fn signed(&self, algorithm: Algorithm, message: &[u8], digest: &Digest, signature: &[u8]) -> bool {
        match self.checks.iter().find(|(own, _)| *own == algorithm) {
            Some((_, Check::Public(key))) if algorithm.signs_sha256() => {
                key.verify_digest_sig(digest, signature).is_ok()
            }
            Some((_, Check::Public(key))) => key.verify_sig(message, signature).is_ok(),
            Some((_, Check::Secret(key))) => hmac::verify(key, message, signature).is_ok(),
            None => false,
        }
    }
}

/// The key for each of `serves` that is of its type and curve.
fn checks(jwk: &Jwk, serves: &[Algorithm]) -> Result<Vec<(Algorithm, ParsedPublicKey)>, String> {
    match jwk.kty()? {
        "RSA" => rsa(jwk, serves),
        "EC" => ec(jwk, serves),
        "OKP" => okp(jwk, serves),
        other => Err(format!("its kty is {other:?}")),
    }
}

fn rsa(jwk: &Jwk, serves: &[Algorithm]) -> Result<Vec<(Algorithm, ParsedPublicKey)>, String> {
    let (n, e) = (bytes(jwk, "n")?, bytes(jwk, "e")?);
    // Base64urlUInt has no leading zeros (RFC 7518 §2); a zero before a set high bit is a slip that many make.
    let n = n.strip_prefix(&[0]).unwrap_or(&n);
    let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) {
        return Err(format!("it has {bits} bits, not {} to {}", RSA_BITS.start(), RSA_BITS.end()));
    }
    if n.first() == Some(&0) || n.last().is_none_or(|last| last % 2 == 0) {
        return Err("its n is no modulus".to_owned());
    }
    let odd = e.last().is_some_and(|last| last % 2 == 1);
    if !odd || e.first() == Some(&0) || e.len() > MOST_EXPONENT || *e == [1] {
        return Err("its e is no exponent that is taken here".to_owned());
    }
    if weak::is_roca(n) {
        return Err("it was made by a library whose keys can be factored (ROCA, CVE-2017-15361)".to_owned());
    }
    let components = RsaPublicKeyComponents { n, e: e.as_slice() };
    let mut checks = Vec::new();
    for algorithm in serves {
        if let Scheme::Rsa(parameters) = algorithm.scheme() {
            let key = components.to_parsed_public_key(parameters).map_err(|_| "it is no RSA key".to_owned())?;
            checks.push((*algorithm, key));
        }
    }
    Ok(checks)
}

fn ec(jwk: &Jwk, serves: &[Algorithm]) -> Result<Vec<(Algorithm, ParsedPublicKey)>, String> {
    let crv = jwk.need("crv")?;
    let of_curve = |algorithm: Algorithm| match algorithm.scheme() {
        Scheme::Ec { curve, coordinate, check } if curve == crv => Some((coordinate, check)),
        Scheme::Ec { .. } | Scheme::Rsa(_) | Scheme::Ed25519 | Scheme::Hmac { .. } => None,
    };
    if !Algorithm::public().any(|algorithm| of_curve(algorithm).is_some()) {
        return Err(format!("its crv is {crv:?}"));
    }
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    let mut checks = Vec::new();
    for algorithm in serves {
        let Some((coordinate, check)) = of_curve(*algorithm) else { continue };
        // Coordinates have their full length (RFC 7518 §6.2.1.2).
        if x.len() != coordinate || y.len() != coordinate {
            return Err(format!("its x and y must have {coordinate} bytes each"));
        }
        let point = [&[4], x.as_slice(), y.as_slice()].concat();
        let key = ParsedPublicKey::new(check, point).map_err(|_| format!("it is no point of {crv}"))?;
        checks.push((*algorithm, key));
    }
    Ok(checks)
}

fn okp(jwk: &Jwk, serves: &[Algorithm]) -> Result<Vec<(Algorithm, ParsedPublicKey)>, String> {
    let crv = jwk.need("crv")?;
    if crv != "Ed25519" {
        return Err(format!("its crv is {crv:?}"));
    }
    let x = bytes(jwk, "x")?;
    if weak::is_of_small_order(&x) {
        return Err("anyone can sign for it: its x is of small order".to_owned());
    }
    let key = ParsedPublicKey::new(&ED25519, x).map_err(|_| "it is no point of Ed25519".to_owned())?;
    let serves = serves.iter().filter(|algorithm| matches!(algorithm.scheme(), Scheme::Ed25519));
    Ok(serves.map(|algorithm| (*algorithm, key.clone())).collect())
}

/// The bytes of a member in base64url, strictly (RFC 7515 §2).
fn bytes(jwk: &Jwk, name: &str) -> Result<Vec<u8>, String> {
    URL_SAFE_NO_PAD.decode(jwk.need(name)?).map_err(|_| format!("its {name} is no base64url text without padding"))
}
