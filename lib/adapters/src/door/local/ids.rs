//! Request ids and seeds, made from one random key of the process.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes ids that no other process makes, and seeds. Not secrets: who sees many could tell the next.
#[derive(Debug)]
pub(super) struct Ids {
    key: u64,
    next: AtomicU64,
}

impl Ids {
    /// Takes its key from the randomness that std gives each hash map.
    pub(super) fn new() -> Self {
        let random = RandomState::new();
        Self { key: random.hash_one(0_u8), next: AtomicU64::new(random.hash_one(1_u8)) }
    }

    /// An id of 128 bits in hexadecimal, and a seed.
    pub(super) fn make(&self) -> (String, u64) {
        let count = self.next.fetch_add(3, Ordering::Relaxed);
        let high = mixed(count ^ self.key);
        let low = mixed(count.wrapping_add(1).wrapping_add(self.key));
        let seed = mixed(count.wrapping_add(2) ^ self.key.rotate_left(32));
        (hexadecimal(u128::from(high) << 64 | u128::from(low)), seed)
    }
}

/// 32 digits in one go, without the machinery of `fmt`.
fn hexadecimal(number: u128) -> String {
    let mut digits = [0; 32];
    let nibbles = number.to_be_bytes().map(|byte| [byte >> 4, byte & 15]);
    for (digit, nibble) in digits.iter_mut().zip(nibbles.as_flattened()) {
        *digit = nibble + if *nibble < 10 { b'0' } else { b'a' - 10 };
    }
    str::from_utf8(&digits).unwrap_or_default().to_owned()
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014), after one step of its sequence.
fn mixed(state: u64) -> u64 {
    let mut z = state.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_id_is_written_in_full_with_its_leading_zeros() {
        for number in [0, 1, 0xfedc_ba98_7654_3210, u128::MAX, u128::MAX / 7] {
            assert_eq!(hexadecimal(number), format!("{number:032x}"));
        }
    }

    #[test]
    fn ids_are_32_hexadecimal_digits_and_none_comes_twice() {
        let ids = Ids::new();
        let made: HashSet<_> = (0..10_000).map(|_| ids.make().0).collect();
        assert_eq!(made.len(), 10_000);
        assert!(made.iter().all(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())));
        assert_ne!(Ids::new().make(), Ids::new().make());
    }
}
