//! The config's one expression language: CEL, and `${…}` templates made of it.
//!
//! `cel` parses and evaluates; what it does not check is checked here when the config is compiled ([`check`]): unknown
//! variables, fields, functions, captures, wrong arity, bad regexes. Most expressions are one plain access
//! (`params.id`, `request.headers['x']`): those are answered without the interpreter ([`access`]).

#![expect(clippy::wildcard_enum_match_arm, reason = "values and trees are of many kinds; most are of no interest here")]

mod access;
mod bind;
mod check;
mod facts;
mod regexes;
mod template;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use cel::common::ast::{Expr, IdedExpr, LiteralValue, SourceInfo};
use cel::parser::PrattParser;
use cel::{Env, Value};

pub use facts::{AnswerFacts, Facts, Params};
pub use template::Template;

use access::Access;
use bind::Uses;

/// Where an expression stands, which decides the variables it may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `when` of a match: nobody is identified yet.
    Match,
    /// A condition of `allow`.
    Allow,
    /// `by` of a limit, and the subject of a hash: shared by routes, so any capture may be named.
    LimitKey,
    /// The subject of a sticky split.
    Sticky,
    /// `cost` of a limit.
    Cost,
    /// Templates of the upstream's request, of fixed answers and redirects.
    Request,
    /// Templates of the answer: what `Request` may name, and `response`.
    Response,
    /// Hosts, targets and redirect authorities: `${env.NAME}` alone.
    EnvOnly,
}

/// What an expression may name.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// Where it stands.
    pub place: Place,
    /// What the route's path captures.
    pub params: &'a [Arc<str>],
    /// The names under `expose_env`; their values are folded in.
    pub env: &'a BTreeMap<String, String>,
}

/// What is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpressionProblem {
    /// Where, in bytes from the start of the text.
    pub offset: usize,
    /// What, and what would be right.
    pub message: String,
}

/// An expression that gave no value for this request: a header that is missing, types that do not fit. What then
/// happens is the policy's business (config.md).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExpressionFailure(String);

/// A compiled expression.
#[derive(Debug)]
pub struct Expression {
    source: String,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Access(Access),
    Program(Box<Program>),
}

#[derive(Debug)]
struct Program {
    tree: IdedExpr,
    uses: Uses,
}

impl Expression {
    /// Compiles a text.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn compile(text: &str, scope: &Scope<'_>) -> Result<Self, Vec<ExpressionProblem>> {
        if text.len() > LONGEST {
            return one(0, format!("an expression must not be longer than {LONGEST} characters"));
        }
        if text.trim().is_empty() {
            return one(0, "an expression must not be empty".to_owned());
        }
        let mut tree = match PrattParser::default().max_recursion_depth(DEEPEST).parse(text) {
            Ok(tree) => tree,
            Err(errors) => {
                return Err(errors
                    .errors
                    .iter()
                    .take(1)
                    .map(|error| ExpressionProblem {
                        offset: offset_of(text, error.pos),
                        message: format!("not CEL: {}", error.msg.lines().next().unwrap_or_default()),
                    })
                    .collect());
            }
        };
        let found = check::walk(&mut tree, scope);
        if !found.is_empty() {
            return Err(placed(text, scope, found));
        }
        let body = match Access::of(&tree.expr) {
            Some(access) => Body::Access(access),
            None => Body::Program(Box::new(Program { uses: Uses::of(&tree), tree })),
        };
        Ok(Self { source: text.to_owned(), body })
    }

    /// As written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Its value as a truth.
    ///
    /// # Errors
    /// Where it fails, or is neither true nor false.
    pub fn truth(&self, facts: &Facts<'_>) -> Result<bool, ExpressionFailure> {
        match self.value(facts)? {
            Value::Bool(truth) => Ok(truth),
            other => Err(ExpressionFailure(format!("{} is neither true nor false", other.type_of()))),
        }
    }

    /// Its value as text: strings as they are, numbers and truths as written, null empty.
    ///
    /// # Errors
    /// Where it fails, or is a list, a map or bytes.
    pub fn text(&self, facts: &Facts<'_>) -> Result<String, ExpressionFailure> {
        self.text_of(facts).map(Cow::into_owned)
    }

    fn text_of<'a>(&'a self, facts: &'a Facts<'a>) -> Result<Cow<'a, str>, ExpressionFailure> {
        match &self.body {
            Body::Access(access) => access.text(facts).ok_or_else(|| ExpressionFailure(format!("no {}", self.source))),
            Body::Program(_) => text_of(self.value(facts)?).map(Cow::Owned),
        }
    }

    fn value(&self, facts: &Facts<'_>) -> Result<Value, ExpressionFailure> {
        match &self.body {
            Body::Access(access) => access
                .text(facts)
                .map(|text| Value::String(Arc::new(text.into_owned())))
                .ok_or_else(|| ExpressionFailure(format!("no {}", self.source))),
            Body::Program(program) => {
                let context = program.uses.context(facts, &ENV);
                Value::resolve(&program.tree, &context).map_err(|error| ExpressionFailure(error.to_string()))
            }
        }
    }

    /// The one access it is, if it is one.
    fn access(&self) -> Option<&Access> {
        match &self.body {
            Body::Access(access) => Some(access),
            Body::Program(_) => None,
        }
    }
}

fn text_of(value: Value) -> Result<String, ExpressionFailure> {
    match value {
        Value::String(text) => Ok(Arc::unwrap_or_clone(text)),
        Value::Int(number) => Ok(number.to_string()),
        Value::UInt(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::Null => Ok(String::new()),
        other => Err(ExpressionFailure(format!("{} is no text", other.type_of()))),
    }
}

/// The problems with their places. The quick parser keeps none, so the thorough one reads the text once more.
fn placed(text: &str, scope: &Scope<'_>, found: Vec<check::Found>) -> Vec<ExpressionProblem> {
    let thorough = ENV.compile(text).ok();
    let (mut again, offsets) = match &thorough {
        Some(program) => {
            let mut tree = program.expression().clone();
            (check::walk(&mut tree, scope), Some(program.source_info()))
        }
        None => (Vec::new(), None),
    };
    if again.len() != found.len() {
        again = found;
    }
    let offset = |info: Option<&SourceInfo>, id| {
        let chars = info.and_then(|info| info.offset_for(id)).map_or(0, |(start, _)| start as usize);
        let at = text.char_indices().nth(chars).map_or(0, |(at, _)| at);
        // A selection stands at its dot: the field is what is meant.
        if text.get(at..).is_some_and(|rest| rest.starts_with('.')) { at + 1 } else { at }
    };
    again
        .into_iter()
        .map(|found| ExpressionProblem { offset: offset(offsets, found.id), message: found.message })
        .collect()
}

fn one<T>(offset: usize, message: String) -> Result<T, Vec<ExpressionProblem>> {
    Err(vec![ExpressionProblem { offset, message }])
}

/// From a parser's line and column to bytes.
fn offset_of(text: &str, (line, column): (isize, isize)) -> usize {
    let line = usize::try_from(line - 1).unwrap_or_default();
    let column = usize::try_from(column - 1).unwrap_or_default();
    let before: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    (before + column).min(text.len())
}

/// A literal's text.
fn literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

/// The standard functions, and `matches` of our own.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(regexes::with_matches(Env::stdlib())));

const LONGEST: usize = 4096;
const DEEPEST: u16 = 64;
