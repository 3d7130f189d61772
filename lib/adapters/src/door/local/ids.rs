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
        let mut id = String::with_capacity(32);
        for half in [high, low] {
            for shift in (0..64).step_by(4).rev() {
                let digit = u32::try_from((half >> shift) & 0xf).unwrap_or_default();
                id.push(char::from_digit(digit, 16).unwrap_or('0'));
            }
        }
        (id, seed)
    }
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
    fn ids_are_32_hexadecimal_digits_and_none_comes_twice() {
        let ids = Ids::new();
        let made: HashSet<_> = (0..10_000).map(|_| ids.make().0).collect();
        assert_eq!(made.len(), 10_000);
        assert!(made.iter().all(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())));
        assert_ne!(Ids::new().make(), Ids::new().make());
    }
}
