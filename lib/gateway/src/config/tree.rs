//! YAML as a tree with positions. The one file that knows the YAML library.
//!
//! serde's derive stops at the first problem, so the text is read into this tree first and decoded from there, every
//! problem into one list.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::problem::{Place, Problems, SourceFile, lines};

/// A YAML value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

/// What a node holds.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// A number, as written.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) place: Place,
    pub(crate) name: String,
}

impl Node {
    /// What it is, as messages say it.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// The value of a key, where the node is a map that has it.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => None,
        }
    }
}

/// Reads one file's text; a syntax error is reported with its place, and with a hint where unquoted braces are the
/// likely cause.
pub(crate) fn parse(name: &str, text: &str, problems: &mut Problems) -> Option<Node> {
    let file = problems.files.len();
    problems.files.push(SourceFile { name: Arc::from(name), text: Arc::from(text) });
    let options = serde_saphyr::options! {
        with_snippet: false,
        strict_booleans: true, // YAML 1.2: `off`, `on`, `yes` and `no` are words.
        budget: serde_saphyr::budget! {
            max_nodes: 2_000_000,
            max_events: 4_000_000,
            max_depth: 64,
            max_total_scalar_bytes: 64 << 20,
        },
    };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => Some(raw_node(raw, text, file)),
        Err(error) => {
            let place = error.location().map_or(Place { file, ..Place::default() }, |at| place_of(at, text, file));
            let message = error.without_snippet().to_string();
            let message = message.lines().next().unwrap_or_default();
            let message = message.split(" at line ").next().unwrap_or(message);
            let message = message.split(", set DuplicateKeyPolicy").next().unwrap_or(message);
            let hint = if brace_suspected(text, place.line) { QUOTE_HINT } else { "" };
            problems.error(place, format!("not YAML: {message}{hint}"));
            None
        }
    }
}

/// The hint of unquoted braces.
pub(crate) const QUOTE_HINT: &str =
    "; inside `{…}` or `[…]` text with braces must be quoted, like \"/orders/{id}\" or \"${params.id}\"";

/// Whether a line has `/{…}` or `${…}` outside quotes, the usual cause of a broken flow map.
fn brace_suspected(text: &str, line: usize) -> bool {
    let from = line.saturating_sub(2);
    lines(text).skip(from).take(3).any(|line| {
        let mut quote = None;
        let mut before = ' ';
        for c in line.chars() {
            match (quote, c) {
                (None, '"' | '\'') => quote = Some(c),
                (Some(open), c) if c == open => quote = None,
                (None, '{') if before == '$' || before == '/' || before.is_alphanumeric() => return true,
                _ => {}
            }
            before = c;
        }
        false
    })
}

enum Raw {
    Null,
    Bool(bool),
    Number,
    Text(String),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

fn raw_node(raw: Spanned<Raw>, text: &str, file: usize) -> Node {
    let place = place_of(raw.referenced, text, file);
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Bool(value) => Value::Bool(value),
        Raw::Number => Value::Number(slice_of(raw.defined, text)),
        Raw::Text(value) => Value::Text(value),
        Raw::List(items) => Value::List(items.into_iter().map(|item| raw_node(item, text, file)).collect()),
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, node)| {
                    let place = place_of(key.referenced, text, file);
                    (Key { place, name: key.value }, raw_node(node, text, file))
                })
                .collect(),
        ),
    };
    Node { place, value }
}

fn slice_of(at: serde_saphyr::Location, text: &str) -> String {
    let span = at.span();
    let (Some(from), Some(len)) = (span.byte_offset(), span.byte_len()) else { return String::new() };
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    let to = from.saturating_add(usize::try_from(len).unwrap_or(usize::MAX));
    text.get(from..to).unwrap_or_default().trim().to_owned()
}

fn place_of(at: serde_saphyr::Location, text: &str, file: usize) -> Place {
    let width = lines(&slice_of(at, text)).next().map_or(1, |line| line.chars().count().max(1));
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    Place { file, line: number(at.line()), column: number(at.column()), width }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Number)
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}
