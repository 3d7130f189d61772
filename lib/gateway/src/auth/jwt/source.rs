//! Where in a request a token stands (RFC 6750 §2).

use std::borrow::Cow;
use std::fmt;

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use crate::auth::Presented;
use crate::auth::fields::retain;
use crate::exchange::Request;

/// A place that a token may stand in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A field: `Bearer` and the token in `Authorization`; in others `Bearer` may be missing.
    Header(HeaderName),
    /// A cookie.
    Cookie(String),
    /// A parameter of the query.
    Query(String),
}

impl Source {
    /// The one token in these places. Two are refused: which of them would an upstream believe?
    ///
    /// # Errors
    /// That there is more than one.
    pub(in crate::auth) fn only<'r>(all: &[Self], asked: &Presented<'r>) -> Result<Option<Cow<'r, [u8]>>, String> {
        let mut tokens = all.iter().flat_map(|source| source.tokens(asked));
        let one = tokens.next();
        if tokens.next().is_some() { Err("there is more than one token".to_owned()) } else { Ok(one) }
    }

    /// All tokens in this place, as they came.
    fn tokens<'r>(&self, asked: &Presented<'r>) -> Vec<Cow<'r, [u8]>> {
        match self {
            Self::Header(name) => asked
                .headers
                .get_all(name)
                .iter()
                .filter_map(|field| in_field(name, field))
                .map(Cow::Borrowed)
                .collect(),
            Self::Cookie(name) => asked
                .headers
                .get_all(COOKIE)
                .iter()
                .flat_map(|field| field.as_bytes().split(|byte| *byte == b';'))
                .filter_map(|pair| cookie(name, pair))
                .map(Cow::Borrowed)
                .collect(),
            Self::Query(name) => asked
                .query
                .iter()
                .flat_map(|query| query.split('&'))
                .filter_map(|pair| parameter(name, pair))
                .map(|value| percent_decode_str(value).into())
                .collect(),
        }
    }

    /// Takes the tokens of this place off a request, and nothing else.
    pub(in crate::auth) fn strip(&self, request: &mut Request) {
        match self {
            Self::Header(name) => {
                let other = |field: HeaderValue| in_field(name, &field).is_none().then_some(field);
                retain(&mut request.headers, name, other);
            }
            Self::Cookie(name) => retain(&mut request.headers, &COOKIE, |field| without_cookie(name, field)),
            Self::Query(name) => {
                let Some(query) = &request.query else { return };
                if !query.split('&').any(|pair| parameter(name, pair).is_some()) {
                    return;
                }
                let rest: Vec<_> = query.split('&').filter(|pair| parameter(name, pair).is_none()).collect();
                request.query = (!rest.is_empty()).then(|| rest.join("&"));
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "{name}"),
            Self::Cookie(name) => write!(f, "the cookie {name}"),
            Self::Query(name) => write!(f, "the query's {name}"),
        }
    }
}

/// The token of a field. Of `Authorization` other schemes are others' (RFC 9110 §11.4).
fn in_field<'f>(name: &HeaderName, field: &'f HeaderValue) -> Option<&'f [u8]> {
    let text = field.as_bytes().trim_ascii();
    match text.split_at_checked("Bearer".len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"Bearer") => match rest {
            // A space parts scheme and token; what else there is belongs to the token, which has it wrong then.
            [] => Some(rest),
            [b' ', ..] => Some(rest.trim_ascii_start()),
            [b'\t', ..] => Some(rest),
            _ => (name != AUTHORIZATION).then_some(text),
        },
        _ => (name != AUTHORIZATION).then_some(text),
    }
}

fn cookie<'p>(name: &str, pair: &'p [u8]) -> Option<&'p [u8]> {
    let at = pair.iter().position(|byte| *byte == b'=')?;
    let (own, value) = pair.split_at_checked(at)?;
    (own.trim_ascii() == name.as_bytes()).then(|| value.strip_prefix(b"=").unwrap_or_default().trim_ascii())
}

fn without_cookie(name: &str, field: HeaderValue) -> Option<HeaderValue> {
    let pairs = || field.as_bytes().split(|byte| *byte == b';');
    if !pairs().any(|pair| cookie(name, pair).is_some()) {
        return Some(field);
    }
    let rest: Vec<_> = pairs().filter(|pair| cookie(name, pair).is_none()).map(<[u8]>::trim_ascii).collect();
    let rest = rest.join(b"; ".as_slice());
    if rest.is_empty() { None } else { HeaderValue::from_bytes(&rest).ok() }
}

/// The value of a parameter, still encoded. A name counts as an upstream decodes it.
fn parameter<'p>(name: &str, pair: &'p str) -> Option<&'p str> {
    let (own, value) = pair.split_once('=').unwrap_or((pair, ""));
    let own = own.replace('+', " ");
    (percent_decode_str(&own).eq(name.bytes())).then_some(value)
}
