//! The shared table on DynamoDB: the contract, that it answers as memory does, and that clients count together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tollgate::auth::Auth;
use tollgate::clock::{Clock, Timestamp};
use tollgate::exchange::{LimitVerdict, Scheme};
use tollgate::expression::{Expression, Facts, Params, Place, Scope};
use tollgate::limit::{
    Accuracy, Algorithm, Around, Held, Limit, LimitKey, Limits, OnStoreFailure, Rate, Taken, Use, Zone,
};
use tollgate::refusal::Refusal;
use tollgate::table::{
    Assigned, Condition, Item, KEY, Members, MemoryTable, Operand, Path, Reading, Subject, Table, TableError, Terms,
    Update, Value, Which,
};
use tollgate_adapters::table::DynamoTable;

use crate::dynamo;

async fn dynamo_table() -> Arc<dyn Table> {
    dynamo::table().await
}

tollgate::table_contract!(dynamo_table);

#[tokio::test]
async fn two_processes_may_make_the_tables_at_once() {
    let endpoint = dynamo::start();
    let clients = [
        DynamoTable::connect(dynamo::settings(&endpoint)).await,
        DynamoTable::connect(dynamo::settings(&endpoint)).await,
    ];
    let [one, other] = clients.each_ref().map(|client| client.create_tables());
    let (one, other) = tokio::join!(one, other);
    one.unwrap();
    other.unwrap();
    clients[0].create_tables().await.unwrap();
    clients[1].put(Which::Control, "k", Item::new(), &Terms::default()).await.unwrap();
}

/// A clock that stands in the midst of a window, so that a test is not cut in two by its end.
#[derive(Debug)]
struct Midst;

impl Clock for Midst {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_049_000)
    }
}

pub(crate) async fn passes(limits: &Limits, ip: u8, table: &dyn Table) -> bool {
    take(limits, ip, table, &Midst).await.refused.is_none()
}

async fn take(limits: &Limits, ip: u8, table: &dyn Table, clock: &dyn Clock) -> Taken {
    let facts = Facts {
        method: &http::Method::GET,
        path: "/",
        query: None,
        headers: &http::HeaderMap::new(),
        host: "api.example.com",
        id: "id-1",
        ip: IpAddr::V4(Ipv4Addr::new(192, 0, 2, ip)),
        scheme: Scheme::Https,
        params: &Params::default(),
        caller: None,
        route: "route",
        response: None,
        now: clock.now(),
    };
    let caller = Auth::Public.public().unwrap();
    let environments = Some(std::num::NonZeroU32::MIN);
    limits.take(Held::default(), &facts, &caller, Around { table, clock, seed: 1, deadline: None, environments }).await
}

pub(crate) fn per_ip(config: &str, rate: &str, on_store_failure: OnStoreFailure) -> Limits {
    let scope = Scope { place: Place::LimitKey, params: &[], env: &BTreeMap::new() };
    let by = LimitKey::By(Expression::compile("request.ip", &scope).unwrap());
    let rate = Rate::parse(rate).unwrap();
    Limits(vec![Arc::new(Limit::new(config.into(), "per-ip".into(), rate, by, on_store_failure)).into()])
}

/// A clock that tests move.
#[derive(Debug, Default)]
struct Moved(AtomicU64);

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        Midst.now().plus(Duration::from_millis(self.0.load(Ordering::Relaxed)))
    }
}

const ALGORITHMS: [fn(u64) -> Algorithm; 7] = [
    |burst| Algorithm::TokenBucket { burst },
    |burst| Algorithm::LeakyBucket { burst, queue: Duration::from_millis(1) },
    |_| Algorithm::FixedWindow,
    |_| Algorithm::SlidingWindow { approximate: false },
    |_| Algorithm::SlidingWindow { approximate: true },
    |_| Algorithm::SlidingLog,
    |_| Algorithm::Quota { zone: Zone::UTC, soft: false },
];

type Said = Vec<(Option<&'static str>, http::HeaderMap, Vec<LimitVerdict>)>;

/// What the limits say of many requests: two environments, times between none and longer than the window, what is
/// refused given back, so that every branch is taken. `None` where the table did not answer in time.
async fn says(environment: &dyn Fn(&str) -> Limits, config: &str, table: &dyn Table) -> Option<Said> {
    let (environments, clock) = ([environment(config), environment(config)], Moved::default());
    let (mut said, mut dice) = (Vec::new(), 7_u64);
    for _ in 0..80 {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let pause = [0, 0, 0, 400, 3_000, 7_000, 20_000, 150_000][usize::try_from(dice >> 61).unwrap()];
        clock.0.fetch_add(pause, Ordering::Relaxed);
        let taken = take(&environments[usize::from(dice >> 40 & 1 == 1)], 1, table, &clock).await;
        let code = taken.refused.as_ref().map(Refusal::code);
        if code == Some("state_unavailable") {
            return None;
        }
        said.push((code, taken.fields, taken.verdicts));
        taken.later.run(table, &clock).await;
    }
    Some(said)
}

async fn decides_as_in_memory(name: &str, environment: &dyn Fn(&str) -> Limits) {
    let (dynamo, memory) = (dynamo::table().await, MemoryTable::default());
    let in_memory = says(environment, name, &memory).await.unwrap();
    assert!(in_memory.iter().filter(|(code, ..)| code.is_some()).count() > 10, "{name}");
    // A busy machine may not answer all of it within a request's patience: then anew.
    let mut on_dynamo = None;
    for turn in 0..5 {
        on_dynamo = says(environment, &format!("{name}-{turn}-{}", std::process::id()), &*dynamo).await;
        if on_dynamo.is_some() {
            break;
        }
    }
    assert_eq!(on_dynamo, Some(in_memory), "{name}");
}

fn limit(config: &str, name: &str, rate: &str, by: LimitKey, algorithm: Algorithm, accuracy: Accuracy) -> Use {
    let limit = Limit::new(config.into(), name.into(), Rate::parse(rate).unwrap(), by, OnStoreFailure::Closed);
    Arc::new(limit.counted_by(algorithm).accurate(accuracy)).into()
}

#[tokio::test]
async fn every_algorithm_decides_on_dynamodb_as_in_memory() {
    for algorithm in ALGORITHMS {
        // Quotas are by the hour at least.
        let rate = if matches!(algorithm(5), Algorithm::Quota { .. }) { "20/h" } else { "5/min" };
        let environment = |config: &str| {
            let exact = |name, rate, algorithm| limit(config, name, rate, LimitKey::Global, algorithm, Accuracy::Exact);
            Limits(vec![exact("l", rate, algorithm(5)), exact("all", "3/s", Algorithm::FixedWindow)])
        };
        decides_as_in_memory(&algorithm(5).to_string().replace(' ', "-"), &environment).await;
    }
}

#[tokio::test]
async fn limits_that_share_an_item_and_lease_of_it_decide_on_dynamodb_as_in_memory() {
    let scope = Scope { place: Place::LimitKey, params: &[], env: &BTreeMap::new() };
    let environment = |config: &str| {
        let by = || LimitKey::By(Expression::compile("request.ip", &scope).unwrap());
        let leased = |name, rate, algorithm| limit(config, name, rate, by(), algorithm, Accuracy::Leased);
        Limits(vec![
            leased("bucket", "20/min", Algorithm::TokenBucket { burst: 20 }),
            leased("window", "22/min", Algorithm::FixedWindow),
            leased("ring", "30/h", Algorithm::SlidingWindow { approximate: false }),
            leased("pair", "35/h", Algorithm::SlidingWindow { approximate: true }),
            leased("slow", "40/h", Algorithm::LeakyBucket { burst: 18, queue: Duration::ZERO }),
        ])
    };
    decides_as_in_memory("shared", &environment).await;
}

#[tokio::test]
async fn environments_that_count_on_one_table_at_once_admit_the_exact_sum() {
    dynamo::table().await;
    let config = format!("parallel-{}", std::process::id());
    // Enough environments that race, few enough that a busy machine answers each within a request's patience.
    let mut environments = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let table = DynamoTable::connect(dynamo::settings(dynamo::endpoint())).await;
        let limits = per_ip(&config, "13/min", OnStoreFailure::Closed);
        environments.spawn(async move {
            let mut admitted = [0; 2];
            for _ in 0..10 {
                for ip in [0, 1] {
                    admitted[usize::from(ip)] += u32::from(passes(&limits, ip, &*table).await);
                }
            }
            admitted
        });
    }
    let sums = environments.join_all().await.into_iter().reduce(|sum, one| [sum[0] + one[0], sum[1] + one[1]]);
    assert_eq!(sums, Some([13, 13]));
}

/// One operation of the model test, on one of few keys.
#[derive(Debug, Clone)]
enum Operation {
    Put(Item),
    Update(Update),
    Delete,
    Get,
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "size"])
}

fn number() -> impl Strategy<Value = i128> {
    prop_oneof![-3..4_i128, Just(99_999_999_999_999_999_999_i128)]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => number().prop_map(Value::Number),
        2 => prop::sample::select(vec!["", "a", "ä", "b"]).prop_map(Value::from),
        1 => prop::sample::select(vec![&[][..], &[0], &[1, 255]]).prop_map(|bytes| Bytes::from_static(bytes).into()),
        1 => any::<bool>().prop_map(Value::Bool),
        2 => members().prop_map(Value::Set),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| prop::collection::vec(inner, 0..4).prop_map(Value::List))
}

/// Rarely none, which is invalid.
fn members() -> impl Strategy<Value = Members> {
    prop_oneof![
        6 => prop::collection::btree_set("[ab]?", 1..3).prop_map(Members::Texts),
        4 => prop::collection::btree_set(number(), 1..3).prop_map(Members::Numbers),
        1 => Just(Members::Texts(BTreeSet::new())),
    ]
}

/// A value to compare with; rarely one without an order, which is invalid for most comparisons.
fn ordered() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => number().prop_map(Value::Number),
        2 => prop::sample::select(vec!["", "a", "ä", "b"]).prop_map(Value::from),
        1 => Just(Bytes::from_static(&[0]).into()),
        1 => value(),
    ]
}

fn path() -> impl Strategy<Value = Path> {
    prop_oneof![
        3 => name().prop_map(Path::from),
        2 => (name(), 0..4_usize).prop_map(|(name, index)| Path::element(name, index)),
        1 => (name(), 0..3_usize, 0..3_usize).prop_map(|(name, index, within)| Path::element(name, index).at(within)),
    ]
}

fn operand() -> impl Strategy<Value = Operand> {
    let leaf = prop_oneof![3 => value().prop_map(Operand::Value), 2 => path().prop_map(Operand::At)];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (path(), inner.clone()).prop_map(|(path, other)| Operand::IfNotExists(path, Box::new(other))),
            (inner.clone(), inner).prop_map(|(first, second)| Operand::ListAppend(Box::new(first), Box::new(second))),
        ]
    })
}

fn assigned() -> impl Strategy<Value = Assigned> {
    prop_oneof![
        3 => operand().prop_map(Assigned::Is),
        1 => (operand(), operand()).prop_map(|(left, right)| Assigned::Sum(left, right)),
        1 => (operand(), operand()).prop_map(|(left, right)| Assigned::Difference(left, right)),
    ]
}

fn update() -> impl Strategy<Value = Update> {
    #[derive(Debug, Clone)]
    enum One {
        Set(Path, Assigned),
        Add(&'static str, i128),
        Join(&'static str, Members),
        Remove(Path),
    }
    let one = prop_oneof![
        4 => (path(), assigned()).prop_map(|(path, to)| One::Set(path, to)),
        2 => (name(), number()).prop_map(|(name, by)| One::Add(name, by)),
        1 => (name(), members()).prop_map(|(name, members)| One::Join(name, members)),
        1 => path().prop_map(One::Remove),
    ];
    prop::collection::vec(one, 0..3).prop_map(|changes| {
        changes.into_iter().fold(Update::new(), |update, one| match one {
            One::Set(path, to) => update.set(path, to),
            One::Add(name, by) => update.add(name, by),
            One::Join(name, members) => update.join(name, members),
            One::Remove(path) => update.remove(path),
        })
    })
}

fn condition() -> impl Strategy<Value = Condition> {
    let subject = || prop_oneof![3 => path().prop_map(Subject::At), 1 => path().prop_map(Subject::Size)];
    let leaf = prop_oneof![
        prop_oneof![path(), Just(Path::from(KEY))].prop_map(Condition::Exists),
        prop_oneof![path(), Just(Path::from(KEY))].prop_map(Condition::Missing),
        (subject(), value()).prop_map(|(subject, value)| Condition::Equal(subject, value)),
        (subject(), ordered()).prop_map(|(subject, value)| Condition::Below(subject, value)),
        (subject(), ordered()).prop_map(|(subject, value)| Condition::AtMost(subject, value)),
        (subject(), ordered()).prop_map(|(subject, value)| Condition::AtLeast(subject, value)),
        (subject(), ordered(), ordered()).prop_map(|(subject, low, high)| Condition::Between(subject, low, high)),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        (inner.clone(), inner, any::<bool>())
            .prop_map(|(left, right, both)| if both { left.and(right) } else { left.or(right) })
    })
}

fn operations() -> impl Strategy<Value = Vec<(u8, Operation, Terms)>> {
    let item = prop::collection::btree_map(name(), value(), 0..4)
        .prop_map(|attributes| attributes.into_iter().map(|(name, value)| (name.into(), value)).collect());
    let operation = prop_oneof![
        2 => item.prop_map(Operation::Put),
        6 => update().prop_map(Operation::Update),
        1 => Just(Operation::Delete),
        1 => Just(Operation::Get),
    ];
    let terms = prop::option::weighted(0.5, condition()).prop_map(|condition| Terms { condition, ..Terms::default() });
    prop::collection::vec((0..2_u8, operation, terms), 1..12)
}

async fn run(table: &dyn Table, key: &str, operation: &Operation, terms: &Terms) -> Result<Option<Item>, String> {
    let answer = match operation {
        Operation::Put(item) => table.put(Which::Hot, key, item.clone(), terms).await.map(|()| None),
        Operation::Update(update) => table.update(Which::Hot, key, update, terms).await.map(Some),
        Operation::Delete => table.delete(Which::Hot, key, terms).await.map(|()| None),
        Operation::Get => table.get_many(Which::Hot, &[key], Reading::Strong).await.map(|mut items| items.remove(0)),
    };
    answer.map_err(|error| match error {
        TableError::Refused { old } => format!("refused: {old:?}"),
        TableError::Invalid { .. } => "invalid".to_owned(),
        other @ (TableError::Throttled { .. } | TableError::Unavailable { .. }) => panic!("{other}"),
    })
}

#[test]
fn any_sequence_of_operations_is_answered_as_memory_answers_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dynamo = runtime.block_on(dynamo::table());
    let prefix = format!("model-{}-{}", std::process::id(), tollgate::clock::SystemClock.now().nanos());
    let (mut cases, mut refused, mut invalid, mut done) = (0, 0, 0, 0);
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() });
    let counted = std::cell::RefCell::new((&mut cases, &mut refused, &mut invalid, &mut done));
    let property = |operations: Vec<(u8, Operation, Terms)>| {
        let memory = MemoryTable::default();
        let (cases, refused, invalid, done) = &mut *counted.borrow_mut();
        **cases += 1;
        for (key, operation, terms) in &operations {
            let key = format!("{prefix}-{cases}-{key}");
            let expected = runtime.block_on(run(&memory, &key, operation, terms));
            let got = runtime.block_on(run(&*dynamo, &key, operation, terms));
            match &expected {
                Ok(_) => **done += 1,
                Err(why) if why == "invalid" => **invalid += 1,
                Err(_) => **refused += 1,
            }
            prop_assert_eq!(&expected, &got, "{:?} {:?}", operation, terms);
        }
        Ok(())
    };
    runner.run(&operations(), property).unwrap();
    assert!(done > 200 && refused > 30 && invalid > 50, "too few of a kind: {done} {refused} {invalid}");
}
