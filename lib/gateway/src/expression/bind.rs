//! The variables of an expression, made of a request: only what the expression names is made.

#![expect(clippy::wildcard_enum_match_arm, reason = "a tree has nodes of many kinds; most are of no interest here")]

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, IdedExpr, operators};
use cel::{Context, Env, Value};
use http::HeaderMap;

use super::facts::{Facts, field};
use super::literal;
use crate::auth::Caller;

/// What an expression names.
#[derive(Debug, Default)]
pub(super) struct Uses {
    request: Vec<String>,
    request_headers: Keys,
    response_headers: Keys,
    query: Keys,
    cookies: Keys,
    roots: Vec<String>,
}

/// Which keys of a map are named.
#[derive(Debug, Default)]
struct Keys {
    named: Vec<String>,
    /// Named in a way that tells no keys: `size(request.headers)`.
    all: bool,
}

impl Uses {
    /// Reads them off a checked tree.
    pub(super) fn of(tree: &IdedExpr) -> Self {
        let mut uses = Self::default();
        uses.visit(&tree.expr);
        uses
    }

    /// The variables of a request.
    pub(super) fn context<'v>(&self, facts: &Facts<'_>, env: &Arc<Env>) -> Context<'v, 'v> {
        let mut context = Context::with_env(Arc::clone(env));
        for root in &self.roots {
            let value = match root.as_str() {
                "request" => self.request(facts),
                "params" => map(facts.params.iter().map(|(name, value)| (name.to_owned(), text(value)))),
                "route" => map([("name".to_owned(), text(facts.route))]),
                "caller" => facts.caller.map_or(Value::Null, caller_of),
                "response" => facts.response.map_or(Value::Null, |response| {
                    map([
                        ("status".to_owned(), Value::Int(i64::from(response.status.as_u16()))),
                        ("headers".to_owned(), fields(response.headers, &self.response_headers)),
                    ])
                }),
                _ => continue,
            };
            context.add_variable_from_value(root.as_str(), value);
        }
        context
    }

    fn request(&self, facts: &Facts<'_>) -> Value {
        let entry = |name: &String| {
            let value = match name.as_str() {
                "method" => text(facts.method.as_str()),
                "path" => text(facts.path),
                "host" => text(facts.host),
                "id" => text(facts.id),
                "ip" => text(&facts.ip.to_string()),
                "scheme" => text(facts.scheme.as_str()),
                "headers" => fields(facts.headers, &self.request_headers),
                "query" => pairs(facts.query_pairs(), &self.query),
                "cookies" => pairs(
                    facts.cookies().map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value))),
                    &self.cookies,
                ),
                _ => return None,
            };
            Some((name.clone(), value))
        };
        map(self.request.iter().filter_map(entry))
    }

    fn visit(&mut self, expr: &Expr) {
        if let Some(keys) = self.keyed(expr) {
            return keys;
        }
        match expr {
            Expr::Ident(name) => self.root(name),
            Expr::Select(select) => {
                if let Expr::Ident(root) = &select.operand.expr {
                    self.root(root);
                    self.field(root, &select.field);
                } else {
                    self.visit(&select.operand.expr);
                }
            }
            Expr::Call(call) => {
                for part in call.target.iter().map(|target| &**target).chain(&call.args) {
                    self.visit(&part.expr);
                }
            }
            Expr::List(list) => list.elements.iter().for_each(|element| self.visit(&element.expr)),
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.visit(&entry.key.expr);
                        self.visit(&entry.value.expr);
                    }
                }
            }
            Expr::Comprehension(loops) => {
                for part in [&loops.iter_range, &loops.accu_init, &loops.loop_cond, &loops.loop_step, &loops.result] {
                    self.visit(&part.expr);
                }
            }
            Expr::Literal(_) | Expr::Struct(_) | Expr::Unspecified => {}
        }
    }

    /// `request.headers['x']`, `has(request.headers.x)`, `'x' in request.headers`: one key of a map.
    fn keyed(&mut self, expr: &Expr) -> Option<()> {
        let (of, key) = match expr {
            Expr::Select(select) => (&select.operand.expr, select.field.as_str()),
            Expr::Call(call) => match (call.func_name.as_str(), call.args.as_slice()) {
                (operators::INDEX, [of, key]) => (&of.expr, literal(&key.expr)?),
                (operators::IN, [key, of]) => (&of.expr, literal(&key.expr)?),
                _ => return None,
            },
            _ => return None,
        };
        let Expr::Select(select) = of else { return None };
        let Expr::Ident(root) = &select.operand.expr else { return None };
        let (root, name) = (root.clone(), select.field.clone());
        let keys = self.keys(&root, &name)?;
        keys.named.push(key.to_owned());
        self.root(&root);
        if root == "request" && !self.request.contains(&name) {
            self.request.push(name);
        }
        Some(())
    }

    fn keys(&mut self, root: &str, name: &str) -> Option<&mut Keys> {
        match (root, name) {
            ("request", "headers") => Some(&mut self.request_headers),
            ("request", "query") => Some(&mut self.query),
            ("request", "cookies") => Some(&mut self.cookies),
            ("response", "headers") => Some(&mut self.response_headers),
            _ => None,
        }
    }

    fn root(&mut self, name: &str) {
        if !self.roots.iter().any(|root| root == name) {
            self.roots.push(name.to_owned());
        }
    }

    fn field(&mut self, root: &str, name: &str) {
        if let Some(keys) = self.keys(root, name) {
            keys.all = true;
        }
        if root == "request" && !self.request.iter().any(|field| field == name) {
            self.request.push(name.to_owned());
        }
    }
}

fn caller_of(caller: &Caller) -> Value {
    let list = |items: &[String]| Value::List(Arc::new(items.iter().map(|item| text(item)).collect()));
    map([
        ("id".to_owned(), text(caller.id())),
        ("tenant".to_owned(), text(caller.tenant())),
        ("plan".to_owned(), text(caller.plan())),
        ("scopes".to_owned(), list(caller.scopes())),
        ("groups".to_owned(), list(caller.groups())),
        ("via".to_owned(), text(caller.via())),
    ])
}

fn fields(headers: &HeaderMap, keys: &Keys) -> Value {
    let all = keys.all.then(|| headers.keys().map(http::HeaderName::as_str));
    let named = (!keys.all).then(|| keys.named.iter().map(String::as_str));
    let names = all.into_iter().flatten().chain(named.into_iter().flatten());
    map(names.filter_map(|name| field(headers, name).map(|value| (name.to_owned(), text(&value)))))
}

/// Of a repeated name the first value counts.
fn pairs<'a>(pairs: impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>, keys: &Keys) -> Value {
    let mut entries = HashMap::new();
    for (name, value) in pairs {
        if keys.all || keys.named.iter().any(|named| *named == name) {
            entries.entry(name.into_owned()).or_insert_with(|| text(&value));
        }
    }
    map(entries)
}

fn map(entries: impl IntoIterator<Item = (String, Value)>) -> Value {
    Value::from(entries.into_iter().collect::<HashMap<_, _>>())
}

fn text(text: &str) -> Value {
    Value::String(Arc::new(text.to_owned()))
}
