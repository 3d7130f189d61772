//! Texts with `${…}`, and how each is written so that a value cannot become more than a value. `$${` is a plain `${`.

use std::borrow::Cow;

use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::access::Access;
use super::{Expression, ExpressionProblem, Facts, Scope, one};
use crate::refusal::Refusal;

/// A compiled text with `${…}`.
#[derive(Debug)]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Filled(Expression),
}

impl Template {
    /// Compiles a text; each `${…}` is an expression.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn compile(text: &str, scope: &Scope<'_>) -> Result<Self, Vec<ExpressionProblem>> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut problems = Vec::new();
        let mut at = 0;
        while let Some(found) = text.get(at..).and_then(|rest| rest.find("${")).map(|found| at + found) {
            plain.push_str(text.get(at..found).unwrap_or_default());
            if plain.ends_with('$') {
                plain.push('{');
                at = found + 2;
                continue;
            }
            let begin = found + 2;
            let Some(end) = closing(text, begin) else {
                return one(found, "`${` is not closed with `}`; write `$${` for a plain `${`".to_owned());
            };
            match Expression::compile(text.get(begin..end).unwrap_or_default(), scope) {
                Ok(expression) => {
                    if let Some(Access::Literal(folded)) = expression.access() {
                        plain.push_str(folded);
                    } else {
                        if !plain.is_empty() {
                            parts.push(Part::Text(std::mem::take(&mut plain)));
                        }
                        parts.push(Part::Filled(expression));
                    }
                }
                Err(found) => problems.extend(
                    found.into_iter().map(|problem| ExpressionProblem { offset: begin + problem.offset, ..problem }),
                ),
            }
            at = end + 1;
        }
        plain.push_str(text.get(at..).unwrap_or_default());
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        if problems.is_empty() { Ok(Self { source: text.to_owned(), parts }) } else { Err(problems) }
    }

    /// As written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text, where nothing depends on the request.
    pub fn fixed(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text before the first thing that depends on the request.
    pub fn leading(&self) -> &str {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            Some(Part::Filled(_)) | None => "",
        }
    }

    /// Whether it is an address of a fixed host, or a path on the same one: what a request fills in comes after the
    /// authority (RFC 3986 §3.2).
    pub(crate) fn leads_to_a_fixed_host(&self) -> bool {
        let leading = self.leading();
        if leading.starts_with('/') {
            return !leading.starts_with("//") && (leading.len() > 1 || self.fixed().is_some());
        }
        let Some((_, rest)) = leading.split_once("://") else { return false };
        let path_follows = match self.parts.get(1) {
            None => true,
            Some(Part::Filled(expression)) => matches!(expression.access(), Some(Access::Path)),
            Some(Part::Text(_)) => false,
        };
        !rest.is_empty() && (rest.contains(['/', '?', '#']) || path_follows)
    }

    /// Whether one of these characters stands in its fixed texts.
    pub(crate) fn has(&self, characters: &[char]) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Text(text) if text.contains(characters)))
    }

    /// The text filled in; what fails is empty.
    pub fn render(&self, facts: &Facts<'_>) -> Cow<'_, str> {
        self.filled(facts, |value, _, text| text.push_str(value))
    }

    /// The text filled in as a query parameter's value: no value can add a parameter (RFC 3986 §3.4).
    pub fn render_query_value(&self, facts: &Facts<'_>) -> Cow<'_, str> {
        let encoded = |value: &str, text: &mut String| text.extend(utf8_percent_encode(value, RESERVED));
        if let Some(fixed) = self.fixed() {
            let mut text = String::new();
            encoded(fixed, &mut text);
            return Cow::Owned(text);
        }
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(plain) => encoded(plain, &mut text),
                Part::Filled(expression) => encoded(&expression.text_of(facts).unwrap_or_default(), &mut text),
            }
        }
        Cow::Owned(text)
    }

    /// The text filled in as a field's value (RFC 9110 §5.5).
    ///
    /// # Errors
    /// [`Refusal::Unforwardable`] where a value holds a CR, an LF, a NUL or another control character.
    pub fn render_header(&self, facts: &Facts<'_>) -> Result<HeaderValue, Refusal> {
        HeaderValue::from_bytes(self.render(facts).as_bytes())
            .map_err(|_| Refusal::Unforwardable { why: "a header's value holds a line break or a control character" })
    }

    /// The text filled in as a path or an address: each value is percent-encoded so that it cannot add a segment or a
    /// parameter; captures of several segments and `request.path` keep their slashes.
    ///
    /// # Errors
    /// [`Refusal::Unforwardable`] where a value is empty, `.` or `..` as a whole segment.
    pub fn render_path(&self, facts: &Facts<'_>) -> Result<Cow<'_, str>, Refusal> {
        let mut climbs = false;
        let mut in_query = false;
        let mut after_slash = true;
        let mut empty = false;
        let mut text = String::new();
        if let Some(fixed) = self.fixed() {
            return Ok(Cow::Borrowed(fixed));
        }
        for part in &self.parts {
            match part {
                Part::Text(plain) => {
                    // A value that was empty between two slashes would be a segment without a name.
                    climbs |= empty && plain.starts_with(['/', '?', '#']);
                    empty = false;
                    in_query |= plain.contains('?');
                    text.push_str(plain);
                    after_slash = plain.ends_with('/');
                }
                Part::Filled(expression) => {
                    let value = expression.text_of(facts).unwrap_or_default();
                    empty = !in_query && value.is_empty() && (after_slash || empty);
                    let begin = text.len();
                    match expression.access() {
                        Some(Access::Path) if !in_query => text.push_str(&value),
                        Some(Access::Param(name)) if facts.params.is_rest(name) && !in_query => {
                            push_segments(&value, &mut text);
                        }
                        _ => text.extend(utf8_percent_encode(&value, RESERVED)),
                    }
                    after_slash = text.len() == begin && after_slash;
                }
            }
        }
        climbs |= empty;
        let path = text.split(['?', '#']).next().unwrap_or_default();
        climbs |= path.split('/').any(|segment| matches!(segment, "." | ".."));
        if climbs {
            return Err(Refusal::Unforwardable { why: "a value would be no segment of a path" });
        }
        Ok(Cow::Owned(text))
    }

    fn filled(&self, facts: &Facts<'_>, push: impl Fn(&str, &Expression, &mut String)) -> Cow<'_, str> {
        if let Some(fixed) = self.fixed() {
            return Cow::Borrowed(fixed);
        }
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Filled(expression) => {
                    push(&expression.text_of(facts).unwrap_or_default(), expression, &mut text);
                }
            }
        }
        Cow::Owned(text)
    }
}

fn push_segments(value: &str, text: &mut String) {
    for (index, segment) in value.split('/').enumerate() {
        if index > 0 {
            text.push('/');
        }
        text.extend(utf8_percent_encode(segment, RESERVED));
    }
}

/// Where the `}` of a `${` is: past texts and inner braces.
fn closing(text: &str, begin: usize) -> Option<usize> {
    let mut depth = 0usize;
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.get(begin..)?.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') if depth == 0 => return Some(begin + at),
            (None, '}') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

/// All but the unreserved characters of RFC 3986 §2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
