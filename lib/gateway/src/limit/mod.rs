//! Rate limits. So far one algorithm: the fixed window (state.md §3.1), exact over all environments by one conditional
//! update a request.
//!
//! Counted by the environment's own clock: per window the count is exact whatever the clocks say, and up to twice the
//! limit can pass across a boundary, as with every fixed window.

mod fields;
mod local;
mod rate;
#[cfg(test)]
mod tests;
mod window;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

pub use rate::Rate;

use crate::auth::Caller;
use crate::clock::Clock;
use crate::exchange::LimitVerdict;
use crate::expression::{Expression, Facts};
use crate::forward::BoxFuture;
use crate::refusal::Refusal;
use crate::table::Table;

use local::LocalWindows;
use window::{Asked, Verdict};

/// One entry of `limits`, compiled. Shared by all routes that use it: one bucket per key.
#[derive(Debug)]
pub struct Limit {
    /// Its name.
    pub name: Arc<str>,
    /// How much in how long.
    pub rate: Rate,
    /// What is counted together.
    pub by: LimitKey,
    /// What happens while the table does not answer.
    pub on_store_failure: OnStoreFailure,
    /// The config's name: two gateways on one table count apart.
    space: Arc<str>,
    /// Counts while the table does not answer, and what is known to be used up.
    local: LocalWindows,
}

/// What a limit counts together.
#[derive(Debug)]
pub enum LimitKey {
    /// Everything.
    Global,
    /// By the value of an expression; one that fails or is empty counts in one shared bucket, never unlimited.
    By(Expression),
}

/// What a limit does while the table does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnStoreFailure {
    /// Counts in this environment alone.
    #[default]
    Local,
    /// Lets pass.
    Open,
    /// Refuses.
    Closed,
}

impl OnStoreFailure {
    /// As the config writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// Whether a policy's verdict counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It does.
    Enforce,
    /// It is made and recorded, and the request passes.
    Shadow,
    /// It is not made.
    Off,
}

impl Mode {
    /// As the config writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
            Self::Off => "off",
        }
    }
}

/// A limit on a route.
#[derive(Debug, Clone)]
pub struct LimitUse {
    /// The limit.
    pub limit: Arc<Limit>,
    /// Whether its verdict counts.
    pub mode: Mode,
}

/// The limits of a route, in order.
#[derive(Debug, Default)]
pub struct Limits(Vec<LimitUse>);

/// What the limits of a route said of a request.
#[derive(Default)]
pub struct Taken {
    /// The first refusal.
    pub refused: Option<Refusal>,
    /// `RateLimit` and `RateLimit-Policy`, for the answer whatever it is.
    pub fields: HeaderMap,
    /// What each said, for the log.
    pub verdicts: Vec<LimitVerdict>,
    /// What policies in shadow would have refused.
    pub shadowed: Vec<&'static str>,
    /// What goes back to limits that admitted a request which a later one refused.
    pub after: Vec<BoxFuture<'static, ()>>,
}

impl Limit {
    /// A limit of a config.
    pub fn new(space: &Arc<str>, name: &str, rate: Rate, by: LimitKey, on_store_failure: OnStoreFailure) -> Self {
        let local = LocalWindows::default();
        Self { name: Arc::from(name), rate, by, on_store_failure, space: Arc::clone(space), local }
    }

    /// The item's key: a hash, so that a key of any length or bytes fits, and none is kept in the clear.
    fn item_key(&self, facts: &Facts<'_>) -> String {
        let by = match &self.by {
            LimitKey::Global => String::new(),
            LimitKey::By(expression) => expression.text(facts).unwrap_or_default(),
        };
        window::item_key(&self.space, &self.name, &by)
    }
}

impl Limits {
    /// These, in this order.
    pub const fn new(limits: Vec<LimitUse>) -> Self {
        Self(limits)
    }

    /// None at all.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// The limits, in order.
    pub fn uses(&self) -> &[LimitUse] {
        &self.0
    }

    /// Takes one of each limit, all or nothing: what a request took before a later limit refused it goes back.
    ///
    /// The caller is asked for though its id comes by `facts`: limiting before identifying shall not compile.
    pub async fn take(&self, facts: &Facts<'_>, _: &Caller, table: &Arc<dyn Table>, clock: &dyn Clock) -> Taken {
        let mut taken = Taken::default();
        let mut states = Vec::new();
        let mut held: Vec<(&Limit, Asked)> = Vec::new();
        for LimitUse { limit, mode } in self.0.iter().filter(|used| used.mode != Mode::Off) {
            let asked = Asked { key: limit.item_key(facts), window: limit.rate.window(clock.now()) };
            let verdict = limit.ask(&asked, &**table, clock).await;
            let refusal = limit.refusal(verdict, &asked, clock);
            if let Some(left) = verdict.remaining() {
                let resets = limit.rate.end(asked.window).since(clock.now());
                states.push(fields::State { limit, left, resets });
                taken.verdicts.push(LimitVerdict {
                    name: Arc::clone(&limit.name),
                    admitted: refusal.is_none(),
                    remaining: left,
                });
            }
            match (refusal, mode) {
                (None, _) => held.extend(matches!(verdict, Verdict::Admitted { .. }).then_some((&**limit, asked))),
                (Some(refusal), Mode::Shadow) => taken.shadowed.push(refusal.code()),
                (Some(refusal), Mode::Enforce | Mode::Off) => {
                    taken.after = held.into_iter().map(|(_, asked)| window::give_back(table, asked)).collect();
                    taken.refused = Some(refusal);
                    break;
                }
            }
        }
        if !states.is_empty() {
            fields::write(&mut states, &mut taken.fields);
        }
        taken
    }
}

impl Limit {
    async fn ask(&self, asked: &Asked, table: &dyn Table, clock: &dyn Clock) -> Verdict {
        if self.local.is_used_up(asked) {
            return Verdict::Denied;
        }
        let verdict = window::take(self.rate, asked, table).await;
        match (verdict, self.on_store_failure) {
            (Verdict::Denied, _) => self.local.note_used_up(asked),
            (Verdict::Unknown, OnStoreFailure::Local) => return self.local.take(self.rate, asked),
            (Verdict::Unknown, OnStoreFailure::Open | OnStoreFailure::Closed) | (Verdict::Admitted { .. } | Verdict::AdmittedHere { .. }, _) => {}
        }
        let _ = clock;
        verdict
    }

    fn refusal(&self, verdict: Verdict, asked: &Asked, clock: &dyn Clock) -> Option<Refusal> {
        match (verdict, self.on_store_failure) {
            (Verdict::Admitted { .. } | Verdict::AdmittedHere { .. }, _) | (Verdict::Unknown, OnStoreFailure::Open | OnStoreFailure::Local) => None,
            (Verdict::Denied, _) => {
                let left = self.rate.end(asked.window).since(clock.now());
                Some(Refusal::OverLimit { limit: Arc::clone(&self.name), retry_after: left.max(Duration::from_millis(1)) })
            }
            (Verdict::Unknown, OnStoreFailure::Closed) => {
                Some(Refusal::StateUnavailable { policy: Arc::clone(&self.name) })
            }
        }
    }
}

impl std::fmt::Debug for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Taken")
            .field("refused", &self.refused)
            .field("verdicts", &self.verdicts)
            .finish_non_exhaustive()
    }
}
