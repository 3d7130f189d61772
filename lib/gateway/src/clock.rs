//! Port `Clock`: wall time, the only time that environments share.
//!
//! Leases, windows and expiry are judged by wall time, never by the monotonic clock, which stands still while an
//! environment is frozen (state.md §2). Timers (timeouts, back-off) use tokio's time instead, so tests can pause it.

use std::fmt::Debug;
use std::time::Duration;

mod watched;

pub use watched::Watched;

/// How far a clock may be off that its host keeps in step, as AWS does.
pub const IN_STEP: Duration = Duration::from_millis(5);

/// How far a clock may be off of which nothing is known.
pub const UNKNOWN: Duration = Duration::from_millis(20);

/// How far a clock may be off that is not trusted at the moment.
pub const DOUBTED: Duration = Duration::from_secs(1);

/// Tells the wall time, and how far it can be trusted.
pub trait Clock: Send + Sync + Debug {
    /// Now, as this environment's clock has it.
    fn now(&self) -> Timestamp;

    /// How far `now` may be off, either way: [`IN_STEP`], [`UNKNOWN`], or [`DOUBTED`] while something spoke against it.
    fn error(&self) -> Duration {
        IN_STEP
    }

    /// How often trust in it was lost. Whatever is kept by wall time (a lease, a cached yes) and was stamped under
    /// another count is void. To be read after [`Self::now`], which may find out.
    fn breaks(&self) -> u64 {
        0
    }

    /// Hears that a front door took the request that is about to be served at `at`, by its own clock.
    fn saw_front(&self, _at: Timestamp) {}

    /// Hears that the table dated (RFC 9110 §6.6.1, whole seconds) an answer `date`, whose request was `sent` and which
    /// was `received` at these times of this clock.
    fn saw_date(&self, _date: Timestamp, _sent: Timestamp, _received: Timestamp) {}
}

/// A moment: nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// A moment given in nanoseconds since the epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// A moment given in milliseconds since the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// A moment given in whole seconds since the epoch.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the epoch.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the epoch.
    pub const fn millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Whole seconds since the epoch.
    pub const fn secs(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// The moment `by` later; stays at the end of time rather than wrap.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The moment `by` earlier; stays at the epoch rather than wrap.
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not after.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The machine's clock. The one place of the core that reads it.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the port's adapter to the system clock")]
    fn now(&self) -> Timestamp {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))
    }
}
