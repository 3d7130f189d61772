//! The route config: what users write, made into [`Routes`], or all problems at once.
//!
//! Files are read into trees with positions ([`tree`]), decoded piece by piece ([`read`]), references are resolved,
//! and either everything is right or nothing is used. [`compile`] is the only maker of [`Routes`]; nothing downstream
//! validates. The format is `docs/config.md`.

mod allow;
mod auth;
mod edges;
mod files;
mod limits;
mod matching;
mod plans;
mod print;
mod problem;
mod read;
mod responses;
mod routes;
mod secrets;
mod signing;
mod transforms;
mod tree;
mod upstreams;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::asserted::Asserted;
use crate::auth::{ApiKeys, Entry};
use crate::bulletin::Bulletin;
use crate::expression::{Expression, ExpressionProblem, Place as Stands, Scope, Template};
use crate::forward::Backend;
use crate::gateway::Routes;
use crate::limit::{Plan, Plans, Used, share_items};
use crate::route::{Conflict, Router};
use crate::secret::{Secret, Secrets};

pub use files::Files;
pub use problem::{Place, Problem, Problems, Severity, SourceFile};
pub use secrets::secrets_file;

#[cfg(test)]
mod tests;

use tree::Node;

/// A duration as the config writes it: `250ms`, `5s`, `1h`, `90d`.
pub fn duration(text: &str) -> Option<std::time::Duration> {
    read::parse_duration(text)
}

/// What is said of a plan that is not among `plans`: which may be meant, or which there are.
pub fn unknown_plan(name: &str, plans: &Plans) -> String {
    limits::unknown("plan", name, plans.keys())
}

/// What compiling needs of the world.
#[derive(Clone, Copy)]
pub struct Host<'a> {
    /// Reads files.
    pub files: &'a dyn Files,
    /// Looks an environment variable up: only names under `expose_env` and in `env:` secrets are asked for.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

impl std::fmt::Debug for Host<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Host")
    }
}

/// A config that can be used.
#[derive(Debug)]
pub struct Compiled {
    /// The routes.
    pub routes: Routes,
    /// What is likely not meant so; and the files that were read.
    pub warnings: Problems,
}

/// Reads the config at `path` and what it includes.
///
/// # Errors
/// All problems of all files, in file order.
pub fn compile(path: &str, host: Host<'_>) -> Result<Compiled, Problems> {
    let mut reader = Reader::new(host);
    let routes = reader.read(path);
    let mut problems = reader.problems;
    problems.sort();
    match routes {
        Some(routes) if problems.count(Severity::Error) == 0 => Ok(Compiled { routes, warnings: problems }),
        _ => Err(problems),
    }
}

/// Compiling in progress: what is known so far, and what is wrong so far.
pub(crate) struct Reader<'h> {
    pub(crate) host: Host<'h>,
    pub(crate) problems: Problems,
    /// The names under `expose_env` with their values.
    pub(crate) env: BTreeMap<String, String>,
    /// The config's name.
    pub(crate) name: Arc<str>,
    /// Upstreams by name; `None` where one was declared but is wrong, so that a reference to it is no second problem.
    pub(crate) upstreams: BTreeMap<String, Option<Arc<Backend>>>,
    /// Secrets by what is read for them.
    pub(crate) secrets: BTreeMap<String, Arc<Secret>>,
    /// Those named since [`Self::used_secrets`] was last asked.
    pub(crate) used: Vec<Arc<Secret>>,
    /// What each entry of `auth` needs, by its name.
    pub(crate) secrets_of_auth: BTreeMap<String, Secrets>,
    /// Where each route's name was first written.
    pub(crate) route_names: BTreeMap<String, Place>,
    /// What identifies callers by name, like upstreams.
    pub(crate) auth: BTreeMap<String, Option<Arc<Entry>>>,
    /// What of the config is told everywhere.
    pub(crate) bulletin: Arc<Bulletin>,
    /// Those of them whose keys the command line makes.
    pub(crate) api_keys: Vec<Arc<ApiKeys>>,
    /// The names of those that are for front doors with `AWS_IAM`.
    pub(crate) iam: BTreeSet<String>,
    /// Whether the edge hands client certificates over.
    pub(crate) edge_certificate: bool,
    /// Plans by name, likewise.
    pub(crate) plans: BTreeMap<String, Option<Arc<Plan>>>,
    /// Limits by name, likewise.
    pub(crate) limits: BTreeMap<String, Option<Used>>,
}

impl<'h> Reader<'h> {
    fn new(host: Host<'h>) -> Self {
        Self {
            host,
            problems: Problems::default(),
            env: BTreeMap::new(),
            name: Arc::from("tollgate"),
            upstreams: BTreeMap::new(),
            secrets: BTreeMap::new(),
            used: Vec::new(),
            secrets_of_auth: BTreeMap::new(),
            auth: BTreeMap::new(),
            bulletin: Arc::new(Bulletin::new("tollgate")),
            api_keys: Vec::new(),
            iam: BTreeSet::new(),
            edge_certificate: false,
            plans: BTreeMap::new(),
            limits: BTreeMap::new(),
            route_names: BTreeMap::new(),
        }
    }

    fn read(&mut self, path: &str) -> Option<Routes> {
        let documents = self.documents(path)?;
        let root = self.root(documents.first()?)?;
        for document in &documents {
            self.read_upstreams(document);
        }
        for document in &documents {
            self.read_auth(document);
            self.read_plans(document, root.on_store_failure);
        }
        for document in &documents {
            self.check_forwards(document);
            self.read_limits(document, root.on_store_failure);
        }
        let named = self.limits.values().flatten().filter_map(Used::limit);
        let planned = self.plans.values().flatten().flat_map(|plan| &plan.limits);
        share_items(&named.chain(planned).collect::<Vec<_>>());
        let defaults = self.read_defaults(root.defaults);
        let mut listed = Vec::new();
        for document in &documents {
            self.read_routes(document, &defaults, &mut listed);
        }
        if listed.is_empty() && self.problems.count(Severity::Error) == 0 {
            self.problems.error(root.place, "a config needs at least one route");
        }
        self.routes(root.edge, listed)
    }

    /// Puts the router together; conflicts name both places.
    fn routes(&mut self, edge: crate::edge::Edge, listed: Vec<routes::Listed>) -> Option<Routes> {
        let mut places = Vec::new();
        let mut conditions = Vec::new();
        let mut routes = Vec::new();
        for listed in listed {
            places.push((listed.place, listed.route.as_ref().map(|route| Arc::clone(&route.name))));
            conditions.push(listed.conditions);
            routes.push(listed.route);
        }
        let router = match Router::build(conditions) {
            Ok(router) => router,
            Err(conflicts) => {
                for Conflict { first, second } in conflicts {
                    let (Some((first, name)), Some((second, second_name))) = (places.get(first), places.get(second))
                    else {
                        continue;
                    };
                    // What is wrong in itself was said already, and its conditions are not what was meant.
                    let (Some(name), true) = (name, second_name.is_some()) else { continue };
                    let also = self.problems.at(*first);
                    self.problems.error(
                        *second,
                        format!(
                            "matches the same requests as \"{name}\" ({also}); give one a `precedence` or narrow it"
                        ),
                    );
                }
                return None;
            }
        };
        Some(Routes {
            name: Arc::clone(&self.name),
            edge,
            secrets: Secrets::new(self.secrets.values().cloned()),
            asserted: Asserted::new(self.auth.values().flatten().flat_map(|entry| entry.method.forwards())),
            router,
            routes: routes.into_iter().collect::<Option<Vec<_>>>()?,
            plans: self.whole_plans(),
            upstreams: self.upstreams.values().flatten().cloned().collect(),
            auth: self.auth.values().flatten().cloned().collect(),
            api_keys: std::mem::take(&mut self.api_keys),
        })
    }

    /// A template, its problems reported at their own places.
    pub(crate) fn template(
        &mut self,
        node: &Node,
        what: &str,
        stands: Stands,
        params: &[Arc<str>],
    ) -> Option<Template> {
        let text = self.problems.text(node, what)?;
        match Template::compile(&text, &Scope { place: stands, params, env: &self.env }) {
            Ok(template) => Some(template),
            Err(found) => self.expression_problems(node, &found),
        }
    }

    /// An expression, its problems reported at their own places.
    pub(crate) fn expression(
        &mut self,
        node: &Node,
        what: &str,
        stands: Stands,
        params: &[Arc<str>],
    ) -> Option<Expression> {
        let text = self.problems.text(node, what)?;
        match Expression::compile(&text, &Scope { place: stands, params, env: &self.env }) {
            Ok(expression) => Some(expression),
            Err(found) => self.expression_problems(node, &found),
        }
    }

    /// Text in which `${env.NAME}` is the only thing that may be filled in.
    pub(crate) fn fixed_text(&mut self, node: &Node, what: &str) -> Option<String> {
        let template = self.template(node, what, Stands::EnvOnly, &[])?;
        template.fixed().map(str::to_owned)
    }

    fn expression_problems<T>(&mut self, node: &Node, found: &[ExpressionProblem]) -> Option<T> {
        for problem in found {
            let place = self.problems.inside(node.place, problem.offset);
            self.problems.error(place, problem.message.clone());
        }
        None
    }
}

impl Problems {
    /// The place `offset` bytes into the text of a scalar, which may be quoted.
    fn inside(&self, place: Place, offset: usize) -> Place {
        let line = self.files.get(place.file).and_then(|file| file.lines().nth(place.line.saturating_sub(1)));
        let first = line.and_then(|line| line.chars().nth(place.column.saturating_sub(1)));
        match first {
            Some('"' | '\'') => Place { width: place.width.saturating_sub(1), ..place }.shifted(offset + 1),
            Some('|' | '>') => place,
            _ => place.shifted(offset),
        }
    }
}
