//! Tokens that were verified: one that comes again costs a hash, and no signature.
//!
//! The hash is the SHA-256 of what is signed, so that checking a signature of it needs no other; the signature itself is
//! compared. Each entry of `auth` remembers its own.

use std::sync::{Arc, Mutex};

use super::claims::Window;
use crate::auth::caller::Caller;
use crate::auth::key::Hash;
use crate::auth::recent::{Recent, lock};
use crate::edge::equal;

/// How many tokens are remembered.
const MOST: usize = 2_048;

/// Tokens above this size are verified each time, so that what is remembered is bounded in bytes too.
pub(super) const LARGEST: usize = 8 * 1024;

/// What is known of a token that was verified.
#[derive(Debug, Clone)]
pub(super) struct Verified {
    pub(super) caller: Caller,
    pub(super) window: Window,
    /// The key that it names.
    pub(super) kid: Option<Arc<str>>,
    /// The edition of the keys that verified it: under another it is verified again.
    pub(super) generation: u64,
}

/// What is known, and the signature that it is known with, as it came.
type Known = (Verified, Box<[u8]>);

#[derive(Debug)]
pub(super) struct Remembered(Mutex<Recent<Known>>);

impl Default for Remembered {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(MOST)))
    }
}

impl Remembered {
    pub(super) fn get(&self, hash: &Hash, signature: &[u8]) -> Option<Verified> {
        let mut known = lock(&self.0);
        let (verified, own) = known.get(hash)?;
        // In a time that does not tell how much of it was right: who knows what was signed may not find out the rest.
        equal(own, signature).then(|| verified.clone())
    }

    pub(super) fn keep(&self, hash: Hash, signature: &[u8], verified: Verified) {
        lock(&self.0).keep(hash, (verified, signature.into()));
    }

    pub(super) fn forget(&self, hash: &Hash) {
        lock(&self.0).forget(hash);
    }
}
