//! The config's one expression language: CEL, and `${…}` templates made of it.
//!
//! `cel` parses and evaluates; what it does not check is checked here when the config is compiled ([`check`]): unknown
//! variables, fields, functions, captures, wrong arity, bad regexes. Most expressions are one plain access
//! (`params.id`, `request.headers['x']`): those are answered without the interpreter ([`slot`]).

mod check;
mod claims;
mod facts;
mod fields;
mod functions;
mod parse;
mod regexes;
mod slot;
mod template;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use cel::common::ast::{Expr, IdedExpr};
use cel::common::types::{CelBool, CelString};
use cel::common::value::Val;
use cel::{Context, Env, ExecutionError, Value};

pub use facts::{AnswerFacts, Facts, Params};
pub use slot::Part;
pub use template::Template;

use check::literal;
use claims::Claim;
use parse::Places;
use slot::{Access, Lookup, Slot, Slots};

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
    /// `cost` of a limit: of the request, or of its answer.
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
    Claim(Claim),
    Program { tree: IdedExpr, slots: Slots },
}

impl Expression {
    /// Compiles a text.
    ///
    /// # Errors
    /// All that is wrong with it, in the order of the text.
    pub fn compile(text: &str, scope: &Scope<'_>) -> Result<Self, Vec<ExpressionProblem>> {
        if text.trim().is_empty() {
            return Err(vec![ExpressionProblem { offset: 0, message: "an expression must not be empty".to_owned() }]);
        }
        let mut tree = parse::parse(text).map_err(|problem| vec![problem])?;
        let slots = check::walk(&mut tree, scope).map_err(|found| {
            let places = Places::of(text);
            let placed =
                |found: check::Found| ExpressionProblem { offset: places.offset(found.id), message: found.message };
            let mut problems: Vec<_> = found.into_iter().map(placed).collect();
            problems.sort_by_key(|problem| problem.offset);
            problems
        })?;
        let alone = if let Expr::Ident(name) = &tree.expr { slots.get(name) } else { None };
        let body = match (alone, literal(&tree.expr)) {
            (Some(Slot::Text(access)), _) => Body::Access(access.clone()),
            (Some(Slot::Claim(claim)), _) => Body::Claim(claim.clone()),
            (None, Some(text)) => Body::Access(Access::Literal(text.to_owned())),
            _ => {
                // Now, and not when the first request comes.
                LazyLock::force(&ENV);
                Body::Program { tree, slots }
            }
        };
        Ok(Self { source: text.to_owned(), body })
    }

    /// As written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it may read this of a request.
    pub fn reads(&self, part: Part) -> bool {
        match &self.body {
            Body::Access(access) => access.reads(part),
            Body::Claim(_) => part == Part::Caller,
            Body::Program { slots, .. } => slots.reads(part),
        }
    }

    /// The text that it is for every request, where that is plain: written out, or folded in from `env`.
    pub fn constant(&self) -> Option<&str> {
        match &self.body {
            Body::Access(Access::Literal(text)) => Some(text),
            Body::Access(_) | Body::Claim(_) | Body::Program { .. } => None,
        }
    }

    /// Its value as a truth.
    ///
    /// # Errors
    /// Where it fails, or is neither true nor false.
    pub fn truth(&self, facts: &Facts<'_>) -> Result<bool, ExpressionFailure> {
        let neither = |what: &str| ExpressionFailure(format!("{what} is neither true nor false"));
        match &self.body {
            Body::Access(_) => Err(neither("text")),
            Body::Claim(claim) => {
                let value = claim.find(facts).ok_or_else(|| none(&self.source))?;
                value.as_bool().ok_or_else(|| neither(claims::kind(value)))
            }
            Body::Program { tree, slots } => evaluate(tree, slots, facts, |value| {
                value
                    .downcast_ref::<CelBool>()
                    .map(|truth| *truth.inner())
                    .ok_or_else(|| neither(value.get_type().name()))
            }),
        }
    }

    /// Its value as text: strings as they are, numbers and truths as written, null empty.
    ///
    /// # Errors
    /// Where it fails, or is a list, a map or bytes.
    pub fn text(&self, facts: &Facts<'_>) -> Result<String, ExpressionFailure> {
        self.text_of(facts).map(Cow::into_owned)
    }

    fn text_of<'a>(&'a self, facts: &Facts<'a>) -> Result<Cow<'a, str>, ExpressionFailure> {
        match &self.body {
            Body::Access(access) => access.text(facts).ok_or_else(|| none(&self.source)),
            Body::Claim(claim) => {
                let value = claim.find(facts).ok_or_else(|| none(&self.source))?;
                claims::text(value).ok_or_else(|| ExpressionFailure(format!("{} is no text", claims::kind(value))))
            }
            Body::Program { tree, slots } => evaluate(tree, slots, facts, text_of).map(Cow::Owned),
        }
    }

    /// The one access it is, if it is one.
    fn access(&self) -> Option<&Access> {
        match &self.body {
            Body::Access(access) => Some(access),
            Body::Claim(_) | Body::Program { .. } => None,
        }
    }
}

fn evaluate<T>(
    tree: &IdedExpr,
    slots: &Slots,
    facts: &Facts<'_>,
    read: impl FnOnce(&dyn Val) -> Result<T, ExpressionFailure>,
) -> Result<T, ExpressionFailure> {
    let lookup = Lookup { slots, facts };
    let mut context = Context::with_env(Arc::clone(&ENV));
    for (name, value) in slots.wholes(facts) {
        context.add_variable_as_val(name, value);
    }
    context.set_variable_resolver(&lookup);
    match Value::resolve_val(tree, &context) {
        Ok(value) => read(value.as_ref()),
        Err(ExecutionError::UndeclaredReference(name)) => Err(none(&name)),
        Err(error) => Err(ExpressionFailure(error.to_string())),
    }
}

fn none(what: &str) -> ExpressionFailure {
    ExpressionFailure(format!("there is no {what}"))
}

fn text_of(value: &dyn Val) -> Result<String, ExpressionFailure> {
    if let Some(text) = value.downcast_ref::<CelString<'_>>() {
        return Ok(text.inner().to_owned());
    }
    match Value::try_from(value) {
        Ok(Value::Int(number)) => Ok(number.to_string()),
        Ok(Value::UInt(number)) => Ok(number.to_string()),
        Ok(Value::Float(number)) => Ok(number.to_string()),
        Ok(Value::Bool(truth)) => Ok(truth.to_string()),
        Ok(Value::Null) => Ok(String::new()),
        Ok(_) | Err(_) => Err(ExpressionFailure(format!("{} is no text", value.get_type().name()))),
    }
}

/// The standard functions, and `matches` of our own.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(regexes::with_matches(Env::stdlib())));
