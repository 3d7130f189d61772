//! What is wrong with a config, and where: every problem at once, as `file:line:col: message` with source and caret.

use std::fmt::{self, Write as _};
use std::sync::Arc;

/// A place in a config file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// Which file, by its index in [`Problems::files`].
    pub file: usize,
    /// Line, from 1; 0 is the file as a whole.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How many characters the thing is long; at least 1.
    pub width: usize,
}

impl Place {
    /// The place `offset` characters further on the same line.
    pub fn shifted(self, offset: usize) -> Self {
        Self { column: self.column + offset, width: self.width.saturating_sub(offset).max(1), ..self }
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The config cannot be used.
    Error,
    /// It can, but something is likely not meant so.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What, and what would be right: lower case, no full stop, values quoted as written, never an expanded secret.
    pub message: String,
    /// How bad.
    pub severity: Severity,
}

/// A file that was read.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// As messages name it.
    pub name: Arc<str>,
    /// Its text.
    pub text: Arc<str>,
}

impl SourceFile {
    /// Its lines, as [`Place::line`] counts them.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        lines(&self.text)
    }
}

/// The lines of a text as YAML has them: a carriage return ends one without a line feed, too (YAML 1.2.2 §5.4).
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('\r'))
}

/// All problems of a config, with the files they are in.
#[derive(Debug, Clone, Default)]
pub struct Problems {
    /// The files read, in reading order.
    pub files: Vec<SourceFile>,
    /// In file order once [`Problems::sort`] has run.
    pub list: Vec<Problem>,
}

impl Problems {
    /// Adds an error.
    pub fn error(&mut self, place: Place, message: impl Into<String>) {
        self.list.push(Problem { place, message: message.into(), severity: Severity::Error });
    }

    /// Adds a warning.
    pub fn warn(&mut self, place: Place, message: impl Into<String>) {
        self.list.push(Problem { place, message: message.into(), severity: Severity::Warning });
    }

    /// How many there are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.list.iter().filter(|problem| problem.severity == severity).count()
    }

    /// Puts them in file order and drops what was said twice of one place.
    pub fn sort(&mut self) {
        self.list.sort_by(|a, b| (a.place, &a.message).cmp(&(b.place, &b.message)));
        self.list.dedup_by(|a, b| a.place == b.place && a.message == b.message);
    }

    /// `file:line:col` of a place.
    pub fn at(&self, place: Place) -> String {
        let name = self.files.get(place.file).map_or("config", |file| &file.name);
        if place.line == 0 { name.to_owned() } else { format!("{name}:{}:{}", place.line, place.column) }
    }

    fn render(&self, problem: &Problem, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match problem.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
        };
        writeln!(f, "{}: {kind}{}", self.at(problem.place), problem.message)?;
        let Some(line) = self.line(problem.place) else { return Ok(()) };
        let number = problem.place.line.to_string();
        let shown: String = line.chars().take(WIDEST_LINE).collect();
        let left = problem.place.column.saturating_sub(1).min(shown.chars().count());
        let carets = problem.place.width.clamp(1, shown.chars().count().saturating_sub(left).max(1));
        let gap = " ".repeat(number.len());
        writeln!(f, " {gap} |")?;
        writeln!(f, " {number} | {shown}")?;
        writeln!(f, " {gap} | {}{}", " ".repeat(left), "^".repeat(carets))
    }

    fn line(&self, place: Place) -> Option<&str> {
        self.files.get(place.file)?.lines().nth(place.line.checked_sub(1)?)
    }

    /// The problems as JSON, one object each: `severity`, `file`, `line`, `column`, `message`.
    pub fn to_json(&self) -> serde_json::Value {
        self.list
            .iter()
            .map(|problem| {
                serde_json::json!({
                    "severity": problem.severity.as_str(),
                    "file": self.files.get(problem.place.file).map_or("config", |file| &*file.name),
                    "line": problem.place.line,
                    "column": problem.place.column,
                    "message": problem.message,
                })
            })
            .collect()
    }

    /// `2 errors, 1 warning`.
    pub fn summary(&self) -> String {
        let mut summary = String::new();
        for (severity, count) in [Severity::Error, Severity::Warning].map(|severity| (severity, self.count(severity))) {
            if count > 0 {
                let comma = if summary.is_empty() { "" } else { ", " };
                let plural = if count == 1 { "" } else { "s" };
                let _ = write!(summary, "{comma}{count} {}{plural}", severity.as_str());
            }
        }
        summary
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.list {
            self.render(problem, f)?;
        }
        f.write_str(&self.summary())
    }
}

impl std::error::Error for Problems {}

/// A longer line is cut in messages: configs may hold whole documents on one line.
const WIDEST_LINE: usize = 160;
