//! Client credentials (RFC 6749 §4.4): a token of an authorization server for the gateway itself.
//!
//! A token is kept in the environment until shortly before it ends, and asked for anew behind a response when a quarter
//! of its time is left. Whoever needs one while there is none waits for one call, shared by all.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use serde_json::Value;

use super::{basic, bearer, line};
use crate::call::{Call, Endpoint, Reply};
use crate::clock::{Clock, Timestamp};
use crate::exchange::After;
use crate::forward::Upstream;
use crate::gateway::World;
use crate::secret::Secret;

/// For a whole call of the token endpoint.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The most that its answer may have.
const MOST: usize = 64 * 1024;

/// The life of a token whose server does not say.
const UNSAID: Duration = Duration::from_secs(300);

/// No token is believed to live longer.
const LONGEST: Duration = Duration::from_secs(86_400);

/// After a failure nothing is asked for this long.
const PAUSE: Duration = Duration::from_secs(1);

/// A token younger than this that an upstream refuses is not worth another one.
const YOUNG: Duration = Duration::from_secs(30);

/// How a client authenticates itself to the token endpoint (RFC 6749 §2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// `Authorization: Basic`, which every server knows.
    Basic,
    /// Fields of the form.
    Post,
}

/// `oauth2` of a `sign`.
pub struct ClientCredentials {
    endpoint: Endpoint,
    id: String,
    secret: Arc<Secret>,
    auth: ClientAuth,
    scopes: Vec<String>,
    audience: Option<String>,
    state: State,
}

/// What an environment knows of one client's tokens.
#[derive(Default)]
struct State {
    held: Mutex<Held>,
    turn: tokio::sync::Mutex<()>,
    refreshing: AtomicBool,
}

#[derive(Default)]
enum Held {
    #[default]
    Nothing,
    Token(Token),
    Failed(String, Timestamp),
}

#[derive(Clone)]
struct Token {
    value: HeaderValue,
    made: Timestamp,
    /// From then on another one is asked for.
    renew: Timestamp,
    /// From then on it is not used.
    ends: Timestamp,
}

impl ClientCredentials {
    /// The client `id`, which says by `auth` and with `secret` that it is it, at the token endpoint `endpoint`. Without
    /// `scopes` the server decides them; `audience` is whom the token is for, where the server wants to be told.
    pub fn new(
        endpoint: Endpoint,
        id: String,
        secret: Arc<Secret>,
        auth: ClientAuth,
        scopes: Vec<String>,
        audience: Option<String>,
    ) -> Self {
        Self { endpoint, id, secret, auth, scopes, audience, state: State::default() }
    }

    /// The field's value, of a token that is good.
    pub(super) async fn token(self: &Arc<Self>, world: &World, after: &mut After) -> Result<HeaderValue, String> {
        match self.known(world.clock.now()) {
            Some(Ok((token, true))) => {
                self.renew_after(world, after);
                Ok(token)
            }
            Some(Ok((token, false))) => Ok(token),
            Some(Err(why)) => Err(why),
            None => Box::pin(self.asked(&*world.upstream, &*world.clock)).await,
        }
    }

    /// Drops `token` where it is the one in use and old enough for another one to be of use.
    pub(super) fn refused(&self, token: &HeaderValue, now: Timestamp) -> bool {
        let mut held = self.held();
        let drops = matches!(&*held, Held::Token(own) if own.value == *token && now.since(own.made) >= YOUNG);
        if drops {
            *held = Held::Nothing;
        }
        // Where it is another one already, that one may do.
        drops || matches!(&*held, Held::Nothing) || matches!(&*held, Held::Token(own) if own.value != *token)
    }

    pub(super) fn shown(&self) -> String {
        let Self { endpoint, id, secret, auth, scopes, audience, .. } = self;
        let method = if *auth == ClientAuth::Basic { "basic" } else { "post" };
        let mut text = format!("oauth2 {}, client {id} by {method}, secret {}", endpoint.uri(), secret.reference());
        if !scopes.is_empty() {
            let _ = write!(text, ", scopes {}", scopes.join(" "));
        }
        if let Some(audience) = audience {
            let _ = write!(text, ", audience {audience}");
        }
        text
    }

    /// What is known now: a token, and whether it is time for another one, or a failure that is still fresh.
    fn known(&self, now: Timestamp) -> Option<Result<(HeaderValue, bool), String>> {
        match &*self.held() {
            Held::Token(token) if now < token.ends => Some(Ok((token.value.clone(), now >= token.renew))),
            // A clock that was set back makes no failure last longer.
            Held::Failed(why, until) if now < *until && *until <= now.plus(PAUSE) => Some(Err(why.clone())),
            Held::Nothing | Held::Token(_) | Held::Failed(..) => None,
        }
    }

    /// The answer of a call, or of the one that was under way.
    async fn asked(&self, upstream: &dyn Upstream, clock: &dyn Clock) -> Result<HeaderValue, String> {
        let _turn = self.state.turn.lock().await;
        if let Some(known) = self.known(clock.now()) {
            return known.map(|(token, _)| token);
        }
        let made = self.ask(upstream, clock).await;
        let held = match &made {
            Ok(token) => Held::Token(token.clone()),
            Err(why) => Held::Failed(why.clone(), clock.now().plus(PAUSE)),
        };
        *self.held() = held;
        made.map(|token| token.value)
    }

    /// One renewal at a time, behind the response. A failure leaves the token that there is, and is tried again behind
    /// the next response.
    fn renew_after(self: &Arc<Self>, world: &World, after: &mut After) {
        if self.state.refreshing.swap(true, Ordering::Relaxed) {
            return;
        }
        let renewing = Renewing(Arc::clone(self));
        let (upstream, clock) = (Arc::clone(&world.upstream), Arc::clone(&world.clock));
        after.push(async move {
            if let Ok(token) = renewing.0.ask(&*upstream, &*clock).await {
                *renewing.0.held() = Held::Token(token);
            }
        });
    }

    async fn ask(&self, upstream: &dyn Upstream, clock: &dyn Clock) -> Result<Token, String> {
        let call = self.call()?;
        let made = clock.now();
        let reply = self.endpoint.call(upstream, call).await?;
        let (value, lives) = read(&reply).map_err(|why| format!("{}: {why}", self.endpoint.uri()))?;
        // Used a little less long than it lives: it is on its way for a while.
        let ends = made.plus(lives - (lives / 10).min(Duration::from_secs(30)));
        Ok(Token { value, made, renew: made.plus(lives * 3 / 4), ends })
    }

    /// The request (RFC 6749 §4.4.2).
    fn call(&self) -> Result<Call, String> {
        let secret = self.secret.get().ok_or_else(|| self.secret.missing().unwrap_or_default())?;
        let secret = line(&secret);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let scope = self.scopes.join(" ");
        let mut form = vec![("grant_type", "client_credentials")];
        if !scope.is_empty() {
            form.push(("scope", &scope));
        }
        if let Some(audience) = &self.audience {
            form.push(("audience", audience));
        }
        let mut body: Vec<String> =
            form.iter().map(|(name, value)| format!("{name}={}", encoded(value.as_bytes()))).collect();
        match self.auth {
            // Both are encoded as in a form before they are put together (RFC 6749 §2.3.1).
            ClientAuth::Basic => {
                let value = basic(encoded(self.id.as_bytes()).as_bytes(), encoded(secret).as_bytes())?;
                headers.insert(AUTHORIZATION, value);
            }
            ClientAuth::Post => {
                body.push(format!("client_id={}", encoded(self.id.as_bytes())));
                body.push(format!("client_secret={}", encoded(secret)));
            }
        }
        Ok(Call { method: Method::POST, headers, body: Bytes::from(body.join("&")), timeout: TIMEOUT, most: MOST })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.state.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds the turn to renew, until the job has run or was dropped.
struct Renewing(Arc<ClientCredentials>);

impl Drop for Renewing {
    fn drop(&mut self) {
        self.0.state.refreshing.store(false, Ordering::Relaxed);
    }
}

/// The token of an answer, and how long it lives (RFC 6749 §5.1).
fn read(reply: &Reply) -> Result<(HeaderValue, Duration), String> {
    let answer = serde_json::from_slice::<Value>(&reply.body).unwrap_or_default();
    if reply.status != StatusCode::OK {
        return Err(format!("answered {}{}", reply.status.as_u16(), error_code(&answer)));
    }
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    let token = text("access_token").ok_or("its answer has no access_token")?;
    if !text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
        return Err("its token is none of type Bearer".to_owned());
    }
    let lives = match answer.get("expires_in") {
        None | Some(Value::Null) => UNSAID,
        // Some servers write the number as text.
        Some(lives) => {
            let secs = lives.as_u64().or_else(|| lives.as_str()?.parse().ok());
            Duration::from_secs(secs.filter(|secs| *secs > 0).ok_or("its expires_in is no number of seconds")?)
        }
    };
    let token = bearer(token.as_bytes()).map_err(|_| "its access_token cannot stand in a header")?;
    Ok((token, lives.min(LONGEST)))
}

/// What RFC 6749 §5.2 names `error`: a short word for the log, never what stands beside it.
fn error_code(answer: &Value) -> String {
    let is_code = |text: &&str| text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let code = answer.get("error").and_then(Value::as_str).filter(is_code);
    code.map(|code| format!(" {code}")).unwrap_or_default()
}

/// As in a form (RFC 6749, appendix B), with `%20` for a space, which every reader of forms takes.
fn encoded(value: &[u8]) -> String {
    percent_encoding::percent_encode(value, NOT_IN_A_FORM).to_string()
}

const NOT_IN_A_FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*');

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientCredentials({})", self.shown())
    }
}
