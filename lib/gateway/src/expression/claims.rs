//! `claims`: what a token says of its caller, read where it stands. A plain path (`claims.org`,
//! `claims.realm_access.roles`) looks one value up; only what is a list or a map is made into one of the language's.
//!
//! JSON has one kind of number (RFC 8259 §6): a whole one is an int however it is written (`1`, `1.0`, `1e3`), so that
//! `now - claims.auth_time` needs no conversion; any other is a double.

use std::borrow::Cow;
use std::collections::HashMap;

use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt};
use cel::common::value::Val;
use serde_json::{Map, Number, Value};

use super::facts::Facts;

/// The steps from `claims` to one of its values; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim(Vec<String>);

impl Claim {
    pub(super) fn at(steps: &[&str]) -> Self {
        Self(steps.iter().map(|step| (*step).to_owned()).collect())
    }

    /// The value; `None` where a step leads nowhere.
    pub(super) fn find<'a>(&self, facts: &Facts<'a>) -> Option<&'a Value> {
        let (first, rest) = self.0.split_first()?;
        rest.iter().try_fold(facts.caller?.claims().get(first)?, |value, step| value.as_object()?.get(step))
    }
}

/// A value as text, as templates and keys take it; `None` of a list or a map.
pub(super) fn text(value: &Value) -> Option<Cow<'_, str>> {
    Some(match value {
        Value::String(text) => Cow::Borrowed(text),
        Value::Number(number) => Cow::Owned(match Kind::of(number) {
            Kind::Int(number) => number.to_string(),
            Kind::Large(number) => number.to_string(),
            Kind::Double(number) => number.to_string(),
        }),
        Value::Bool(truth) => Cow::Borrowed(if *truth { "true" } else { "false" }),
        Value::Null => Cow::Borrowed(""),
        Value::Array(_) | Value::Object(_) => return None,
    })
}

/// What a value is called in messages.
pub(super) const fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Number(_) => "a number",
        Value::Bool(_) => "a truth",
        Value::Null => "null",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// Whether a value is made up of others.
pub(super) const fn is_compound(value: &Value) -> bool {
    matches!(value, Value::Array(_) | Value::Object(_))
}

/// A value as the language has it.
pub(super) fn value(value: &Value) -> Box<dyn Val + '_> {
    match value {
        Value::String(text) => Box::new(CelString::from(text.as_str())),
        Value::Number(number) => match Kind::of(number) {
            Kind::Int(number) => Box::new(CelInt::from(number)),
            Kind::Large(number) => Box::new(CelUInt::from(number)),
            Kind::Double(number) => Box::new(CelDouble::from(number)),
        },
        Value::Bool(truth) => Box::new(CelBool::from(*truth)),
        Value::Null => Box::new(CelNull),
        Value::Array(items) => Box::new(CelList::from(items.iter().map(self::value).collect::<Vec<_>>())),
        Value::Object(entries) => map(entries),
    }
}

/// A map as the language has it.
pub(super) fn map(entries: &Map<String, Value>) -> Box<dyn Val + '_> {
    let entries = entries.iter().map(|(key, of)| (CelMapKey::String(key.as_str().into()), value(of)));
    Box::new(CelMap::from(entries.collect::<HashMap<_, _>>()))
}

enum Kind {
    Int(i64),
    /// Beyond what an int holds.
    Large(u64),
    Double(f64),
}

impl Kind {
    fn of(number: &Number) -> Self {
        if let Some(number) = number.as_i64() {
            return Self::Int(number);
        }
        if let Some(number) = number.as_u64() {
            return Self::Large(number);
        }
        let number = number.as_f64().unwrap_or(f64::NAN);
        #[expect(clippy::cast_possible_truncation, reason = "whole, and within what a double holds exactly")]
        if number.fract() == 0.0 && number.abs() <= EXACT {
            return Self::Int(number as i64);
        }
        Self::Double(number)
    }
}

/// Up to here every whole number has a double of its own (RFC 8259 §6).
const EXACT: f64 = 9_007_199_254_740_991.0;
