//! Any of several ways in, and all of several methods.

use super::*;
use crate::testkit::{request, world};

/// A method of tests: its credential is the field of its own name, and says how it goes.
#[derive(Debug)]
struct Word(&'static str);

impl Method for Word {
    fn identify<'a>(
        &'a self,
        asked: &'a Presented<'a>,
        _: &'a World,
        _: &'a mut After,
    ) -> BoxFuture<'a, Result<Caller, Denied>> {
        let said = asked.headers.get(self.0).map(|value| value.to_str().unwrap());
        let own: HeaderValue = self.0.parse().unwrap();
        let forward = vec![(HeaderName::from_static("x-from"), own.clone()), (self.0.parse().unwrap(), own)];
        let identity = Identity { via: "none", id: self.0.to_owned(), forward, ..Identity::default() };
        let word = match said {
            None => Err(Denied::Missing),
            Some("right") => Ok(Caller::of(identity)),
            Some("refused") => Err(Denied::Forbidden(self.0.to_owned())),
            Some("unsure") => Err(Denied::Unchecked(self.0.to_owned())),
            Some(_) => Err(Denied::Invalid(self.0.to_owned())),
        };
        Box::pin(std::future::ready(word))
    }

    fn strip(&self, request: &mut Request) {
        request.headers.remove(self.0);
    }

    fn challenge(&self) -> Challenge {
        if self.0 == "a" { Challenge::Bearer } else { Challenge::Scheme("Word") }
    }

    fn describe(&self) -> String {
        self.0.to_owned()
    }
}

fn used(name: &'static str) -> Use {
    Use { entry: Arc::new(Entry { name: name.into(), method: Arc::new(Word(name)) }), keep: false }
}

/// What a route that takes `a`, or `b` and `c` together, makes of these fields: the caller or the code, and what is
/// left of the fields.
async fn ask(fields: &[(&'static str, &str)]) -> (Result<Caller, Refusal>, HeaderMap) {
    let (caller, headers, shadowed) = ask_in(Mode::Enforce, fields).await;
    assert_eq!(shadowed, Shadowed::default());
    (caller, headers)
}

async fn ask_in(mode: Mode, fields: &[(&'static str, &str)]) -> (Result<Caller, Refusal>, HeaderMap, Shadowed) {
    let auth = Auth::Any(Ways::new(vec![Way::One(used("a")), Way::All(vec![used("b"), used("c")])], mode));
    let mut request = request("GET /");
    for (name, value) in fields {
        request.headers.append(*name, value.parse().unwrap());
    }
    let world = world(Arc::new(TestClock(AtomicU64::new(NOON))));
    let (route, mut shadowed) = (Arc::from("r"), Shadowed::default());
    let about = About { route: &route, now: world.clock.now(), most: 0, assumed: None };
    let identified = auth.identify(&mut request, about, &world, &mut shadowed, &mut After::default()).await;
    (identified, request.headers, shadowed)
}

async fn code(fields: &[(&'static str, &str)]) -> String {
    ask(fields).await.0.map_or_else(|refusal| refusal.code().to_owned(), |caller| caller.id().to_owned())
}

#[tokio::test]
async fn any_way_will_do_and_a_way_of_several_methods_needs_all_of_them() {
    let right = "right";
    for (fields, expected) in [
        (&[("a", right)][..], "a"),
        (&[("b", right), ("c", right)], "b"),
        (&[("a", "wrong"), ("b", right), ("c", right)], "b"),
        (&[("a", right), ("b", "unsure")], "a"),
        (&[], "credentials_missing"),
        (&[("b", right)], "credentials_missing"),
        (&[("b", right), ("c", "wrong")], "credentials_invalid"),
        (&[("b", "wrong"), ("c", right)], "credentials_invalid"),
        (&[("a", "wrong")], "credentials_invalid"),
        (&[("a", "refused"), ("b", "wrong")], "caller_forbidden"),
        (&[("a", "unsure"), ("b", "refused")], "credentials_unchecked"),
    ] {
        assert_eq!(code(fields).await, expected, "{fields:?}");
    }
}

#[tokio::test]
async fn of_several_that_agree_the_first_is_the_caller_and_the_others_send_on_what_it_does_not() {
    let (caller, _) = ask(&[("b", "right"), ("c", "right")]).await;
    let caller = caller.unwrap();
    let sent: Vec<_> = caller.forward().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!((caller.id(), sent.as_slice()), ("b", &[("x-from", "b"), ("b", "b"), ("c", "c")][..]));
}

#[tokio::test]
async fn every_credential_that_a_route_takes_comes_off_whichever_let_the_caller_in() {
    let (caller, left) = ask(&[("a", "right"), ("b", "right"), ("other", "1")]).await;
    assert!(caller.is_ok());
    assert_eq!(left.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["other"]);
}

#[tokio::test]
async fn a_client_is_asked_for_each_kind_of_credential_once_and_not_told_which_nearly_worked() {
    for (fields, expected) in [
        (&[][..], ["Bearer", "Word error=\"credentials_missing\""]),
        (&[("a", "wrong")], ["Bearer error=\"invalid_token\"", "Word error=\"credentials_invalid\""]),
        (&[("b", "right"), ("c", "wrong")], ["Bearer error=\"invalid_token\"", "Word error=\"credentials_invalid\""]),
    ] {
        let response = ask(fields).await.0.unwrap_err().into_response("id");
        let told: Vec<_> = response.headers.get_all("www-authenticate").iter().collect();
        assert_eq!(told, expected, "{fields:?}");
        let Body::Full(body) = response.body else { panic!("a problem has a body") };
        assert!(!String::from_utf8_lossy(&body).contains("wrong"));
    }
}

#[tokio::test]
async fn the_log_is_told_of_every_credential_that_is_no_good_and_once() {
    let told = async |fields| ask(fields).await.0.unwrap_err().to_string();
    assert_eq!(told(&[("a", "wrong"), ("b", "wrong")]).await, "the credentials are no good: a; b");
    assert_eq!(told(&[("a", "wrong"), ("b", "right")]).await, "the credentials are no good: a");
    assert_eq!(told(&[("a", "unsure"), ("b", "unsure")]).await, "the credentials cannot be checked: a; b");
    assert_eq!(told(&[("a", "wrong"), ("b", "unsure")]).await, "the credentials cannot be checked: b");
}

#[tokio::test]
async fn in_shadow_who_is_not_identified_passes_as_anyone_with_what_was_sent_and_is_taken_down() {
    let (caller, left, shadowed) = ask_in(Mode::Shadow, &[("a", "wrong")]).await;
    assert_eq!((caller.unwrap().via(), left.len(), shadowed.codes()), ("none", 1, vec!["credentials_invalid"]));
    let (caller, left, shadowed) = ask_in(Mode::Shadow, &[("a", "right")]).await;
    assert_eq!((caller.unwrap().id(), left.len(), shadowed.codes()), ("a", 0, vec![]));
    let (caller, left, shadowed) = ask_in(Mode::Off, &[("a", "right")]).await;
    assert_eq!((caller.unwrap().id(), left.len(), shadowed.codes()), ("", 1, vec![]));
}
