//! Paths of routes: exact, with captures, everything beneath, a regex, a raw prefix.

use std::sync::Arc;

use percent_encoding::percent_decode_str;
use regex::{Regex, RegexBuilder};

use super::path::{decode, normalise};
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

/// How specific a path is, the greater the more (config.md, *Matching*): the first field that differs decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Specificity {
    class: Class,
    /// Length of the literal segments before the first capture.
    prefix: usize,
    end: End,
    /// Length of all literal text, and segments count too.
    text: usize,
    /// `/{*name}` over `/**`.
    captures_rest: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Regex,
    Open,
    Exact,
}

/// What a path says of its end: captures over `**`, and that over a raw prefix of the same length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Raw,
    Rest,
    Fixed,
}

impl PathMatch {
    /// Reads a pattern: `/orders`, `/orders/{id}`, `/orders/{id}:cancel`, `/files/{*path}`, `/orders/**`.
    ///
    /// # Errors
    /// Words that follow the text as written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let path = rooted(text)?;
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
                rest = match segment.strip_prefix("{*") {
                    None => Rest::Any,
                    Some(name) => {
                        let name = name.strip_suffix('}').ok_or("must end with `}` where it begins with `{*`")?;
                        Rest::Capture(capture(name, &mut params)?)
                    }
                };
            } else if let Some(named) = segment.strip_prefix('{') {
                let (name, suffix) = named.split_once('}').ok_or("has a `{` without its `}`")?;
                let name = capture(name, &mut params)?;
                segments.push(Segment::Capture { name, suffix: literal(suffix)? });
            } else if segment.is_empty() && !last {
                return Err("has two slashes together".to_owned());
            } else {
                let text = literal(segment)?;
                if matches!(text.as_str(), "." | "..") {
                    return Err("has a dot segment, which no request's path has once it is normalised".to_owned());
                }
                segments.push(Segment::Literal(text));
            }
        }
        Ok(Self { source: text.to_owned(), params, form: Form::Segments { segments, rest } })
    }

    /// A regex that the whole path must match, as it is once normalised: what is encoded in it stays so.
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
        rooted(text)?;
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
            Form::RawPrefix(prefix) => format!("\u{3}{prefix}"),
            Form::Regex(_) => self.source.clone(),
        }
    }

    /// The shape of `/**`, which takes every path.
    pub(super) fn shape_of_all() -> String {
        "/\u{1}".to_owned()
    }

    /// How specific it is.
    pub(super) fn specificity(&self) -> Specificity {
        match &self.form {
            Form::Segments { segments, rest } => {
                let literal = |segment: &Segment| match segment {
                    Segment::Literal(text) => Some(text.len() + 1),
                    Segment::Capture { .. } => None,
                };
                let text = |segment: &Segment| match segment {
                    Segment::Literal(text) => text.len() + 2,
                    Segment::Capture { suffix, .. } => suffix.len() + 1,
                };
                let captures = segments.iter().any(|segment| matches!(segment, Segment::Capture { .. }));
                Specificity {
                    class: if captures || *rest != Rest::None { Class::Open } else { Class::Exact },
                    prefix: segments.iter().map_while(literal).sum(),
                    end: if *rest == Rest::None { End::Fixed } else { End::Rest },
                    text: segments.iter().map(text).sum(),
                    captures_rest: matches!(rest, Rest::Capture(_)),
                }
            }
            // Its last slash begins a segment, and is not counted where it begins one in the patterns above.
            Form::RawPrefix(text) => Specificity {
                class: Class::Open,
                prefix: text.trim_end_matches('/').len(),
                end: End::Raw,
                text: text.len(),
                captures_rest: false,
            },
            Form::Regex(_) => {
                Specificity { class: Class::Regex, prefix: 0, end: End::Raw, text: 0, captures_rest: false }
            }
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

/// What follows the slash at the head of a written path.
fn rooted(text: &str) -> Result<&str, String> {
    if text.contains(['?', '#']) {
        return Err("has a `?` or a `#`: conditions on the query stand under `query`".to_owned());
    }
    text.strip_prefix('/').ok_or_else(|| "must start with `/`".to_owned())
}

/// A name that is not taken yet.
fn capture(name: &str, params: &mut Vec<Arc<str>>) -> Result<Arc<str>, String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if !(1..=64).contains(&name.len()) || !name.bytes().all(fits) {
        return Err(format!("captures \"{name}\", which is no name of letters, digits, `-`, `_` and `.`"));
    }
    if params.iter().any(|taken| **taken == *name) {
        return Err(format!("captures `{name}` twice"));
    }
    let name: Arc<str> = Arc::from(name);
    params.push(Arc::clone(&name));
    Ok(name)
}

/// Literal text within a segment, normalised as a request's path is.
fn literal(text: &str) -> Result<String, String> {
    if text.contains(['{', '}']) {
        return Err("has braces within a segment: a capture stands at its beginning, as in `{id}:cancel`".to_owned());
    }
    if text.contains('*') {
        return Err("has a `*` within a segment: write `{name}` for one segment, `/**` at the end for all beneath, \
                    or a `regex`"
            .to_owned());
    }
    decode(text).map(|(text, _)| text).map_err(|why| format!("cannot be a path: {why}"))
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
