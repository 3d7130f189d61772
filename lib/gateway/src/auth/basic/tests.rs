//! What a request's name and password are worth.

use bytes::Bytes;
use tokio::time::Instant;

use super::*;
use crate::refusal::Refusal;
use crate::testkit::{self, request};

const FILE: &[u8] = include_bytes!("../../../testdata/config/good/staff.htpasswd");

const NOON: Timestamp = Timestamp::from_secs(1_000_000);

fn secret(value: Option<&'static [u8]>) -> Arc<Secret> {
    Arc::new(Secret::new("file:staff.htpasswd", value.map(Bytes::from_static)))
}

fn basic(users: &Arc<Secret>) -> Basic {
    let groups = BTreeMap::from([("admins".to_owned(), vec!["ann".to_owned(), "eve".to_owned()])]);
    Basic::new("staff", Arc::clone(users), groups).expect("randomness")
}

fn headers(values: &[&str]) -> HeaderMap {
    let value = |value: &&str| (AUTHORIZATION, HeaderValue::from_str(value).expect("a value"));
    let mut headers = HeaderMap::new();
    headers.extend(values.iter().map(value));
    headers
}

fn written(credential: &str) -> String {
    format!("Basic {}", STANDARD.encode(credential))
}

async fn ask(basic: &Basic, value: &str, now: Timestamp) -> Result<Caller, Denied> {
    basic.judge(&headers(&[value]), now).await
}

#[tokio::test]
async fn a_right_password_makes_the_user_the_caller_with_its_groups() {
    let basic = basic(&secret(Some(FILE)));
    let ann = ask(&basic, &written("ann:correct horse"), NOON).await.expect("ann");
    assert_eq!((ann.id(), ann.via(), ann.groups()), ("ann", "basic", &["admins".to_owned()][..]));
    let zoe = ask(&basic, &written("zoë:pässwörd").replace("Basic", "bAsIc"), NOON).await.expect("zoë");
    assert_eq!((zoe.id(), zoe.groups()), ("zoë", &[][..]));
}

#[tokio::test]
async fn what_is_no_basic_credential_is_missing_and_what_is_a_bad_one_is_invalid() {
    let basic = basic(&secret(Some(FILE)));
    for values in [&[][..], &["Bearer eyJ"], &["Basic"], &["basically YTpi"]] {
        assert_eq!(basic.judge(&headers(values), NOON).await, Err(Denied::Missing), "{values:?}");
    }
    let ann = written("ann:correct horse");
    for value in [
        written("ann:wrong"),
        written("eve:correct horse"),
        written("ann"),
        written(""),
        written(":"),
        written("ann:correct\nhorse"),
        written(&format!("ann:{}", "x".repeat(LONGEST + 1))),
        written(&format!("{}:x", "x".repeat(256))),
        "Basic %%%".to_owned(),
        "Basic YW5uOgAB".to_owned(),
        format!("Basic {}", STANDARD.encode(b"ann:\xff")),
        ann.trim_end_matches('=').to_owned(),
        format!("{ann}, {ann}"),
    ] {
        let denied = ask(&basic, &value, NOON).await;
        assert!(matches!(denied, Err(Denied::Invalid(_))), "{value}: {denied:?}");
    }
    let two = basic.judge(&headers(&[&ann, "Bearer eyJ"]), NOON).await;
    assert!(matches!(two, Err(Denied::Invalid(_))), "two credentials: {two:?}");
}

#[tokio::test]
async fn users_that_are_not_resolved_or_of_no_use_are_our_fault() {
    for value in [None, Some(&b"ann:hunter2"[..])] {
        let denied = ask(&basic(&secret(value)), &written("ann:hunter2"), NOON).await;
        assert!(matches!(&denied, Err(Denied::Unchecked(why)) if !why.contains("hunter2")), "{denied:?}");
    }
}

#[tokio::test]
async fn a_right_password_is_not_hashed_again_until_five_minutes_passed_or_the_file_changed() {
    let secret = secret(Some(FILE));
    let basic = basic(&secret);
    let (right, wrong) = (written("ann:correct horse"), written("ann:wrong"));
    let remembered = |value: &str, now| {
        let credential = credential(&headers(&[value])).expect("a credential");
        basic.remembered(&basic.hash(&credential), &basic.users.get().expect("users"), now).is_some()
    };
    ask(&basic, &right, NOON).await.expect("ann");
    ask(&basic, &wrong, NOON).await.expect_err("wrong");
    assert!(remembered(&right, NOON) && !remembered(&wrong, NOON));
    assert!(remembered(&right, NOON.plus(REMEMBERED - Duration::from_millis(1))));
    assert!(!remembered(&right, NOON.plus(REMEMBERED)) && !remembered(&right, NOON.minus(Duration::from_secs(1))));
    let text = std::str::from_utf8(FILE).expect("text");
    let without_ann = text.lines().filter(|line| !line.starts_with("ann")).collect::<Vec<_>>().join("\n");
    secret.set(without_ann.into());
    assert!(!remembered(&right, NOON));
    assert!(ask(&basic, &right, NOON).await.is_err(), "she is no longer there");
}

#[tokio::test]
async fn a_user_that_is_not_there_takes_about_as_long_as_one_that_is() {
    let basic = basic(&secret(Some(FILE)));
    let mut shortest = [Duration::MAX; 2];
    for round in 0..5 {
        for (at, user) in ["ann", "nobody"].into_iter().enumerate() {
            let started = Instant::now();
            let _ = ask(&basic, &written(&format!("{user}:wrong{round}")), NOON).await;
            shortest[at] = shortest[at].min(started.elapsed());
        }
    }
    let [known, unknown] = shortest;
    assert!(unknown * 4 > known && known * 4 > unknown, "{known:?} and {unknown:?}");
}

#[tokio::test]
async fn the_runtime_goes_on_while_passwords_are_hashed() {
    let basic = basic(&secret(Some(FILE)));
    let values: Vec<_> = (0..6).map(|n| written(&format!("ann:wrong{n}"))).collect();
    let all = async {
        for value in &values {
            let _ = ask(&basic, value, NOON).await;
        }
    };
    let mut turns = 0_u64;
    tokio::pin!(all);
    loop {
        tokio::select! {
            biased;
            () = &mut all => break,
            () = tokio::task::yield_now() => turns += 1,
        }
    }
    assert!(turns > 6, "{turns}: a single thread had turns between");
}

#[tokio::test]
async fn a_route_asks_for_a_password_and_takes_it_off_unless_it_is_kept() {
    let method: Arc<dyn Method> = Arc::new(basic(&secret(Some(FILE))));
    let world = testkit::world(Arc::new(crate::clock::SystemClock));
    for keep in [false, true] {
        let auth = testkit::any_of(&[("staff", Arc::clone(&method), keep)]);
        let mut asked = request("GET /");
        let refused = testkit::identify(&auth, &mut asked, &world).await.expect_err("no password");
        assert!(matches!(refused, Refusal::CredentialsMissing { .. }));
        let challenge = refused.into_response("ID").headers["www-authenticate"].clone();
        assert_eq!(challenge, "Basic realm=\"staff\", charset=\"UTF-8\"");
        asked.headers = headers(&[&written("ann:correct horse")]);
        assert_eq!(testkit::identify(&auth, &mut asked, &world).await.expect("ann").id(), "ann");
        assert_eq!(asked.headers.contains_key(AUTHORIZATION), keep);
    }
}
