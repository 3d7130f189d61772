//! `Digest` (RFC 3230) and `Content-Digest` (RFC 9530 §2): the body, by its hash.

use aws_lc_rs::digest::{Algorithm, SHA256, SHA512, digest};
use http::HeaderMap;

use super::claim::decode;

/// The fields that can stand for a body.
pub(super) const FIELDS: [&str; 2] = ["digest", "content-digest"];

/// Whether the one field `name` is right of `body`: every hash of it that is good enough, and at least one.
pub(super) fn check(name: &str, headers: &HeaderMap, body: &[u8]) -> Result<(), String> {
    let text = headers.get(name).and_then(|value| value.to_str().ok()).ok_or_else(|| format!("{name} is no text"))?;
    let mut good = false;
    for item in text.split(',') {
        let (word, hash) =
            item.trim_matches([' ', '\t']).split_once('=').ok_or_else(|| format!("{name} is no list"))?;
        let Some(algorithm) = algorithm(word) else { continue };
        let hash = if name == "content-digest" {
            hash.strip_prefix(':')
                .and_then(|hash| hash.strip_suffix(':'))
                .ok_or_else(|| format!("{name} is no list"))?
        } else {
            hash
        };
        let hash = decode(hash).map_err(|_| format!("{name} is no base64"))?;
        if digest(algorithm, body).as_ref() != hash {
            return Err(format!("{name} is not the body's"));
        }
        good = true;
    }
    if good { Ok(()) } else { Err(format!("{name} has neither SHA-256 nor SHA-512")) }
}

/// RFC 3230 has its words in capitals, RFC 9530 in small letters; MD5 and SHA-1 prove nothing any more.
fn algorithm(word: &str) -> Option<&'static Algorithm> {
    match word.to_ascii_lowercase().as_str() {
        "sha-256" => Some(&SHA256),
        "sha-512" => Some(&SHA512),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_bodys_or_is_refused() {
        // The examples of RFC 9530 §B and draft-cavage-12 §C, of the same body.
        let (body, sha256) = (b"{\"hello\": \"world\"}", "X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=");
        let md5 = "MD5=Sd/dVLAcvNLSq16eXua5uQ==";
        for (name, text, right) in [
            ("digest", format!("SHA-256={sha256}"), true),
            ("digest", format!("sha-256={sha256}"), true),
            ("digest", format!("{md5}, SHA-256={sha256}"), true),
            ("digest", md5.to_owned(), false),
            ("digest", format!("SHA-256={sha256},SHA-512={sha256}"), false),
            ("digest", format!("SHA-256={}", sha256.replace('X', "Y")), false),
            ("digest", format!("SHA-256={}", sha256.trim_end_matches('=')), false),
            ("digest", "SHA-256=".to_owned(), false),
            ("digest", String::new(), false),
            ("content-digest", format!("sha-256=:{sha256}:"), true),
            ("content-digest", format!("sha-256={sha256}"), false),
        ] {
            let headers = HeaderMap::from_iter([(name.parse().expect("a name"), text.parse().expect("a value"))]);
            assert_eq!(check(name, &headers, body).is_ok(), right, "{name}: {text}");
            assert!(check(name, &headers, b"").is_err(), "{name}: {text}");
        }
    }
}
