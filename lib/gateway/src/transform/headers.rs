//! Header fields renamed, removed, set and added, in that order.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::expression::{Facts, Template};
use crate::refusal::Refusal;

/// `headers:` of a transform, compiled.
#[derive(Debug, Default)]
pub struct HeaderRewrite {
    /// Set: what stood before goes.
    pub set: Vec<(HeaderName, Template)>,
    /// Added beside what stands.
    pub add: Vec<(HeaderName, Template)>,
    /// Removed.
    pub remove: Vec<HeaderName>,
    /// Renamed, all values: from, to.
    pub rename: Vec<(HeaderName, HeaderName)>,
}

/// The values of a rewrite, filled in before the fields they may read are changed.
#[derive(Debug)]
pub struct Values {
    set: Vec<HeaderValue>,
    add: Vec<HeaderValue>,
}

impl HeaderRewrite {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty() && self.rename.is_empty()
    }

    /// Fills the templates in.
    ///
    /// # Errors
    /// [`Refusal::Unforwardable`] where a value holds a CR, an LF or a NUL.
    pub fn values(&self, facts: &Facts<'_>) -> Result<Values, Refusal> {
        let render = |templates: &[(HeaderName, Template)]| {
            templates.iter().map(|(_, template)| template.render_header(facts)).collect::<Result<Vec<_>, _>>()
        };
        Ok(Values { set: render(&self.set)?, add: render(&self.add)? })
    }

    /// Changes the fields.
    pub fn apply(&self, values: Values, fields: &mut HeaderMap) {
        for (from, to) in &self.rename {
            let moved: Vec<_> = fields.get_all(from).iter().cloned().collect();
            if !moved.is_empty() {
                fields.remove(from);
                for value in moved {
                    fields.append(to, value);
                }
            }
        }
        for name in &self.remove {
            fields.remove(name);
        }
        for ((name, _), value) in self.set.iter().zip(values.set) {
            fields.insert(name, value);
        }
        for ((name, _), value) in self.add.iter().zip(values.add) {
            fields.append(name, value);
        }
    }
}

/// Whether a field is the framing's or the gateway's own, and so not a config's to write.
pub fn reserved(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::HOST
            | header::CONNECTION
            | header::CONTENT_LENGTH
            | header::TRANSFER_ENCODING
            | header::TE
            | header::TRAILER
            | header::UPGRADE
            | header::EXPECT
            | header::VIA
            | header::FORWARDED
    ) || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "x-request-id")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{self, asked};

    fn rewrite() -> HeaderRewrite {
        HeaderRewrite {
            set: vec![(HeaderName::from_static("x-set"), testkit::template("${request.path}"))],
            add: vec![(HeaderName::from_static("x-add"), testkit::template("two"))],
            remove: vec![HeaderName::from_static("x-gone")],
            rename: vec![(HeaderName::from_static("x-old"), HeaderName::from_static("x-new"))],
        }
    }

    #[test]
    fn fields_are_renamed_removed_set_and_added() {
        let asked = asked("GET /a");
        let mut fields = HeaderMap::new();
        for (name, value) in [("x-set", "0"), ("x-add", "one"), ("x-gone", "1"), ("x-old", "a")] {
            fields.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        fields.append("x-old", HeaderValue::from_static("b"));
        let rewrite = rewrite();
        let values = rewrite.values(&asked.facts("r")).expect("values");
        rewrite.apply(values, &mut fields);
        assert_eq!(fields["x-set"], "/a");
        assert_eq!(fields.get_all("x-add").iter().collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(fields.get_all("x-new").iter().collect::<Vec<_>>(), ["a", "b"]);
        assert!(!fields.contains_key("x-gone") && !fields.contains_key("x-old"));
    }

    #[test]
    fn a_value_with_a_line_break_is_refused() {
        let asked = testkit::asked_with_params("GET /a", &[("name", "a\r\nx-evil: 1")]);
        let rewrite = HeaderRewrite {
            set: vec![(HeaderName::from_static("x-set"), testkit::template_of("${params.name}", &["name"]))],
            ..HeaderRewrite::default()
        };
        assert!(matches!(rewrite.values(&asked.facts("r")), Err(Refusal::Unforwardable { .. })));
    }
}
