//! Tokens that were verified: one that comes again costs a hash, and no signature.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};

use super::claims::Window;
use crate::auth::caller::Caller;
use crate::auth::key::Hash;
use crate::auth::recent::Recent;

/// How many tokens are remembered.
const MOST: usize = 2_048;

/// Tokens above this size are verified each time, so that what is remembered is bounded in bytes too.
const LARGEST: usize = 8 * 1024;

/// What is known of a token that was verified.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) caller: Caller,
    pub(super) window: Window,
    /// The key that it names.
    pub(super) kid: Option<String>,
    /// The edition of the keys that verified it: under another it is verified again.
    pub(super) generation: u64,
}

#[derive(Debug)]
pub(super) struct Remembered(Mutex<Recent<Arc<Verified>>>);

impl Default for Remembered {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(MOST)))
    }
}

impl Remembered {
    /// What stands for a token of an entry of `auth`; `None` where it is too large to be remembered.
    pub(super) fn hash(entry: &str, token: &str) -> Option<Hash> {
        if token.len() > LARGEST {
            return None;
        }
        let mut hash = Context::new(&SHA256);
        hash.update(entry.as_bytes());
        hash.update(&[0]);
        hash.update(token.as_bytes());
        hash.finish().as_ref().try_into().ok()
    }

    pub(super) fn get(&self, hash: &Hash) -> Option<Arc<Verified>> {
        self.lock().get(hash).map(|verified| Arc::clone(verified))
    }

    pub(super) fn keep(&self, hash: Hash, verified: Verified) {
        self.lock().keep(hash, Arc::new(verified));
    }

    pub(super) fn forget(&self, hash: &Hash) {
        self.lock().forget(hash);
    }

    fn lock(&self) -> MutexGuard<'_, Recent<Arc<Verified>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
