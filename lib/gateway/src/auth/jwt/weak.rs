//! Public keys that look well and protect nothing.

/// Primes for which the moduli of ROCA keys (CVE-2017-15361) lie in a true subgroup, that of 65537.
const ROCA_PRIMES: [u32; 17] = [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];

/// Whether a modulus has the mark of ROCA: it is a power of 65537 modulo each of these primes, as one in 2^27 of others
/// is by chance.
pub(super) fn is_roca(modulus: &[u8]) -> bool {
    ROCA_PRIMES.iter().all(|prime| {
        let rest = modulus.iter().fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        let generator = 65_537 % prime;
        std::iter::successors(Some(1), |power| Some(power * generator % prime))
            .take(*prime as usize)
            .any(|power| power == rest)
    })
}

/// The encodings of points of Ed25519 whose order divides 8, sign bits left off: for a key that is one of them,
/// signatures can be made by anyone.
const SMALL_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    ends(1, 0, 0),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
    ends(0xec, 0xff, 0x7f),
    ends(0xed, 0xff, 0x7f),
    ends(0xee, 0xff, 0x7f),
];

const fn ends(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    bytes[0] = first;
    bytes[31] = last;
    bytes
}

/// Whether an Ed25519 key is of small order.
pub(super) fn is_of_small_order(key: &[u8]) -> bool {
    let Ok(mut key) = <[u8; 32]>::try_from(key) else { return false };
    if let Some(last) = key.last_mut() {
        *last &= 0x7f;
    }
    SMALL_ORDER.contains(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modulus_that_is_a_power_of_65537_modulo_the_primes_is_marked_and_others_are_not() {
        // 65537^3 and one more.
        assert!(is_roca(&281_487_861_809_153_u64.to_be_bytes()));
        assert!(!is_roca(&281_487_861_809_155_u64.to_be_bytes()));
        assert!(is_roca(&[1]), "the power of nought");
        assert!(!is_roca(&[]));
    }

    #[test]
    fn keys_of_small_order_are_known_with_either_sign() {
        for mut key in SMALL_ORDER {
            assert!(is_of_small_order(&key));
            key[31] |= 0x80;
            assert!(is_of_small_order(&key));
            key[5] ^= 1;
            assert!(!is_of_small_order(&key));
        }
        assert!(!is_of_small_order(&[0; 31]));
    }
}
