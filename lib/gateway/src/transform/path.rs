//! The path sent on: as it is, a template, without a prefix, under another, or rewritten by a regex.

use std::borrow::Cow;

use regex::Regex;

use crate::expression::{Facts, Template};
use crate::refusal::Refusal;
use crate::route::normalise;

/// How a path is rewritten, compiled.
#[derive(Debug, Default)]
pub enum PathRewrite {
    /// Not at all.
    #[default]
    Same,
    /// Made anew.
    Template(Template),
    /// Without a prefix of whole segments, then under another.
    Prefix {
        /// What is taken off; without a trailing slash.
        strip: Option<String>,
        /// What is put before; without a trailing slash.
        add: Option<String>,
    },
    /// Every match replaced.
    Regex {
        /// What is looked for, in the normalised path.
        pattern: Regex,
        /// What stands there instead, with `$1` and `${name}`.
        replacement: String,
    },
}

impl PathRewrite {
    /// A whole path with `${…}`.
    ///
    /// # Errors
    /// Words that follow the text as written.
    pub fn template(template: Template) -> Result<Self, String> {
        if template.has(&['?', '#']) {
            return Err("is a path alone: `?` and `#` cannot stand in it, use `query`".to_owned());
        }
        if template.leading().starts_with('/') || template.leading().is_empty() {
            Ok(Self::Template(template))
        } else {
            Err("must start with `/`".to_owned())
        }
    }

    /// Takes one prefix off and puts another before.
    pub fn prefix(strip: Option<String>, add: Option<String>) -> Self {
        let trim = |prefix: Option<String>| prefix.map(|prefix| prefix.trim_end_matches('/').to_owned());
        Self::Prefix { strip: trim(strip), add: trim(add) }
    }

    /// Replaces every match of a pattern.
    ///
    /// # Errors
    /// Words that follow the pattern as written.
    pub fn regex(pattern: &str, replacement: &str) -> Result<Self, String> {
        let pattern = regex::RegexBuilder::new(pattern)
            .size_limit(1 << 20)
            .build()
            .map_err(|error| format!("is no regex: {}", error.to_string().lines().last().unwrap_or_default()))?;
        Ok(Self::Regex { pattern, replacement: replacement.to_owned() })
    }

    /// The path to send on; starts with `/`, and holds no dot segments.
    ///
    /// # Errors
    /// [`Refusal::Unforwardable`] where a value would be no segment.
    pub fn apply<'p>(&self, facts: &Facts<'_>, path: &'p str) -> Result<Cow<'p, str>, Refusal> {
        match self {
            Self::Same => Ok(Cow::Borrowed(path)),
            Self::Template(template) => Ok(Cow::Owned(rooted(template.render_path(facts)?.into_owned()))),
            Self::Prefix { strip, add } => {
                let rest = strip.as_deref().and_then(|strip| stripped(path, strip)).unwrap_or(path);
                match add.as_deref() {
                    None | Some("") => Ok(Cow::Borrowed(rest)),
                    // The bare prefix is asked for without a slash more than the client wrote.
                    Some(add) if rest == "/" && strip.as_deref() == Some(path) => Ok(Cow::Owned(add.to_owned())),
                    Some(add) => Ok(Cow::Owned(format!("{add}{rest}"))),
                }
            }
            Self::Regex { pattern, replacement } => {
                let replaced = pattern.replace_all(path, replacement.as_str());
                if matches!(replaced, Cow::Borrowed(_)) {
                    return Ok(Cow::Borrowed(path));
                }
                let replaced = rooted(replaced.into_owned());
                let normal = normalise(&replaced).map_err(|why| Refusal::Unforwardable { why })?;
                Ok(Cow::Owned(normal.path.into_owned()))
            }
        }
    }
}

/// What is left of `path` under `prefix`, by whole segments: at least `/`. `None` where it is not under it.
pub(crate) fn stripped<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    match path.strip_prefix(prefix)? {
        "" => Some("/"),
        rest if rest.starts_with('/') => Some(rest),
        _ => None,
    }
}

fn rooted(path: String) -> String {
    if path.starts_with('/') { path } else { format!("/{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{asked, asked_with_params, template_of};

    fn check(rewrite: &PathRewrite, path: &str, expected: &str) {
        let asked = asked("GET /");
        assert_eq!(rewrite.apply(&asked.facts("r"), path).expect("a path"), expected, "{path}");
    }

    #[test]
    fn a_prefix_is_taken_off_by_whole_segments_and_leaves_at_least_a_slash() {
        let strip = PathRewrite::prefix(Some("/api".to_owned()), None);
        for (path, expected) in [
            ("/api", "/"),
            ("/api/", "/"),
            ("/api/orders/1", "/orders/1"),
            ("/apiary", "/apiary"),
            ("/x/api", "/x/api"),
        ] {
            check(&strip, path, expected);
        }
    }

    #[test]
    fn a_prefix_is_put_before_or_replaced() {
        check(&PathRewrite::prefix(None, Some("/v2/".to_owned())), "/orders", "/v2/orders");
        let replace = PathRewrite::prefix(Some("/api".to_owned()), Some("/v2".to_owned()));
        for (path, expected) in
            [("/api/orders", "/v2/orders"), ("/api", "/v2"), ("/api/", "/v2/"), ("/apiary", "/v2/apiary")]
        {
            check(&replace, path, expected);
        }
    }

    #[test]
    fn a_regex_replaces_and_the_result_is_a_path_again() {
        let rewrite = PathRewrite::regex("^/v([0-9]+)/(?P<rest>.*)$", "/api/${rest}/../$1").expect("a regex");
        check(&rewrite, "/v2/orders", "/api/2");
        check(&rewrite, "/other", "/other");
        assert!(PathRewrite::regex("(", "").is_err());
    }

    #[test]
    fn a_template_cannot_be_made_to_climb() {
        let rewrite = PathRewrite::template(template_of("/orders/${params.id}", &["id"])).expect("a path");
        let path = |id: &str| {
            let asked = asked_with_params("GET /", &[("id", id)]);
            rewrite.apply(&asked.facts("r"), "/").map(Cow::into_owned)
        };
        assert_eq!(path("a/b?c#d").expect("a path"), "/orders/a%2Fb%3Fc%23d");
        for id in ["", ".", ".."] {
            assert!(matches!(path(id), Err(Refusal::Unforwardable { .. })), "{id:?}");
        }
    }
}
