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

    /// Takes one prefix off and puts another before. Both are normalised as the paths are that they are compared with.
    pub fn prefix(strip: Option<String>, add: Option<String>) -> Self {
        let normal = |prefix: Option<String>| {
            let prefix = prefix?.trim_end_matches('/').to_owned();
            Some(normalise(&prefix).map(|normal| normal.path.into_owned()).unwrap_or(prefix))
        };
        Self::Prefix { strip: normal(strip), add: normal(add) }
    }

    /// Replaces every match of a pattern.
    ///
    /// # Errors
    /// Words that follow the pattern as written.
    pub fn regex(pattern: &str, replacement: &str) -> Result<Self, String> {
        if climbs(replacement) {
            return Err("must not be replaced by `.` or `..` as a segment".to_owned());
        }
        let pattern = regex::RegexBuilder::new(pattern)
            .size_limit(1 << 20)
            .build()
            .map_err(|error| format!("is no regex: {}", error.to_string().lines().last().unwrap_or_default()))?;
        Ok(Self::Regex { pattern, replacement: replacement.to_owned() })
    }

    /// The path to send on, normalised again.
    ///
    /// # Errors
    /// [`Refusal::Unforwardable`] where a value would be no segment, or where what a client sent would make a dot
    /// segment of its own: to take that out would lead beside the path that the config meant.
    pub fn apply<'p>(&self, facts: &Facts<'_>, path: &'p str) -> Result<Cow<'p, str>, Refusal> {
        match self {
            Self::Same => Ok(Cow::Borrowed(path)),
            Self::Template(template) => normal(rooted(template.render_path(facts)?.into_owned())),
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
                if climbs(&replaced) {
                    return Err(Refusal::Unforwardable { why: "a rewritten path with a dot segment" });
                }
                normal(rooted(replaced.into_owned()))
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

fn normal(path: String) -> Result<Cow<'static, str>, Refusal> {
    let changed = match normalise(&path).map_err(|why| Refusal::Unforwardable { why })?.path {
        Cow::Borrowed(_) => None,
        Cow::Owned(changed) => Some(changed),
    };
    Ok(Cow::Owned(changed.unwrap_or(path)))
}

/// Whether a segment is `.` or `..`, written out or encoded (RFC 3986 §5.2.4, §2.3).
fn climbs(path: &str) -> bool {
    let dots = |segment: &str| {
        let mut rest = segment;
        let mut dots = 0;
        while let Some(more) = [".", "%2e", "%2E"].iter().find_map(|dot| rest.strip_prefix(dot)) {
            rest = more;
            dots += 1;
        }
        rest.is_empty() && (dots == 1 || dots == 2)
    };
    path.contains(['.', '%']) && path.split('/').any(dots)
}

fn rooted(path: String) -> String {
    if path.starts_with('/') { path } else { format!("/{path}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        let rewrite = PathRewrite::regex("^/v([0-9]+)/(?P<rest>.*)$", "api//${rest}?v=$1 é").expect("a regex");
        check(&rewrite, "/v2/orders", "/api/orders%3Fv=2%20%C3%A9");
        check(&rewrite, "/other", "/other");
        assert!(PathRewrite::regex("(", "").is_err());
        assert!(PathRewrite::regex("a", "/b/../c").is_err());
    }

    #[test]
    fn a_regex_cannot_be_made_to_climb() {
        let rewrite = PathRewrite::regex("^/a(.*)z$", "/files/private/$1").expect("a regex");
        for path in ["/a..z", "/a.z", "/a%2e%2Ez", "/a.%2ez", "/a../..z"] {
            let refused = rewrite.apply(&asked("GET /").facts("r"), path).map(Cow::into_owned);
            assert!(matches!(refused, Err(Refusal::Unforwardable { .. })), "{path}: {refused:?}");
        }
        check(&rewrite, "/a...z", "/files/private/...");
        check(&rewrite, "/ab.cz", "/files/private/b.c");
    }

    #[test]
    fn what_a_config_writes_is_normalised_as_paths_are() {
        let whole = PathRewrite::template(template_of("/caf\u{e9} bar/${params.id}", &["id"])).expect("a path");
        let asked = asked_with_params("GET /", &[("id", "1")]);
        assert_eq!(whole.apply(&asked.facts("r"), "/").expect("a path"), "/caf%C3%A9%20bar/1");
        check(&PathRewrite::prefix(Some("/caf\u{e9}".to_owned()), None), "/caf%C3%A9/a", "/a");
        check(&PathRewrite::prefix(None, Some("/caf\u{e9}/".to_owned())), "/a", "/caf%C3%A9/a");
    }

    proptest! {
        #[test]
        fn what_is_put_before_comes_off_again(path in "/[a-z0-9]{0,5}(/[a-z0-9]{1,5}){0,3}", prefix in "(/[a-z]{1,5}){1,3}") {
            let facts = asked("GET /");
            let facts = facts.facts("r");
            let added = PathRewrite::prefix(None, Some(prefix.clone()));
            let added = added.apply(&facts, &path).expect("a path").into_owned();
            let stripped = PathRewrite::prefix(Some(prefix), None);
            prop_assert_eq!(stripped.apply(&facts, &added).expect("a path"), path);
        }

        #[test]
        fn to_strip_and_then_add_is_to_replace(
            rest in "(/[a-z]{1,5}){1,4}",
            old in "(/[a-z]{1,5}){1,2}",
            new in "(/[a-z]{1,5}){1,2}",
        ) {
            let facts = asked("GET /");
            let facts = facts.facts("r");
            let path = [old.as_str(), &rest].concat();
            let once = |strip: Option<&String>, add: Option<&String>, path: &str| {
                let rewrite = PathRewrite::prefix(strip.cloned(), add.cloned());
                rewrite.apply(&facts, path).expect("a path").into_owned()
            };
            let stepwise = once(None, Some(&new), &once(Some(&old), None, &path));
            prop_assert_eq!(once(Some(&old), Some(&new), &path), stepwise);
        }

        #[test]
        fn whatever_is_rewritten_can_be_sent(path in "/\\PC{0,30}", replacement in "\\PC{0,10}") {
            let facts = asked("GET /");
            let facts = facts.facts("r");
            let Ok(normal) = normalise(&path) else { return Ok(()) };
            let Ok(rewrite) = PathRewrite::regex("[a-m]", &replacement) else { return Ok(()) };
            if let Ok(sent) = rewrite.apply(&facts, &normal.path) {
                let uri: http::Uri = sent.parse().expect("a path");
                prop_assert_eq!((uri.path(), uri.query()), (&*sent, None));
                prop_assert!(!climbs(&sent));
            }
        }
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
