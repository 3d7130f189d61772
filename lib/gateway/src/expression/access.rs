//! Expressions that are one plain access, answered without the interpreter.

#![expect(clippy::wildcard_enum_match_arm, reason = "a tree has nodes of many kinds; most are of no interest here")]

use std::borrow::Cow;

use cel::common::ast::{Expr, operators};

use super::facts::{Facts, field};
use super::literal;

/// One value of a request, or a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Access {
    Literal(String),
    Method,
    Path,
    Host,
    Id,
    Ip,
    Scheme,
    Route,
    Param(String),
    Header(String),
    Query(String),
    Cookie(String),
    CallerId,
    ResponseHeader(String),
}

impl Access {
    /// The access that a tree is, if it is one. The tree was checked.
    pub(super) fn of(expr: &Expr) -> Option<Self> {
        if let Some(text) = literal(expr) {
            return Some(Self::Literal(text.to_owned()));
        }
        let path = steps(expr)?;
        Some(match path.as_slice() {
            ["request", "method"] => Self::Method,
            ["request", "path"] => Self::Path,
            ["request", "host"] => Self::Host,
            ["request", "id"] => Self::Id,
            ["request", "ip"] => Self::Ip,
            ["request", "scheme"] => Self::Scheme,
            ["route", "name"] => Self::Route,
            ["params", name] => Self::Param((*name).to_owned()),
            ["request", "headers", name] => Self::Header((*name).to_owned()),
            ["request", "query", name] => Self::Query((*name).to_owned()),
            ["request", "cookies", name] => Self::Cookie((*name).to_owned()),
            ["response", "headers", name] => Self::ResponseHeader((*name).to_owned()),
            ["caller", "id"] => Self::CallerId,
            _ => return None,
        })
    }

    /// Its value; `None` where the request has none.
    pub(super) fn text<'a>(&'a self, facts: &Facts<'a>) -> Option<Cow<'a, str>> {
        match self {
            Self::Literal(text) => Some(Cow::Borrowed(text)),
            Self::Method => Some(Cow::Borrowed(facts.method.as_str())),
            Self::Path => Some(Cow::Borrowed(facts.path)),
            Self::Host => Some(Cow::Borrowed(facts.host)),
            Self::Id => Some(Cow::Borrowed(facts.id)),
            Self::Ip => Some(Cow::Owned(facts.ip.to_string())),
            Self::Scheme => Some(Cow::Borrowed(facts.scheme.as_str())),
            Self::Route => Some(Cow::Borrowed(facts.route)),
            Self::Param(name) => facts.params.get(name).map(Cow::Borrowed),
            Self::Header(name) => field(facts.headers, name),
            Self::Query(name) => facts.query_value(name),
            Self::Cookie(name) => facts.cookie(name).map(Cow::Borrowed),
            Self::ResponseHeader(name) => facts.response.and_then(|response| field(response.headers, name)),
            Self::CallerId => facts.caller.map(|caller| Cow::Borrowed(caller.id())),
        }
    }
}

/// `a.b['c']` as its steps, root first; `None` where the tree is anything else.
pub(super) fn steps(expr: &Expr) -> Option<Vec<&str>> {
    let mut steps = Vec::new();
    let mut expr = expr;
    loop {
        match expr {
            Expr::Ident(name) => {
                steps.push(name.as_str());
                steps.reverse();
                return Some(steps);
            }
            Expr::Select(select) if !select.test => {
                steps.push(&select.field);
                expr = &select.operand.expr;
            }
            Expr::Call(call) if call.func_name == operators::INDEX => {
                let [of, index] = call.args.as_slice() else { return None };
                steps.push(literal(&index.expr)?);
                expr = &of.expr;
            }
            _ => return None,
        }
    }
}
