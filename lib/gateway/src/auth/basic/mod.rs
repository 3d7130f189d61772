//! Basic authentication (RFC 7617): names and passwords of an htpasswd file, which is a secret.
//!
//! A hash takes its time by design. It never takes the runtime's: few are worked on at once, beside it, and a password
//! that was right is remembered for a while.

mod htpasswd;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use tokio::sync::Semaphore;

use super::caller::{Caller, Identity};
use super::challenge::Challenge;
use super::fields;
use super::flights::Flights;
use super::key::Hash;
use super::recent::{Recent, lock};
use super::{Denied, Method, Presented};
use crate::clock::Timestamp;
use crate::exchange::{After, Request};
use crate::forward::BoxFuture;
use crate::gateway::World;
use crate::secret::{Derived, Secret};
use htpasswd::Users;

/// For how long a right password is remembered, in an environment, while the file stays as it is.
const REMEMBERED: Duration = Duration::from_secs(300);

/// How many.
const MOST: usize = 1_024;

/// How many hashes are worked on at once: a function has one or two cores.
const AT_ONCE: usize = 2;

/// For how long a request waits for its turn and its hash.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest password, in bytes.
const LONGEST: usize = 1_024;

/// An entry of `auth` that identifies by names and passwords.
#[derive(Debug)]
pub struct Basic {
    name: Arc<str>,
    users: Derived<Users>,
    /// Names of users by group.
    groups: BTreeMap<String, Vec<String>>,
    /// What passwords are remembered by: never themselves, nor anything that another process could use.
    key: hmac::Key,
    right: Mutex<Recent<Right>>,
    flights: Flights<Result<bool, String>>,
    turns: Arc<Semaphore>,
}

/// A password that was right.
struct Right {
    /// The users that it was checked against.
    users: Arc<Users>,
    at: Timestamp,
    caller: Caller,
}

impl fmt::Debug for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Right")
    }
}

impl Basic {
    const VIA: &str = "basic";

    /// The entry `name`, with the secret that holds its users, and who belongs to which group.
    ///
    /// # Errors
    /// The platform has no randomness.
    pub fn new(name: &str, users: Arc<Secret>, groups: BTreeMap<String, Vec<String>>) -> Result<Self, &'static str> {
        let random = aws_lc_rs::rand::SystemRandom::new();
        Ok(Self {
            name: name.into(),
            users: Derived::new(users, Users::parse),
            groups,
            key: hmac::Key::generate(HMAC_SHA256, &random).map_err(|_| "there is no randomness")?,
            right: Mutex::new(Recent::new(MOST)),
            flights: Flights::default(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        })
    }

    /// Whether a file of users can be used, and a user whose password is cheap to guess for who has the file.
    ///
    /// # Errors
    /// What is wrong with it; never a part of it.
    pub fn check(file: &[u8]) -> Result<Option<String>, String> {
        Users::parse(file).map(|users| users.weak().map(str::to_owned))
    }

    async fn judge(&self, headers: &HeaderMap, now: Timestamp) -> Result<Caller, Denied> {
        let credential = credential(headers)?;
        let Some((user, password)) = credential.split_once(':') else {
            return Err(Denied::Invalid("there is no colon".to_owned()));
        };
        if user.len() > htpasswd::LONGEST_NAME || password.len() > LONGEST || credential.chars().any(char::is_control) {
            return Err(Denied::Invalid("a name or password is too long, or has a control character".to_owned()));
        }
        let users = self.users.get().map_err(Denied::Unchecked)?;
        let hash = self.hash(&credential);
        if let Some(caller) = self.remembered(&hash, &users, now) {
            return Ok(caller);
        }
        let work = || self.verify(Arc::clone(&users), user, password);
        if !Box::pin(self.flights.share(hash, work)).await.map_err(Denied::Unchecked)? {
            // Whether there is such a user is not even for the log, which more may read than may know.
            return Err(Denied::Invalid("the name or the password is wrong".to_owned()));
        }
        let caller = self.caller(user);
        let right = Right { users, at: now, caller: caller.clone() };
        lock(&self.right).keep(hash, right);
        Ok(caller)
    }

    fn hash(&self, credential: &str) -> Hash {
        let mut hash = Hash::default();
        hash.copy_from_slice(hmac::sign(&self.key, credential.as_bytes()).as_ref());
        hash
    }

    /// A clock that was set back makes nothing last longer.
    fn remembered(&self, hash: &Hash, users: &Arc<Users>, now: Timestamp) -> Option<Caller> {
        let mut right = lock(&self.right);
        let known = right.get(hash)?;
        let good = Arc::ptr_eq(&known.users, users) && known.at <= now && now.since(known.at) < REMEMBERED;
        good.then(|| known.caller.clone())
    }

    async fn verify(&self, users: Arc<Users>, user: &str, password: &str) -> Result<bool, String> {
        let (user, password) = (user.to_owned(), password.to_owned());
        let work = async {
            let turns = Arc::clone(&self.turns);
            let turn = turns.acquire_owned().await.map_err(|_| "there are no more turns".to_owned())?;
            // The turn ends with the hash, not with a request that goes away.
            let hashed = tokio::task::spawn_blocking(move || {
                let right = users.verify(&user, password.as_bytes());
                drop(turn);
                right
            });
            hashed.await.map_err(|_| "the hash was not finished".to_owned())
        };
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(checked) => checked,
            Err(_) => Err(format!("too many passwords are being checked: no answer within {PATIENCE:?}")),
        }
    }

    fn caller(&self, user: &str) -> Caller {
        let member = |users: &&Vec<String>| users.iter().any(|other| other == user);
        let groups = self.groups.iter().filter(|(_, users)| member(users)).map(|(group, _)| group.clone()).collect();
        Caller::of(Identity { via: Self::VIA, id: user.to_owned(), groups, ..Identity::default() })
    }
}

impl Method for Basic {
    fn identify<'a>(
        &'a self,
        asked: &'a Presented<'a>,
        _: &'a World,
        _: &'a mut After,
    ) -> BoxFuture<'a, Result<Caller, Denied>> {
        Box::pin(async { self.judge(asked.headers, asked.now).await.map_err(|denied| denied.by(&self.name)) })
    }

    fn strip(&self, request: &mut Request) {
        fields::take_off(&mut request.headers, &AUTHORIZATION, |value| after_scheme(value).is_some());
    }

    fn challenge(&self) -> Challenge {
        Challenge::Basic { realm: Arc::clone(&self.name) }
    }

    fn describe(&self) -> String {
        let groups: Vec<_> = self.groups.keys().map(String::as_str).collect();
        let groups = if groups.is_empty() { String::new() } else { format!(", groups {}", groups.join(" and ")) };
        format!("basic, users {}{groups}", self.users.secret().reference())
    }
}

/// The name and password of a request, decoded: UTF-8, as the challenge says (RFC 7617 §2.1).
fn credential(headers: &HeaderMap) -> Result<String, Denied> {
    let invalid = |why: &str| Denied::Invalid(why.to_owned());
    let own = |value: &&HeaderValue| value.to_str().is_ok_and(|text| after_scheme(text).is_some());
    let value = headers.get_all(AUTHORIZATION).iter().find(own).ok_or(Denied::Missing)?;
    if headers.get_all(AUTHORIZATION).iter().nth(1).is_some() {
        return Err(invalid("there is more than one authorization"));
    }
    let text = value.to_str().ok().and_then(after_scheme).unwrap_or_default();
    let decoded = STANDARD.decode(text.trim_matches(' ')).map_err(|_| invalid("what follows `Basic` is no base64"))?;
    String::from_utf8(decoded).map_err(|_| invalid("the name or password is no UTF-8"))
}

/// What follows `Basic`, in any case (RFC 9110 §11.1).
fn after_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("basic").then_some(rest)
}
