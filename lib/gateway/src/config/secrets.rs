//! Secret references: `env:NAME`, `file:PATH`, `ssm:NAME`, `secretsmanager:ID`; and the file that stands in for AWS on a
//! laptop.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::secret::{Secret, Secrets};

use super::Reader;
use super::files::{Files, beside};
use super::problem::Problems;
use super::read::Fields;
use super::tree::{self, Node, Value};

/// The kinds of secrets that live on AWS.
const REMOTE: [&str; 2] = ["ssm", "secretsmanager"];

/// The longest name that AWS gives either kind, ARNs included.
const LONGEST: usize = 2048;

/// The largest secret that a file may hold; AWS's are smaller.
const LARGEST: usize = 64 * 1024;

impl Reader<'_> {
    /// A secret reference, for what takes its value up when it is used. All references to one secret share it. One that
    /// has no value yet is a warning at most: the routes that need it answer 503.
    pub(crate) fn live_secret(&mut self, node: &Node, path: &str) -> Option<Arc<Secret>> {
        let reference = self.problems.text(node, "a secret")?;
        let found = match reference.split_once(':') {
            Some(("env", name)) => self.secret_of_environment(node, &reference, name),
            Some(("file", file)) => self.secret_of_file(node, &reference, &beside(path, file)),
            Some((scheme, name)) if REMOTE.contains(&scheme) => {
                if let Err(why) = check_remote(scheme, name) {
                    self.problems.error(node.place, format!("the secret \"{reference}\" {why}"));
                    return None;
                }
                Some(self.known_secret(&reference, || Secret::live(&reference, reference.clone(), None)))
            }
            _ => {
                self.problems.error(
                    node.place,
                    "a secret must be a reference, never the value itself: env:NAME, file:PATH, ssm:NAME or \
                     secretsmanager:ID",
                );
                None
            }
        }?;
        self.used.push(Arc::clone(&found));
        Some(found)
    }

    /// A secret reference, or `{secret: reference}`.
    pub(crate) fn secret_or_map(&mut self, node: &Node, path: &str, what: &'static str) -> Option<Arc<Secret>> {
        let Value::Map(_) = node.value else { return self.live_secret(node, path) };
        let mut fields = Fields::of(node, what, &mut self.problems)?;
        let secret = fields.need("secret", &mut self.problems).and_then(|node| self.live_secret(node, path));
        fields.finish(&mut self.problems);
        secret
    }

    /// What was named since this was last asked.
    pub(crate) fn used_secrets(&mut self) -> Secrets {
        Secrets::new(std::mem::take(&mut self.used))
    }

    fn secret_of_environment(&mut self, node: &Node, reference: &str, name: &str) -> Option<Arc<Secret>> {
        let value = (self.host.env)(name).filter(|value| !value.is_empty());
        if value.is_none() {
            self.problems
                .warn(node.place, format!("the environment variable \"{name}\" is not set: what needs it answers 503"));
        }
        Some(self.known_secret(reference, || Secret::new(reference, value.map(Bytes::from))))
    }

    fn secret_of_file(&mut self, node: &Node, reference: &str, path: &str) -> Option<Arc<Secret>> {
        let value = self.file(node, path)?;
        if value.is_empty() || value.len() > LARGEST {
            let why = if value.is_empty() { "is empty" } else { "is larger than any secret" };
            self.problems.error(node.place, format!("\"{path}\" {why}"));
            return None;
        }
        let source = format!("file:{path}");
        Some(self.known_secret(&source, || Secret::live(reference, source.clone(), Some(Bytes::from(value)))))
    }

    fn known_secret(&mut self, source: &str, make: impl FnOnce() -> Secret) -> Arc<Secret> {
        Arc::clone(self.secrets.entry(source.to_owned()).or_insert_with(|| Arc::new(make())))
    }
}

/// What AWS takes as a name: letters, digits and a few marks; an ARN is a name too.
fn check_remote(scheme: &str, name: &str) -> Result<(), &'static str> {
    let (id, member) = match name.split_once('#') {
        Some((id, member)) if scheme == "secretsmanager" => (id, Some(member)),
        _ => (name, None),
    };
    if !(1..=LONGEST).contains(&id.len()) {
        return Err("must have a name");
    }
    if !id.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_+=.@:!-".contains(&b)) {
        return Err("has a character that no name on AWS has");
    }
    if member.is_some_and(str::is_empty) {
        return Err("names no member after its `#`");
    }
    Ok(())
}

/// Secrets by reference, for where AWS is not to be asked: a map of `ssm:` and `secretsmanager:` references to values.
///
/// # Errors
/// All that is wrong with the file.
pub fn secrets_file(path: &str, files: &dyn Files) -> Result<BTreeMap<String, String>, Problems> {
    let mut problems = Problems::default();
    let read = files.read(path).and_then(|bytes| String::from_utf8(bytes).map_err(|error| error.to_string()));
    let mut secrets = BTreeMap::new();
    match read {
        Ok(text) => {
            if let Some(node) = tree::parse(path, &text, &mut problems) {
                problems.secrets(&node, &mut secrets);
            }
        }
        Err(why) => problems.unread(path, &why),
    }
    // Its lines hold values, which no problem shows.
    problems.files.iter_mut().for_each(|file| file.text = Arc::from(""));
    if problems.list.is_empty() { Ok(secrets) } else { Err(problems) }
}

impl Problems {
    fn secrets(&mut self, node: &Node, secrets: &mut BTreeMap<String, String>) {
        for (key, node) in self.entries(node, "the secrets") {
            let Some(value) = self.text(node, "a secret's value") else { continue };
            match key.name.split_once(':') {
                Some((scheme, _)) if REMOTE.contains(&scheme) => drop(secrets.insert(key.name.clone(), value)),
                Some(("env" | "file", _)) => self.error(
                    key.place,
                    format!("\"{}\" is not looked up here: set the variable, or write the file", key.name),
                ),
                _ => self.error(
                    key.place,
                    format!("\"{}\" must be a reference as the config writes it, like ssm:/shop/edge", key.name),
                ),
            }
        }
    }
}
