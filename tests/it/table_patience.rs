//! How long anything waits for a table, whatever the table does: state.md §13.2. On tokio's paused clock, which moves on
//! when nothing else is left to do, so that the bounds are exact.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tollgate::limit::{Limits, OnStoreFailure};
use tollgate::table::{Condition, Item, Reading, Table, TableError, Terms, Update, Which};
use tollgate_adapters::table::{DynamoTable, Timeouts};

use crate::table::{passes, per_ip};
use crate::table_faults::{Moved, PATIENT, Reaction, Server, TAKEN};

/// A request's way and behind the response, each with the last look at what lies there.
const REQUEST: Duration = Duration::from_millis(130 + 2);
const BEHIND: Duration = Duration::from_millis(250 + 2);

/// Tokio's timers are due at whole milliseconds.
const TICK: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, Copy)]
enum Call {
    Add,
    Set,
    Put,
    Delete,
    Get,
    GetMany,
}

const CALLS: [Call; 6] = [Call::Add, Call::Set, Call::Put, Call::Delete, Call::Get, Call::GetMany];

impl Call {
    async fn make(self, table: &DynamoTable, behind: bool) -> Result<(), TableError> {
        let paced = |terms: Terms| if behind { terms.behind() } else { terms };
        let (once, twice) = (paced(Terms::default()), paced(Terms::when(Condition::missing("n")).idempotent()));
        let many: Vec<_> = (0..350).map(|number| number.to_string()).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        match self {
            Self::Add => table.update(Which::Hot, "k", &Update::new().add("n", 1), &once).await.map(drop),
            Self::Set => table.update(Which::Hot, "k", &Update::new().set("n", 1), &twice).await.map(drop),
            Self::Put => table.put(Which::Hot, "k", Item::new(), &twice).await,
            Self::Delete => table.delete(Which::Hot, "k", &once).await,
            Self::Get => table.get_many(Which::Hot, &["k"], Reading::Strong).await.map(drop),
            Self::GetMany => table.get_many(Which::Hot, &many, Reading::Eventual).await.map(drop),
        }
    }

    /// How long it may take.
    const fn bound(self, behind: bool) -> Duration {
        match self {
            Self::Add | Self::Set | Self::Put | Self::Delete if behind => BEHIND,
            Self::Add | Self::Set | Self::Put | Self::Delete | Self::Get | Self::GetMany => REQUEST,
        }
    }
}

fn reaction() -> impl Strategy<Value = Reaction> {
    prop_oneof![
        Just(Reaction::Hang),
        Just(Reaction::Trickle),
        Just(Reaction::HalfAnswer),
        Just(Reaction::BreakOff),
        Just(Reaction::Nonsense),
        Just(Reaction::Answer(200, TAKEN)),
        Just(Reaction::Answer(500, "{}")),
        Just(Reaction::Answer(400, r#"{"__type":"x#ThrottlingException","message":"m"}"#)),
        // Leaves everything unread, so that it is asked for again.
        Just(Reaction::Answer(
            200,
            r#"{"Responses":{},"UnprocessedKeys":{"tollgate-hot":{"Keys":[{"pk":{"S":"1"}}]}}}"#
        )),
    ]
}

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

#[test]
fn no_call_waits_longer_than_its_pace_says_whatever_the_table_does() {
    let calls = (prop::sample::select(CALLS.to_vec()), any::<bool>());
    let cases = (prop::collection::vec(reaction(), 1..6), prop::collection::vec(calls, 1..8));
    let config = ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() };
    let property = |(reactions, calls): (Vec<Reaction>, Vec<(Call, bool)>)| {
        paused().block_on(async {
            let server = Server::start(reactions).await;
            let table = server.table().await;
            for (call, behind) in calls {
                let started = Instant::now();
                let answer = call.make(&table, behind).await;
                let took = started.elapsed();
                prop_assert!(took <= call.bound(behind) + TICK, "{call:?} {behind}: {took:?} {answer:?}");
            }
            Ok(())
        })
    };
    TestRunner::new(config).run(&cases, property).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_table_that_hangs_is_waited_for_as_long_as_the_pace_says_and_no_shorter() {
    for call in CALLS {
        for behind in [false, true] {
            let server = Server::start(vec![Reaction::Hang]).await;
            let (table, started) = (server.table().await, Instant::now());
            let answer = call.make(&table, behind).await;
            assert!(matches!(answer, Err(TableError::Unavailable { maybe_done: true, .. })), "{call:?}: {answer:?}");
            let (took, bound) = (started.elapsed(), call.bound(behind));
            assert!(took + 2 * TICK >= bound && took <= bound + TICK, "{call:?} {behind}: {took:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_that_takes_no_connection_is_waited_for_no_longer() {
    // The system makes the connections; nobody takes them.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let settings = tollgate_adapters::table::DynamoSettings {
        timeouts: Timeouts::default(),
        ..crate::dynamo::settings(&endpoint)
    };
    let table = DynamoTable::connect(settings).await;
    for call in CALLS {
        let started = Instant::now();
        assert!(call.make(&table, true).await.is_err());
        assert!(started.elapsed() <= call.bound(true) + TICK, "{call:?}: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn behind_the_response_everything_is_sent_once() {
    for first in [Reaction::Answer(500, "{}"), Reaction::BreakOff, Reaction::Nonsense, Reaction::HalfAnswer] {
        for call in [Call::Add, Call::Set, Call::Put, Call::Delete] {
            let server = Server::start(vec![first.clone(), Reaction::Answer(200, TAKEN)]).await;
            let table = server.table_with(Arc::new(Moved::default()), PATIENT).await;
            assert!(call.make(&table, true).await.is_err(), "{first:?} {call:?}");
            assert_eq!(server.requests(), 1, "{first:?} {call:?}");
            assert!(call.make(&table, true).await.is_ok(), "{first:?} {call:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn all_limits_of_a_request_together_wait_no_longer_than_one() {
    for reaction in [Reaction::Hang, Reaction::Trickle] {
        let server = Server::start(vec![reaction.clone()]).await;
        for uses in [1, 3, 8] {
            let table = server.table().await;
            let one = |number: usize| per_ip(&number.to_string(), "5/min", OnStoreFailure::Open).0.remove(0);
            let limits = Limits((0..uses).map(one).collect());
            let started = Instant::now();
            assert!(passes(&limits, 1, &*table).await);
            let took = started.elapsed();
            assert!(took >= REQUEST - 2 * TICK && took <= Duration::from_millis(150 + 5) + TICK, "{uses}: {took:?}");
        }
    }
}
