//! When secrets are read, and what stays while nobody answers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;

use super::*;
use crate::forward::BoxFuture;
use crate::table::MemoryTable;
use crate::testkit::{Nowhere, world_of};

/// A clock that tests move, in milliseconds.
#[derive(Debug)]
struct Hand(AtomicU64);

impl Hand {
    fn pass(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }

    fn is_set_back(&self, by: Duration) {
        self.0.fetch_sub(u64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// A vault whose values tests set; what it does not have it does not answer.
#[derive(Debug, Default)]
struct Shelf {
    values: Mutex<HashMap<String, Result<&'static str, &'static str>>>,
    takes: Mutex<Duration>,
    asked: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl Shelf {
    fn put(&self, reference: &str, value: Result<&'static str, &'static str>) {
        self.values.lock().unwrap().insert(reference.to_owned(), value);
    }

    fn asked(&self) -> usize {
        self.asked.swap(0, Ordering::Relaxed)
    }
}

impl Vault for Shelf {
    fn read<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Result<Bytes, String>> {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let now = self.at_once.fetch_add(1, Ordering::Relaxed) + 1;
            self.most_at_once.fetch_max(now, Ordering::Relaxed);
            let takes = *self.takes.lock().unwrap();
            tokio::time::sleep(takes).await;
            let value = self.values.lock().unwrap().get(reference).copied();
            let answer = match value {
                Some(value) => value.map(Bytes::from).map_err(str::to_owned),
                None => std::future::pending().await,
            };
            self.at_once.fetch_sub(1, Ordering::Relaxed);
            answer
        })
    }
}

struct Scene {
    shelf: Arc<Shelf>,
    clock: Arc<Hand>,
    world: World,
    secrets: Secrets,
}

impl Scene {
    fn new(references: &[&str]) -> Self {
        let (shelf, clock) = (Arc::new(Shelf::default()), Arc::new(Hand(AtomicU64::new(1_800_000_000_000))));
        let world = world_of(Arc::new(MemoryTable::default()), Arc::new(Nowhere), Arc::clone(&clock) as _);
        let world = World { vault: Arc::clone(&shelf) as _, ..world };
        let live = |name: &&str| Arc::new(Secret::live(name, (*name).to_owned(), None));
        Self { shelf, clock, world, secrets: Secrets::new(references.iter().map(live)) }
    }

    async fn resolve(&self) -> Vec<String> {
        self.secrets.resolve(&*self.world.vault, &*self.world.clock, Duration::from_secs(1)).await
    }

    /// One request: how long it waited, and the value it found; then what is left for after it.
    async fn request(&self) -> (Duration, Option<Bytes>) {
        let (mut after, started) = (After::default(), tokio::time::Instant::now());
        self.secrets.fresh(&self.world, &mut after).await;
        let waited = started.elapsed();
        let found = self.secrets.iter().next().and_then(|secret| secret.get());
        after.run(None).await;
        (waited, found)
    }
}

const ZERO: Duration = Duration::ZERO;

#[tokio::test(start_paused = true)]
async fn all_are_read_at_once_and_what_does_not_answer_within_the_bound_is_missing_alone() {
    let scene = Scene::new(&["ssm:/a", "ssm:/b", "ssm:/c", "ssm:/silent"]);
    *scene.shelf.takes.lock().unwrap() = Duration::from_millis(300);
    for name in ["ssm:/a", "ssm:/b"] {
        scene.shelf.put(name, Ok("value"));
    }
    scene.shelf.put("ssm:/c", Err("AWS answered 400 AccessDeniedException"));
    let started = tokio::time::Instant::now();
    let mut missing = scene.resolve().await;
    missing.sort();
    assert_eq!(started.elapsed(), Duration::from_secs(1));
    assert_eq!(scene.shelf.most_at_once.load(Ordering::Relaxed), 4);
    assert_eq!(missing.len(), 2);
    assert_eq!(missing[0], "ssm:/c is not resolved, AWS answered 400 AccessDeniedException");
    assert!(missing[1].starts_with("ssm:/silent is not resolved"), "{missing:?}");
    assert_eq!(scene.secrets.iter().filter(|secret| secret.get().is_some()).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_new_value_is_taken_up_behind_the_first_response_after_five_minutes_and_no_request_waits() {
    let scene = Scene::new(&["ssm:/a"]);
    *scene.shelf.takes.lock().unwrap() = Duration::from_millis(100);
    scene.shelf.put("ssm:/a", Ok("old"));
    assert!(scene.resolve().await.is_empty());
    scene.shelf.put("ssm:/a", Ok("new"));
    scene.clock.pass(SOON - Duration::from_millis(1));
    scene.shelf.asked();
    assert_eq!((scene.request().await, scene.shelf.asked()), ((ZERO, Some("old".into())), 0));
    scene.clock.pass(Duration::from_millis(1));
    assert_eq!((scene.request().await, scene.shelf.asked()), ((ZERO, Some("old".into())), 1));
    assert_eq!((scene.request().await, scene.shelf.asked()), ((ZERO, Some("new".into())), 0));
}

#[tokio::test(start_paused = true)]
async fn after_a_long_standstill_the_new_value_is_read_before_it_is_used_for_half_a_second_at_most() {
    let scene = Scene::new(&["ssm:/a"]);
    scene.shelf.put("ssm:/a", Ok("old"));
    assert!(scene.resolve().await.is_empty());
    scene.shelf.put("ssm:/a", Ok("new"));
    *scene.shelf.takes.lock().unwrap() = Duration::from_millis(80);
    scene.clock.pass(NOW);
    assert_eq!(scene.request().await, (Duration::from_millis(80), Some("new".into())));
    // A source that takes longer is read behind the response.
    scene.shelf.put("ssm:/a", Ok("newer"));
    *scene.shelf.takes.lock().unwrap() = Duration::from_millis(800);
    scene.clock.pass(NOW);
    assert_eq!(scene.request().await, (WAIT, Some("new".into())));
    assert_eq!(scene.request().await, (ZERO, Some("newer".into())));
}

#[tokio::test(start_paused = true)]
async fn while_the_source_is_down_the_old_value_stays_and_it_is_asked_seldom() {
    let scene = Scene::new(&["ssm:/a"]);
    scene.shelf.put("ssm:/a", Ok("old"));
    assert!(scene.resolve().await.is_empty());
    for failure in [Err("AWS answered 500 "), Ok("")] {
        scene.shelf.put("ssm:/a", failure);
        scene.clock.pass(NOW);
        scene.shelf.asked();
        for _ in 0..10 {
            assert_eq!(scene.request().await.1, Some("old".into()));
        }
        assert_eq!(scene.shelf.asked(), 1);
    }
    scene.shelf.put("ssm:/a", Ok("new"));
    scene.clock.pass(PAUSE);
    assert_eq!(scene.request().await.1, Some("new".into()));
}

#[tokio::test(start_paused = true)]
async fn what_was_missing_at_the_start_is_asked_for_again_and_those_who_need_it_meanwhile_share_the_reading() {
    let scene = Scene::new(&["ssm:/a"]);
    scene.shelf.put("ssm:/a", Err("AWS answered 500 "));
    assert_eq!(scene.resolve().await.len(), 1);
    scene.shelf.asked();
    scene.shelf.put("ssm:/a", Ok("value"));
    assert_eq!((scene.request().await.1, scene.shelf.asked()), (None, 0));
    scene.clock.pass(SHORT_PAUSE);
    *scene.shelf.takes.lock().unwrap() = Duration::from_millis(50);
    let found = tokio::join!(scene.request(), scene.request(), scene.request());
    for (_, value) in [found.0, found.1, found.2] {
        assert_eq!(value, Some("value".into()));
    }
    assert_eq!(scene.shelf.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_change_is_never_asked_for() {
    let scene = Scene::new(&[]);
    let secrets =
        Secrets::new([Arc::new(Secret::new("env:A", None)), Arc::new(Secret::new("env:B", Some("b".into())))]);
    let mut after = After::default();
    secrets.fresh(&scene.world, &mut after).await;
    assert!(after.is_empty() && scene.shelf.asked() == 0);
    assert_eq!(secrets.missing().as_deref(), Some("env:A is not resolved"));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_set_back_keeps_no_old_value_and_no_failure_for_longer() {
    let scene = Scene::new(&["ssm:/a"]);
    scene.shelf.put("ssm:/a", Err("AWS answered 500"));
    assert_eq!(scene.resolve().await.len(), 1);
    scene.clock.is_set_back(Duration::from_secs(3_600));
    scene.shelf.put("ssm:/a", Ok("one"));
    assert_eq!(scene.request().await, (ZERO, Some(Bytes::from_static(b"one"))));
    scene.clock.is_set_back(Duration::from_secs(3_600));
    scene.shelf.put("ssm:/a", Ok("two"));
    scene.shelf.asked();
    for _ in 0..3 {
        assert_eq!(scene.request().await, (ZERO, Some(Bytes::from_static(b"two"))));
    }
    assert_eq!(scene.shelf.asked(), 1, "by the new clock it is young");
}
