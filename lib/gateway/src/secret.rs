//! Secrets: the config holds references, the process the values, and nothing else either.

mod fresh;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;

use self::fresh::Reads;
use crate::forward::BoxFuture;

pub use fresh::Secrets;

/// Reads secrets that live elsewhere: `file:`, `ssm:` and `secretsmanager:` references.
pub trait Vault: Send + Sync + fmt::Debug {
    /// The value now.
    ///
    /// # Errors
    /// Why there is none, for the log; never a part of a value.
    fn read<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Result<Bytes, String>>;
}

/// A vault that has nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoVault;

impl Vault for NoVault {
    fn read<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Result<Bytes, String>> {
        Box::pin(async move { Err(format!("nothing here can read {reference}")) })
    }
}

/// One secret, shared by all that need it. `Debug` shows its reference alone.
pub struct Secret {
    reference: String,
    source: Option<String>,
    current: RwLock<Current>,
    reads: Reads,
}

struct Current {
    value: Option<Bytes>,
    version: u64,
}

impl Secret {
    /// A secret by its reference, with its value where that is known. It stays what it is.
    pub fn new(reference: &str, value: Option<Bytes>) -> Self {
        let value = value.filter(|value| !value.is_empty());
        let current = RwLock::new(Current { value, version: next_version() });
        Self { reference: reference.to_owned(), source: None, current, reads: Reads::default() }
    }

    /// A secret that a [`Vault`] reads as `source`, from time to time anew.
    pub fn live(reference: &str, source: String, value: Option<Bytes>) -> Self {
        Self { source: Some(source), ..Self::new(reference, value) }
    }

    /// As the config writes it: `env:NAME`.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// What tells it from every other: a file by its whole path.
    pub fn id(&self) -> &str {
        self.source.as_deref().unwrap_or(&self.reference)
    }

    /// Its value, where it could be resolved; never empty.
    pub fn get(&self) -> Option<Bytes> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).value.clone()
    }

    /// Another one for each value, of this secret and of any other.
    pub fn version(&self) -> u64 {
        self.current.read().unwrap_or_else(PoisonError::into_inner).version
    }

    /// Why it has no value, for the log.
    pub fn missing(&self) -> Option<String> {
        let missing = self.current.read().unwrap_or_else(PoisonError::into_inner).value.is_none();
        missing.then(|| match self.reads.last_failure() {
            Some(why) => format!("{} is not resolved, {why}", self.reference),
            None => format!("{} is not resolved", self.reference),
        })
    }

    fn with_version(&self) -> (Option<Bytes>, u64) {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        (current.value.clone(), current.version)
    }

    /// Takes up a value. An empty one is none, and changes nothing.
    pub fn set(&self, value: Bytes) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if !value.is_empty() && current.value.as_ref() != Some(&value) {
            *current = Current { value: Some(value), version: next_version() };
        }
    }
}

/// No two values have the same: what was made of one in a config before a reload is not taken for the other's.
fn next_version() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.reference)
    }
}

type Make<T> = Box<dyn Fn(&[u8]) -> Result<T, String> + Send + Sync>;

/// The version of the secret that it was made of, and what was made.
type Made<T> = (u64, Result<Arc<T>, String>);

/// What is made of a secret, made anew when the secret changes.
pub struct Derived<T> {
    secret: Arc<Secret>,
    make: Make<T>,
    made: Mutex<Option<Made<T>>>,
}

impl<T> Derived<T> {
    /// Made of `secret` by `make`, whose words must not hold a part of it.
    pub fn new(secret: Arc<Secret>, make: impl Fn(&[u8]) -> Result<T, String> + Send + Sync + 'static) -> Self {
        Self { secret, make: Box::new(make), made: Mutex::new(None) }
    }

    /// The secret.
    pub const fn secret(&self) -> &Arc<Secret> {
        &self.secret
    }

    /// What is made of its value now.
    ///
    /// # Errors
    /// In words for the log: it is not resolved, or of no use.
    pub fn get(&self) -> Result<Arc<T>, String> {
        let (value, version) = self.secret.with_version();
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some((of, made)) if *of == version && value.is_some() => made.clone(),
            _ => {
                let reference = self.secret.reference();
                let new = match value {
                    Some(value) => (self.make)(&value).map(Arc::new).map_err(|why| format!("{reference}: {why}")),
                    None => Err(self.secret.missing().unwrap_or_default()),
                };
                *made = Some((version, new.clone()));
                new
            }
        }
    }
}

impl<T> fmt::Debug for Derived<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Derived({})", self.secret.reference())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Result<String, String> {
        String::from_utf8(bytes.to_vec()).map_err(|_| "it is no text".to_owned())
    }

    #[test]
    fn what_is_made_of_a_secret_is_made_once_and_anew_when_it_changes() {
        let secret = Arc::new(Secret::new("env:A", None));
        let derived = Derived::new(Arc::clone(&secret), text);
        assert_eq!(derived.get().err().as_deref(), Some("env:A is not resolved"));
        secret.set(Bytes::from_static(b"one"));
        let one = derived.get().unwrap();
        assert!(Arc::ptr_eq(&one, &derived.get().unwrap()));
        secret.set(Bytes::from_static(b"one"));
        assert!(Arc::ptr_eq(&one, &derived.get().unwrap()), "the same value is no change");
        secret.set(Bytes::from_static(b"two"));
        assert_eq!(*derived.get().unwrap(), "two");
        secret.set(Bytes::from_static(&[255]));
        assert_eq!(derived.get().err().as_deref(), Some("env:A: it is no text"));
    }

    #[test]
    fn a_secret_is_not_shown() {
        let secret = Arc::new(Secret::new("env:A", Some(Bytes::from_static(b"hush"))));
        let derived = Derived::new(Arc::clone(&secret), text);
        assert_eq!(format!("{secret:?} {derived:?}"), "Secret(env:A) Derived(env:A)");
    }
}
