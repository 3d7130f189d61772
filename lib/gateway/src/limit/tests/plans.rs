//! Plans and their quotas over a table.

use super::*;

/// 2026-03-28, 12:00 in Berlin; clocks there are set forward in the night after.
const SATURDAY: u64 = 1_774_695_600_000;
const HOUR: u64 = 3_600_000;

/// A rate of so many an hour and a quota of so many a `per` in Berlin.
fn plan(name: &str, rate: u64, limit: u64, per: Per) -> Arc<Plan> {
    plan_on(name, rate, limit, per, OnStoreFailure::Closed)
}

fn plan_on(name: &str, rate: u64, limit: u64, per: Per, on_store_failure: OnStoreFailure) -> Arc<Plan> {
    let rate = counted_on(
        &format!("plan:{name}"),
        &format!("{rate}/h"),
        "caller.tenant",
        Algorithm::TokenBucket { burst: rate },
        "1",
        OnStoreFailure::Open,
    );
    let zone = Zone::find("Europe/Berlin").unwrap();
    let quota_name = format!("plan:{name}:quota").into();
    let limit = Rate { count: limit, per };
    let quota = Limit::new("shop".into(), quota_name, limit, LimitKey::Caller, on_store_failure);
    let quota = quota.counted_by(Algorithm::Quota { zone, soft: false }).of_plan(name);
    Arc::new(Plan { name: name.into(), limits: vec![rate, Arc::new(quota)] })
}

fn by_plan(plans: impl IntoIterator<Item = Arc<Plan>>, default: Option<&str>, mode: Mode) -> Use {
    let plans: Plans = Arc::new(plans.into_iter().map(|plan| (plan.name.to_string(), plan)).collect());
    let default = default.map(|name| Arc::clone(&plans[name]));
    Use { limit: Used::Plan(Arc::new(ByPlan { name: "plan".into(), plans, default })), mode }
}

/// What an environment has that knows one plan.
fn only(plan: Arc<Plan>) -> Limits {
    Limits(vec![by_plan([plan], None, Mode::Enforce)])
}

async fn take_as(limits: &Limits, caller: &Caller, table: &dyn Table, clock: &dyn Clock) -> Taken {
    let headers = HeaderMap::new();
    let facts = facts(&headers, "/", IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), clock);
    let around = Around { table, clock, seed: 1, deadline: None, environments: Some(NonZeroU32::MIN) };
    limits.take(Held::default(), &facts, caller, around).await
}

/// A request whose answer is out: what it gives back is given back.
async fn ask_as(limits: &Limits, caller: &Caller, table: &dyn Table, clock: &dyn Clock) -> Option<Refusal> {
    let taken = take_as(limits, caller, table, clock).await;
    taken.later.run(table, clock).await;
    taken.refused
}

/// How many of `asked` requests pass.
async fn passing(limits: &Limits, caller: &Caller, asked: usize, table: &dyn Table, clock: &dyn Clock) -> usize {
    let mut passing = 0;
    for _ in 0..asked {
        passing += usize::from(ask_as(limits, caller, table, clock).await.is_none());
    }
    passing
}

fn acme(plan: &str) -> Caller {
    Caller::of_test("key-1", "acme", plan)
}

/// The item of the tenant's quota.
fn quota_item(plan: &str, per: Per, label: &str) -> String {
    let kind = format!("quota/{}", per.secs());
    let key = Stem::new("shop", &format!("plan:{plan}:quota"), &kind).key(Some(("", "acme"))).item();
    format!("q#{plan}#{}#{label}", key.strip_prefix("rl#").unwrap())
}

async fn attribute(table: &dyn Table, key: &str, name: &str) -> Option<i128> {
    let item = table.get_many(Which::Hot, &[key], Reading::Strong).await.unwrap().pop().flatten();
    item.and_then(|item| item.number(name))
}

#[tokio::test]
async fn a_caller_may_take_what_its_plan_says() {
    let plans = [plan("free", 3, 100, Per::Day), plan("pro", 100, 5, Per::Day)];
    let limits = Limits(vec![by_plan(plans, None, Mode::Enforce)]);
    let (table, clock) = (MemoryTable::default(), TestClock::at(SATURDAY));
    let (free, pro) = (Caller::of_test("a", "small", "free"), Caller::of_test("b", "large", "pro"));
    assert_eq!(passing(&limits, &free, 9, &table, &clock).await, 3, "by its rate");
    assert_eq!(passing(&limits, &pro, 9, &table, &clock).await, 5, "by its quota");
    let taken = take_as(&limits, &free, &table, &clock).await;
    assert_eq!(taken.plan.as_deref(), Some("free"));
    assert_eq!(
        taken.fields["ratelimit-policy"], r#""plan:free";q=3;w=3600, "plan:free:quota";q=100;w=86400"#,
        "what was not asked comes last"
    );
}

#[tokio::test(start_paused = true)]
async fn a_quota_by_what_a_limit_counts_by_begins_anew_with_its_period() {
    let (table, clock) = (MemoryTable::default(), TestClock::at(SATURDAY));
    let rate = counted_on("plan:pro", "1000/h", "caller.tenant", Algorithm::FixedWindow, "1", OnStoreFailure::Open);
    let scope = Scope { place: Place::LimitKey, params: &[], env: &BTreeMap::new() };
    let by = LimitKey::By(Expression::compile("caller.tenant", &scope).unwrap());
    let limit = Rate { count: 3, per: Per::Day };
    let quota = Limit::new("shop".into(), "plan:pro:quota".into(), limit, by, OnStoreFailure::Closed);
    let quota = quota.counted_by(Algorithm::Quota { zone: Zone::UTC, soft: false }).of_plan("pro");
    let quota = Arc::new(quota.accurate(Accuracy::Exact));
    share_items(&[&rate, &quota]);
    let limits = only(Arc::new(Plan { name: "pro".into(), limits: vec![rate, quota] }));
    for _ in 0..3 {
        assert_eq!(passing(&limits, &acme("pro"), 5, &table, &clock).await, 3, "a day");
        let tomorrow = clock.now().plus(Duration::from_secs(86_400));
        clock.set_nanos(tomorrow.nanos());
    }
}

#[tokio::test]
async fn the_fields_of_a_quota_tell_its_period() {
    let limits = only(plan("pro", 1_000, 10, Per::Day));
    let (table, clock) = (MemoryTable::default(), TestClock::at(SATURDAY));
    let taken = take_as(&limits, &acme("pro"), &table, &clock).await;
    assert_eq!(taken.fields["ratelimit-policy"], r#""plan:pro:quota";q=10;w=86400, "plan:pro";q=1000;w=3600"#);
    assert_eq!(taken.fields["ratelimit"], r#""plan:pro:quota";r=9;t=43200, "plan:pro";r=999;t=4"#);
    let names: Vec<_> = taken.verdicts.iter().map(|verdict| (&*verdict.name, verdict.remaining)).collect();
    assert_eq!(names, [("plan:pro", 999), ("plan:pro:quota", 9)]);
    clock.set(SATURDAY + 24 * HOUR);
    let taken = take_as(&limits, &acme("pro"), &table, &clock).await;
    let policy = taken.fields["ratelimit-policy"].to_str().unwrap();
    assert!(policy.starts_with(r#""plan:pro:quota";q=10;w=82800, "#), "a day of 23 hours: {policy}");
    assert_eq!(passing(&limits, &acme("pro"), 20, &table, &clock).await, 9);
    let refused = ask_as(&limits, &acme("pro"), &table, &clock).await;
    let Some(Refusal::OverLimit { limit, retry_after }) = refused else { panic!("over: {refused:?}") };
    assert_eq!((&*limit, retry_after.as_secs()), ("plan:pro:quota", 11 * 3600), "13:00 in summer time");
}

#[tokio::test]
async fn each_period_has_an_item_of_its_own_which_outlives_it() {
    let (table, clock) = (MemoryTable::default(), TestClock::at(SATURDAY));
    for (per, label, end) in [
        (Per::Hour, "2026032812", 1),
        (Per::Day, "20260328", 12),
        (Per::Week, "20260323", 35),
        (Per::Month, "20260301", 83),
    ] {
        assert_eq!(passing(&only(plan("pro", 1_000, 2, per)), &acme("pro"), 5, &table, &clock).await, 2);
        let key = quota_item("pro", per, label);
        assert_eq!(attribute(&table, &key, "u").await, Some(2), "{key}");
        let end = i128::from((SATURDAY + end * HOUR) / 1000);
        assert_eq!(attribute(&table, &key, "x").await, Some(end + 2 * 86_400 + 121), "{key}");
    }
}

#[tokio::test]
async fn tenants_count_together_and_callers_without_one_alone() {
    let limits = only(plan("pro", 1_000, 2, Per::Day));
    let (table, clock) = (MemoryTable::default(), TestClock::at(SATURDAY));
    let ask = async |id, tenant| passing(&limits, &Caller::of_test(id, tenant, "pro"), 1, &table, &clock).await;
    assert_eq!([ask("a", "acme").await, ask("b", "acme").await, ask("c", "acme").await], [1, 1, 0]);
    assert_eq!([ask("acme", "").await, ask("acme", "").await, ask("acme", "").await], [1, 1, 0], "an id is no tenant");
    assert_eq!(ask("a", "").await, 1);
}

#[tokio::test]
async fn a_caller_without_a_plan_of_the_config_is_refused_and_the_table_not_asked() {
    let limits = only(plan("pro", 9, 9, Per::Day));
    let (table, clock) = (FaultyTable::new(Fault::None), TestClock::at(SATURDAY));
    for plan in ["", "gold"] {
        let taken = take_as(&limits, &acme(plan), &table, &clock).await;
        let refusal = taken.refused.expect("a refusal");
        assert_eq!((refusal.code(), refusal.wire().status.as_u16()), ("plan_unknown", 403));
        assert!(taken.fields.is_empty() && taken.verdicts.is_empty() && taken.plan.is_none());
    }
    assert_eq!(table.updates(), 0);
}

#[tokio::test]
async fn with_a_default_who_has_no_plan_of_the_config_has_that() {
    let plans = || [plan("free", 2, 9, Per::Day), plan("pro", 9, 9, Per::Day)];
    let limits = Limits(vec![by_plan(plans(), Some("free"), Mode::Enforce)]);
    let (table, clock) = (MemoryTable::default(), TestClock::at(SATURDAY));
    for (tenant, plan, passes) in [("a", "", 2), ("b", "gold", 2), ("c", "pro", 5)] {
        assert_eq!(passing(&limits, &Caller::of_test("k", tenant, plan), 5, &table, &clock).await, passes, "{plan:?}");
    }
    let taken = take_as(&limits, &acme("gold"), &table, &clock).await;
    assert_eq!(taken.plan.as_deref(), Some("free"));
}

#[tokio::test]
async fn in_shadow_a_plan_counts_and_refuses_nobody() {
    let limits = Limits(vec![by_plan([plan("pro", 9, 1, Per::Day)], None, Mode::Shadow)]);
    let (table, clock) = (MemoryTable::default(), TestClock::at(SATURDAY));
    let taken = take_as(&limits, &acme("gold"), &table, &clock).await;
    assert!(taken.refused.is_none());
    assert_eq!(taken.shadowed.codes(), ["plan_unknown"]);
    assert!(take_as(&limits, &acme("pro"), &table, &clock).await.shadowed.all().is_empty());
    let taken = take_as(&limits, &acme("pro"), &table, &clock).await;
    assert!(taken.refused.is_none() && taken.fields.is_empty());
    assert_eq!(taken.shadowed.codes(), ["over_limit"]);
    let off = Limits(vec![by_plan([plan("pro", 9, 1, Per::Day)], None, Mode::Off)]);
    let taken = take_as(&off, &acme("gold"), &table, &clock).await;
    assert!(taken.refused.is_none() && taken.plan.is_none() && taken.shadowed.all().is_empty());
}

#[tokio::test]
async fn what_a_rate_refuses_gives_its_token_of_the_quota_back() {
    let plan = by_plan([plan("pro", 1_000, 100, Per::Day)], None, Mode::Enforce);
    let limits = Limits(vec![plan, limit("search", "2/min", "global").into()]);
    let (table, clock) = (MemoryTable::default(), TestClock::at(SATURDAY + 9_000));
    assert_eq!(passing(&limits, &acme("pro"), 2, &table, &clock).await, 2);
    // Another environment does not know yet that `search` is over, and takes from the quota first.
    let other = Limits(vec![
        by_plan([self::plan("pro", 1_000, 100, Per::Day)], None, Mode::Enforce),
        limit("search", "2/min", "global").into(),
    ]);
    let taken = take_as(&other, &acme("pro"), &table, &clock).await;
    assert!(matches!(&taken.refused, Some(Refusal::OverLimit { limit, .. }) if &**limit == "search"));
    let key = quota_item("pro", Per::Day, "20260328");
    assert_eq!(attribute(&table, &key, "u").await, Some(3));
    let remaining = taken.verdicts.iter().find(|verdict| &*verdict.name == "plan:pro:quota").unwrap().remaining;
    assert_eq!(remaining, 98, "as it is once that is given back");
    clock.set(SATURDAY + 13 * HOUR);
    taken.later.run(&table, &clock).await;
    assert_eq!(attribute(&table, &key, "u").await, Some(2), "to the day it was taken from");
    assert_eq!(attribute(&table, &quota_item("pro", Per::Day, "20260329"), "u").await, None);
}

#[tokio::test]
async fn what_a_quota_refuses_gives_its_token_of_the_rate_back() {
    let (table, clock) = (MemoryTable::default(), TestClock::at(SATURDAY));
    let environment = || only(plan("pro", 5, 2, Per::Day));
    assert_eq!(passing(&environment(), &acme("pro"), 2, &table, &clock).await, 2);
    for _ in 0..9 {
        let taken = take_as(&environment(), &acme("pro"), &table, &clock).await;
        assert!(
            matches!(&taken.refused, Some(Refusal::OverLimit { limit, .. }) if &**limit == "plan:pro:quota"),
            "the rate is never used up: {:?}",
            taken.refused
        );
        taken.later.run(&table, &clock).await;
    }
}

#[tokio::test]
async fn a_quota_that_is_known_to_be_used_up_is_not_asked_again_for_ten_seconds() {
    let (table, clock) = (FaultyTable::new(Fault::None), TestClock::at(SATURDAY));
    let (limits, other) = (only(plan("pro", 1_000, 2, Per::Month)), only(plan("pro", 1_000, 2, Per::Month)));
    assert_eq!(passing(&limits, &acme("pro"), 2, &table, &clock).await, 2);
    let updates = table.updates();
    clock.set(SATURDAY + 9_999);
    assert_eq!(passing(&limits, &acme("pro"), 50, &table, &clock).await, 0);
    assert_eq!(table.updates(), updates);
    // Another environment gives one back, which this one finds out.
    let give = (Update::new().add("u", -1), Terms::default());
    table.update(Which::Hot, &quota_item("pro", Per::Month, "20260301"), &give.0, &give.1).await.unwrap();
    assert_eq!(passing(&limits, &acme("pro"), 1, &table, &clock).await, 0);
    clock.set(SATURDAY + 10_000);
    assert_eq!(passing(&limits, &acme("pro"), 5, &table, &clock).await, 1);
    assert_eq!(passing(&other, &acme("pro"), 5, &table, &clock).await, 0);
}

#[tokio::test]
async fn many_tenants_of_a_month_leave_room_for_those_that_come_later() {
    let (table, clock) = (FaultyTable::new(Fault::None), TestClock::at(SATURDAY));
    let zone = Zone::UTC;
    let rate = Rate { count: 1, per: Per::Month };
    let quota = Limit::new("shop".into(), "plan:pro:quota".into(), rate, LimitKey::Caller, OnStoreFailure::Closed);
    let quota = quota.counted_by(Algorithm::Quota { zone, soft: false }).of_plan("pro");
    let limits = only(Arc::new(Plan { name: "pro".into(), limits: vec![Arc::new(quota)] }));
    for tenant in 0..9_000 {
        ask_as(&limits, &Caller::of_test("k", &tenant.to_string(), "pro"), &table, &clock).await;
    }
    clock.set(SATURDAY + 11_000);
    assert_eq!(passing(&limits, &acme("pro"), 1, &table, &clock).await, 1);
    let updates = table.updates();
    assert_eq!(passing(&limits, &acme("pro"), 20, &table, &clock).await, 0);
    assert_eq!(table.updates(), updates, "what was seen found room");
}

#[tokio::test]
async fn what_was_known_of_a_day_does_not_count_in_the_next() {
    let (limits, table, clock) =
        (only(plan("pro", 1_000, 2, Per::Day)), MemoryTable::default(), TestClock::at(SATURDAY + 12 * HOUR - 1));
    assert_eq!(passing(&limits, &acme("pro"), 5, &table, &clock).await, 2);
    clock.set(SATURDAY + 12 * HOUR);
    assert_eq!(passing(&limits, &acme("pro"), 5, &table, &clock).await, 2);
    clock.set(SATURDAY + (12 + 23) * HOUR - 1);
    assert_eq!(passing(&limits, &acme("pro"), 5, &table, &clock).await, 0);
    clock.set(SATURDAY + (12 + 23) * HOUR);
    assert_eq!(passing(&limits, &acme("pro"), 5, &table, &clock).await, 2, "after a day of 23 hours");
}

#[tokio::test]
async fn a_reply_that_is_lost_counts_as_spent() {
    let (limits, table, clock) =
        (only(plan("pro", 1_000, 5, Per::Day)), FaultyTable::new(Fault::Lost), TestClock::at(SATURDAY));
    for _ in 0..2 {
        let taken = take_as(&limits, &acme("pro"), &table, &clock).await;
        assert!(matches!(taken.refused, Some(Refusal::StateUnavailable { .. })));
        taken.later.run(&table, &clock).await;
    }
    table.becomes(Fault::None);
    assert_eq!(passing(&limits, &acme("pro"), 9, &table, &clock).await, 3);
    assert_eq!(attribute(&table, &quota_item("pro", Per::Day, "20260328"), "u").await, Some(5));
}

#[tokio::test]
async fn a_return_is_sent_once_and_never_takes_a_count_below_nothing() {
    let (table, clock) = (FaultyTable::new(Fault::None), TestClock::at(SATURDAY + 9_000));
    let environment = || {
        let plan = by_plan([plan("pro", 1_000, 100, Per::Day)], None, Mode::Enforce);
        Limits(vec![plan, limit("search", "1/min", "global").into()])
    };
    assert_eq!(passing(&environment(), &acme("pro"), 1, &table, &clock).await, 1);
    let taken = take_as(&environment(), &acme("pro"), &table, &clock).await;
    let asked = table.updates();
    table.becomes(Fault::Unavailable);
    taken.later.run(&table, &clock).await;
    assert_eq!(table.updates(), asked + 2, "the quota's and the rate's, once each");
    table.becomes(Fault::None);
    let key = quota_item("pro", Per::Day, "20260328");
    assert_eq!(attribute(&table, &key, "u").await, Some(2), "lost, which only admits fewer");
    let taken = take_as(&environment(), &acme("pro"), &table, &clock).await;
    let reset = (Update::new().set("u", 0), Terms::default());
    table.update(Which::Hot, &key, &reset.0, &reset.1).await.unwrap();
    taken.later.run(&table, &clock).await;
    assert_eq!(attribute(&table, &key, "u").await, Some(0));
}

#[tokio::test]
async fn without_the_table_a_quota_is_closed_or_what_it_says() {
    for fault in [Fault::Unavailable, Fault::Throttled] {
        let (table, clock) = (FaultyTable::new(fault), TestClock::at(SATURDAY));
        let taken = take_as(&only(plan("pro", 9, 2, Per::Day)), &acme("pro"), &table, &clock).await;
        let Some(Refusal::StateUnavailable { policy }) = &taken.refused else { panic!("{:?}", taken.refused) };
        assert_eq!(&**policy, "plan:pro:quota");
        let open = only(plan_on("pro", 9, 2, Per::Day, OnStoreFailure::Open));
        assert_eq!(passing(&open, &acme("pro"), 5, &table, &clock).await, 5);
        let local = only(plan_on("pro", 9, 2, Per::Day, OnStoreFailure::Local));
        assert_eq!(passing(&local, &acme("pro"), 5, &table, &clock).await, 2);
        clock.set(SATURDAY + 12 * HOUR);
        assert_eq!(passing(&local, &acme("pro"), 5, &table, &clock).await, 2, "a new day in this environment too");
    }
}

#[tokio::test]
async fn a_soft_quota_refuses_nobody_and_tells_what_is_beyond_it() {
    let zone = Zone::find("Europe/Berlin").unwrap();
    let rate = Rate { count: 2, per: Per::Day };
    let quota = Limit::new("shop".into(), "plan:pro:quota".into(), rate, LimitKey::Caller, OnStoreFailure::Open);
    let quota = quota.counted_by(Algorithm::Quota { zone, soft: true }).of_plan("pro");
    let limits = only(Arc::new(Plan { name: "pro".into(), limits: vec![Arc::new(quota)] }));
    let (table, clock) = (FaultyTable::new(Fault::None), TestClock::at(SATURDAY));
    for (left, beyond) in [(1, false), (0, false), (0, true), (0, true)] {
        let taken = take_as(&limits, &acme("pro"), &table, &clock).await;
        assert!(taken.refused.is_none());
        assert_eq!(taken.fields["ratelimit"], format!(r#""plan:pro:quota";r={left};t=43200"#));
        assert_eq!(taken.shadowed.codes(), if beyond { vec!["over_limit"] } else { Vec::new() });
    }
    assert_eq!(attribute(&table, &quota_item("pro", Per::Day, "20260328"), "u").await, Some(4), "all are counted");
    table.becomes(Fault::Unavailable);
    assert!(take_as(&limits, &acme("pro"), &table, &clock).await.refused.is_none());
}

proptest! {
    /// Whatever the environments, their clocks, the faults and the moments: no period admits more than the quota, and
    /// where nothing was lost, each admits all that was asked up to it.
    #[test]
    fn a_period_admits_its_quota_over_all_environments_and_never_more(
        steps in proptest::collection::vec((0usize..3, 0u64..5 * HOUR, 0u8..12), 1..120),
        limit in 1u64..8,
        per in proptest::sample::select(vec![Per::Hour, Per::Day, Per::Week]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let table = FaultyTable::new(Fault::None);
            let environments: Vec<_> = (0..3).map(|_| only(plan("pro", 100_000, limit, per))).collect();
            let calendar = calendar::Calendar::new(Zone::find("Europe/Berlin").unwrap(), per);
            // Clocks differ by a minute; each environment counts by its own.
            let clocks: Vec<_> = (0..3).map(|_| TestClock::at(SATURDAY)).collect();
            let mut now = SATURDAY;
            let mut counts: BTreeMap<u64, (u64, u64, u64)> = BTreeMap::new();
            for (environment, later, fault) in steps {
                now += later / 4;
                let its = now + environment as u64 * 60_000;
                clocks[environment].set(its);
                let fault = match fault { 0 => Fault::Lost, 1 => Fault::Unavailable, _ => Fault::None };
                table.becomes(fault);
                let refused = ask_as(&environments[environment], &acme("pro"), &table, &clocks[environment]).await;
                let label = calendar.period(Timestamp::from_millis(its)).label;
                let (asked, admitted, lost) = counts.entry(label).or_default();
                *asked += 1;
                *admitted += u64::from(refused.is_none());
                *lost += u64::from(!matches!(fault, Fault::None));
            }
            for (label, (asked, admitted, lost)) in counts {
                assert!(admitted <= limit, "{label}: {admitted} of {limit}");
                assert!(admitted + lost >= asked.min(limit), "{label}: {admitted} of {asked}, {lost} lost");
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_without_a_plan_gives_back_what_was_taken_before_it_was_known() {
    let (table, clock) = (FaultyTable::new(Fault::None), TestClock::at(NOON));
    let early = Arc::into_inner(counted("early", "3/min", "request.ip", Algorithm::FixedWindow, "1")).unwrap();
    let by_plan = ByPlan { name: "plan".into(), plans: Plans::default(), default: None };
    let early = Use::from(Arc::new(early.before_identify(true)));
    let limits = Limits(vec![early, Use { limit: Used::Plan(Arc::new(by_plan)), mode: Mode::Enforce }]);
    let headers = HeaderMap::new();
    let facts = facts(&headers, "/", IpAddr::V4(Ipv4Addr::LOCALHOST), &clock);
    let around = Around { table: &table, clock: &clock, seed: 1, deadline: None, environments: None };
    for _ in 0..9 {
        let (before, held) = limits.take_before(&facts, around).await;
        assert!(before.refused.is_none());
        let taken = limits.take(held, &facts, &Caller::of_test("", "", ""), around).await;
        assert_eq!(taken.refused.as_ref().map(Refusal::code), Some("plan_unknown"));
        assert!(taken.fields.contains_key("ratelimit"), "and is told of the limit it was held to");
        taken.later.run(&table, &clock).await;
    }
}
