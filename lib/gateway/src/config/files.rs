//! The files of a config: the one named and what it includes, and what only the first may hold.

use std::sync::Arc;

use crate::bulletin::Bulletin;
use crate::edge::Edge;
use crate::limit::OnStoreFailure;

use super::Reader;
use super::problem::{Place, Problems};
use super::read::{Fields, items};
use super::tree::{self, Node, Value};

/// Reads files for the config; paths are as the config writes them, joined to the file that names them.
pub trait Files {
    /// The bytes of a file.
    ///
    /// # Errors
    /// What the system says, for the message.
    fn read(&self, path: &str) -> Result<Vec<u8>, String>;

    /// The names of the files in a directory, in any order.
    ///
    /// # Errors
    /// What the system says, for the message.
    fn list(&self, directory: &str) -> Result<Vec<String>, String>;
}

/// One file read.
pub(crate) struct Document {
    pub(crate) node: Node,
    pub(crate) path: String,
    pub(crate) is_root: bool,
}

/// What only the first file holds.
pub(crate) struct Root<'n> {
    pub(crate) place: Place,
    pub(crate) defaults: Option<&'n Node>,
    pub(crate) on_store_failure: Option<OnStoreFailure>,
    pub(crate) edge: Edge,
}

/// More than any config needs; a slip in a pattern must not read a disk.
const MOST_FILES: usize = 500;
const LARGEST_FILE: usize = 8 << 20;

impl Reader<'_> {
    /// The first file and all it includes.
    pub(crate) fn documents(&mut self, path: &str) -> Option<Vec<Document>> {
        let root = self.document(path, true)?;
        let mut paths = Vec::new();
        if let Some(include) = root.node.get("include") {
            for pattern in items(include) {
                self.included(&root, pattern, &mut paths);
            }
        }
        let mut documents = vec![root];
        for path in paths {
            documents.extend(self.document(&path, false));
        }
        Some(documents)
    }

    fn included(&mut self, root: &Document, pattern: &Node, paths: &mut Vec<String>) {
        let Some(text) = self.problems.text(pattern, "an `include`") else { return };
        let path = beside(&root.path, &text);
        let found = match path.rsplit_once('/') {
            _ if !text.contains('*') => vec![path],
            Some((directory, _)) if directory.contains('*') => {
                self.problems.error(pattern.place, format!("`*` in \"{text}\" may stand in the file name alone"));
                return;
            }
            split => {
                let (directory, name) = split.unwrap_or((".", &path));
                match self.host.files.list(directory) {
                    Ok(mut names) => {
                        names.retain(|found| glob_matches(name, found));
                        names.sort();
                        names.iter().map(|found| beside(&path, found)).collect()
                    }
                    Err(error) => {
                        self.problems.error(pattern.place, format!("cannot list \"{directory}\": {error}"));
                        return;
                    }
                }
            }
        };
        if found.is_empty() {
            self.problems.error(pattern.place, format!("\"{text}\" matches no file"));
        }
        for path in found {
            if path == root.path || paths.contains(&path) {
                self.problems.error(pattern.place, format!("\"{path}\" is included twice"));
            } else if paths.len() < MOST_FILES {
                paths.push(path);
            } else {
                self.problems.error(pattern.place, format!("more than {MOST_FILES} files are included"));
                return;
            }
        }
    }

    fn document(&mut self, path: &str, is_root: bool) -> Option<Document> {
        let text = match self.host.files.read(path) {
            Ok(bytes) if bytes.len() > LARGEST_FILE => Err(format!("it is larger than {} MiB", LARGEST_FILE >> 20)),
            Ok(bytes) => String::from_utf8(bytes).map_err(|error| error.to_string()),
            Err(error) => Err(error),
        };
        match text {
            Ok(text) => {
                let node = tree::parse(path, &text, &mut self.problems)?;
                Some(Document { node, path: path.to_owned(), is_root })
            }
            Err(error) => {
                self.problems.unread(path, &error);
                None
            }
        }
    }

    /// The keys of the first file that are not lists of things, and the unknown keys of every file.
    pub(crate) fn root<'n>(&mut self, document: &'n Document) -> Option<Root<'n>> {
        let mut fields = Fields::of(&document.node, "the config", &mut self.problems)?;
        if let Some(version) = fields.need("version", &mut self.problems)
            && self.problems.text(version, "`version`").is_some_and(|version| version != "1")
        {
            self.problems.error(version.place, "`version` must be 1");
        }
        if let Some(node) = fields.take("name")
            && let Some(name) = self.problems.text(node, "`name`")
            && self.problems.name(&name, node.place, "`name`")
        {
            self.bulletin = Arc::new(Bulletin::new(&name));
            self.name = Arc::from(name);
        }
        if let Some(node) = fields.take("expose_env") {
            self.expose_env(node);
        }
        let edge = fields.take("edge").map(|node| self.read_edge(node)).unwrap_or_default();
        let defaults = fields.take("defaults");
        let on_store_failure = defaults
            .and_then(|defaults| defaults.get("on_store_failure"))
            .and_then(|node| self.read_on_store_failure(node));
        fields.take("include");
        let place = fields.place();
        listed_keys(fields, &mut self.problems);
        Some(Root { place, defaults, on_store_failure, edge })
    }

    fn expose_env(&mut self, node: &Node) {
        for (key, default) in self.problems.entries(node, "`expose_env`") {
            if !self.problems.name(&key.name, key.place, "the variable") {
                continue;
            }
            let default = match default.value {
                Value::Null => None,
                Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
                    self.problems.text(default, "the default")
                }
            };
            match (self.host.env)(&key.name).or(default) {
                Some(value) => drop(self.env.insert(key.name.clone(), value)),
                None => {
                    // Filled in all the same, so that each use of it is not one more problem.
                    self.env.insert(key.name.clone(), "http://unset".to_owned());
                    self.problems
                        .error(key.place, format!("the environment variable \"{}\" is required and not set", key.name));
                }
            }
        }
    }
}

impl Problems {
    /// A file that cannot be read.
    pub(crate) fn unread(&mut self, path: &str, why: &str) {
        let file = self.files.len();
        self.files.push(super::SourceFile { name: Arc::from(path), text: Arc::from("") });
        self.error(Place { file, ..Place::default() }, format!("cannot be read: {why}"));
    }
}

/// Keys that every file may hold; an included one holds no others.
pub(crate) fn listed_keys(mut fields: Fields<'_>, problems: &mut Problems) {
    fields.take("upstreams");
    fields.take("auth");
    fields.take("plans");
    fields.take("limits");
    fields.take("routes");
    fields.later(&["shedding"]);
    fields.finish(problems);
}

/// `path` as seen from the file `from`.
pub(crate) fn beside(from: &str, path: &str) -> String {
    match from.rsplit_once('/') {
        Some((directory, _)) if !path.starts_with('/') => format!("{directory}/{path}"),
        _ => path.to_owned(),
    }
}

/// A file name against a pattern in which `*` is any run of characters.
fn glob_matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts: Vec<_> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last) && !name.starts_with('.')
}
