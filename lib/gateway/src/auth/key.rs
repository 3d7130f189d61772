//! The format of API keys, and what stands for them in the table.
//!
//! `gwk_<env>_<secret>_<check>`: `secret` is 32 random bytes in base 62, `check` the CRC-32 of all before its `_`, so
//! that what is mistyped, cut or made up is refused without asking anyone. The table never sees a key, only its
//! HMAC-SHA-256 (RFC 2104) under a pepper: who reads the table can use no key of it, and who writes to it can make none.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::secret::{Derived, Secret};

/// What stands for a key.
pub(super) type Hash = [u8; 32];

const PREFIX: &str = "gwk_";

/// 62^43 is above 2^256, 62^6 above 2^32.
const SECRET_DIGITS: usize = 43;
const CHECK_DIGITS: usize = 6;

/// The longest name of an environment in a key.
const LONGEST_ENV: usize = 16;

/// How many letters of a secret are shown in lists: enough to tell keys apart, far too few to guess the rest.
const SHOWN: usize = 4;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key that was just made. `Debug` does not show it.
pub struct ApiKey(String);

impl ApiKey {
    /// The key of these random bytes; `None` where `env` is no name that fits into one.
    pub fn new(env: &str, secret: [u8; 32]) -> Option<Self> {
        if !is_env(env) {
            return None;
        }
        let mut key = format!("{PREFIX}{env}_{}", base62(secret.to_vec(), SECRET_DIGITS));
        let check = check_of(key.as_bytes());
        key.push('_');
        key.push_str(&check);
        Some(Self(key))
    }

    /// Its text, for whoever asked for the key.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Its beginning, for lists.
    pub(super) fn shown(&self) -> String {
        let secret = self.0.len().saturating_sub(SECRET_DIGITS + 1 + CHECK_DIGITS);
        self.0.get(..secret + SHOWN).unwrap_or_default().to_owned()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}…)", self.shown())
    }
}

/// The text of a field that can be a key.
///
/// # Errors
/// Why it can be none.
pub(super) fn check(field: &[u8]) -> Result<&str, &'static str> {
    const FORM: &str = "it has not the form of a key";
    let text = std::str::from_utf8(field).map_err(|_| FORM)?;
    let (signed, check) = text.rsplit_once('_').ok_or(FORM)?;
    let (env, secret) = signed.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).ok_or(FORM)?;
    if !is_env(env) || secret.len() != SECRET_DIGITS || !secret.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(FORM);
    }
    if check != check_of(signed.as_bytes()) {
        return Err("its checksum is wrong");
    }
    Ok(text)
}

fn is_env(env: &str) -> bool {
    (1..=LONGEST_ENV).contains(&env.len()) && env.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

fn check_of(signed: &[u8]) -> String {
    base62(crc32fast::hash(signed).to_be_bytes().to_vec(), CHECK_DIGITS)
}

/// A number, its most significant byte first, in so many digits.
pub(super) fn base62(mut number: Vec<u8>, digits: usize) -> String {
    let mut text = vec!['0'; digits];
    for digit in text.iter_mut().rev() {
        let mut rest = 0_usize;
        for byte in &mut number {
            let part = (rest << 8) | usize::from(*byte);
            *byte = u8::try_from(part / DIGITS.len()).unwrap_or_default();
            rest = part % DIGITS.len();
        }
        *digit = DIGITS.get(rest).copied().map_or('0', char::from);
    }
    text.into_iter().collect()
}

/// A secret of the gateway's that keys are hashed with.
pub struct Pepper {
    reference: String,
    version: String,
    mac: Hmac<Sha256>,
}

impl Pepper {
    /// The shortest, in bytes.
    pub const SHORTEST: usize = 16;

    /// The pepper that the config names `reference`; `None` where it is too short.
    pub fn new(reference: &str, secret: &[u8]) -> Option<Self> {
        let mac = Hmac::new_from_slice(secret).ok().filter(|_| secret.len() >= Self::SHORTEST)?;
        let mut pepper = Self { reference: reference.to_owned(), version: String::new(), mac };
        // What it is called in the table: tells peppers apart without anyone numbering them.
        let name = pepper.hash("tollgate pepper");
        pepper.version = URL_SAFE_NO_PAD.encode(name.get(..6).unwrap_or_default());
        Some(pepper)
    }

    /// The pepper that a secret is.
    pub(super) fn derived(secret: Arc<Secret>) -> Derived<Self> {
        let reference = secret.reference().to_owned();
        let too_short = || format!("has fewer than {} bytes", Self::SHORTEST);
        Derived::new(secret, move |secret| Self::new(&reference, secret).ok_or_else(too_short))
    }

    /// What the config calls it.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn hash(&self, key: &str) -> Hash {
        let mut mac = self.mac.clone();
        mac.update(key.as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// The table's key of the item of a key with this hash.
    pub(super) fn item(&self, hash: &Hash) -> String {
        format!("ak#{}#{}", self.version, URL_SAFE_NO_PAD.encode(hash))
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pepper({})", self.reference)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> ApiKey {
        ApiKey::new("live", [7; 32]).expect("a key")
    }

    #[test]
    fn a_key_has_its_parts_and_passes_its_own_check() {
        for secret in [[0; 32], [7; 32], [255; 32]] {
            let key = ApiKey::new("live", secret).expect("a key");
            let parts: Vec<_> = key.reveal().split('_').collect();
            assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [3, 4, 43, 6]);
            assert_eq!(check(key.reveal().as_bytes()), Ok(key.reveal()));
        }
        assert_eq!(base62(vec![1, 0], 3), "048", "256 is 4 × 62 + 8");
    }

    #[test]
    fn an_environment_that_would_blur_the_parts_makes_no_key() {
        for env in ["", "a_b", "Live", "ünder", "more-than-16-letters", "12345678901234567"] {
            assert!(ApiKey::new(env, [0; 32]).is_none(), "{env}");
        }
    }

    #[test]
    fn neither_debug_nor_the_beginning_shows_the_secret() {
        let key = key();
        let secret = key.reveal().split('_').nth(2).expect("a secret").to_owned();
        for shown in [format!("{key:?}"), key.shown()] {
            assert!(shown.contains(&secret[..4]) && !shown.contains(&secret[..5]), "{shown}");
        }
        let pepper = Pepper::new("env:P", b"0123456789abcdef").expect("long enough");
        assert_eq!(format!("{pepper:?}"), "Pepper(env:P)");
    }

    #[test]
    fn a_short_pepper_is_none_and_two_peppers_have_two_names() {
        assert!(Pepper::new("env:P", b"0123456789abcde").is_none());
        let peppers = [b"0123456789abcdef", b"0123456789abcdeg"].map(|text| Pepper::new("env:P", text).expect("long"));
        let items = peppers.map(|pepper| pepper.item(&pepper.hash(key().reveal())));
        let versions = items.each_ref().map(|item| item.split('#').nth(1).expect("a version"));
        assert!(versions[0] != versions[1] && versions.iter().all(|version| version.len() == 8), "{items:?}");
    }

    #[test]
    fn no_change_of_one_byte_passes_the_check() {
        let key = key();
        for at in 0..key.reveal().len() {
            for byte in 0..=255 {
                let mut changed = key.reveal().as_bytes().to_vec();
                if changed[at] != byte {
                    changed[at] = byte;
                    assert!(check(&changed).is_err(), "{}", String::from_utf8_lossy(&changed));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_else_passes_the_check_is_another_item(secret in any::<[u8; 32]>(), env in "[a-z0-9]{1,16}") {
            let (one, other) = (key(), ApiKey::new(&env, secret).expect("a key"));
            let pepper = Pepper::new("env:P", b"0123456789abcdef").expect("long enough");
            prop_assert_eq!(check(other.reveal().as_bytes()), Ok(other.reveal()));
            let items = [one.reveal(), other.reveal()].map(|text| pepper.item(&pepper.hash(text)));
            prop_assert_eq!(one.reveal() == other.reveal(), items[0] == items[1]);
        }

        #[test]
        fn no_field_makes_the_check_panic_and_no_cut_key_passes(field in any::<Vec<u8>>(), cut in 0_usize..58) {
            let _ = check(&field);
            prop_assert!(check(&key().reveal().as_bytes()[..cut]).is_err());
        }
    }
}
