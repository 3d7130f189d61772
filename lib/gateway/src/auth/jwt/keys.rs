//! Where the keys of an entry come from.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use super::algorithm::Algorithm;
use super::key_set::KeySet;
use crate::auth::issuer::Published;
use crate::exchange::After;
use crate::gateway::World;
use crate::secret::{Derived, Secret};

/// What tokens are checked with.
#[derive(Debug)]
pub enum Keys {
    /// Keys of a file.
    Fixed(Arc<KeySet>),
    /// Keys that the issuer publishes.
    Published(Published),
    /// A secret that the issuer has too.
    Secret(Derived<KeySet>),
}

impl Keys {
    /// A secret, for these of the HMAC algorithms.
    pub fn secret(secret: Arc<Secret>, algorithms: &[Algorithm]) -> Self {
        let (algorithms, generation) = (algorithms.to_vec(), AtomicU64::new(0));
        Self::Secret(Derived::new(secret, move |value| {
            KeySet::secret(value, &algorithms, generation.fetch_add(1, Ordering::Relaxed))
        }))
    }

    /// The keys now, where a token names `kid`, by `deadline` at the latest.
    ///
    /// # Errors
    /// Why there are none, for the log.
    pub(super) async fn get(
        &self,
        kid: Option<&str>,
        deadline: Option<Instant>,
        world: &World,
        after: &mut After,
    ) -> Result<Arc<KeySet>, String> {
        match self {
            Self::Fixed(keys) => Ok(Arc::clone(keys)),
            Self::Published(keys) => keys.get(kid, deadline, world, after).await,
            Self::Secret(secret) => secret.get(),
        }
    }

    /// Where they come from, for `explain` and the compiled print.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Fixed(keys) => format!("{} keys of a file", keys.len()),
            Self::Published(keys) => keys.describe(),
            Self::Secret(secret) => secret.secret().reference().to_owned(),
        }
    }

    /// The name of the key that a token wants: with one secret, it is that one whatever it is called.
    pub(super) fn kid<'t>(&self, named: Option<&'t str>) -> Option<&'t str> {
        match self {
            Self::Fixed(_) | Self::Published(_) => named,
            Self::Secret(_) => None,
        }
    }
}
