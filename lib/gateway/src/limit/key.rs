//! Keys of limits: one bucket each, over all environments.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// 128 bits that stand for (config name, limit, key): any length and any bytes make a short key that tells nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 16]);

impl Key {
    /// The key of `subject`, given as (how it was identified, who), or of the bucket that all share.
    ///
    /// Each field is preceded by its length, so that no two triples run together.
    pub(super) fn of(config: &str, limit: &str, subject: Option<(&str, &str)>) -> Self {
        let mut hash = Sha256::new();
        let mut field = |text: &str| {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        };
        field(config);
        field(limit);
        if let Some((via, subject)) = subject {
            field(via);
            field(subject);
        }
        let mut short = [0; 16];
        for (to, from) in short.iter_mut().zip(hash.finalize()) {
            *to = from;
        }
        Self(short)
    }

    /// The item's key in the table.
    pub(super) fn item(&self) -> String {
        let mut key = String::with_capacity(25);
        key.push_str("rl#");
        URL_SAFE_NO_PAD.encode_string(self.0, &mut key);
        key
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
            Key::of("shop", "a", None),
            Key::of("shop", "a", Some(("", ""))),
            Key::of("shop", "a", Some(("", "b"))),
            Key::of("shop", "ab", Some(("", ""))),
            Key::of("shopa", "", Some(("", "b"))),
            Key::of("shop", "a", Some(("b", ""))),
            Key::of("", "shop", Some(("a", "b"))),
        ];
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
    }

    proptest! {
        #[test]
        fn a_subject_of_any_length_and_letters_makes_a_short_plain_key(subject in ".{0,300}", via in ".{0,10}") {
            let item = Key::of("shop", "per-ip", Some((&via, &subject))).item();
            prop_assert_eq!(item.len(), 25);
            prop_assert!(item.starts_with("rl#"));
            prop_assert!(item.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_#".contains(&byte)));
        }
    }
}
