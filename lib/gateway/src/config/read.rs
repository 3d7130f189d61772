//! Reading single values out of the tree: each reader gives the value, or adds a problem that says what would be right.

use std::time::Duration;

use super::problem::{Place, Problems};
use super::tree::{Key, Node, QUOTE_HINT, Value};

/// The keys of a map, taken one by one; what is left at the end is unknown.
pub(crate) struct Fields<'n> {
    what: &'static str,
    place: Place,
    entries: &'n [(Key, Node)],
    known: Vec<&'static str>,
    later: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// The keys of `node`, which must be a map. `what` names the thing in messages: `a route`.
    pub(crate) fn of(node: &'n Node, what: &'static str, problems: &mut Problems) -> Option<Self> {
        match &node.value {
            Value::Map(entries) => {
                Some(Self { what, place: node.place, entries, known: Vec::new(), later: Vec::new() })
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => {
                problems.error(node.place, format!("{what} must be a map, not {}", node.kind()));
                None
            }
        }
    }

    /// Where the map stands.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// The value of a key; `null` counts as absent.
    pub(crate) fn take(&mut self, name: &'static str) -> Option<&'n Node> {
        self.known.push(name);
        let (_, node) = self.entries.iter().find(|(key, _)| key.name == name)?;
        (!matches!(node.value, Value::Null)).then_some(node)
    }

    /// The value of a key, `null` included: where what is written matters.
    pub(crate) fn take_even_null(&mut self, name: &'static str) -> Option<&'n Node> {
        self.known.push(name);
        self.entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }

    /// The value of a key that must be there.
    pub(crate) fn need(&mut self, name: &'static str, problems: &mut Problems) -> Option<&'n Node> {
        let node = self.take(name);
        if node.is_none() {
            problems.error(self.place, format!("{} needs `{name}`", self.what));
        }
        node
    }

    /// Keys of the format that this version does not build yet: refused by name, never ignored.
    pub(crate) fn later(&mut self, names: &[&'static str]) {
        self.later.extend_from_slice(names);
    }

    /// Reports what was neither taken nor announced.
    pub(crate) fn finish(self, problems: &mut Problems) {
        for (key, _) in self.entries {
            if self.known.contains(&key.name.as_str()) {
                continue;
            }
            if self.later.contains(&key.name.as_str()) {
                problems.error(key.place, format!("`{}` of {} is not supported yet", key.name, self.what));
            } else {
                problems.error(key.place, self.unknown(&key.name));
            }
        }
    }

    fn unknown(&self, name: &str) -> String {
        let nearest = nearest(name, self.known.iter().chain(&self.later).copied());
        let mut known = self.known.clone();
        known.sort_unstable();
        known.dedup();
        match nearest {
            Some(nearest) => format!("unknown key `{name}` in {}, did you mean `{nearest}`?", self.what),
            None => format!("unknown key `{name}` in {}, expected one of {}", self.what, known.join(", ")),
        }
    }
}

/// The candidate within two edits of `name`, if any.
pub(crate) fn nearest<'c>(name: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    candidates
        .map(|candidate| (edits(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 2.min(candidate.len() / 2))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(64).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = *cell;
            left = replaced.min(*cell + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

impl Problems {
    /// Text; numbers and booleans count as the text they were written as, since YAML guesses (`host: 1`).
    pub(crate) fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        match &node.value {
            Value::Text(text) => Some(text.clone()),
            Value::Number(number) => Some(number.clone()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Map(_) => {
                self.error(node.place, format!("{what} must be text, not a map{}", self.brace_hint(node)));
                None
            }
            Value::Null | Value::List(_) => {
                self.error(node.place, format!("{what} must be text, not {}", node.kind()));
                None
            }
        }
    }

    /// The hint to quote, where the node is what YAML made of an unquoted `{id}`.
    fn brace_hint(&self, node: &Node) -> &'static str {
        let braces = |node: &Node| match &node.value {
            Value::Map(entries) => entries.iter().all(|(_, value)| matches!(value.value, Value::Null)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => false,
        };
        if braces(node) { QUOTE_HINT } else { "" }
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, node: &Node, what: &str) -> Option<bool> {
        match node.value {
            Value::Bool(value) => Some(value),
            Value::Null | Value::Number(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => {
                self.error(node.place, format!("{what} must be true or false, not {}", node.kind()));
                None
            }
        }
    }

    /// A whole number within bounds.
    pub(crate) fn integer(&mut self, node: &Node, what: &str, least: i64, most: i64) -> Option<i64> {
        let number = match &node.value {
            Value::Number(text) => text.replace('_', "").parse::<i64>().ok(),
            Value::Null | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Map(_) => None,
        };
        let number = number.filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.error(node.place, format!("{what} must be a whole number from {least} to {most}"));
        }
        number
    }

    /// A duration: a whole or decimal number with one of `ms s m h d`.
    pub(crate) fn duration(&mut self, node: &Node, what: &str) -> Option<Duration> {
        let text = self.text(node, what)?;
        let parsed = parse_duration(&text);
        if parsed.is_none() {
            self.error(
                node.place,
                format!("{what} \"{text}\" must be a duration with its unit, like 250ms, 5s, 10m, 1h or 1d"),
            );
        }
        parsed
    }

    /// A size in bytes: a whole number with `B`, `KiB`, `MiB` or `GiB`.
    pub(crate) fn size(&mut self, node: &Node, what: &str) -> Option<u64> {
        let text = self.text(node, what)?;
        let parsed = parse_size(&text);
        if parsed.is_none() {
            self.error(node.place, format!("{what} \"{text}\" must be a size with its unit, like 512B, 64KiB or 1MiB"));
        }
        parsed
    }

    /// A share: `20%`, `0.5%`; in millionths of the whole.
    pub(crate) fn share(&mut self, node: &Node, what: &str) -> Option<u32> {
        let text = self.text(node, what)?;
        let parsed = text
            .strip_suffix('%')
            .and_then(|number| number.trim().parse::<f64>().ok())
            .filter(|percent| (0.0..=100.0).contains(percent));
        if parsed.is_none() {
            self.error(node.place, format!("{what} \"{text}\" must be a share from 0% to 100%, like 20% or 0.5%"));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to lie within 0 to 100")]
        parsed.map(|percent| (percent * 10_000.0).round() as u32)
    }

    /// A name: letters, digits, `-`, `_`, `.`, up to 64.
    pub(crate) fn name(&mut self, name: &str, place: Place, what: &str) -> bool {
        let fits = (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !fits {
            self.error(place, format!("{what} \"{name}\" must be 1 to 64 letters, digits, `-`, `_` or `.`"));
        }
        fits
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(&mut self, node: &Node, what: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(node, what)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.error(node.place, format!("{what} \"{text}\" must be one of {}", words.join(", ")));
        }
        found
    }

    /// Entries of a map.
    pub(crate) fn entries<'n>(&mut self, node: &'n Node, what: &str) -> &'n [(Key, Node)] {
        match &node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => {
                self.error(node.place, format!("{what} must be a map, not {}", node.kind()));
                &[]
            }
        }
    }
}

/// The items of a list; one value stands for a list of one.
pub(crate) fn items(node: &Node) -> &[Node] {
    match &node.value {
        Value::List(items) => items,
        Value::Null => &[],
        Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Map(_) => std::slice::from_ref(node),
    }
}

pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.trim().parse().ok().filter(|number| *number >= 0.0)?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86_400.0,
        _ => return None,
    };
    // A thousand years: what is longer is a slip, and would overflow clocks.
    (seconds <= 31_536_000_000.0).then(|| Duration::from_micros((seconds * 1e6).round() as u64))
}

fn parse_size(text: &str) -> Option<u64> {
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.trim().parse().ok()?;
    let unit = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// A duration as the config writes it.
pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0 => "0s".to_owned(),
        _ if millis.is_multiple_of(86_400_000) => format!("{}d", millis / 86_400_000),
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ if millis.is_multiple_of(1000) => format!("{}s", millis / 1000),
        _ => format!("{millis}ms"),
    }
}

/// A size as the config writes it.
pub(crate) fn show_size(bytes: u64) -> String {
    match bytes {
        0 => "0B".to_owned(),
        _ if bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
        _ => format!("{bytes}B"),
    }
}
