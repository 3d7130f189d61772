//! What a route asks of a request.

use http::{HeaderMap, HeaderName, Method};
use regex::Regex;

use super::host::HostMatch;
use super::pattern::{PathMatch, full_match};
use crate::expression::{Expression, Facts};

/// The conditions of one route, all of which must hold.
#[derive(Debug)]
pub struct Conditions {
    /// `None` is every path; it comes after all that name one, regexes too.
    pub path: Option<PathMatch>,
    /// Empty is every method.
    pub methods: Vec<Method>,
    /// Empty is every host.
    pub hosts: Vec<HostMatch>,
    /// Header fields.
    pub headers: Vec<(HeaderName, ValueMatch)>,
    /// Query parameters, by decoded name.
    pub query: Vec<(String, ValueMatch)>,
    /// A condition in CEL; one that fails does not match.
    pub when: Option<Expression>,
    /// Above all else; 0 unless written.
    pub precedence: i64,
}

/// A condition on a value.
#[derive(Debug, Clone)]
pub enum ValueMatch {
    /// Exactly this.
    Exact(String),
    /// A full match of this.
    Regex(Regex),
    /// Anything.
    Present,
}

impl ValueMatch {
    /// A regex that the whole value must match.
    ///
    /// # Errors
    /// Words that follow the text as written.
    pub fn regex(text: &str) -> Result<Self, String> {
        full_match(text).map(Self::Regex)
    }

    fn holds(&self, value: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == value,
            Self::Regex(regex) => regex.is_match(value),
            Self::Present => true,
        }
    }

    /// As it stands in messages and prints; the same for the same condition.
    pub fn show(&self) -> String {
        match self {
            Self::Exact(exact) => format!("{exact:?}"),
            Self::Regex(regex) => format!("{{regex: {:?}}}", super::pattern::source_of(regex)),
            Self::Present => "{present: true}".to_owned(),
        }
    }
}

impl Conditions {
    /// Whether the headers, the query and `when` hold. Path, host and method are the router's.
    pub(super) fn hold(&self, facts: &Facts<'_>) -> bool {
        self.headers.iter().all(|(name, value)| header_holds(facts.headers, name, value))
            && self.query.iter().all(|(name, value)| facts.query_value(name).is_some_and(|given| value.holds(&given)))
            && self.when.as_ref().is_none_or(|when| self.true_of(when, facts))
    }

    /// Whether an expression is true of a request and of what the path captures of it; one that fails is not.
    fn true_of(&self, when: &Expression, facts: &Facts<'_>) -> bool {
        let capturing = self.path.as_ref().filter(|path| !path.params().is_empty());
        let params = capturing.map(|path| path.capture(facts.path));
        let params = params.as_ref().unwrap_or(facts.params);
        when.truth(&Facts { params, ..*facts }).unwrap_or(false)
    }

    /// Whether the method is taken; `HEAD` goes to a route for `GET`.
    pub(super) fn take(&self, method: &Method) -> bool {
        self.methods.is_empty()
            || self.methods.contains(method)
            || (*method == Method::HEAD && self.methods.contains(&Method::GET))
    }
}

fn header_holds(headers: &HeaderMap, name: &HeaderName, condition: &ValueMatch) -> bool {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return false };
    let first = String::from_utf8_lossy(first.as_bytes());
    let joined =
        values.fold(first, |joined, value| format!("{joined}, {}", String::from_utf8_lossy(value.as_bytes())).into());
    condition.holds(&joined)
}
