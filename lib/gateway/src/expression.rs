//! Stand-in for the expression language, until the real one lands: a few names, and texts in quotes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode};

use crate::auth::Caller;
use crate::clock::Timestamp;
use crate::exchange::Scheme;

/// Everything an expression may read of one request.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The method.
    pub method: &'a Method,
    /// The normalised path.
    pub path: &'a str,
    /// The raw query.
    pub query: Option<&'a str>,
    /// Header fields.
    pub headers: &'a HeaderMap,
    /// The authority asked for.
    pub host: &'a str,
    /// The request's id.
    pub id: &'a str,
    /// The client's address.
    pub ip: IpAddr,
    /// The client's scheme.
    pub scheme: Scheme,
    /// What the path captured.
    pub params: &'a Params,
    /// Who calls.
    pub caller: Option<&'a Caller>,
    /// The route's name.
    pub route: &'a str,
    /// The answer, where there is one.
    pub response: Option<AnswerFacts<'a>>,
    /// When the request came.
    pub now: Timestamp,
}

/// What an expression may read of an answer.
#[derive(Debug, Clone, Copy)]
pub struct AnswerFacts<'a> {
    /// The status.
    pub status: StatusCode,
    /// Header fields.
    pub headers: &'a HeaderMap,
}

/// What a path captured, decoded.
#[derive(Debug, Clone, Default)]
pub struct Params(Vec<(Arc<str>, String)>);

impl Params {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, name: Arc<str>, value: String) {
        self.0.push((name, value));
    }
}

/// Where an expression stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A limit's `by`.
    LimitKey,
}

/// What an expression may name.
#[derive(Debug)]
pub struct Scope<'a> {
    /// Where it stands.
    pub place: Place,
    /// What the path captures.
    pub params: &'a [Arc<str>],
    /// `env`.
    pub env: &'a BTreeMap<String, String>,
}

/// What is wrong with an expression.
#[derive(Debug)]
pub struct ExpressionProblem {
    /// Where, in bytes.
    pub offset: usize,
    /// What.
    pub message: String,
}

/// An expression had no value.
#[derive(Debug)]
pub struct ExpressionFailure;

/// An expression, compiled.
#[derive(Debug)]
pub struct Expression(String);

impl Expression {
    /// Compiles one.
    ///
    /// # Errors
    /// Never, in this stand-in.
    pub fn compile(text: &str, _: &Scope<'_>) -> Result<Self, Vec<ExpressionProblem>> {
        Ok(Self(text.to_owned()))
    }

    /// As written.
    pub fn source(&self) -> &str {
        &self.0
    }

    /// Its value.
    ///
    /// # Errors
    /// Where it has none.
    pub fn text(&self, facts: &Facts<'_>) -> Result<String, ExpressionFailure> {
        let header = |name: &str| facts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let value = match self.0.as_str() {
            "request.ip" => Some(facts.ip.to_string()),
            "request.path" => Some(facts.path.to_owned()),
            "caller.id" => facts.caller.map(|caller| caller.id().to_owned()),
            other => other.strip_prefix("request.headers['").and_then(|rest| header(rest.strip_suffix("']")?)),
        };
        value.ok_or(ExpressionFailure)
    }
}
