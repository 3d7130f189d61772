//! What becomes of a table that throttles, hangs, breaks off or talks nonsense. Emulators do none of that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::Instant;
use tollgate::clock::{Clock, DOUBTED, IN_STEP, Timestamp, Watched};
use tollgate::limit::OnStoreFailure;
use tollgate::table::{Condition, Item, Reading, Table, TableError, Terms, ThrottleReason, Update, Which};
use tollgate_adapters::table::{DynamoSettings, DynamoTable, StaticCredentials, Timeouts};

use crate::table::{passes, per_ip};

/// What the server does with one request.
#[derive(Debug, Clone)]
pub(crate) enum Reaction {
    Answer(u16, &'static str),
    /// An answer that is dated.
    Dated(u16, &'static str, &'static str),
    /// An answer of which one byte comes after the other, without end.
    Trickle,
    /// The head of an answer, and no more.
    HalfAnswer,
    /// Answers when the test says so.
    Held(&'static str, Arc<Notify>),
    Hang,
    BreakOff,
    Nonsense,
}

/// A DynamoDB that does as it is told: the reactions in turn, the last for ever.
pub(crate) struct Server {
    endpoint: String,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) async fn start(reactions: Vec<Reaction>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (opened, asked) = (Arc::clone(&connections), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                opened.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, reactions.clone(), Arc::clone(&asked)));
            }
        });
        Self { endpoint, connections, requests }
    }

    pub(crate) async fn table(&self) -> Arc<DynamoTable> {
        self.table_with(Arc::new(Moved::default()), Timeouts::default()).await
    }

    pub(crate) async fn table_with(&self, clock: Arc<dyn Clock>, timeouts: Timeouts) -> Arc<DynamoTable> {
        connect(&self.endpoint, clock, timeouts).await
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn connect(endpoint: &str, clock: Arc<dyn Clock>, timeouts: Timeouts) -> Arc<DynamoTable> {
    DynamoTable::connect(DynamoSettings {
        endpoint: Some(endpoint.to_owned()),
        credentials: Some(StaticCredentials::dummy()),
        clock,
        timeouts,
        ..DynamoSettings::default()
    })
    .await
}

async fn serve(mut stream: TcpStream, reactions: Vec<Reaction>, asked: Arc<AtomicUsize>) {
    while read_request(&mut stream).await.is_some() {
        let turn = asked.fetch_add(1, Ordering::SeqCst).min(reactions.len() - 1);
        let mut fields = String::new();
        let (status, body) = match &reactions[turn] {
            Reaction::Answer(status, body) => (*status, *body),
            Reaction::Dated(status, date, body) => {
                fields = format!("date: {date}\r\n");
                (*status, *body)
            }
            Reaction::Held(body, until) => {
                until.notified().await;
                (200, *body)
            }
            Reaction::Hang => std::future::pending().await,
            Reaction::BreakOff => return,
            Reaction::Trickle => {
                _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n").await;
                let mut pause = tokio::time::interval(Duration::from_millis(1));
                while stream.write_all(b" ").await.is_ok() {
                    pause.tick().await;
                }
                return;
            }
            Reaction::HalfAnswer => {
                _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"Attributes\":").await;
                return;
            }
            Reaction::Nonsense => {
                _ = stream.write_all(b"\x00\xff nonsense\r\n\r\n").await;
                return;
            }
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n{fields}\r\n",
            body.len()
        );
        if stream.write_all((head + body).as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.split("content-length:").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    let mut body = vec![0; length.trim().parse().unwrap()];
    stream.read_exact(&mut body).await.ok().map(drop)
}

/// A clock that stands unless moved.
#[derive(Debug, Default)]
pub(crate) struct Moved(AtomicU64);

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + self.0.load(Ordering::Relaxed))
    }
}

pub(crate) const TAKEN: &str = r#"{"Attributes":{"pk":{"S":"k"},"n":{"N":"1"}}}"#;

/// Long enough that only what should time out does, on a busy machine too.
pub(crate) const PATIENT: Timeouts = {
    let long = Duration::from_secs(20);
    Timeouts { connect: long, attempt: long, operation: long, behind: long, sending: long }
};

async fn add(table: &DynamoTable) -> Result<Item, TableError> {
    table.update(Which::Hot, "k", &Update::new().add("n", 1), &Terms::default()).await
}

async fn set(table: &DynamoTable) -> Result<Item, TableError> {
    table.update(Which::Hot, "k", &Update::new().set("n", 1), &Terms::default().idempotent()).await
}

fn maybe_done<T: std::fmt::Debug>(answer: Result<T, TableError>) -> bool {
    match answer {
        Err(TableError::Unavailable { maybe_done, .. }) => maybe_done,
        other => panic!("expected no answer, got {other:?}"),
    }
}

#[tokio::test]
async fn throttling_says_what_was_too_much_and_is_not_sent_again() {
    for (body, reason) in [
        (
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"m","throttlingReasons":[{"reason":"TableWriteKeyRangeThroughputExceeded","resource":"r"}]}"#,
            ThrottleReason::KeyRange,
        ),
        (
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"m","throttlingReasons":[{"reason":"TableWriteMaxOnDemandThroughputExceeded","resource":"r"}]}"#,
            ThrottleReason::Table,
        ),
        (
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"m","ThrottlingReasons":[{"reason":"TableWriteProvisionedThroughputExceeded","resource":"r"}]}"#,
            ThrottleReason::Table,
        ),
        (
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"m","throttlingReasons":[{"reason":"TableWriteAccountLimitExceeded","resource":"r"}]}"#,
            ThrottleReason::Account,
        ),
        (
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#RequestLimitExceeded","message":"m"}"#,
            ThrottleReason::Account,
        ),
        (
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"m"}"#,
            ThrottleReason::Unknown,
        ),
    ] {
        let server = Server::start(vec![Reaction::Answer(400, body)]).await;
        let table = server.table_with(Arc::new(Moved::default()), PATIENT).await;
        for answer in [add(&table).await, set(&table).await] {
            match answer {
                Err(TableError::Throttled { reason: got }) => assert_eq!(got, reason, "{body}"),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(server.requests(), 2);
    }
}

#[tokio::test]
async fn what_may_be_sent_again_is_sent_twice_and_an_add_once() {
    let failing = Reaction::Answer(500, r#"{"__type":"InternalServerError","message":"m"}"#);
    for first in [failing, Reaction::BreakOff, Reaction::Nonsense, Reaction::Answer(200, "no json")] {
        let reactions = vec![first.clone(), Reaction::Answer(200, TAKEN)];
        let server = Server::start(reactions.clone()).await;
        let table = server.table_with(Arc::new(Moved::default()), PATIENT).await;
        assert!(maybe_done(add(&table).await), "{first:?}");
        assert_eq!(server.requests(), 1, "{first:?}");

        let server = Server::start(reactions).await;
        let table = server.table_with(Arc::new(Moved::default()), PATIENT).await;
        assert_eq!(set(&table).await.unwrap().number("n"), Some(1), "{first:?}");
        assert_eq!(server.requests(), 2, "{first:?}");
    }
}

#[tokio::test]
async fn a_table_that_hangs_is_given_up_in_time() {
    let server = Server::start(vec![Reaction::Hang]).await;
    let table = server.table().await;
    let started = Instant::now();
    assert!(maybe_done(add(&table).await));
    assert!(maybe_done(set(&table).await));
    let read = table.get_many(Which::Hot, &["k"], Reading::Strong).await;
    assert!(maybe_done(read));
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(390) && took < Duration::from_secs(3), "{took:?}");
    assert_eq!(server.requests(), 1 + 2 + 2);
}

#[tokio::test]
async fn the_second_sending_answers_for_a_first_that_hangs() {
    let server = Server::start(vec![Reaction::Hang, Reaction::Answer(200, TAKEN)]).await;
    let timeouts = Timeouts { attempt: Duration::from_millis(20), ..PATIENT };
    let table = server.table_with(Arc::new(Moved::default()), timeouts).await;
    assert!(set(&table).await.is_ok());
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn what_never_left_was_not_done() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let table = connect(&endpoint, Arc::new(Moved::default()), PATIENT).await;
    assert!(!maybe_done(add(&table).await));
    table.warm().await;
}

#[tokio::test]
async fn a_connection_outlives_the_call_that_gave_up_on_it() {
    let release = Arc::new(Notify::new());
    let held = Reaction::Held(TAKEN, Arc::clone(&release));
    let server = Server::start(vec![held, Reaction::Answer(200, TAKEN)]).await;
    let timeouts = Timeouts { operation: Duration::from_millis(20), attempt: Duration::from_millis(20), ..PATIENT };
    let table = server.table_with(Arc::new(Moved::default()), timeouts).await;
    assert!(maybe_done(add(&table).await));
    release.notify_one();
    // The late answer frees the connection; until it is there, calls may open others.
    let mut before = server.connections();
    loop {
        _ = add(&table).await;
        if server.connections() == before {
            break;
        }
        before = server.connections();
    }
    assert_eq!(server.requests() - server.connections(), 1, "one connection served twice");
}

#[tokio::test]
async fn after_a_freeze_there_are_new_connections_and_without_one_the_old() {
    let server = Server::start(vec![Reaction::Answer(200, TAKEN)]).await;
    let clock = Arc::new(Moved::default());
    let table = server.table_with(Arc::clone(&clock) as Arc<dyn Clock>, PATIENT).await;
    for (moved, connections) in [(0, 1), (4_000, 1), (8_000, 1), (12_001, 2), (12_001, 2), (1_000_000, 3), (0, 4)] {
        clock.0.store(moved, Ordering::Relaxed);
        assert!(add(&table).await.is_ok());
        assert_eq!(server.connections(), connections, "{moved}");
    }
}

#[tokio::test]
async fn the_dates_of_all_answers_are_held_against_the_clock() {
    // The clock stands at 22:13:20.
    for (status, date, body, breaks) in [
        (200, "Tue, 14 Nov 2023 22:13:20 GMT", TAKEN, 0),
        (200, "Tue, 14 Nov 2023 22:13:19 GMT", TAKEN, 0),
        (200, "Tue, 14 Nov 2023 22:13:21 GMT", TAKEN, 0),
        (200, "Tue, 14 Nov 2023 22:13:18 GMT", TAKEN, 1),
        (200, "Tue, 14 Nov 2023 22:13:22 GMT", TAKEN, 1),
        (500, "Tue, 14 Nov 2023 21:13:20 GMT", "{}", 1),
        (200, "Thu, 01 Jan 1970 00:00:00 GMT", TAKEN, 1),
        (200, "Fri, 31 Dec 9999 23:59:59 GMT", TAKEN, 1),
        (200, "Mon, 01 Jan 1900 00:00:00 GMT", TAKEN, 0),
        (200, "2023-11-14T22:13:20Z", TAKEN, 0),
        (200, "", TAKEN, 0),
    ] {
        let server = Server::start(vec![Reaction::Dated(status, date, body)]).await;
        let clock = Arc::new(Watched::new(Moved::default(), IN_STEP));
        let table = server.table_with(Arc::clone(&clock) as Arc<dyn Clock>, PATIENT).await;
        assert_eq!(add(&table).await.is_ok(), status == 200, "{date}");
        assert_eq!(clock.breaks(), breaks, "{date}");
        assert_eq!(clock.error(), if breaks == 0 { IN_STEP } else { DOUBTED }, "{date}");
    }
}

#[tokio::test]
async fn a_table_that_failed_five_times_is_left_alone_for_a_while() {
    let failing = Reaction::Answer(500, "{}");
    let reactions = [vec![failing; 5], vec![Reaction::Answer(200, TAKEN)]].concat();
    let server = Server::start(reactions).await;
    let clock = Arc::new(Moved::default());
    let table = server.table_with(Arc::clone(&clock) as Arc<dyn Clock>, PATIENT).await;
    for _ in 0..5 {
        assert!(maybe_done(add(&table).await));
    }
    for _ in 0..3 {
        assert!(!maybe_done(add(&table).await), "not even sent");
    }
    assert_eq!(server.requests(), 5);
    clock.0.store(500, Ordering::Relaxed);
    assert!(add(&table).await.is_ok());
}

#[tokio::test]
async fn a_refusal_over_the_wire_has_the_old_item_and_a_validation_is_invalid() {
    let body = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException","message":"m","Item":{"pk":{"S":"k"},"n":{"N":"7"}}}"#;
    let invalid = r#"{"__type":"com.amazon.coral.validate#ValidationException","message":"why"}"#;
    let server = Server::start(vec![Reaction::Answer(400, body), Reaction::Answer(400, invalid)]).await;
    let table = server.table_with(Arc::new(Moved::default()), PATIENT).await;
    let terms = Terms::when(Condition::missing("n"));
    match table.update(Which::Hot, "k", &Update::new(), &terms).await {
        Err(TableError::Refused { old }) => assert_eq!(old, Some(Item::new().with("n", 7))),
        other => panic!("{other:?}"),
    }
    match add(&table).await {
        Err(TableError::Invalid { detail }) => assert_eq!(detail, "why"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_limit_on_a_table_that_hangs_answers_in_time_by_its_policy() {
    let server = Server::start(vec![Reaction::Hang]).await;
    for (policy, passing) in [(OnStoreFailure::Local, 2), (OnStoreFailure::Open, 7), (OnStoreFailure::Closed, 0)] {
        let table = server.table().await;
        let limits = per_ip("shop", "2/min", policy);
        let started = Instant::now();
        let mut passed = 0;
        for _ in 0..7 {
            passed += u32::from(passes(&limits, 1, &*table).await);
        }
        assert_eq!(passed, passing, "{policy:?}");
        // Five wait for 130 ms each, then the table is left alone.
        assert!(started.elapsed() < Duration::from_secs(5), "{policy:?}: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn warming_waits_no_longer_than_it_may() {
    let server = Server::start(vec![Reaction::Hang]).await;
    let started = Instant::now();
    server.table().await.warm().await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(server.requests(), 1);
}

#[test]
fn settings_do_not_tell_their_secrets() {
    let credentials = StaticCredentials {
        access_key_id: "AKIAX".to_owned(),
        secret_access_key: "hush".to_owned(),
        session_token: Some("token".to_owned()),
    };
    let settings = DynamoSettings { credentials: Some(credentials), ..DynamoSettings::default() };
    let told = format!("{settings:?}");
    assert!(!told.contains("hush") && !told.contains("token\"") && !told.contains("AKIAX"), "{told}");
}
