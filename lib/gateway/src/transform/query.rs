//! The query sent on: parameters removed and set, every other byte as the client sent it.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::expression::{Facts, Template};

/// `query:` of a transform, compiled.
#[derive(Debug, Default)]
pub struct QueryRewrite {
    /// Set: what stood under the name before goes; the new one stands last.
    pub set: Vec<(String, Template)>,
    /// Removed, by decoded name; `utm_*` is every name that begins so.
    pub remove: Vec<String>,
}

impl QueryRewrite {
    /// The query to send on, without its `?`.
    pub fn apply<'q>(&self, facts: &Facts<'_>, query: Option<&'q str>) -> Option<Cow<'q, str>> {
        if self.set.is_empty() && self.remove.is_empty() {
            return query.map(Cow::Borrowed);
        }
        let mut kept = String::new();
        let mut any = false;
        let mut push = |part: &[&str]| {
            if any {
                kept.push('&');
            }
            any = true;
            part.iter().for_each(|part| kept.push_str(part));
        };
        for part in query.into_iter().flat_map(|query| query.split('&')) {
            if !self.drops(part) {
                push(&[part]);
            }
        }
        for (name, template) in &self.set {
            push(&[&encoded(name), "=", &template.render_query_value(facts)]);
        }
        any.then_some(Cow::Owned(kept))
    }

    fn drops(&self, part: &str) -> bool {
        let name = part.split('=').next().unwrap_or_default().replace('+', " ");
        let name = percent_decode_str(&name).decode_utf8_lossy();
        let removed = self.remove.iter().any(|removed| match removed.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => *removed == name,
        });
        removed || self.set.iter().any(|(set, _)| *set == name)
    }
}

/// A parameter's name, encoded so that it cannot add another.
fn encoded(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, UNRESERVED).to_string()
}

/// All but the unreserved characters of RFC 3986 §2.3.
const UNRESERVED: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testkit::{asked, asked_with_params, template_of};

    #[test]
    fn parameters_are_removed_and_set_and_the_rest_keeps_its_bytes() {
        let rewrite = QueryRewrite {
            set: vec![("a b".to_owned(), template_of("${params.v}", &["v"]))],
            remove: vec!["debug".to_owned(), "utm_*".to_owned()],
        };
        let asked = asked_with_params("GET /", &[("v", "1&x=2")]);
        let apply = |query| rewrite.apply(&asked.facts("r"), query).map(Cow::into_owned);
        assert_eq!(apply(Some("x=%7e&de%62ug=1&utm_source=a&y&&a+b=0")).as_deref(), Some("x=%7e&y&&a%20b=1%26x%3D2"));
        assert_eq!(apply(None).as_deref(), Some("a%20b=1%26x%3D2"));
    }

    #[test]
    fn a_query_of_which_nothing_is_left_goes_without_its_question_mark() {
        let rewrite = QueryRewrite { set: Vec::new(), remove: vec!["a".to_owned()] };
        assert_eq!(rewrite.apply(&asked("GET /").facts("r"), Some("a=1&a=2")), None);
    }

    proptest! {
        #[test]
        fn a_rewrite_of_nothing_changes_nothing(query in "\\PC{0,40}") {
            let asked = asked("GET /");
            let facts = asked.facts("r");
            let rewrite = QueryRewrite::default();
            let rewritten = rewrite.apply(&facts, Some(&query)).map(Cow::into_owned);
            prop_assert_eq!(rewritten.as_deref(), Some(query.as_str()));
        }

        #[test]
        fn removing_a_name_that_is_not_there_changes_nothing(query in "[a-m=&%0-9+]{0,40}") {
            let asked = asked("GET /");
            let rewrite = QueryRewrite { set: Vec::new(), remove: vec!["zz".to_owned()] };
            let facts = asked.facts("r");
            let rewritten = rewrite.apply(&facts, Some(&query)).map(Cow::into_owned);
            prop_assert_eq!(rewritten.as_deref(), Some(query.as_str()));
        }
    }
}
