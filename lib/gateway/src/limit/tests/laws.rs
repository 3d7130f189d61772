//! What is promised of buckets with leases and without, one promise a test, whatever is asked when (state.md §12: P1,
//! P3 to P6, P9 to P11, P13). `tests/simulation` shows the same of whole gateways under load.

use super::*;
use crate::table::{Assigned, Change, Condition, Operand, Value};

const ACCURACIES: [Accuracy; 2] = [Accuracy::Exact, Accuracy::Leased];

fn per_second(rate: u64, algorithm: Algorithm, accuracy: Accuracy) -> Arc<Limit> {
    let limit = counted_on("l", &format!("{rate}/s"), "global", algorithm, "1", OnStoreFailure::Closed);
    Arc::new(Arc::into_inner(limit).unwrap().accurate(accuracy))
}

/// True time: tokio's, and what was stood still through besides, which no timer saw.
#[derive(Debug)]
struct Truth {
    started: Instant,
    stood: Mutex<Duration>,
}

impl Truth {
    fn begin() -> Arc<Self> {
        Arc::new(Self { started: Instant::now(), stood: Mutex::default() })
    }

    fn stand_still(&self, millis: u64) {
        *self.stood.lock().unwrap() += Duration::from_millis(millis);
    }
}

impl Clock for Truth {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(NOON).plus(self.started.elapsed() + *self.stood.lock().unwrap())
    }
}

/// An environment's clock, this many nanoseconds off.
#[derive(Debug)]
struct Off(Arc<Truth>, i64);

impl Clock for Off {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.now().nanos().saturating_add_signed(self.1))
    }
}

/// What befalls a request on its way to the table and back.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Fine,
    Lost,
    Twice,
    /// The environment is frozen for so many milliseconds before the update is sent, or before its answer is seen.
    Frozen {
        before: u64,
        after: u64,
    },
}

/// A table that does so, and tells from when on the token counts that it gave last.
#[derive(Debug)]
struct Fateful {
    inner: MemoryTable,
    truth: Arc<Truth>,
    fate: Mutex<Fate>,
    step: i128,
    given: Mutex<Option<i128>>,
}

impl Fateful {
    fn new(truth: &Arc<Truth>, rate: u64) -> Self {
        Self {
            inner: MemoryTable::default(),
            truth: Arc::clone(truth),
            fate: Mutex::new(Fate::Fine),
            step: 1_000_000_000_i128.div_euclid(rate.into()) + 1,
            given: Mutex::default(),
        }
    }
}

/// From when on a bucket is debited for one token, by the clock of who asks; `None` for a lease.
fn debited(update: &Update, terms: &Terms, step: i128) -> Option<i128> {
    let from = from(terms.condition.as_ref()?)?;
    let taken = update.changes().iter().find_map(|change| {
        let Change::Set(path, to) = change else { return None };
        if path.name != "tat" {
            return None;
        }
        if let Assigned::Is(Operand::Value(Value::Number(to))) = to {
            return Some(to - from);
        }
        if let Assigned::Sum(_, Operand::Value(Value::Number(more))) = to { Some(*more) } else { None }
    })?;
    (taken <= step).then_some(from)
}

fn from(condition: &Condition) -> Option<i128> {
    if let Condition::Or(left, right) = condition {
        return from(left).or_else(|| from(right));
    }
    if let Condition::Between(_, Value::Number(from), _) | Condition::AtMost(_, Value::Number(from)) = condition {
        return Some(*from);
    }
    None
}

impl Table for Fateful {
    passed_on!(get_many);

    passed_on!(put);

    fn update<'a>(
        &'a self,
        which: Which,
        key: &'a str,
        update: &'a Update,
        terms: &'a Terms,
    ) -> BoxFuture<'a, Result<Item, TableError>> {
        let fate = *self.fate.lock().unwrap();
        Box::pin(async move {
            if let Fate::Frozen { before, .. } = fate {
                self.truth.stand_still(before);
            }
            let answer = self.inner.update(which, key, update, terms).await;
            match fate {
                Fate::Fine => {}
                Fate::Lost => {
                    return Err(TableError::Unavailable { maybe_done: true, detail: "gone".to_owned(), source: None });
                }
                Fate::Twice => _ = self.inner.update(which, key, update, terms).await,
                Fate::Frozen { after, .. } => self.truth.stand_still(after),
            }
            if answer.is_ok() {
                *self.given.lock().unwrap() = debited(update, terms, self.step);
            }
            answer
        })
    }

    passed_on!(delete);
}

/// Requests of one environment, so far apart, after a pause.
#[derive(Debug, Clone, Copy)]
struct Spell {
    environment: usize,
    pause: u64,
    requests: usize,
    apart: u64,
    fate: Fate,
}

fn spells() -> impl Strategy<Value = Vec<Spell>> {
    let stall = || prop_oneof![Just(0_u64), 1..20_u64, 100..3_000_u64];
    let fate = prop_oneof![
        5 => Just(Fate::Fine),
        1 => Just(Fate::Lost),
        1 => Just(Fate::Twice),
        2 => (stall(), stall()).prop_map(|(before, after)| Fate::Frozen { before, after }),
    ];
    let pause = prop_oneof![4 => 0..50_u64, 2 => 50..600_u64, 1 => 600..3_000_u64];
    let requests = prop_oneof![2 => 1..20_usize, 1 => 20..100_usize];
    let apart = prop_oneof![1 => Just(0), 2 => 0..12_u64];
    let spell = (0..3_usize, pause, requests, apart, fate)
        .prop_map(|(environment, pause, requests, apart, fate)| Spell { environment, pause, requests, apart, fate });
    prop::collection::vec(spell, 1..30)
}

/// When each admitted request counts, in true nanoseconds: what the table gave for it alone, from when its bucket is
/// debited; a leased token, when it is spent.
async fn admissions(environments: &[(Limits, i64)], table: &Fateful, spells: &[Spell]) -> Vec<i128> {
    let mut counted = Vec::new();
    for spell in spells {
        tokio::time::sleep(Duration::from_millis(spell.pause)).await;
        let (limits, off) = &environments[spell.environment % environments.len()];
        let clock = Off(Arc::clone(&table.truth), *off);
        for number in 0..spell.requests {
            *table.fate.lock().unwrap() = if number + 1 == spell.requests { spell.fate } else { Fate::Fine };
            *table.given.lock().unwrap() = None;
            let taken = take(limits, 1, table, &clock).await;
            let now = i128::from(table.truth.now().nanos());
            if taken.refused.is_none() {
                let given = *table.given.lock().unwrap();
                counted.push(given.map_or(now, |given| now.min(given - i128::from(*off))));
            }
            *table.fate.lock().unwrap() = Fate::Fine;
            taken.later.run(table, &clock).await;
            tokio::time::sleep(Duration::from_millis(spell.apart)).await;
        }
    }
    counted.sort_unstable();
    counted
}

/// By how many tokens, in billionths, the worst interval is beyond `burst` + `rate` × (its length + `more`).
fn beyond(counted: &[i128], rate: u64, burst: u64, more: i128) -> i128 {
    let depth = i128::from(burst) * 1_000_000_000 + i128::from(rate) * more;
    let (mut level, mut lowest, mut last) = (depth, depth, 0);
    for at in counted {
        level = depth.min(level + i128::from(rate) * (at - last)) - 1_000_000_000;
        (lowest, last) = (lowest.min(level), *at);
    }
    -lowest
}

fn on_a_paused_clock<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// P1, P3, P13: answers lost and updates doubled, environments frozen in the midst of asking, clocks apart.
    #[test]
    fn no_interval_sees_more_than_the_burst_and_the_rate_whatever_befalls_who_asks(
        rate in 5..300_u64, burst in 1..80_u64, leased in 0..2_usize,
        offs in prop_oneof![Just([0_i64; 3]), prop::array::uniform3(-5_000_000..=5_000_000_i64)], spells in spells(),
    ) {
        let counted = on_a_paused_clock(async {
            let table = Fateful::new(&Truth::begin(), rate);
            let environments = offs.map(|off| (limits([per_second(rate, bucket(burst), ACCURACIES[leased])]), off));
            admissions(&environments, &table, &spells).await
        });
        let apart = offs.iter().max().unwrap() - offs.iter().min().unwrap();
        let beyond = beyond(&counted, rate, burst, i128::from(2 * apart));
        prop_assert!(beyond <= 0, "{} tokens beyond", beyond as f64 / 1e9);
    }

    /// P10: while a config is rolled out some environments have the old limit and others the new.
    #[test]
    fn a_limit_that_changes_never_lets_pass_more_than_the_larger_and_one_burst(
        old in (5..200_u64, 1..60_u64), new in (5..200_u64, 1..60_u64), leased in 0..2_usize, spells in spells(),
    ) {
        let counted = on_a_paused_clock(async {
            let table = Fateful::new(&Truth::begin(), old.0.min(new.0));
            let of = |(rate, burst)| (limits([per_second(rate, bucket(burst), ACCURACIES[leased])]), 0);
            admissions(&[of(old), of(new), of(new)], &table, &spells).await
        });
        let beyond = beyond(&counted, old.0.max(new.0), old.1 + new.1, 0);
        prop_assert!(beyond <= 0, "{} tokens beyond", beyond as f64 / 1e9);
    }

    /// P5: an environment that was frozen asks before it lets pass.
    #[test]
    fn nothing_is_spent_of_a_lease_from_before_a_freeze(rate in 100..2_000_u64, freeze in 500..100_000_u64) {
        on_a_paused_clock(async {
            let (truth, table) = (Truth::begin(), FaultyTable::new(Fault::None));
            let limits = limits([per_second(rate, bucket(rate), Accuracy::Leased)]);
            hold_a_lease(&limits, &table, &*truth).await;
            truth.stand_still(freeze);
            let before = table.updates();
            assert!(take(&limits, 1, &table, &*truth).await.refused.is_none());
            assert!(table.updates() > before, "it passed without being asked for");
        });
    }

    /// P6: nor from before its clock stepped back, however little beyond what clocks may be off.
    #[test]
    fn nothing_is_spent_of_a_lease_from_before_a_step_back(rate in 100..2_000_u64, step in 5_000_001..90_000_000_000_i64) {
        on_a_paused_clock(async {
            let (truth, table) = (Truth::begin(), FaultyTable::new(Fault::None));
            let limits = limits([per_second(rate, bucket(rate), Accuracy::Leased)]);
            hold_a_lease(&limits, &table, &*truth).await;
            // A table that does not answer: whatever passes now is spent from what is held.
            table.becomes(Fault::Unavailable);
            let back = Off(Arc::clone(&truth), -step);
            assert_eq!(admitted(&limits, 5, &table, &back).await, 0);
        });
    }

    /// P4: whether what is over was deleted, or lies there still, makes no difference to one that knew
    /// the item, nor to those that did not. (Who writes again and again may keep away for longer from an item that others
    /// wrote, and lease more or less of it.)
    #[test]
    fn an_item_that_is_over_is_as_good_as_deleted(
        which in 0..ALGORITHMS.len(), count in 1..30_u64, first in 1..40_usize,
        more in prop::collection::vec(0..300_u64, 1..40),
    ) {
        let after = |deleted| on_a_paused_clock(async {
            let (truth, table) = (Truth::begin(), MemoryTable::default());
            let environment = || per_second(count, ALGORITHMS[which](count), Accuracy::Exact);
            let old = environment();
            let item = old.items().stem.key(None).item();
            let old = limits([old]);
            admitted(&old, first, &table, &*truth).await;
            let items = table.get_many(Which::Hot, &[&item], Reading::Strong).await.unwrap();
            let over = u64::try_from(items[0].as_ref().unwrap().number("x").unwrap()).unwrap();
            truth.stand_still(over * 1_000 + 1 - truth.now().millis());
            if deleted {
                table.delete(Which::Hot, &item, &Terms::default()).await.unwrap();
            }
            let mut passed = vec![take(&old, 1, &table, &*truth).await.refused.is_none()];
            for pause in &more {
                tokio::time::sleep(Duration::from_millis(*pause)).await;
                passed.push(take(&limits([environment()]), 1, &table, &*truth).await.refused.is_none());
            }
            passed
        });
        prop_assert_eq!(after(true), after(false), "{}", ALGORITHMS[which](count));
    }

    /// P9: what an environment refuses without asking, the table would refuse.
    #[test]
    fn before_a_denial_ends_an_environment_that_knows_nothing_is_denied_too(
        which in 0..ALGORITHMS.len(), count in 1..30_u64, leased in 0..2_usize,
        pauses in prop::collection::vec(0..200_u64, 1..80), early in 1..1_000_000_000_u64,
    ) {
        on_a_paused_clock(async {
            let (truth, table) = (Truth::begin(), MemoryTable::default());
            let algorithm = ALGORITHMS[which](count);
            let environment = || limits([per_second(count, algorithm, ACCURACIES[leased])]);
            let knowing = environment();
            for pause in pauses {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                let taken = take(&knowing, 1, &table, &*truth).await;
                if taken.refused.is_some() {
                    let wait = u64::try_from(retry_after(&taken).as_nanos()).unwrap();
                    // Within what clocks may be off of a boundary a request waits for the new window.
                    let least = if algorithm == Algorithm::FixedWindow { 20_000_000 } else { 1 };
                    for early in [least, least + early].into_iter().filter(|early| *early < wait) {
                        let moment = TestClock::at(0);
                        moment.set_nanos(truth.now().nanos() + wait - early);
                        let other = take(&environment(), 1, &table, &moment).await;
                        assert!(other.refused.is_some(), "{algorithm} {early} ns early");
                    }
                }
            }
        });
    }
}

/// Asks until tokens are held that were not spent.
async fn hold_a_lease(limits: &Limits, table: &FaultyTable, clock: &dyn Clock) {
    for _ in 0..400 {
        let before = table.updates();
        let taken = take(limits, 1, table, clock).await;
        assert!(taken.refused.is_none());
        if table.updates() == before && taken.later.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("no lease was held");
}

/// P11: environments that are all refused keep out of each other's way.
#[tokio::test(start_paused = true)]
async fn an_item_is_not_asked_more_than_it_bears_however_much_is_wanted() {
    let (truth, table) = (Truth::begin(), FaultyTable::new(Fault::None));
    let environments: Vec<_> = (0..150).map(|_| limits([per_second(200, bucket(200), Accuracy::Leased)])).collect();
    let (mut passed, mut busiest, mut before) = (0, 0, 0);
    for tick in 0..600_usize {
        for environment in environments.iter().skip(tick % 2).step_by(2) {
            let taken = take(environment, 1, &table, &*truth).await;
            passed += usize::from(taken.refused.is_none());
            taken.later.run(&table, &*truth).await;
        }
        if tick % 200 == 199 {
            busiest = busiest.max(table.updates() - before);
            before = table.updates();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!((650..=800).contains(&passed), "{passed} of 200 and 200 a second for three seconds");
    assert!(busiest <= 1_100, "{busiest} writes in a second");
}

/// P1 at its tightest: another takes all there is just before what is leased is spent.
#[tokio::test(start_paused = true)]
async fn a_lease_that_is_spent_at_its_end_and_a_burst_just_then_are_no_more_than_the_burst() {
    let (truth, table) = (Truth::begin(), FaultyTable::new(Fault::None));
    let leasing = limits([per_second(100, bucket(100), Accuracy::Leased)]);
    let other = limits([per_second(100, bucket(100), Accuracy::Exact)]);
    let mut leased = 0;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(16)).await;
        let before = table.updates();
        let taken = take(&leasing, 1, &table, &*truth).await;
        assert!(taken.refused.is_none());
        if table.updates() > before {
            tokio::time::sleep(Duration::from_millis(240)).await;
            table.becomes(Fault::None);
            let at_once = admitted(&other, 300, &table, &*truth).await;
            // Whatever passes without the table is spent of the lease.
            table.becomes(Fault::Unavailable);
            let held = admitted(&leasing, 50, &table, &*truth).await;
            assert!(at_once + held <= 100, "{at_once} and {held}");
            leased = leased.max(held);
            table.becomes(Fault::None);
            tokio::time::sleep(Duration::from_secs(2)).await;
            for _ in 0..40 {
                assert!(take(&leasing, 1, &table, &*truth).await.refused.is_none());
                tokio::time::sleep(Duration::from_millis(16)).await;
            }
        }
    }
    assert!(leased >= 3, "{leased} tokens were held at most");
}
