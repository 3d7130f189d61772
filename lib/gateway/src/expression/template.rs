//! Texts with `${…}`, and how each is written so that a value cannot become more than a value. `$${` is a plain `${`.

use std::borrow::Cow;

use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::parse::closing;
use super::slot::Access;
use super::{Expression, ExpressionProblem, Facts, Scope};
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
            let between = text.get(at..found).unwrap_or_default();
            plain.push_str(between);
            if between.ends_with('$') {
                plain.push('{');
                at = found + 2;
                continue;
            }
            let begin = found + 2;
            let Some(end) = closing(text, begin) else {
                let message = "`${` is not closed with `}`; write `$${` for a plain `${`".to_owned();
                problems.push(ExpressionProblem { offset: found, message });
                return Err(problems);
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

    /// Whether it may read this of a request.
    pub fn reads(&self, part: super::Part) -> bool {
        self.parts.iter().any(|own| if let Part::Filled(filled) = own { filled.reads(part) } else { false })
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

    /// The text filled in as a query parameter's value: no value can add a parameter (RFC 3986 §3.4), nor can the
    /// config's own text.
    pub fn render_query_value(&self, facts: &Facts<'_>) -> Cow<'_, str> {
        let mut encoded = String::with_capacity(self.source.len() + ROOM);
        encode(&self.render(facts), PARAMETER, &mut encoded);
        Cow::Owned(encoded)
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
        if let Some(fixed) = self.fixed() {
            return Ok(Cow::Borrowed(fixed));
        }
        let mut in_query = false;
        let mut after_slash = true;
        // Whether a segment has begun in which all values were empty so far.
        let mut nameless = false;
        let mut no_segment = false;
        let mut text = String::with_capacity(self.source.len() + ROOM);
        for part in &self.parts {
            match part {
                Part::Text(plain) => {
                    no_segment |= nameless && plain.starts_with(['/', '?', '#']);
                    nameless = false;
                    in_query |= plain.contains(['?', '#']);
                    text.push_str(plain);
                    after_slash = plain.ends_with('/');
                }
                Part::Filled(expression) => {
                    let value = expression.text_of(facts).unwrap_or_default();
                    nameless = !in_query && value.is_empty() && (after_slash || nameless);
                    let begin = text.len();
                    match expression.access() {
                        _ if in_query => encode(&value, PARAMETER, &mut text),
                        Some(Access::Path) => text.push_str(&value),
                        Some(Access::Param(name)) if facts.params.is_rest(name) => {
                            no_segment |= has_empty_segment(&value);
                            encode(&value, SEGMENTS, &mut text);
                        }
                        _ => encode(&value, SEGMENT, &mut text),
                    }
                    after_slash = text.len() == begin && after_slash;
                }
            }
        }
        let path = text.split(['?', '#']).next().unwrap_or_default();
        if nameless || no_segment || path.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(Refusal::Unforwardable { why: "a value would be no segment of a path" });
        }
        Ok(Cow::Owned(text))
    }

    /// The text filled in; what fails is empty.
    pub fn render(&self, facts: &Facts<'_>) -> Cow<'_, str> {
        if let Some(fixed) = self.fixed() {
            return Cow::Borrowed(fixed);
        }
        let mut text = String::with_capacity(self.source.len() + ROOM);
        for part in &self.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Filled(expression) => text.push_str(&expression.text_of(facts).unwrap_or_default()),
            }
        }
        Cow::Owned(text)
    }
}

/// An empty segment within: the last one may be empty, as in `a/b/`.
fn has_empty_segment(value: &str) -> bool {
    value.starts_with('/') || value.contains("//")
}

fn encode(value: &str, set: &'static AsciiSet, text: &mut String) {
    text.extend(utf8_percent_encode(value, set));
}

/// All but the unreserved characters of RFC 3986 §2.3.
const PARAMETER: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// All but what a segment may hold (RFC 3986 §3.3). `;` is encoded since some servers cut a segment there, so that
/// `..;` climbs, and `+` since some read a space.
const SEGMENT: &AsciiSet = &PARAMETER
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b',')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');
const SEGMENTS: &AsciiSet = &SEGMENT.remove(b'/');
/// What a text is given beyond its own length, so that most are written in one piece.
const ROOM: usize = 32;
