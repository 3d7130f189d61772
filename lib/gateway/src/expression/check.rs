//! The walk over an expression's tree that `cel` leaves to us: unknown variables, fields, captures, functions, wrong
//! arity, bad regexes. Values under `env` are folded in on the way.

#![expect(clippy::wildcard_enum_match_arm, reason = "a tree has nodes of many kinds; most are of no interest here")]

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, operators};

use super::{Place, Scope, literal, regexes};

/// One problem, at a node.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) id: u64,
    pub(super) message: String,
}

/// Checks a tree and folds `env` in.
pub(super) fn walk(tree: &mut IdedExpr, scope: &Scope<'_>) -> Vec<Found> {
    let mut walk = Walk { scope, found: Vec::new(), locals: Vec::new(), loops: 0, nodes: 0 };
    walk.visit(tree);
    walk.found
}

struct Walk<'a> {
    scope: &'a Scope<'a>,
    found: Vec<Found>,
    /// Variables of the comprehensions around.
    locals: Vec<String>,
    loops: usize,
    nodes: usize,
}

impl Walk<'_> {
    fn problem(&mut self, id: u64, message: impl Into<String>) {
        self.found.push(Found { id, message: message.into() });
    }

    fn visit(&mut self, node: &mut IdedExpr) {
        self.nodes += 1;
        if self.nodes == MOST_NODES {
            self.problem(node.id, format!("an expression must not have more than {MOST_NODES} parts"));
        }
        if self.nodes >= MOST_NODES || self.folds(node) || self.variable(node) {
            return;
        }
        let id = node.id;
        match &mut node.expr {
            Expr::Ident(name) => {
                let name = name.clone();
                self.root(id, &name);
            }
            Expr::Select(select) => self.visit(&mut select.operand),
            Expr::Call(call) => {
                let (name, target, args) = (call.func_name.clone(), call.target.is_some(), call.args.len());
                self.function(id, &name, target, args);
                if name == "matches" {
                    let pattern = call.args.last().and_then(|pattern| literal(&pattern.expr)).map(str::to_owned);
                    self.pattern(id, pattern.as_deref());
                }
                for part in call.target.iter_mut().map(|target| &mut **target).chain(&mut call.args) {
                    self.visit(part);
                }
            }
            Expr::List(list) => list.elements.iter_mut().for_each(|element| self.visit(element)),
            Expr::Map(map) => {
                for entry in &mut map.entries {
                    if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                        self.visit(&mut entry.key);
                        self.visit(&mut entry.value);
                    }
                }
            }
            Expr::Comprehension(loops) => {
                self.loops += 1;
                if self.loops > DEEPEST_LOOPS {
                    self.problem(id, format!("loops must not stand in more than {DEEPEST_LOOPS} deep"));
                }
                self.visit(&mut loops.iter_range);
                let names = [Some(&loops.iter_var), loops.iter_var2.as_ref(), Some(&loops.accu_var)];
                let before = self.locals.len();
                self.locals.extend(names.into_iter().flatten().cloned());
                for part in [&mut loops.accu_init, &mut loops.loop_cond, &mut loops.loop_step, &mut loops.result] {
                    self.visit(part);
                }
                self.locals.truncate(before);
                self.loops -= 1;
            }
            Expr::Struct(_) => self.problem(id, "messages cannot be made here"),
            Expr::Literal(_) | Expr::Unspecified => {}
        }
    }

    /// `env.NAME` becomes its value.
    fn folds(&mut self, node: &mut IdedExpr) -> bool {
        let id = node.id;
        let name = match &node.expr {
            Expr::Select(select) if is_ident(&select.operand, "env") => select.field.clone(),
            Expr::Call(call) if call.func_name == operators::INDEX => match call.args.as_slice() {
                [of, key] if is_ident(of, "env") => match literal(&key.expr) {
                    Some(name) => name.to_owned(),
                    None => {
                        self.problem(id, "the name under `env` must be written out");
                        return true;
                    }
                },
                _ => return false,
            },
            _ => return false,
        };
        match self.scope.env.get(&name) {
            Some(value) => node.expr = Expr::Literal(LiteralValue::String(value.clone().into())),
            None => {
                let known = list(self.scope.env.keys().map(String::as_str), "nothing stands under `expose_env`");
                self.problem(id, format!("unknown variable `env.{name}`: {known}"));
            }
        }
        true
    }

    /// A field or a key of one of the variables; `true` where that was judged.
    fn variable(&mut self, node: &mut IdedExpr) -> bool {
        let id = node.id;
        let (root_id, root, name) = match &node.expr {
            Expr::Select(select) => match &select.operand.expr {
                Expr::Ident(root) if !self.locals.contains(root) => {
                    (select.operand.id, root.clone(), select.field.clone())
                }
                Expr::Select(inner) => {
                    let Expr::Ident(root) = &inner.operand.expr else { return false };
                    let (root, map, key) = (root.clone(), inner.field.clone(), select.field.clone());
                    self.key(id, &root, &map, &key);
                    return false;
                }
                _ => return false,
            },
            Expr::Call(call) if call.func_name == operators::INDEX => match call.args.as_slice() {
                [of, key] => {
                    let Some(key) = literal(&key.expr) else { return false };
                    match &of.expr {
                        Expr::Ident(root) if root == "params" => (of.id, root.clone(), key.to_owned()),
                        Expr::Select(inner) => {
                            let Expr::Ident(root) = &inner.operand.expr else { return false };
                            let (root, map, key) = (root.clone(), inner.field.clone(), key.to_owned());
                            self.key(id, &root, &map, &key);
                            return false;
                        }
                        _ => return false,
                    }
                }
                _ => return false,
            },
            Expr::Call(call) if call.func_name == operators::IN => {
                if let [key, of] = call.args.as_slice()
                    && let Some(key) = literal(&key.expr)
                    && let Expr::Select(inner) = &of.expr
                    && let Expr::Ident(root) = &inner.operand.expr
                {
                    let (root, map, key) = (root.clone(), inner.field.clone(), key.to_owned());
                    self.key(id, &root, &map, &key);
                }
                return false;
            }
            _ => return false,
        };
        if self.root(root_id, &root) {
            self.field(id, &root, &name);
        }
        true
    }

    /// Header names are lower case in expressions.
    fn key(&mut self, id: u64, root: &str, map: &str, key: &str) {
        if map == "headers" && matches!(root, "request" | "response") && key.bytes().any(|b| b.is_ascii_uppercase()) {
            let lower = key.to_ascii_lowercase();
            self.problem(id, format!("the keys of `headers` are lower case: write '{lower}'"));
        }
    }

    /// Whether a variable may be named here.
    fn root(&mut self, id: u64, name: &str) -> bool {
        if self.locals.iter().any(|local| local == name) {
            return true;
        }
        let allowed = roots(self.scope.place);
        if allowed.contains(&name) {
            return true;
        }
        let message = match (name, self.scope.place) {
            ("now" | "claims", _) => format!("`{name}` is not supported yet"),
            ("caller", Place::Match) => "`caller` is not known yet where routes are matched".to_owned(),
            ("response", _) => "`response` is not known here, only in templates of the answer".to_owned(),
            (_, Place::EnvOnly) => "only `env` may stand here, since it must be the same for every request".to_owned(),
            _ => format!("unknown variable `{name}`, there are {}", allowed.join(", ")),
        };
        self.problem(id, message);
        false
    }

    fn field(&mut self, id: u64, root: &str, name: &str) {
        let known: &[&str] = match root {
            "request" => &["method", "path", "host", "id", "ip", "scheme", "headers", "query", "cookies"],
            "caller" => &["id", "tenant", "plan", "scopes", "groups", "via"],
            "response" => &["status", "headers"],
            "route" => &["name"],
            "params" => return self.param(id, name),
            _ => return,
        };
        if name == "body" && matches!(root, "request" | "response") {
            self.problem(id, format!("`{root}.body` is not supported yet"));
        } else if !known.contains(&name) {
            self.problem(id, format!("unknown field `{root}.{name}`, there are {}", known.join(", ")));
        }
    }

    fn param(&mut self, id: u64, name: &str) {
        let params = self.scope.params;
        if self.scope.place != Place::LimitKey && !params.iter().any(|param| **param == *name) {
            let known = list(params.iter().map(|param| &**param), "it captures nothing");
            self.problem(id, format!("the path captures no `{name}`: {known}"));
        }
    }

    fn function(&mut self, id: u64, name: &str, member: bool, args: usize) {
        let operator = name.starts_with(['_', '@', '!', '-']);
        if matches!(name, "_[?_]" | "_?._") {
            return self.problem(id, "optional access is not supported, use has()");
        }
        if operator {
            return;
        }
        let call = format!("{}{name}", if member { "." } else { "" });
        let known: Vec<_> = FUNCTIONS.iter().filter(|(known, ..)| *known == name).collect();
        if known.is_empty() {
            let mut names: Vec<_> = FUNCTIONS.iter().map(|(name, ..)| *name).collect();
            names.dedup();
            self.problem(id, format!("unknown function `{call}`, there are {}", names.join(", ")));
        } else if !known.iter().any(|(_, as_member, arity)| *as_member == member && *arity == args) {
            let forms: Vec<_> = known.iter().map(|(name, member, arity)| form(name, *member, *arity)).collect();
            self.problem(id, format!("`{call}` with {args} arguments, it is {}", forms.join(" or ")));
        }
    }

    fn pattern(&mut self, id: u64, pattern: Option<&str>) {
        if let Some(pattern) = pattern
            && let Err(why) = regexes::keep(pattern)
        {
            self.problem(id, format!("'{pattern}' is no regex: {why}"));
        }
    }
}

fn roots(place: Place) -> &'static [&'static str] {
    match place {
        Place::Match => &["request", "params", "route", "env"],
        Place::Allow | Place::LimitKey | Place::Sticky | Place::Cost | Place::Request => {
            &["request", "params", "caller", "route", "env"]
        }
        Place::Response => &["request", "params", "caller", "route", "response", "env"],
        Place::EnvOnly => &[],
    }
}

fn is_ident(node: &IdedExpr, name: &str) -> bool {
    matches!(&node.expr, Expr::Ident(ident) if ident == name)
}

fn list<'a>(names: impl Iterator<Item = &'a str>, none: &str) -> String {
    let names: Vec<_> = names.collect();
    if names.is_empty() { none.to_owned() } else { format!("there is {}", names.join(", ")) }
}

fn form(name: &str, member: bool, arity: usize) -> String {
    let args = vec!["_"; arity].join(", ");
    if member { format!("x.{name}({args})") } else { format!("{name}({args})") }
}

/// The standard functions that are served: name, whether it is a method, arguments.
const FUNCTIONS: &[(&str, bool, usize)] = &[
    ("bool", false, 1),
    ("bytes", false, 1),
    ("contains", true, 1),
    ("double", false, 1),
    ("endsWith", true, 1),
    ("int", false, 1),
    ("matches", true, 1),
    ("matches", false, 2),
    ("size", false, 1),
    ("size", true, 0),
    ("startsWith", true, 1),
    ("string", false, 1),
    ("uint", false, 1),
];
const MOST_NODES: usize = 500;
const DEEPEST_LOOPS: usize = 2;
