//! What this environment knows and holds of a limit's keys: what each item was when it was last seen, and its
//! [`Holding`]. Bounded: what finds no room is forgotten, which costs a write and wastes what was leased.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::algorithm::Seen;
use super::key::Key;
use super::known::Bounded;
use super::lease::Holding;
use crate::clock::{Clock, Timestamp};

/// What is known and held of one key.
#[derive(Debug, Default)]
pub(super) struct Standing {
    pub(super) seen: Seen,
    holding: Option<Box<Holding>>,
}

impl Standing {
    /// Its holding, made where there is none.
    pub(super) fn holding(&mut self, seed: u64) -> &mut Holding {
        self.holding.get_or_insert_with(|| Box::new(Holding::new(seed)))
    }

    /// Its holding, where there is one.
    pub(super) fn held(&mut self) -> Option<&mut Holding> {
        self.holding.as_deref_mut()
    }
}

/// A moment by an environment's clock, and what that is worth.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) at: Timestamp,
    pub(super) error: Duration,
    breaks: u64,
}

impl Moment {
    pub(super) fn of(clock: &dyn Clock) -> Self {
        Self { at: clock.now(), error: clock.error(), breaks: clock.breaks() }
    }
}

/// The standings of one limit's keys.
#[derive(Debug)]
pub(super) struct Book(Mutex<Pages>);

#[derive(Debug)]
struct Pages {
    standings: Bounded<Standing>,
    /// The latest moment seen, and how often the clock was found wrong: leases of another era are void.
    latest: Timestamp,
    breaks: u64,
    era: u64,
}

impl Book {
    pub(super) fn new(most: usize) -> Self {
        let standings = Bounded::new(most);
        Self(Mutex::new(Pages { standings, latest: Timestamp::default(), breaks: 0, era: 0 }))
    }

    /// Looks at, or changes, the standing of `key`; `with` is also given the era, and says until when the standing
    /// matters where that changed. A standing that finds no room is forgotten at once.
    pub(super) fn with<T>(
        &self,
        key: &Key,
        moment: Moment,
        with: impl FnOnce(&mut Standing, u64) -> (T, Option<Timestamp>),
    ) -> T {
        let mut pages = self.lock();
        pages.mind(moment);
        let era = pages.era;
        let Some((standing, until)) = pages.standings.entry(key, moment.at) else {
            return with(&mut Standing::default(), era).0;
        };
        let (told, matters) = with(standing, era);
        if let Some(matters) = matters {
            *until = matters.max(standing.holding.as_ref().map(|holding| holding.ends()).unwrap_or_default());
        }
        told
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    /// Voids every lease where the clock stepped back or was found wrong (state.md §2.2, 2.5). Steps within its error
    /// are what leases allow for.
    fn mind(&mut self, Moment { at, error, breaks }: Moment) {
        if breaks != self.breaks || at.plus(error) < self.latest {
            self.breaks = breaks;
            self.era = self.era.wrapping_add(1);
            self.latest = at;
        }
        self.latest = self.latest.max(at);
    }
}
