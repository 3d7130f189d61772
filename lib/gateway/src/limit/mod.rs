//! Rate limits: how many requests a key may make in a time, counted over all environments together.
//!
//! So far one kind: the fixed window, exact by one conditional update of the shared table a request, and by none for a
//! key that is known to be over its limit. A window never admits more than its limit; across a boundary up to twice as
//! many come together.
//!
//! Several limits are all or nothing: when a later one refuses, what the earlier ones gave goes back
//! ([`Taken::returns`]), so that a refused request costs its client nothing elsewhere.

mod fields;
mod key;
mod known;
mod rate;
#[cfg(test)]
mod tests;
mod window;

use std::fmt;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

pub use rate::{Per, Rate};

use crate::auth::Caller;
use crate::clock::{Clock, Timestamp};
use crate::exchange::LimitVerdict;
use crate::expression::{Expression, Facts};
use crate::forward::BoxFuture;
use crate::mode::{Mode, Shadowed};
use crate::refusal::Refusal;
use crate::table::{Table, TableError, Which};
use fields::{Named, Told, fields};
use key::Key;
use known::Known;
use window::{Place, SKEW, Usual, Window};

/// For how long a request waits for its limits, all of them together, at most. The table's adapter gives up before.
pub const BOUND: Duration = Duration::from_millis(150);

/// What is still waited when the time is over. In a process that was itself stopped or starved, the time is over
/// before anyone looked at the answer that lies there; this is the look.
const LAST_LOOK: Duration = Duration::from_millis(5);

/// How often a token whose window ended before it could be spent is asked for anew.
const TRIES: usize = 3;

/// One limit of the config: a bucket a key, over all routes that use it.
pub struct Limit {
    /// Its name, unique in the config.
    pub name: Arc<str>,
    /// How many in what time.
    pub rate: Rate,
    /// What is counted together.
    pub by: LimitKey,
    /// What happens while the table does not answer.
    pub on_store_failure: OnStoreFailure,
    config: Arc<str>,
    with_via: bool,
    known: Known,
    usual: Usual,
    told: Named,
}

/// What a limit counts together.
#[derive(Debug)]
pub enum LimitKey {
    /// Everything.
    Global,
    /// Whatever has the same value. Where there is no value, or an empty one, the requests share one bucket.
    By(Expression),
}

/// What a limit does while the table does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnStoreFailure {
    /// Counts in this process alone, with the whole rate. (The environment's fair share of it needs to know how many
    /// environments there are, which the shared signals will tell.)
    #[default]
    Local,
    /// Lets everything pass.
    Open,
    /// Refuses everything, with 503.
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

/// One use of a limit by a route.
#[derive(Debug, Clone)]
pub struct Use {
    /// The limit, shared by all its uses.
    pub limit: Arc<Limit>,
    /// Whether it acts here.
    pub mode: Mode,
}

impl From<Arc<Limit>> for Use {
    fn from(limit: Arc<Limit>) -> Self {
        Self { limit, mode: Mode::Enforce }
    }
}

/// The limits of a route, in the order they are asked.
#[derive(Debug, Clone, Default)]
pub struct Limits(pub Vec<Use>);

/// What the limits said of one request.
#[derive(Debug, Default)]
pub struct Taken {
    /// Why the request is refused; `None` lets it pass.
    pub refused: Option<Refusal>,
    /// `RateLimit` and `RateLimit-Policy`, for every answer to the request, refusals included.
    pub fields: HeaderMap,
    /// What each limit said, in the order asked.
    pub verdicts: Vec<LimitVerdict>,
    /// What limits in shadow would have refused.
    pub shadowed: Shadowed,
    /// What a refused request took and gives back, once the answer is out.
    pub returns: Returns,
}

impl Limit {
    /// A limit of the config named `config`; items of two configs never meet.
    pub fn new(config: Arc<str>, name: Arc<str>, rate: Rate, by: LimitKey, on_store_failure: OnStoreFailure) -> Self {
        let with_via = matches!(&by, LimitKey::By(by) if reads_caller_id(by.source()));
        let told = Named::new(&name, rate);
        Self {
            name,
            rate,
            by,
            on_store_failure,
            config,
            with_via,
            known: Known::default(),
            usual: Usual::default(),
            told,
        }
    }

    fn key(&self, facts: &Facts<'_>, caller: &Caller) -> Key {
        let subject = match &self.by {
            LimitKey::Global => None,
            LimitKey::By(by) => by.text(facts).ok().filter(|subject| !subject.is_empty()),
        };
        let via = if self.with_via { caller.via() } else { "" };
        Key::of(&self.config, &self.name, subject.as_deref().map(|subject| (via, subject)))
    }

    async fn ask(&self, key: &Key, table: &dyn Table, clock: &dyn Clock, bound: Instant) -> Answer {
        let item_key = key.item();
        for _ in 0..TRIES {
            let (window, sure) = self.settle(clock).await;
            if self.known.denied(key, window) {
                return Answer::Over { window };
            }
            if Instant::now() >= bound {
                break;
            }
            let stale = self.known.take_stale(key);
            let taking = match stale.as_slice() {
                [] => self.usual.take(window, self.rate),
                stale => Arc::new(window.take(self.rate, stale)),
            };
            let (update, terms) = &*taking;
            match within(bound, table.update(Which::Hot, &item_key, update, terms)).await {
                Some(Ok(item)) => {
                    let Some(taken) = window.taken(&item) else { break };
                    self.known.keep_stale(key, window, window.stale(&item));
                    let now = clock.now();
                    if window.spendable(now) || !sure && Window::labelled(now.plus(SKEW), self.rate.per) == window {
                        let left = Some(self.rate.count.saturating_sub(taken));
                        return Answer::Admitted { window, left, given: Given::ByTable };
                    }
                    // The window ended while we asked. Its token may not be spent in another one and is lost.
                }
                Some(Err(TableError::Refused { old })) => {
                    if old.and_then(|old| window.taken(&old)).is_none() {
                        break;
                    }
                    self.known.deny(key, window);
                    if Window::labelled(clock.now(), self.rate.per) == window {
                        return Answer::Over { window };
                    }
                }
                Some(Err(
                    TableError::Throttled { .. } | TableError::Unavailable { .. } | TableError::Invalid { .. },
                ))
                | None => break,
            }
        }
        self.without_table(key, clock)
    }

    /// The window to ask for, and whether every clock agrees on it. Near a boundary that takes a wait of twice the skew
    /// at most; if the clock stands still meanwhile, its own word must do.
    async fn settle(&self, clock: &dyn Clock) -> (Window, bool) {
        let wait = match Window::of(clock.now(), self.rate.per) {
            Place::In(window) => return (window, true),
            Place::Between(wait) => wait,
        };
        tokio::time::sleep(wait).await;
        let now = clock.now();
        match Window::of(now, self.rate.per) {
            Place::In(window) => (window, true),
            Place::Between(_) => (Window::labelled(now.plus(SKEW), self.rate.per), false),
        }
    }

    fn without_table(&self, key: &Key, clock: &dyn Clock) -> Answer {
        let window = Window::labelled(clock.now(), self.rate.per);
        match self.on_store_failure {
            OnStoreFailure::Open => Answer::Admitted { window, left: None, given: Given::ByNobody },
            OnStoreFailure::Closed => Answer::Unanswered,
            OnStoreFailure::Local => match self.known.count(key, window, self.rate.count) {
                Some(left) => Answer::Admitted { window, left: Some(left), given: Given::Locally },
                None => Answer::Over { window },
            },
        }
    }
}

async fn within<T>(bound: Instant, mut asking: BoxFuture<'_, T>) -> Option<T> {
    // A table that answers at once needs no timer.
    if let Poll::Ready(answer) = std::future::poll_fn(|cx| Poll::Ready(asking.as_mut().poll(cx))).await {
        return Some(answer);
    }
    match tokio::time::timeout_at(bound, &mut asking).await {
        Ok(answer) => Some(answer),
        Err(_) => tokio::time::timeout(LAST_LOOK, asking).await.ok(),
    }
}

/// Whether a key may hold `caller.id`, which counts together with how the caller was identified.
fn reads_caller_id(source: &str) -> bool {
    let source: String = source.chars().filter(|letter| !letter.is_whitespace()).collect();
    source.contains("caller.id") || source.contains("caller[")
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit")
            .field("name", &self.name)
            .field("rate", &self.rate)
            .field("by", &self.by)
            .field("on_store_failure", &self.on_store_failure)
            .finish_non_exhaustive()
    }
}

/// What one limit said.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Admitted { window: Window, left: Option<u64>, given: Given },
    Over { window: Window },
    Unanswered,
}

/// Who gave a token, and so who takes it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    ByTable,
    Locally,
    ByNobody,
}

impl Answer {
    fn left(self) -> Option<u64> {
        match self {
            Self::Admitted { left, .. } => left,
            Self::Over { .. } => Some(0),
            Self::Unanswered => None,
        }
    }
}

/// One limit as it is asked for one request.
struct Asked<'a> {
    limit: &'a Arc<Limit>,
    mode: Mode,
    key: Key,
    answer: Option<Answer>,
}

impl Limits {
    /// No limit at all.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Takes one request from every limit, or from none.
    ///
    /// Waits for the table [`BOUND`] at most, and not at all for a key that is known to be over.
    pub async fn take(&self, facts: &Facts<'_>, caller: &Caller, table: &dyn Table, clock: &dyn Clock) -> Taken {
        if self.0.is_empty() {
            return Taken::default();
        }
        let facts = Facts { caller: Some(caller), ..*facts };
        let in_force = self.0.iter().filter(|used| used.mode != Mode::Off);
        let mut asked: Vec<_> = in_force
            .map(|used| Asked {
                limit: &used.limit,
                mode: used.mode,
                key: used.limit.key(&facts, caller),
                answer: None,
            })
            .collect();
        if !known_to_be_over(&mut asked, clock) {
            let bound = Instant::now() + BOUND;
            for one in &mut asked {
                let answer = one.limit.ask(&one.key, table, clock, bound).await;
                one.answer = Some(answer);
                if one.refuses() {
                    break;
                }
            }
        }
        conclude(&asked, clock)
    }
}

/// Answers for a limit that is known to be over, so that nothing is taken only to be given back.
fn known_to_be_over(asked: &mut [Asked<'_>], clock: &dyn Clock) -> bool {
    let now = clock.now();
    for one in asked.iter_mut().filter(|one| one.mode == Mode::Enforce) {
        let window = Window::labelled(now, one.limit.rate.per);
        if one.limit.known.denied(&one.key, window) {
            one.answer = Some(Answer::Over { window });
            return true;
        }
    }
    false
}

fn conclude(asked: &[Asked<'_>], clock: &dyn Clock) -> Taken {
    let now = clock.now();
    let mut taken = Taken { refused: asked.iter().find_map(|one| one.refusal(now)), ..Taken::default() };
    let mut told = Vec::with_capacity(asked.len());
    for one in asked {
        let mut state = None;
        if let Some(answer) = one.answer {
            let admitted = matches!(answer, Answer::Admitted { .. });
            let mut left = answer.left();
            if taken.refused.is_some() && one.take_back(answer, &mut taken.returns) {
                left = left.map(|left| left.saturating_add(1));
            }
            let remaining = left.unwrap_or(0);
            taken.verdicts.push(LimitVerdict { name: Arc::clone(&one.limit.name), admitted, remaining });
            if one.mode == Mode::Shadow
                && let Some(refusal) = one.why_not(answer, now)
            {
                taken.shadowed.refusal(&refusal);
            }
            state = match answer {
                Answer::Admitted { window, .. } | Answer::Over { window } => {
                    left.map(|left| (left, window.end().since(now)))
                }
                Answer::Unanswered => None,
            };
        }
        if one.mode == Mode::Enforce {
            told.push(Told { limit: &one.limit.told, state });
        }
    }
    taken.fields = fields(told);
    taken
}

impl Asked<'_> {
    fn refuses(&self) -> bool {
        self.mode == Mode::Enforce && !matches!(self.answer, Some(Answer::Admitted { .. }) | None)
    }

    fn refusal(&self, now: Timestamp) -> Option<Refusal> {
        if self.refuses() { self.why_not(self.answer?, now) } else { None }
    }

    fn why_not(&self, answer: Answer, now: Timestamp) -> Option<Refusal> {
        match answer {
            Answer::Admitted { .. } => None,
            Answer::Over { window } => {
                Some(Refusal::OverLimit { limit: Arc::clone(&self.limit.name), retry_after: window.end().since(now) })
            }
            Answer::Unanswered => Some(Refusal::StateUnavailable { policy: Arc::clone(&self.limit.name) }),
        }
    }

    /// Takes back what was given to a request that is refused; whether there was something.
    fn take_back(&self, answer: Answer, returns: &mut Returns) -> bool {
        match answer {
            Answer::Admitted { window, given: Given::ByTable, .. } => {
                returns.0.push(Return { limit: Arc::clone(self.limit), key: self.key, window });
                true
            }
            Answer::Admitted { window, given: Given::Locally, .. } => {
                self.limit.known.uncount(&self.key, window);
                true
            }
            Answer::Admitted { given: Given::ByNobody, .. } | Answer::Over { .. } | Answer::Unanswered => false,
        }
    }
}

/// What a refused request gives back to the limits that had let it pass.
#[derive(Debug, Default)]
pub struct Returns(Vec<Return>);

#[derive(Debug)]
struct Return {
    limit: Arc<Limit>,
    key: Key,
    window: Window,
}

impl Returns {
    /// Whether there is nothing to give back.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives it back, each at most once: where the table does not answer, it is lost, which only admits fewer.
    pub async fn give(self, table: &dyn Table) {
        for Return { limit, key, window } in self.0 {
            let (update, terms) = window.give_back();
            if table.update(Which::Hot, &key.item(), &update, &terms).await.is_ok() {
                limit.known.allow(&key, window);
            }
        }
    }
}
