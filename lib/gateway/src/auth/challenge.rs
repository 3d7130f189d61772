//! What a 401 asks for: one `WWW-Authenticate` for each kind of credential that a route takes (RFC 9110 §11.6.1).

use std::sync::Arc;

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue};

/// One kind of credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// A bearer token (RFC 6750 §3).
    Bearer,
    /// A name and a password (RFC 7617 §2).
    Basic {
        /// What they are good for, told to people.
        realm: Arc<str>,
    },
    /// A scheme that no standard describes, by its word: `ApiKey`, `Hmac`.
    Scheme(&'static str),
}

/// The challenges of a route, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenges(Arc<[Challenge]>);

impl Challenges {
    pub(crate) fn of(all: impl Iterator<Item = Challenge>) -> Self {
        let mut each: Vec<Challenge> = Vec::new();
        for challenge in all {
            if !each.contains(&challenge) {
                each.push(challenge);
            }
        }
        Self(each.into())
    }

    /// Asks for credentials; `invalid` where some were given and are no good.
    pub(crate) fn write(&self, invalid: bool, headers: &mut HeaderMap) {
        let code = if invalid { "credentials_invalid" } else { "credentials_missing" };
        for challenge in &*self.0 {
            let text = match challenge {
                // Without credentials a challenge should not tell an error (RFC 6750 §3.1).
                Challenge::Bearer if invalid => "Bearer error=\"invalid_token\"".to_owned(),
                Challenge::Bearer => "Bearer".to_owned(),
                Challenge::Basic { realm } => format!("Basic realm=\"{realm}\", charset=\"UTF-8\""),
                Challenge::Scheme(scheme) => format!("{scheme} error=\"{code}\""),
            };
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.append(WWW_AUTHENTICATE, value);
            }
        }
    }
}
