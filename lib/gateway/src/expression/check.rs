//! The walk over an expression's tree that `cel` leaves to us: unknown variables, fields, captures, functions, wrong
//! arity, bad regexes. On the way, values under `env` are folded in, and each access becomes a name of ours
//! ([`super::slot`]), so that nothing unchecked is left to be asked of a request.

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators};

use super::fields::{self, Field};
use super::functions;
use super::parse::HAS;
use super::slot::{Access, Slot, Slots};
use super::{Place, Scope, regexes};

/// One problem, at a node.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) id: u64,
    pub(super) message: String,
}

/// Checks a tree and makes it ready to be evaluated.
pub(super) fn walk(tree: &mut IdedExpr, scope: &Scope<'_>) -> Result<Slots, Vec<Found>> {
    let mut walk = Walk { scope, slots: Slots::default(), found: Vec::new(), locals: Vec::new(), loops: 0, depth: 0 };
    walk.visit(tree);
    if let Expr::Ident(name) = &tree.expr
        && let Some(Slot::Whole(_)) = walk.slots.get(name)
    {
        let message = format!("`{name}` is no single value");
        walk.problem(tree.id, message);
    }
    if walk.found.is_empty() { Ok(walk.slots) } else { Err(walk.found) }
}

struct Walk<'a> {
    scope: &'a Scope<'a>,
    slots: Slots,
    found: Vec<Found>,
    /// Variables of the loops around.
    locals: Vec<String>,
    loops: usize,
    depth: usize,
}

impl Walk<'_> {
    fn problem(&mut self, id: u64, message: impl Into<String>) {
        self.found.push(Found { id, message: message.into() });
    }

    fn visit(&mut self, node: &mut IdedExpr) {
        if self.depth == DEEPEST {
            if !self.found.iter().any(|found| found.message == TOO_DEEP) {
                self.problem(node.id, TOO_DEEP);
            }
            return;
        }
        self.depth += 1;
        if !self.access(node) && !self.has(node) && !self.is_in(node) {
            self.parts(node);
        }
        self.depth -= 1;
    }

    fn parts(&mut self, node: &mut IdedExpr) {
        let id = node.id;
        match &mut node.expr {
            Expr::Select(select) => self.visit(&mut select.operand),
            Expr::Call(call) => self.call(id, call),
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
                self.visit(&mut loops.iter_range);
                self.range(&loops.iter_range);
                self.loops += 1;
                if self.loops > DEEPEST_LOOPS {
                    self.problem(id, format!("loops must not stand more than {DEEPEST_LOOPS} deep in one another"));
                }
                let names = [Some(&loops.iter_var), loops.iter_var2.as_ref(), Some(&loops.accu_var)];
                for name in names.into_iter().flatten() {
                    if fields::ROOTS.contains(&name.as_str()) {
                        self.problem(
                            id,
                            format!("a loop's variable must not be called `{name}`, which is one already"),
                        );
                    }
                }
                let before = self.locals.len();
                self.locals.extend(names.into_iter().flatten().cloned());
                for part in [&mut loops.accu_init, &mut loops.loop_cond, &mut loops.loop_step, &mut loops.result] {
                    self.visit(part);
                }
                self.locals.truncate(before);
                self.loops -= 1;
            }
            Expr::Struct(_) => self.problem(id, "messages cannot be made here"),
            Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
        }
    }

    fn call(&mut self, id: u64, call: &mut CallExpr) {
        if let Some(message) = functions::wrong(&call.func_name, call.target.is_some(), call.args.len()) {
            self.problem(id, message);
        }
        if call.func_name == "matches"
            && let Some(pattern) = call.args.last()
            && let Some(text) = literal(&pattern.expr)
            && let Err(why) = regexes::keep(text)
        {
            self.problem(pattern.id, format!("'{text}' is no regex: {why}"));
        }
        for part in call.target.iter_mut().map(|target| &mut **target).chain(&mut call.args) {
            self.visit(part);
        }
    }

    /// What a loop goes over.
    fn range(&mut self, range: &IdedExpr) {
        if let Expr::Ident(name) = &range.expr
            && matches!(
                self.slots.get(name),
                Some(Slot::Text(_) | Slot::Status | Slot::Now | Slot::Has(_) | Slot::HasClaim(_))
            )
        {
            self.problem(range.id, format!("`{name}` is no list or map, so there is nothing to go through"));
        }
    }

    /// `request.path`, `request.headers['x']`, `params.id`: an access to a variable; `true` where it was one.
    fn access(&mut self, node: &mut IdedExpr) -> bool {
        let Some(path) = Path::of(node, &self.locals) else { return false };
        if path.root == "env" {
            if let Some(value) = self.env(&path) {
                node.expr = Expr::Literal(LiteralValue::String(value.into()));
            }
        } else if let Some(field) = self.field(&path) {
            let name = path.name();
            let slot = match field {
                Field::Text(access) => Slot::Text(access),
                Field::Claim(claim) => Slot::Claim(claim),
                Field::Now => Slot::Now,
                Field::Status => Slot::Status,
                Field::Whole(whole) => Slot::Whole(whole),
            };
            self.slots.add(&name, slot);
            node.expr = Expr::Ident(name);
        }
        true
    }

    /// `has(…)`.
    fn has(&mut self, node: &mut IdedExpr) -> bool {
        let id = node.id;
        let Expr::Call(call) = &node.expr else { return false };
        let (HAS, None, [of]) = (call.func_name.as_str(), &call.target, call.args.as_slice()) else { return false };
        if let Some(path) = Path::of(of, &self.locals) {
            if path.steps.is_empty() {
                self.problem(id, format!("has() is asked of a field, as in has({}.x)", path.root));
            } else if let Some(expr) = self.presence(&path) {
                node.expr = expr;
            }
            return true;
        }
        // On anything else it is the parser's own: a selection that only tests.
        let Some((mut operand, field)) = selection(of) else {
            self.problem(
                id,
                "has() takes a field or a key that is written out, as in has(request.headers['x-region'])",
            );
            return true;
        };
        self.visit(&mut operand);
        node.expr = Expr::Select(SelectExpr { operand: Box::new(operand), field, test: true });
        true
    }

    /// `'x' in request.headers`, which is `has(request.headers['x'])`.
    fn is_in(&mut self, node: &mut IdedExpr) -> bool {
        let Expr::Call(call) = &node.expr else { return false };
        let (operators::IN, [key, of]) = (call.func_name.as_str(), call.args.as_slice()) else { return false };
        let Some(name) = literal(&key.expr) else { return false };
        let Some(mut path) = Path::of(of, &self.locals) else { return false };
        let is_map = match (path.root, path.steps.as_slice()) {
            ("params" | "env" | "claims", []) => true,
            (root, [map]) => fields::is_map(root, map.name),
            _ => false,
        };
        if is_map {
            path.steps.push(Step { name, id: key.id });
            if let Some(expr) = self.presence(&path) {
                node.expr = expr;
            }
        }
        is_map
    }

    /// Whether there is such a value, as far as that can be known now.
    fn presence(&mut self, path: &Path<'_>) -> Option<Expr> {
        let yes = Expr::Literal(LiteralValue::Boolean(true.into()));
        if path.root == "env" {
            return self.env(path).map(|_| yes);
        }
        let slot = match self.field(path)? {
            Field::Text(access) => Slot::Has(access),
            Field::Claim(claim) => Slot::HasClaim(claim),
            Field::Status | Field::Now | Field::Whole(_) => return Some(yes),
        };
        let name = format!("has({})", path.name());
        self.slots.add(&name, slot);
        Some(Expr::Ident(name))
    }

    fn env(&mut self, path: &Path<'_>) -> Option<String> {
        let known = self.scope.env;
        match path.steps.as_slice() {
            [] => self.problem(path.id, "a name under `env` must be written out, as in `env.NAME`"),
            [step] => match known.get(step.name) {
                Some(value) => return Some(value.clone()),
                None => {
                    let known = fields::list(known.keys().map(String::as_str), "nothing stands under `expose_env`");
                    self.problem(step.id, format!("unknown variable `env.{}`: {known}", step.name));
                }
            },
            [name, step, ..] => {
                self.problem(step.id, format!("`env.{}` is a text and has no `{}`", name.name, step.name))
            }
        }
        None
    }

    fn field(&mut self, path: &Path<'_>) -> Option<Field> {
        let names: Vec<_> = path.steps.iter().map(|step| step.name).collect();
        let found = fields::root(path.root, self.scope.place)
            .map_err(|message| (0, message))
            .and_then(|()| fields::find(path.root, &names).map_err(|(at, message)| (at + 1, message)));
        let found = match found {
            // Of a limit's key the routes that share it are not known here.
            Ok(Field::Text(Access::Param(name))) if self.scope.place != Place::LimitKey => {
                let known = self.scope.params;
                if known.iter().any(|param| **param == *name) {
                    Ok(Field::Text(Access::Param(name)))
                } else {
                    let known = fields::list(known.iter().map(|param| &**param), "it captures nothing");
                    Err((1, format!("the path captures no `{name}`: {known}")))
                }
            }
            found => found,
        };
        found
            .map_err(|(at, message)| {
                let at = at.checked_sub(1).and_then(|at| path.steps.get(at)).map_or(path.id, |step| step.id);
                self.problem(at, message);
            })
            .ok()
    }
}

/// `a.b['c']`: a variable of the config's language and the steps from it.
struct Path<'e> {
    root: &'e str,
    id: u64,
    steps: Vec<Step<'e>>,
}

struct Step<'e> {
    name: &'e str,
    id: u64,
}

impl<'e> Path<'e> {
    /// The path that a tree is, if it is one and begins at no local variable.
    fn of(node: &'e IdedExpr, locals: &[String]) -> Option<Self> {
        let mut steps = Vec::new();
        let mut node = node;
        loop {
            if let Expr::Ident(name) = &node.expr {
                steps.reverse();
                return (!locals.contains(name)).then_some(Self { root: name, id: node.id, steps });
            } else if let Expr::Select(select) = &node.expr {
                steps.push(Step { name: &select.field, id: node.id });
                node = &select.operand;
            } else if let Some((of, key, name)) = index(node) {
                steps.push(Step { name, id: key });
                node = of;
            } else {
                return None;
            }
        }
    }

    /// One text for all its spellings, and no other path's.
    fn name(&self) -> String {
        let mut name = self.root.to_owned();
        for (index, step) in self.steps.iter().enumerate() {
            let plain = match self.root {
                "claims" => is_word(step.name),
                root => index == 0 && root != "params",
            };
            if plain {
                name.extend([".", step.name]);
            } else {
                name.extend(["['", &step.name.replace('\\', r"\\").replace('\'', r"\'"), "']"]);
            }
        }
        name
    }
}

/// Whether a key can stand behind a dot.
fn is_word(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// `x['key']` as `x`, the key's node and the key.
fn index(node: &IdedExpr) -> Option<(&IdedExpr, u64, &str)> {
    let Expr::Call(call) = &node.expr else { return None };
    let (operators::INDEX, [of, key]) = (call.func_name.as_str(), call.args.as_slice()) else { return None };
    Some((of, key.id, literal(&key.expr)?))
}

/// `x.key` or `x['key']` as `x` and the key.
fn selection(node: &IdedExpr) -> Option<(IdedExpr, String)> {
    if let Expr::Select(select) = &node.expr {
        return Some(((*select.operand).clone(), select.field.clone()));
    }
    index(node).map(|(of, _, key)| (of.clone(), key.to_owned()))
}

/// A literal's text.
pub(super) fn literal(expr: &Expr) -> Option<&str> {
    if let Expr::Literal(LiteralValue::String(text)) = expr { Some(text.inner()) } else { None }
}

const TOO_DEEP: &str = "an expression must not be deeper than 32 parts in one another";
/// `cel` recurses at each, and without optimisation takes some 40 KiB of stack for it.
const DEEPEST: usize = 32;
const DEEPEST_LOOPS: usize = 2;
