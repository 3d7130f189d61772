//! `matches` of our own: linear time, bounded, and a literal pattern compiled once, when the config is.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use cel::common::types::{CelBool, CelString, STRING_TYPE};
use cel::common::value::CowVal;
use cel::{Env, ExecutionError};
use regex::{Regex, RegexBuilder};

/// Adds `matches(text, pattern)` and `text.matches(pattern)`.
pub(super) fn with_matches(mut env: Env) -> Env {
    let pair = || vec![STRING_TYPE, STRING_TYPE];
    // Both fail only where the name is taken, which the standard library without its regex feature leaves free.
    let _ = env.add_overload("matches", "matches_string", pair(), matches);
    let _ = env.add_member_overload("matches", "string_matches", STRING_TYPE, vec![STRING_TYPE], matches);
    env
}

/// Compiles a literal pattern and keeps it.
///
/// # Errors
/// What is wrong with it.
pub(super) fn keep(pattern: &str) -> Result<(), String> {
    let regex = build(pattern)?;
    let mut kept = KEPT.write().unwrap_or_else(PoisonError::into_inner);
    if kept.len() < MOST_KEPT {
        kept.insert(pattern.to_owned(), regex);
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "the form of a function of the interpreter")]
fn matches<'a, 'v>(args: Vec<CowVal<'a, 'v>>) -> Result<CowVal<'a, 'v>, ExecutionError> {
    let [text, pattern] = args.as_slice() else {
        return Err(ExecutionError::invalid_argument_count(2, args.len()));
    };
    let text_of = |value: &CowVal<'a, 'v>| value.downcast_ref::<CelString<'_>>().map(|text| text.inner().to_owned());
    let (Some(text), Some(pattern)) = (text_of(text), text_of(pattern)) else {
        return Err(ExecutionError::function_error("matches", "takes two texts"));
    };
    let kept = KEPT.read().unwrap_or_else(PoisonError::into_inner).get(&pattern).cloned();
    let regex = match kept {
        Some(regex) => regex,
        None => build(&pattern).map_err(|error| ExecutionError::function_error("matches", error))?,
    };
    Ok(CowVal::owned(CelBool::from(regex.is_match(&text))))
}

fn build(pattern: &str) -> Result<Arc<Regex>, String> {
    RegexBuilder::new(pattern)
        .size_limit(LARGEST)
        .build()
        .map(Arc::new)
        .map_err(|error| error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned())
}

static KEPT: LazyLock<RwLock<HashMap<String, Arc<Regex>>>> = LazyLock::new(RwLock::default);
/// Reloads of a config keep the patterns of the one before: so many, then new ones are compiled at each use.
const MOST_KEPT: usize = 10_000;
const LARGEST: usize = 1 << 20;
