//! Keys of limits: one bucket each, over all environments.

use std::hash::{Hash, Hasher};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::digits::push_number;

/// 128 bits that stand for (config name, limit and its kind, key): any length and any bytes make a short key that tells nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(u128);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.seed());
    }
}

/// What the keys of one limit have in common, hashed already.
#[derive(Debug, Clone)]
pub(super) struct Stem {
    hash: Sha256,
    all: Key,
}

impl PartialEq for Stem {
    fn eq(&self, other: &Self) -> bool {
        self.all == other.all
    }
}

impl Stem {
    /// The limit `limit` of `config`, whose items are of `kind`.
    pub(super) fn new(config: &str, limit: &str, kind: &str) -> Self {
        let mut hash = Sha256::new();
        for text in [config, limit, kind] {
            field(&mut hash, text);
        }
        Self { all: short(hash.clone()), hash }
    }

    /// The limits of `config` that count by the same `expression`, which share an item a subject.
    pub(super) fn shared(config: &str, expression: &str) -> Self {
        Self::new(config, expression, "by")
    }

    /// How attributes of a limit end in an item that it shares.
    pub(super) fn suffix(limit: &str, kind: &str) -> String {
        let Key(hash) = Self::new(limit, kind, "").all;
        let mut suffix = ".".to_owned();
        URL_SAFE_NO_PAD.encode_string(hash.to_be_bytes().get(..6).unwrap_or_default(), &mut suffix);
        suffix
    }

    /// The key of `subject`, given as (how it was identified, who), or of the bucket that all share.
    pub(super) fn key(&self, subject: Option<(&str, &str)>) -> Key {
        let Some((via, subject)) = subject else { return self.all };
        let mut hash = self.hash.clone();
        field(&mut hash, via);
        field(&mut hash, subject);
        short(hash)
    }
}

fn short(hash: Sha256) -> Key {
    let mut short = [0; 16];
    for (to, from) in short.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    Key(u128::from_be_bytes(short))
}

/// Each field is preceded by its length, so that no two lists of them run together.
fn field(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text.as_bytes());
}

impl Key {
    /// 64 of its bits, to draw from.
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    pub(super) const fn seed(self) -> u64 {
        self.0 as u64
    }

    /// The key of one of its bucket's shards; and of that, the key again.
    pub(super) const fn shard(self, shard: u32) -> Self {
        Self(self.0 ^ ((shard as u128) << 64))
    }

    /// The item's key in the table.
    #[cfg(test)]
    pub(super) fn item(&self) -> String {
        self.item_under("rl#", None)
    }

    /// The item's key in the table; where each period has an item of its own, that of the one with this label.
    pub(super) fn item_under(&self, prefix: &str, label: Option<u64>) -> String {
        let mut key = String::with_capacity(prefix.len() + 33);
        key.push_str(prefix);
        URL_SAFE_NO_PAD.encode_string(self.0.to_be_bytes(), &mut key);
        if let Some(label) = label {
            key.push('#');
            push_number(&mut key, label);
        }
        key
    }

    /// The key of one period, for items that are not in the table.
    pub(super) const fn labelled(self, label: Option<u64>) -> Self {
        match label {
            Some(label) => Self(self.0 ^ ((label as u128) << 64)),
            None => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_do_not_run_together() {
        let keys = [
            Stem::new("shop", "a", "k").key(None),
            Stem::new("shop", "a", "k").key(Some(("", ""))),
            Stem::new("shop", "a", "k").key(Some(("", "b"))),
            Stem::new("shop", "ab", "k").key(Some(("", ""))),
            Stem::new("shop", "a", "bk").key(Some(("", ""))),
            Stem::new("shopa", "", "k").key(Some(("", "b"))),
            Stem::new("shop", "a", "k").key(Some(("b", ""))),
            Stem::new("", "shop", "k").key(Some(("a", "b"))),
        ];
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
    }

    proptest! {
        #[test]
        fn a_subject_of_any_length_and_letters_makes_a_short_plain_key(subject in ".{0,300}", via in ".{0,10}") {
            let item = Stem::new("shop", "per-ip", "fixed_window/60").key(Some((&via, &subject))).item();
            prop_assert_eq!(item.len(), 25);
            prop_assert!(item.starts_with("rl#"));
            prop_assert!(item.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_#".contains(&byte)));
        }
    }
}
