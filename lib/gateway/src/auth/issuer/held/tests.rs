//! What is done when: over a set of keys that is a list of their ids.

use sha2::{Digest, Sha256};

use super::*;

type Ids = Vec<&'static str>;

/// What an environment holds, and the issuer's clock.
struct Scene {
    held: Held<Ids>,
    now: Timestamp,
}

impl Scene {
    fn empty() -> Self {
        Self { held: Held::default(), now: Timestamp::from_secs(1_800_000_000) }
    }

    fn with(ids: &[&'static str], fresh: Option<u64>) -> Self {
        let mut scene = Self::empty();
        scene.held.begins(scene.now, |_| true);
        scene.brings(ids, fresh);
        scene
    }

    fn brings(&mut self, ids: &[&'static str], fresh: Option<u64>) {
        let digest = Sha256::digest(ids.join(" ")).into();
        let fresh = fresh.map(Duration::from_secs);
        if !self.held.renewed(&digest, self.now, fresh) {
            self.held.keep(Arc::new(ids.to_vec()), digest, self.now, fresh);
        }
    }

    fn fails(&mut self) {
        self.held.begins(self.now, |_| true);
        self.held.failed("it is down");
    }

    fn pass(&mut self, seconds: u64) -> &mut Self {
        self.now = self.now.plus(Duration::from_secs(seconds));
        self
    }

    /// `use`, `refresh`, `fetch` or `unknown`, for a token that names this key.
    fn next(&self, kid: &str) -> &'static str {
        word(&self.held.next(self.now, |ids| ids.contains(&kid)))
    }

    /// How long it takes until a request finds something else to do.
    fn lasts(&mut self, kid: &str) -> u64 {
        let (before, began) = (self.next(kid), self.now);
        while self.next(kid) == before {
            self.pass(1);
        }
        self.now.since(began).as_secs()
    }
}

fn word<K>(next: &Next<K>) -> &'static str {
    match next {
        Next::Use(_) => "use",
        Next::Refresh(_) => "refresh",
        Next::Fetch => "fetch",
        Next::Unknown(_) => "unknown",
    }
}

#[test]
fn the_first_request_fetches_and_after_a_failure_nobody_does_for_a_second() {
    let mut scene = Scene::empty();
    assert_eq!(scene.next("a"), "fetch");
    for _ in 0..10 {
        scene.fails();
        assert_eq!(scene.next("a"), "unknown");
        let Next::Unknown(why) = scene.held.next(scene.now, |_| true) else { panic!("unknown") };
        assert_eq!(&*why, "it is down");
        assert_eq!((scene.lasts("a"), scene.next("a")), (1, "fetch"));
    }
}

#[test]
fn keys_are_refreshed_well_before_they_expire_and_within_bounds_whatever_their_issuer_says() {
    for (said, least, most) in
        [(None, 450, 540), (Some(0), 225, 270), (Some(1_000), 750, 900), (Some(1 << 40), 2_700, 3_240)]
    {
        let mut scene = Scene::with(&["a"], said);
        assert_eq!(scene.next("a"), "use");
        let lasts = scene.lasts("a");
        assert!((least..=most).contains(&lasts), "{said:?}: {lasts}");
        assert_eq!(scene.next("a"), "refresh");
    }
}

#[test]
fn environments_that_began_together_do_not_ask_together() {
    let at = |nanos: u64| refresh_at(Timestamp::from_nanos(1_800_000_000_000_000_000 + nanos), None).secs();
    assert_eq!((at(0), at(500), at(999)), (1_800_000_450, 1_800_000_495, 1_800_000_539));
}

#[test]
fn a_refresh_is_one_requests_job() {
    let mut scene = Scene::with(&["a"], None);
    scene.pass(550);
    assert_eq!(scene.next("a"), "refresh");
    scene.held.begins(scene.now, |_| true);
    assert_eq!(scene.next("a"), "use");
    // A job that was cut off leaves it to the next.
    assert_eq!((scene.lasts("a"), scene.next("a")), (2, "refresh"));
    scene.held.begins(scene.now, |_| true);
    scene.brings(&["a"], None);
    assert_eq!(scene.next("a"), "use");
    assert!(scene.lasts("a") >= 450);
}

#[test]
fn while_the_issuer_is_down_no_request_waits_and_it_is_asked_ever_more_seldom() {
    let mut scene = Scene::with(&["a"], None);
    scene.lasts("a");
    let (began, mut asked) = (scene.now, Vec::new());
    while scene.next("a") != "fetch" {
        if scene.next("a") == "refresh" {
            asked.push(scene.now.since(began).as_secs());
            scene.fails();
        }
        scene.pass(1);
        assert_ne!(scene.next("a"), "unknown");
    }
    assert_eq!(asked[..9], [0, 2, 6, 14, 30, 62, 122, 182, 242]);
    let day = scene.now.since(began).as_secs();
    assert!((86_400 - 540..=86_400 - 450).contains(&day), "{day}");
    scene.fails();
    assert_eq!(scene.next("a"), "unknown", "keys of yesterday let nobody in");
}

#[test]
fn an_issuer_that_is_back_ends_it_at_once() {
    let mut scene = Scene::with(&["a"], None);
    scene.pass(600);
    for _ in 0..5 {
        scene.fails();
        scene.pass(60);
    }
    scene.held.begins(scene.now, |_| true);
    scene.brings(&["a", "b"], None);
    assert_eq!((scene.next("a"), scene.next("b")), ("use", "use"));
}

#[test]
fn an_unknown_key_is_sought_once_in_half_a_minute_and_is_then_none() {
    let mut scene = Scene::with(&["a"], None);
    for _ in 0..5 {
        assert_eq!((scene.next("b"), scene.next("a")), ("fetch", "use"));
        scene.held.begins(scene.now, |_| false);
        scene.brings(&["a"], None);
        assert_eq!(scene.next("b"), "use", "its token is refused by the keys there are");
        assert_eq!(scene.lasts("b"), 30);
    }
    scene.held.begins(scene.now, |_| false);
    scene.brings(&["b"], None);
    assert_eq!(scene.next("b"), "use");
}

#[test]
fn an_unknown_key_is_sought_as_seldom_where_that_fails_and_nobody_can_say_whether_it_is_one() {
    let mut scene = Scene::with(&["a"], None);
    scene.held.begins(scene.now, |_| false);
    scene.held.failed("it is down");
    assert_eq!((scene.next("b"), scene.next("a")), ("unknown", "use"));
    assert_eq!(word(&scene.held.after_failure(scene.now, |ids| ids.contains(&"b"))), "unknown");
    assert_eq!(word(&scene.held.after_failure(scene.now, |ids| ids.contains(&"a"))), "use");
    assert_eq!((scene.pass(2).next("b"), scene.next("a")), ("unknown", "refresh"));
    assert_eq!((scene.pass(27).next("b"), scene.pass(1).next("b")), ("unknown", "fetch"));
}

#[test]
fn keys_that_lay_frozen_for_over_an_hour_are_asked_for_first_and_used_where_nobody_answers() {
    let mut scene = Scene::with(&["a"], None);
    assert_eq!((scene.pass(3_599).next("a"), scene.pass(1).next("a")), ("refresh", "fetch"));
    scene.fails();
    assert_eq!(word(&scene.held.after_failure(scene.now, |_| true)), "use");
    assert_eq!((scene.next("a"), scene.pass(2).next("a")), ("use", "refresh"));
}

#[test]
fn a_clock_that_was_set_back_makes_no_keys_last_longer() {
    let mut scene = Scene::with(&["a"], None);
    scene.now = scene.now.minus(Duration::from_secs(10_000));
    assert_eq!((scene.next("a"), scene.next("b")), ("refresh", "fetch"));
    scene.held.begins(scene.now, |_| true);
    scene.brings(&["a"], None);
    assert_eq!(scene.next("a"), "use");
}

#[test]
fn the_same_bytes_are_the_same_keys_and_others_are_others() {
    let mut scene = Scene::with(&["a"], None);
    let held = |scene: &Scene| match scene.held.next(scene.now, |_| true) {
        Next::Use(set) => set,
        Next::Refresh(_) | Next::Fetch | Next::Unknown(_) => panic!("keys"),
    };
    let first = held(&scene);
    scene.brings(&["a"], None);
    assert!(Arc::ptr_eq(&first, &held(&scene)));
    scene.brings(&["b"], None);
    assert!(!Arc::ptr_eq(&first, &held(&scene)));
    assert!(scene.held.came_since(scene.now) && !scene.held.came_since(scene.now.plus(Duration::from_secs(1))));
}

#[test]
fn whoever_goes_away_leaves_the_fetch_to_the_next_in_line() {
    let mut scene = Scene::empty();
    scene.held.begins(scene.now, |_| true);
    scene.held.given_up();
    assert_eq!(scene.next("a"), "fetch");
    let mut scene = Scene::with(&["a"], None);
    scene.held.begins(scene.now, |_| false);
    scene.held.given_up();
    assert_eq!((scene.next("b"), scene.next("a")), ("unknown", "use"), "not even so is it sought more often");
}
