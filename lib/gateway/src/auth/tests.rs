//! API keys over a table: who is let in, for how long, and what happens while the table does not answer.

mod keyring;
mod revoked;
mod ways;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderName;

use super::keyring::{Entry as Listed, Keyring, KeyringError, Made, Order, Renewal, Seed, State, TakenBack};
use super::*;
use crate::bulletin::Bulletin;
use crate::clock::{Clock, Timestamp};
use crate::exchange::Body;
use crate::forward::BoxFuture;
use crate::limit::{Plan, Plans};
use crate::secret::Secret;
use crate::table::{Item, MemoryTable, Reading, Table, TableError, Terms, Which};
use crate::testkit::{Nowhere, any_of, identify, passed_on, world_of};

const NOON: u64 = 1_700_000_000;

/// A clock that tests move, in seconds.
#[derive(Debug)]
struct TestClock(AtomicU64);

impl TestClock {
    fn pass(&self, secs: u64) {
        self.0.fetch_add(secs, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.0.load(Ordering::Relaxed))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Slow,
    Away,
    Hangs,
}

/// A table that counts its reads, and fails as it is told.
#[derive(Debug)]
struct TestTable {
    inner: MemoryTable,
    fault: Mutex<Fault>,
    reads: AtomicUsize,
    bulletins: AtomicUsize,
    hides_bulletin: AtomicBool,
}

impl TestTable {
    fn becomes(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    /// How often keys were asked for since this was asked.
    fn reads(&self) -> usize {
        self.reads.swap(0, Ordering::Relaxed)
    }

    /// How often the bulletin was.
    fn bulletins(&self) -> usize {
        self.bulletins.swap(0, Ordering::Relaxed)
    }

    fn hides_the_bulletin(&self) {
        self.hides_bulletin.store(true, Ordering::Relaxed);
    }
}

impl Table for TestTable {
    fn get_many<'a>(
        &'a self,
        which: Which,
        keys: &'a [&'a str],
        reading: Reading,
    ) -> BoxFuture<'a, Result<Vec<Option<Item>>, TableError>> {
        let mut fault = *self.fault.lock().unwrap();
        if which == Which::Control {
            self.reads.fetch_add(1, Ordering::Relaxed);
        } else {
            assert_eq!((keys, reading), (&["bl#shop"][..], Reading::Strong));
            self.bulletins.fetch_add(1, Ordering::Relaxed);
            if self.hides_bulletin.load(Ordering::Relaxed) {
                fault = Fault::Away;
            }
        }
        Box::pin(async move {
            match fault {
                Fault::None => {}
                Fault::Slow => tokio::time::sleep(Duration::from_millis(5)).await,
                Fault::Away => {
                    let detail = "gone".to_owned();
                    return Err(TableError::Unavailable { maybe_done: false, detail, source: None });
                }
                Fault::Hangs => std::future::pending().await,
            }
            self.inner.get_many(which, keys, reading).await
        })
    }

    passed_on!(put);

    passed_on!(update);

    passed_on!(delete);
}

/// An environment: one entry of `auth`, and a table that others may share.
struct Gate {
    keys: Arc<ApiKeys>,
    plans: Plans,
    table: Arc<TestTable>,
    clock: Arc<TestClock>,
    seeds: AtomicU64,
}

fn pepper(name: &str) -> Pepper {
    Pepper::new(name, format!("{name}, which is long enough").as_bytes()).unwrap()
}

fn api_keys(name: &str, peppers: &[&str], missing: Option<&str>) -> Arc<ApiKeys> {
    let secret = |name: &str| Secret::new(name, Some(format!("{name}, which is long enough").into()));
    let known = peppers.iter().map(|name| secret(name));
    let secrets = known.chain(missing.map(|name| Secret::new(name, None))).map(Arc::new).collect();
    Arc::new(ApiKeys::new(name, HeaderName::from_static("x-api-key"), secrets, Arc::new(Bulletin::new("shop"))))
}

impl Gate {
    fn new() -> Self {
        let inner = MemoryTable::default();
        let table = TestTable {
            inner,
            fault: Mutex::new(Fault::None),
            reads: AtomicUsize::new(0),
            bulletins: AtomicUsize::new(0),
            hides_bulletin: AtomicBool::new(false),
        };
        Self {
            keys: api_keys("partners", &["one"], None),
            plans: Plans::default(),
            table: Arc::new(table),
            clock: Arc::new(TestClock(AtomicU64::new(NOON))),
            seeds: AtomicU64::new(1),
        }
    }

    /// Another environment on the same table.
    fn beside(&self, keys: Arc<ApiKeys>) -> Self {
        let seeds = AtomicU64::new(self.seeds.load(Ordering::Relaxed) + 1_000_000);
        Self {
            keys,
            plans: Arc::clone(&self.plans),
            table: Arc::clone(&self.table),
            clock: Arc::clone(&self.clock),
            seeds,
        }
    }

    fn keyring(&self) -> Keyring<'_> {
        Keyring { keys: &self.keys, plans: &self.plans, table: &*self.table, clock: &*self.clock }
    }

    fn seed(&self) -> Seed {
        let number = self.seeds.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let (mut secret, mut id) = ([0xab; 32], [0; 12]);
        secret[24..].copy_from_slice(&number);
        id[..8].copy_from_slice(&number);
        Seed { secret, id }
    }

    async fn key(&self) -> Made {
        self.keyring().create(&order(), self.seed()).await.unwrap()
    }

    async fn ask(&self, key: &str) -> Result<Caller, Refusal> {
        self.ask_with(&mut headers(&[key])).await
    }

    async fn ask_with(&self, headers: &mut HeaderMap) -> Result<Caller, Refusal> {
        self.ask_by(&any_of(&[("partners", Arc::clone(&self.keys) as _, false)]), headers).await
    }

    async fn ask_by(&self, auth: &Auth, headers: &mut HeaderMap) -> Result<Caller, Refusal> {
        let mut request = crate::testkit::request("GET /");
        request.headers = std::mem::take(headers);
        let (table, clock) = (Arc::clone(&self.table) as _, Arc::clone(&self.clock) as _);
        let identified = identify(auth, &mut request, &world_of(table, Arc::new(Nowhere), clock)).await;
        *headers = request.headers;
        identified
    }

    async fn code(&self, key: &str) -> &'static str {
        self.ask(key).await.map_or_else(|refusal| refusal.code(), |caller| caller.via())
    }
}

fn order() -> Order {
    Order {
        env: "live".to_owned(),
        tenant: "acme".to_owned(),
        plan: "pro".to_owned(),
        scopes: BTreeSet::from(["orders:read".to_owned(), "orders:write".to_owned()]),
        lives: None,
    }
}

fn headers(keys: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for key in keys {
        headers.append("x-api-key", key.parse().unwrap());
    }
    headers
}

/// A key of the right form that nobody made.
fn made_up(number: u64) -> String {
    let mut secret = [255; 32];
    secret[..8].copy_from_slice(&number.to_be_bytes());
    ApiKey::new("live", secret).unwrap().reveal().to_owned()
}

#[tokio::test]
async fn a_key_tells_its_caller_and_does_not_go_on() {
    let gate = Gate::new();
    let Made { key, entry } = gate.key().await;
    let mut headers = headers(&[key.reveal()]);
    let caller = gate.ask_with(&mut headers).await.unwrap();
    assert_eq!((caller.id(), caller.via()), (entry.id.as_str(), "api_key"));
    assert_eq!((caller.tenant(), caller.plan()), ("acme", "pro"));
    assert_eq!(caller.scopes(), ["orders:read", "orders:write"]);
    assert!(headers.is_empty());
}

#[tokio::test]
async fn a_key_goes_on_where_it_is_kept_and_never_where_it_is_not_let_in() {
    let gate = Gate::new();
    let Made { key, .. } = gate.key().await;
    let kept = any_of(&[("partners", Arc::clone(&gate.keys) as _, true)]);
    let mut headers = headers(&[key.reveal()]);
    gate.ask_by(&kept, &mut headers).await.unwrap();
    assert_eq!(headers["x-api-key"], key.reveal());
    headers.insert("x-api-key", "nonsense".parse().unwrap());
    assert!(gate.ask_with(&mut headers).await.is_err());
    assert!(headers.is_empty());
}

#[tokio::test]
async fn a_request_without_a_key_with_two_or_with_what_can_be_none_asks_nobody() {
    let gate = Gate::new();
    let Made { key, .. } = gate.key().await;
    assert!(matches!(gate.ask_with(&mut HeaderMap::new()).await, Err(Refusal::CredentialsMissing { .. })));
    let key = key.reveal();
    let mut mistyped = key.to_owned();
    mistyped.pop();
    mistyped.push(if key.ends_with('A') { 'B' } else { 'A' });
    for keys in [&[key, key][..], &[key, "other"], &[""], &["hunter2"], &[&mistyped], &[&format!("{key}, {key}")]] {
        let refused = gate.ask_with(&mut headers(keys)).await;
        assert!(matches!(refused, Err(Refusal::CredentialsInvalid { .. })), "{keys:?}");
    }
    assert_eq!(gate.table.reads(), 0);
}

#[tokio::test]
async fn clients_cannot_tell_a_key_that_never_was_from_one_that_is_no_more() {
    let gate = Gate::new();
    let (revoked, kept) = (gate.key().await, gate.key().await);
    gate.keyring().revoke("acme", &revoked.entry.id).await.unwrap();
    let short = Order { lives: Some(Duration::from_secs(60)), ..order() };
    let expired = gate.keyring().create(&short, gate.seed()).await.unwrap();
    gate.clock.pass(60);
    let mut told = BTreeSet::new();
    for (key, word) in
        [(made_up(1).as_str(), "no such key"), (revoked.key.reveal(), "revoked"), (expired.key.reveal(), "expired")]
    {
        let refusal = gate.ask(key).await.unwrap_err();
        let log = refusal.to_string();
        assert!(log.contains(word) && !log.contains(key), "{log}");
        let response = refusal.into_response("id");
        let Body::Full(body) = &response.body else { panic!("a body") };
        told.insert(format!("{} {:?} {body:?}", response.status, response.headers));
    }
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told.first().unwrap().starts_with("401") && told.first().unwrap().contains("www-authenticate"), "{told:?}");
    assert_eq!(gate.code(kept.key.reveal()).await, "api_key");
}

#[tokio::test]
async fn a_key_that_expires_while_it_is_known_is_not_let_in_a_second_longer() {
    let gate = Gate::new();
    let short = Order { lives: Some(Duration::from_secs(10)), ..order() };
    let Made { key, .. } = gate.keyring().create(&short, gate.seed()).await.unwrap();
    for (passed, code) in [(0, "api_key"), (9, "api_key"), (1, "credentials_invalid")] {
        gate.clock.pass(passed);
        assert_eq!(gate.code(key.reveal()).await, code);
    }
    assert_eq!(gate.table.reads(), 1, "it was known all the while");
}

#[tokio::test]
async fn a_key_that_is_none_is_remembered_so_for_five_seconds_and_no_longer() {
    let gate = Gate::new();
    let seed = Seed { secret: [9; 32], id: [9; 12] };
    let key = ApiKey::new("live", seed.secret).unwrap();
    for _ in 0..3 {
        assert_eq!(gate.code(key.reveal()).await, "credentials_invalid");
    }
    assert_eq!(gate.table.reads(), 1);
    gate.keyring().create(&order(), seed).await.unwrap();
    gate.clock.pass(4);
    assert_eq!(gate.code(key.reveal()).await, "credentials_invalid");
    gate.clock.pass(1);
    assert_eq!(gate.code(key.reveal()).await, "api_key");
}

#[tokio::test]
async fn a_flood_of_made_up_keys_is_bounded_and_drives_no_good_key_out() {
    let gate = Gate::new();
    let Made { key, .. } = gate.key().await;
    assert_eq!(gate.code(key.reveal()).await, "api_key");
    for number in 0..2 * known::MOST as u64 {
        assert_eq!(gate.code(&made_up(number)).await, "credentials_invalid");
    }
    let (good, bad) = gate.keys.known();
    assert!(good == 1 && bad <= known::MOST, "{good} good, {bad} bad");
    gate.table.reads();
    assert_eq!(gate.code(key.reveal()).await, "api_key");
    assert_eq!(gate.table.reads(), 0);
}

#[tokio::test]
async fn while_the_table_is_away_known_keys_are_let_in_for_five_minutes_and_others_get_a_503() {
    let gate = Gate::new();
    let (known, other) = (gate.key().await, gate.key().await);
    assert_eq!(gate.code(known.key.reveal()).await, "api_key");
    gate.table.becomes(Fault::Away);
    gate.table.reads();
    for _ in 0..299 {
        gate.clock.pass(1);
        for _ in 0..3 {
            assert_eq!(gate.code(known.key.reveal()).await, "api_key");
        }
    }
    let reads = gate.table.reads();
    assert!((200..=299).contains(&reads), "{reads} reads: at most one a second");
    for key in [other.key.reveal(), &made_up(1)] {
        let refusal = gate.ask(key).await.unwrap_err();
        assert_eq!((refusal.code(), refusal.wire().status.as_u16()), ("credentials_unchecked", 503));
    }
    gate.clock.pass(1);
    assert_eq!(gate.code(known.key.reveal()).await, "credentials_unchecked");
    gate.table.becomes(Fault::None);
    for key in [&known, &other] {
        assert_eq!(gate.code(key.key.reveal()).await, "api_key", "what could not be checked is not remembered");
    }
    assert_eq!(gate.code(&made_up(1)).await, "credentials_invalid");
}

#[tokio::test]
async fn a_key_known_as_revoked_is_never_let_in_because_the_table_is_away() {
    let gate = Gate::new();
    let Made { key, entry } = gate.key().await;
    assert_eq!(gate.code(key.reveal()).await, "api_key");
    gate.keyring().revoke("acme", &entry.id).await.unwrap();
    gate.clock.pass(60);
    assert_eq!(gate.code(key.reveal()).await, "credentials_invalid");
    gate.table.becomes(Fault::Away);
    gate.clock.pass(10);
    assert_eq!(gate.code(key.reveal()).await, "credentials_unchecked");
}

#[tokio::test(start_paused = true)]
async fn a_table_that_hangs_is_waited_for_150_ms() {
    let gate = Gate::new();
    gate.table.becomes(Fault::Hangs);
    let began = tokio::time::Instant::now();
    assert_eq!(gate.code(&made_up(1)).await, "credentials_unchecked");
    assert!((150..160).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn requests_that_come_together_with_one_key_ask_once() {
    let gate = Gate::new();
    let Made { key, .. } = gate.key().await;
    let key = key.reveal();
    gate.table.becomes(Fault::Slow);
    let other = made_up(1);
    let codes = tokio::join!(gate.code(key), gate.code(key), gate.code(key), gate.code(&other));
    assert_eq!(codes, ("api_key", "api_key", "api_key", "credentials_invalid"));
    assert_eq!(gate.table.reads(), 2);
}

#[tokio::test]
async fn a_pepper_is_replaced_by_putting_the_new_one_first_and_takes_one_read() {
    let before = Gate::new();
    let old = before.key().await;
    let during = before.beside(api_keys("partners", &["two", "one"], None));
    let new = during.key().await;
    during.table.reads();
    for key in [&old, &new] {
        assert_eq!(during.code(key.key.reveal()).await, "api_key");
    }
    assert_eq!(during.table.reads(), 2, "one a key");
    let peppers: Vec<_> = during.keyring().list("acme").await.unwrap().into_iter().map(|entry| entry.pepper).collect();
    assert!(peppers.contains(&Some("one".to_owned())) && peppers.contains(&Some("two".to_owned())), "{peppers:?}");
    let after = during.beside(api_keys("partners", &["two"], None));
    assert_eq!(after.code(new.key.reveal()).await, "api_key");
    assert_eq!(after.code(old.key.reveal()).await, "credentials_invalid");
}

#[tokio::test]
async fn while_a_pepper_is_missing_a_key_that_is_not_found_may_be_its() {
    let gate = Gate::new();
    let Made { key, .. } = gate.key().await;
    let part = gate.beside(api_keys("partners", &["one"], Some("env:TWO")));
    assert_eq!(part.code(key.reveal()).await, "api_key");
    assert_eq!(part.code(&made_up(1)).await, "credentials_unchecked");
    let none = gate.beside(api_keys("partners", &[], Some("env:ONE")));
    let refusal = none.ask(key.reveal()).await.unwrap_err();
    assert_eq!(refusal.code(), "credentials_unchecked");
    assert!(refusal.to_string().contains("env:ONE is not resolved"), "{refusal}");
    for gate in [part, none] {
        let refused = gate.keyring().create(&order(), gate.seed()).await;
        assert!(matches!(refused, Err(KeyringError::NoPepper { .. })));
    }
}

#[tokio::test]
async fn a_key_of_one_auth_is_no_key_of_another_and_any_of_several_will_do() {
    let partners = Gate::new();
    let staff = partners.beside(api_keys("staff", &["one"], None));
    let (partner, member) = (partners.key().await, staff.key().await);
    let refusal = staff.ask(partner.key.reveal()).await.unwrap_err();
    assert_eq!(refusal.code(), "credentials_invalid");
    assert!(refusal.to_string().contains("is one of partners"), "{refusal}");
    let both =
        any_of(&[("partners", Arc::clone(&partners.keys) as _, false), ("staff", Arc::clone(&staff.keys) as _, false)]);
    for made in [&partner, &member] {
        let mut headers = headers(&[made.key.reveal()]);
        let caller = partners.ask_by(&both, &mut headers).await.unwrap();
        assert_eq!(caller.id(), made.entry.id);
    }
}

#[tokio::test]
async fn an_item_that_cannot_be_read_lets_nobody_in_and_one_that_was_moved_neither() {
    let gate = Gate::new();
    let (one, other) = (gate.key().await, gate.key().await);
    let [one_item, other_item] = [&one, &other].map(|made| {
        let pepper = pepper("one");
        pepper.item(&pepper.hash(made.key.reveal()))
    });
    let items = gate.table.inner.get_many(Which::Control, &[&one_item], Reading::Strong).await.unwrap();
    let item = items.into_iter().flatten().next().unwrap();
    gate.table.put(Which::Control, &other_item, item.clone(), &Terms::default()).await.unwrap();
    let refusal = gate.ask(other.key.reveal()).await.unwrap_err();
    assert!(refusal.code() == "credentials_invalid" && refusal.to_string().contains("is another key's"), "{refusal}");
    gate.table.put(Which::Control, &one_item, item.with("z", 2), &Terms::default()).await.unwrap();
    assert_eq!(gate.code(one.key.reveal()).await, "credentials_unchecked");
}

#[tokio::test]
async fn nothing_that_is_kept_or_shown_holds_a_key() {
    let gate = Gate::new();
    let made = gate.key().await;
    let secret = made.key.reveal().split('_').nth(2).unwrap();
    gate.ask(made.key.reveal()).await.unwrap();
    let pepper = pepper("one");
    let item = pepper.item(&pepper.hash(made.key.reveal()));
    let items = gate.table.inner.get_many(Which::Control, &[&item, "kt#acme"], Reading::Strong).await.unwrap();
    assert_eq!(items.iter().flatten().count(), 2);
    let auth = any_of(&[("partners", Arc::clone(&gate.keys) as _, false)]);
    let seed = gate.seed();
    for shown in [
        format!("{item} {items:?}"),
        format!("{made:?} {auth:?} {:?} {seed:?}", gate.keys),
        format!("{:?}", gate.keyring().list("acme").await.unwrap()),
    ] {
        assert!(!shown.contains(&secret[..8]), "{shown}");
        assert!(!shown.contains("long enough"), "the pepper: {shown}");
    }
}
