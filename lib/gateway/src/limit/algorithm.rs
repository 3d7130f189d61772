//! How a limit counts: the algorithms of state.md §3, and what they have in common.
//!
//! Each is a [`Meter`]: from what the item is believed to be, it makes one conditional update, and from the item that
//! comes back it reads where the key stands. It reads no clock and asks no table.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::bucket::Bucket;
use super::calendar::Zone;
use super::log::Log;
use super::pair::Pair;
use super::quota::Quota;
use super::rate::{Per, Rate};
use super::sliding::Sliding;
use super::window::{FixedWindow, Window};
use crate::clock::Timestamp;
use crate::table::{Item, Terms, Update};

/// How far an environment's clock may be off.
pub(super) const SKEW: Duration = Duration::from_millis(5);

/// The smallest burst or count of which some is leased: of fewer, each is asked for.
pub(super) const FEWEST_LEASED: u64 = 20;

/// The longest a lease may be: rates by the second are used up sooner.
pub(super) const fn longest_lease(rate: Rate) -> Duration {
    match rate.per {
        Per::Second => Duration::from_millis(500),
        Per::Minute | Per::Hour | Per::Day | Per::Week | Per::Month => Duration::from_secs(5),
    }
}

/// How long an item outlives the last moment at which it matters, in seconds.
pub(super) const KEPT: u64 = 120;

/// How a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// So many at once, and again as they come back at the rate. Never more than the burst and the rate × time in any
    /// interval.
    TokenBucket {
        /// How many at once.
        burst: u64,
    },
    /// The same, and what is too early by `queue` at most waits for its turn instead of being refused.
    LeakyBucket {
        /// How many at once.
        burst: u64,
        /// How long a request may wait.
        queue: Duration,
    },
    /// So many in each window of the calendar (UTC), and so up to twice as many across a boundary.
    FixedWindow,
    /// So many in any window, wherever it starts.
    SlidingWindow {
        /// Whether two weighted windows are good enough: less is stored, and a window may see up to twice the limit.
        approximate: bool,
    },
    /// So many in any window, the time of each kept; for counts up to [`Self::LARGEST_LOG`].
    SlidingLog,
    /// So many in each period of the calendar, for as long as months.
    Quota {
        /// Whose calendar it is.
        zone: Zone,
        /// Whether what is beyond it passes, and is told.
        soft: bool,
    },
}

impl Algorithm {
    /// The largest count of a sliding log: what an item of 1 KB has room for, which one write unit pays.
    pub const LARGEST_LOG: u64 = 100;

    /// The longest a request may wait in a leaky bucket: waiting is billed and holds an environment.
    pub const LONGEST_QUEUE: Duration = Duration::from_secs(1);

    /// The longest in which all of a bucket may come back.
    pub const LONGEST_WINDOW: Duration = Duration::from_secs(366 * 86_400);

    /// As the config writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TokenBucket { .. } => "token_bucket",
            Self::LeakyBucket { .. } => "leaky_bucket",
            Self::FixedWindow => "fixed_window",
            Self::SlidingWindow { .. } => "sliding_window",
            Self::SlidingLog => "sliding_log",
            Self::Quota { .. } => "quota",
        }
    }

    /// The most that one request can take, and that all together can take at once.
    pub const fn most(self, rate: Rate) -> u64 {
        match self {
            Self::TokenBucket { burst } | Self::LeakyBucket { burst, .. } => burst,
            Self::FixedWindow | Self::SlidingWindow { .. } | Self::SlidingLog | Self::Quota { .. } => rate.count,
        }
    }

    /// Whether its count may be spread over several items: buckets do not care in which of them a token is; windows
    /// and queues do.
    pub const fn can_be_sharded(self) -> bool {
        match self {
            Self::TokenBucket { .. } => true,
            Self::LeakyBucket { queue, .. } => queue.is_zero(),
            Self::FixedWindow | Self::SlidingWindow { .. } | Self::SlidingLog | Self::Quota { .. } => false,
        }
    }

    /// In how many seconds as many come back as [`Self::most`] says, rounded up.
    pub(crate) fn window_secs(self, rate: Rate) -> u64 {
        let secs = u128::from(self.most(rate)) * u128::from(rate.per.secs());
        u64::try_from(secs.div_ceil(u128::from(rate.count.max(1)))).unwrap_or(u64::MAX)
    }

    /// Whether some of it may be leased, of so many at most.
    pub(super) const fn may_be_leased(self, most: u64) -> bool {
        match self {
            Self::TokenBucket { .. } | Self::FixedWindow => most >= FEWEST_LEASED,
            Self::LeakyBucket { queue, .. } => queue.is_zero() && most >= FEWEST_LEASED,
            Self::SlidingWindow { .. } | Self::SlidingLog | Self::Quota { .. } => false,
        }
    }

    /// For how many seconds what is written may matter.
    pub(super) fn horizon(self, rate: Rate) -> u64 {
        2 * self.window_secs(rate).max(rate.per.secs()) + 1
    }

    /// Items of two kinds never meet: their attributes mean something else.
    pub(super) fn kind(self, rate: Rate) -> String {
        let approximate = if matches!(self, Self::SlidingWindow { approximate: true }) { "~" } else { "" };
        format!("{}{approximate}/{}", self.as_str(), rate.per.secs())
    }

    pub(super) fn meter(self, rate: Rate) -> Box<dyn Meter> {
        match self {
            Self::TokenBucket { burst } => Box::new(Bucket::new(rate, burst, Duration::ZERO)),
            Self::LeakyBucket { burst, queue } => Box::new(Bucket::new(rate, burst, queue)),
            Self::FixedWindow => Box::new(FixedWindow::new(rate)),
            Self::SlidingWindow { approximate: false } => Box::new(Sliding::new(rate)),
            Self::SlidingWindow { approximate: true } => Box::new(Pair::new(rate)),
            Self::SlidingLog => Box::new(Log::new(rate)),
            Self::Quota { zone, soft } => Box::new(Quota::new(rate, zone, soft)),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::TokenBucket { burst } => write!(f, " burst {burst}"),
            Self::LeakyBucket { burst, queue } if queue.is_zero() => write!(f, " burst {burst}"),
            Self::LeakyBucket { burst, queue } => write!(f, " burst {burst} queue {queue:?}"),
            Self::SlidingWindow { approximate: true } => f.write_str(" approximate"),
            Self::Quota { zone, soft: false } => write!(f, " in {}", zone.name()),
            Self::Quota { zone, soft: true } => write!(f, " in {}, soft", zone.name()),
            Self::FixedWindow | Self::SlidingWindow { approximate: false } | Self::SlidingLog => Ok(()),
        }
    }
}

/// An update and its terms.
pub(super) type Taking = (Update, Terms);

/// What is asked of a meter.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ask {
    /// When, by this environment's clock.
    pub(super) at: Timestamp,
    /// How many; from 1 to [`Algorithm::most`].
    pub(super) cost: u64,
    /// How long the request can wait.
    pub(super) patience: Duration,
    /// For how long after `at` they may be spent; nothing for what is spent at once.
    pub(super) lease: Duration,
    /// How far this environment's clock may be off.
    pub(super) error: Duration,
    /// Where many write to the key: by how much a bucket that turns out to be idle is taken later than it could be, so
    /// that it is not found otherwise again.
    pub(super) slack: Option<Duration>,
    /// Whether what was seen of the item is from before, and not the answer to an attempt at this.
    pub(super) guess: bool,
    /// Whether it is taken whatever is left.
    pub(super) debt: bool,
}

/// More than any limit has.
pub(super) const BOUNDLESS: i128 = 1 << 80;

/// What an item was when it was last seen, as far as its meter cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Seen {
    /// Nothing is known, or there is nothing.
    #[default]
    Nothing,
    Bucket {
        tat: i128,
        grants: i128,
    },
    Window {
        window: Window,
        taken: u64,
        /// Windows left over from before an idle time; 0 is none.
        stale: [u64; 4],
    },
    Pair {
        index: u64,
        current: u64,
        previous: u64,
    },
    Ring {
        index: u64,
        sum: u64,
        buckets: [u64; super::sliding::RING],
    },
    Log {
        len: usize,
        /// What must be out of the window before another is let in; `None` while there is room.
        gate: Option<i128>,
        recent: usize,
        last: i128,
    },
    Quota {
        label: u64,
        used: u64,
        /// When that was.
        at: Timestamp,
    },
}

/// When a request may be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// At this moment, on which all clocks agree.
    At(Timestamp),
    /// Not before this long from now.
    In(Duration),
}

/// One algorithm with its numbers.
///
/// Without returns, what [`Meter::over`] says of an item holds of all that it becomes later: an item only fills. So
/// what was last seen of it is enough to refuse without asking.
pub(super) trait Meter: Send + Sync + fmt::Debug {
    /// When a request that comes now is judged.
    fn settle(&self, now: Timestamp) -> Settled {
        Settled::At(now)
    }

    /// Whether a further attempt is judged at the moment of the first.
    fn keeps_its_moment(&self) -> bool {
        false
    }

    /// The label of the period asked for, where each period has an item of its own.
    fn label(&self, _ask: &Ask) -> Option<u64> {
        None
    }

    /// The length in seconds of the period that `now` is in, where periods differ.
    fn window_secs(&self, _now: Timestamp) -> Option<u64> {
        None
    }

    /// Until when nothing of the size asked is let in, by an item that is as `seen`; `None` where it may be.
    fn over(&self, ask: &Ask, seen: &Seen) -> Option<Timestamp>;

    /// Until when nothing would have been let in, where what was taken is beyond the limit and passes all the same.
    fn beyond(&self, _ask: &Ask, _seen: &Seen) -> Option<Timestamp> {
        None
    }

    /// The update that takes what is asked from an item that is as `seen` (and is refused by another).
    fn attempt(&self, ask: &Ask, seen: &Seen) -> Arc<Taking>;

    /// What `item` is; `None` where it makes no sense.
    fn read(&self, ask: &Ask, item: &Item) -> Option<Seen>;

    /// Whether what was taken at `ask`, of which the clocks were `sure` or not, may still be spent now.
    fn spendable(&self, _ask: &Ask, _now: Timestamp, _sure: bool) -> bool {
        true
    }

    /// For how long what is asked at this moment may be leased; nothing where it must be spent at once.
    fn longest_lease(&self, _at: Timestamp) -> Duration {
        Duration::ZERO
    }

    /// How many could be taken by `ask` from an item that is as `seen`.
    fn room(&self, ask: &Ask, seen: &Seen) -> u64 {
        self.left(ask, seen)
    }

    /// How often the item was written; `None` where it is not told.
    fn grants(&self, _seen: &Seen) -> Option<i128> {
        None
    }

    /// Whether little is left, so that whoever writes competes with others.
    fn is_scarce(&self, _ask: &Ask, _seen: &Seen) -> bool {
        false
    }

    /// The slack for a key that is written this often a second; `None` where it is not hot enough to be worth it
    /// (state.md §3.5).
    fn slack(&self, _writes: f32) -> Option<Duration> {
        None
    }

    /// When what was taken conforms: before it, it must not be spent.
    fn departs(&self, ask: &Ask, _seen: &Seen) -> Timestamp {
        ask.at
    }

    /// The update that gives back `cost` of what was taken when the item became `seen`.
    fn give_back(&self, ask: &Ask, seen: &Seen) -> Taking;

    /// The most that can be taken at once.
    fn most(&self) -> u64;

    /// How many are left.
    fn left(&self, ask: &Ask, seen: &Seen) -> u64;

    /// How many values an item has at most.
    fn values(&self) -> usize {
        8
    }

    /// When the item is as good as none: all is there again.
    fn full_at(&self, ask: &Ask, seen: &Seen) -> Timestamp;

    /// Until when what was seen of the item tells anything.
    fn believed_until(&self, ask: &Ask, seen: &Seen) -> Timestamp {
        self.full_at(ask, seen)
    }
}

/// Nanoseconds, to compute with.
pub(super) fn nanos(moment: Timestamp) -> i128 {
    moment.nanos().into()
}

/// The moment so many nanoseconds after the epoch; one out of reach is the nearest within.
pub(super) fn moment(nanos: i128) -> Timestamp {
    Timestamp::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
}

/// A length of so many nanoseconds; none where it is negative.
pub(super) fn length(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

/// When an item that matters until `end` is over, for its attribute `x`.
pub(super) fn expiry(end: Timestamp) -> u64 {
    end.secs().saturating_add(1).saturating_add(KEPT)
}

/// A count in an item, which is never below 0; a missing one is 0.
pub(super) fn count(item: &Item, name: &str) -> Option<u64> {
    match item.get(name) {
        None => Some(0),
        Some(_) => u64::try_from(item.number(name)?.max(0)).ok(),
    }
}
