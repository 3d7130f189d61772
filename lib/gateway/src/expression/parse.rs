//! From text to tree, within bounds: what is too long, too deep or too large is refused before the parser recurses.
//!
//! The quick parser of `cel` is used, never the generated one: it takes a microsecond for what the other takes fifty
//! for. It keeps the positions of nodes only in its errors, so a text with a problem is parsed once more with an error
//! put behind it ([`Places`]).

use std::sync::Arc;

use cel::common::ast::{IdedExpr, SourceInfo};
use cel::parser::PrattParser;
use cel::parser::pratt_parser::{Lexer, TokenKind};

use super::ExpressionProblem;

/// What `has` is called in trees. The parser's own macro takes `has(request.headers.x)` but not
/// `has(request.headers['x-region'])`, and a header is mostly written so; under this name the call is left alone.
/// As long as the word it stands for, so that no position moves.
pub(super) const HAS: &str = "__h";

/// Parses a text.
///
/// # Errors
/// The first thing that is wrong with it.
pub(super) fn parse(text: &str) -> Result<IdedExpr, ExpressionProblem> {
    let masked = bounded(text).map_err(|(offset, message)| ExpressionProblem { offset, message })?;
    PrattParser::default().max_recursion_depth(DEEPEST).parse(&masked).map_err(|errors| {
        let first = errors.errors.first();
        let message = first.and_then(|error| error.msg.lines().next()).unwrap_or("no expression");
        let message = message.trim_start_matches("Syntax error: ").replace(HAS, "has");
        ExpressionProblem {
            offset: first.map_or(0, |error| offset_of(text, error.pos)),
            message: format!("not CEL: {message}"),
        }
    })
}

/// Where the nodes of a text's tree stand in it.
pub(super) struct Places<'a> {
    text: &'a str,
    info: Option<Arc<SourceInfo>>,
}

impl<'a> Places<'a> {
    /// Those of a text that [`parse`] takes.
    pub(super) fn of(text: &'a str) -> Self {
        // On a line of its own: the text may end in a comment.
        let broken = bounded(text).map(|masked| format!("{masked}\n)"));
        let errors =
            broken.ok().and_then(|broken| PrattParser::default().max_recursion_depth(DEEPEST).parse(&broken).err());
        let info = errors.and_then(|errors| errors.errors.into_iter().find_map(|error| error.source_info));
        Self { text, info }
    }

    /// The byte that a node begins at, as a reader sees it.
    pub(super) fn offset(&self, id: u64) -> usize {
        let at = self.info.as_ref().and_then(|info| info.offset_for(id)).map_or(0, |(start, _)| start as usize);
        let (Some(before), Some(after)) = (self.text.get(..at), self.text.get(at..)) else { return 0 };
        match after.chars().next() {
            // The parser notes a selection at its dot and a call at its parenthesis; meant are the names.
            Some('.') => self.text.len() - after.trim_start_matches(|c: char| c == '.' || c.is_whitespace()).len(),
            Some('(') => before.trim_end().trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_').len(),
            _ => at,
        }
    }
}

/// Where the `}` of a `${` is: past texts, comments and inner braces.
pub(super) fn closing(text: &str, begin: usize) -> Option<usize> {
    let rest = text.get(begin..)?;
    let mut lexer = Lexer::new(rest);
    let mut depth = 0usize;
    let mut before = None;
    loop {
        let token = lexer.lex();
        // Never the same place twice, whatever the lexer makes of a wrong character.
        if token.kind == TokenKind::TokEnd || before.replace(token.start).is_some_and(|before| before >= token.start) {
            return None;
        }
        if token.kind == TokenKind::TokLeftBrace {
            depth += 1;
        } else if token.kind == TokenKind::TokRightBrace {
            if depth == 0 {
                return Some(begin + token.start);
            }
            depth -= 1;
        }
    }
}

/// The text with `has` masked.
///
/// # Errors
/// Where and why it is too much for the stack or the clock.
fn bounded(text: &str) -> Result<String, (usize, String)> {
    if text.len() > LONGEST {
        return Err((0, format!("an expression must not be longer than {LONGEST} bytes")));
    }
    let mut masked = text.to_owned();
    let mut lexer = Lexer::new(text);
    let (mut tokens, mut choices, mut signs) = (0, 0, 0);
    let mut word = None;
    loop {
        let token = lexer.lex();
        let is = |kind| token.kind == kind;
        if is(TokenKind::TokEnd) || is(TokenKind::TokError) {
            // Of an error the parser says it better.
            return Ok(masked);
        }
        if is(TokenKind::TokWhitespace) || is(TokenKind::TokComment) {
            continue;
        }
        if is(TokenKind::TokLeftParen)
            && let Some((start, end)) = word.filter(|&(start, end)| text.get(start..end) == Some("has"))
        {
            masked.replace_range(start..end, HAS);
        }
        tokens += 1;
        choices += usize::from(is(TokenKind::TokQuestion));
        signs = if is(TokenKind::TokMinus) || is(TokenKind::TokExclamation) { signs + 1 } else { 0 };
        if tokens > MOST_TOKENS {
            return Err((token.start, format!("an expression must not have more than {MOST_TOKENS} words and signs")));
        }
        if choices > MOST_CHOICES {
            return Err((token.start, format!("an expression must not have more than {MOST_CHOICES} `?`")));
        }
        if signs > MOST_SIGNS {
            return Err((token.start, format!("more than {MOST_SIGNS} `!` or `-` in a row")));
        }
        word = is(TokenKind::TokIdent).then_some((token.start, token.end));
    }
}

/// From a parser's line and column, both from 1, to bytes.
fn offset_of(text: &str, (line, column): (isize, isize)) -> usize {
    let line = usize::try_from(line - 1).unwrap_or_default();
    let column = usize::try_from(column - 1).unwrap_or_default();
    let before: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    (before + column).min(text.len())
}

const LONGEST: usize = 4096;
const MOST_TOKENS: usize = 600;
/// The parser recurses at each, and counts none.
const MOST_CHOICES: usize = 16;
const MOST_SIGNS: usize = 4;
/// Of brackets in one another.
const DEEPEST: u16 = 24;
