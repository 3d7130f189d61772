//! Paths of routes: exact, with captures, everything beneath, a regex, a raw prefix.

use std::sync::Arc;

use percent_encoding::percent_decode_str;
use regex::{Regex, RegexBuilder};

use super::path::normalise;
use crate::expression::Params;

/// The path of a route.
#[derive(Debug, Clone)]
pub struct PathMatch {
    source: String,
    params: Vec<Arc<str>>,
    pub(super) form: Form,
}

#[derive(Debug, Clone)]
pub(super) enum Form {
    Segments { segments: Vec<Segment>, rest: Rest },
    Regex(Regex),
    RawPrefix(String),
}

/// One segment of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    Literal(String),
    /// Anything not empty before this suffix.
    Capture {
        name: Arc<str>,
        suffix: String,
    },
}

/// What may follow the segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing.
    None,
    /// `/**`: anything, nothing included.
    Any,
    /// `/{*name}`: at least one segment.
    Capture(Arc<str>),
}

impl PathMatch {
    /// Reads a pattern: `/orders`, `/orders/{id}`, `/orders/{id}:cancel`, `/files/{*path}`, `/orders/**`.
    ///
    /// # Errors
    /// Words that follow the text as written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix('/') else { return Err("must start with `/`".to_owned()) };
        let mut segments = Vec::new();
        let mut rest = Rest::None;
        let mut params: Vec<Arc<str>> = Vec::new();
        let mut written = path.split('/').peekable();
        while let Some(segment) = written.next() {
            let last = written.peek().is_none();
            if segment == "**" || segment.starts_with("{*") {
                if !last {
                    return Err(format!("has `{segment}` before its end: it stands for all that follows"));
                }
                rest = match segment.strip_prefix("{*").map(|name| name.strip_suffix('}')) {
                    None => Rest::Any,
                    Some(name) => Rest::Capture(capture(name.unwrap_or_default(), &mut params)?),
                };
            } else if let Some(named) = segment.strip_prefix('{') {
                let (name, suffix) = named.split_once('}').ok_or("has a `{` without its `}`")?;
                let name = capture(name, &mut params)?;
                segments.push(Segment::Capture { name, suffix: literal(suffix)? });
            } else if segment.is_empty() && !last {
                return Err("has two slashes together".to_owned());
            } else {
                segments.push(Segment::Literal(literal(segment)?));
            }
        }
        Ok(Self { source: text.to_owned(), params, form: Form::Segments { segments, rest } })
    }

    /// A regex that the whole path must match.
    ///
    /// # Errors
    /// Words that follow the text as written.
    pub fn regex(text: &str) -> Result<Self, String> {
        let regex = full_match(text)?;
        let params = regex.capture_names().flatten().map(Arc::from).collect();
        Ok(Self { source: format!("{{regex: {text:?}}}"), params, form: Form::Regex(regex) })
    }

    /// A prefix of the text of a path: `/api` takes `/apiary` too.
    ///
    /// # Errors
    /// Words that follow the text as written.
    pub fn raw_prefix(text: &str) -> Result<Self, String> {
        if !text.starts_with('/') {
            return Err("must start with `/`".to_owned());
        }
        let normal = normalise(text).map_err(|why| format!("cannot be a path: {why}"))?;
        let form = Form::RawPrefix(normal.path.into_owned());
        Ok(Self { source: format!("{{raw_prefix: {text:?}}}"), params: Vec::new(), form })
    }

    /// What it captures, in order.
    pub fn params(&self) -> &[Arc<str>] {
        &self.params
    }

    /// As the config writes it.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The same for patterns that take the same paths: names of captures do not matter.
    pub(super) fn shape(&self) -> String {
        match &self.form {
            Form::Segments { segments, rest } => {
                let mut shape = String::new();
                for segment in segments {
                    match segment {
                        Segment::Literal(text) => shape.push_str(&format!("/{text}")),
                        Segment::Capture { suffix, .. } => shape.push_str(&format!("/\u{0}{suffix}")),
                    }
                }
                match rest {
                    Rest::None => {}
                    Rest::Any => shape.push_str("/\u{1}"),
                    Rest::Capture(_) => shape.push_str("/\u{2}"),
                }
                shape
            }
            Form::Regex(_) | Form::RawPrefix(_) => self.source.clone(),
        }
    }

    /// How specific it is, the greater the more: exact, then the longer literal prefix, captures over `**`, a raw
    /// prefix below both, a regex last; then more literal text.
    pub(super) fn specificity(&self) -> (u8, usize, u8, usize) {
        match &self.form {
            Form::Segments { segments, rest } => {
                let literal = |segment: &Segment| match segment {
                    Segment::Literal(text) => Some(text.len() + 1),
                    Segment::Capture { .. } => None,
                };
                let prefix: usize = segments.iter().map_while(literal).sum();
                let all: usize = segments
                    .iter()
                    .map(|segment| match segment {
                        Segment::Literal(text) => text.len() + 2,
                        Segment::Capture { suffix, .. } => suffix.len() + 1,
                    })
                    .sum();
                let captures = segments.iter().any(|segment| matches!(segment, Segment::Capture { .. }));
                match rest {
                    Rest::None if !captures => (2, prefix, 0, all),
                    Rest::None => (1, prefix, 4, all),
                    Rest::Capture(_) => (1, prefix, 3, all),
                    Rest::Any => (1, prefix, 2, all),
                }
            }
            // A prefix's slash is counted where it begins a segment, as in the patterns above.
            Form::RawPrefix(prefix) => (1, prefix.trim_end_matches('/').len(), 1, 0),
            Form::Regex(_) => (0, 0, 0, 0),
        }
    }

    /// What a path that it matches captures, decoded.
    pub(super) fn capture(&self, path: &str) -> Params {
        let mut params = Params::default();
        match &self.form {
            Form::RawPrefix(_) => {}
            Form::Regex(regex) => {
                if let Some(found) = regex.captures(path) {
                    for name in &self.params {
                        if let Some(value) = found.name(name) {
                            params.push(Arc::clone(name), decoded(value.as_str()));
                        }
                    }
                }
            }
            Form::Segments { .. } if self.params.is_empty() => {}
            Form::Segments { segments, rest } => {
                let mut left = path.strip_prefix('/').unwrap_or(path);
                for segment in segments {
                    let (here, after) = left.split_once('/').unwrap_or((left, ""));
                    if let Segment::Capture { name, suffix } = segment {
                        params.push(Arc::clone(name), decoded(here.strip_suffix(suffix.as_str()).unwrap_or(here)));
                    }
                    left = after;
                }
                if let Rest::Capture(name) = rest {
                    params.push_rest(Arc::clone(name), decoded(left));
                }
            }
        }
        params
    }
}

/// A name that is not taken yet.
fn capture(name: &str, params: &mut Vec<Arc<str>>) -> Result<Arc<str>, String> {
    let fits = (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !fits {
        return Err(format!("captures \"{name}\", which is no name of letters, digits and `_`"));
    }
    if params.iter().any(|taken| **taken == *name) {
        return Err(format!("captures `{name}` twice"));
    }
    let name: Arc<str> = Arc::from(name);
    params.push(Arc::clone(&name));
    Ok(name)
}

/// Literal text of a segment, normalised as a request's path is.
fn literal(text: &str) -> Result<String, String> {
    if text.contains(['{', '}']) {
        return Err("has braces within a segment: a capture stands at its beginning, as in `{id}:cancel`".to_owned());
    }
    if matches!(text, "." | "..") {
        return Err("has a dot segment".to_owned());
    }
    let rooted = format!("/{text}");
    let normal = normalise(&rooted).map_err(|why| format!("cannot be a path: {why}"))?;
    Ok(normal.path.get(1..).unwrap_or_default().to_owned())
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// A regex of linear time that must match the whole text.
pub(super) fn full_match(text: &str) -> Result<Regex, String> {
    // Compiled alone first: what is no regex by itself must not become one inside the group.
    let build = |text: &str| RegexBuilder::new(text).size_limit(1 << 20).build();
    let wrong = |error: regex::Error| {
        let error = error.to_string();
        let last = error.lines().last().unwrap_or_default();
        format!("is no regex: {}", last.trim_start_matches("error: "))
    };
    build(text).map_err(wrong)?;
    build(&format!("^(?:{text})$")).map_err(wrong)
}

/// The text that [`full_match`] was given.
pub(super) fn source_of(regex: &Regex) -> &str {
    let whole = regex.as_str();
    whole.strip_prefix("^(?:").and_then(|text| text.strip_suffix(")$")).unwrap_or(whole)
}
