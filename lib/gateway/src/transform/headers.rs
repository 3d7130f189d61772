//! Header fields renamed, removed, set and added, in that order.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::asserted::same;
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
    /// Renamed with all values, all at once: from, to. What stood under the new name goes, or a client could speak in
    /// the renamed field's place.
    pub rename: Vec<(HeaderName, HeaderName)>,
    /// Those of the names that are set or renamed to which tell who calls. What a client sent under one of them goes in
    /// every spelling, even where there is nothing to tell.
    pub told: Vec<HeaderName>,
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
        if !self.rename.is_empty() || !self.told.is_empty() {
            self.rename(fields);
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

    fn rename(&self, fields: &mut HeaderMap) {
        let mut moved = Vec::new();
        let mut gone = Vec::new();
        for (from, to) in self.rename.iter().filter(|(from, _)| fields.contains_key(from)) {
            moved.extend(fields.get_all(from).iter().map(|value| (to, value.clone())));
            gone.extend([from.clone(), to.clone()]);
        }
        for told in &self.told {
            let like = |name: &&HeaderName| same(name.as_str().as_bytes(), told.as_str().as_bytes());
            gone.extend(fields.keys().filter(like).cloned());
        }
        for name in gone {
            fields.remove(name);
        }
        for (name, value) in moved {
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
    ) || matches!(
        name.as_str(),
        "http2-settings" | "keep-alive" | "proxy-connection" | "x-request-deadline-ms" | "x-request-id"
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testkit::{self, asked};

    fn rewrite() -> HeaderRewrite {
        HeaderRewrite {
            set: vec![(HeaderName::from_static("x-set"), testkit::template("${request.path}"))],
            add: vec![(HeaderName::from_static("x-add"), testkit::template("two"))],
            remove: vec![HeaderName::from_static("x-gone")],
            rename: vec![(HeaderName::from_static("x-old"), HeaderName::from_static("x-new"))],
            told: Vec::new(),
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

    fn applied(rewrite: &HeaderRewrite, mut fields: HeaderMap) -> HeaderMap {
        let values = rewrite.values(&asked("GET /").facts("r")).expect("values");
        rewrite.apply(values, &mut fields);
        fields
    }

    fn fields(list: &[(&str, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in list {
            let name: HeaderName = name.parse().expect("a name");
            fields.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        fields
    }

    fn all<'f>(fields: &'f HeaderMap, name: &str) -> Vec<&'f HeaderValue> {
        fields.get_all(name).iter().collect()
    }

    #[test]
    fn what_is_renamed_replaces_what_a_client_sent_under_the_new_name() {
        let rename = vec![(HeaderName::from_static("x-edge-user"), HeaderName::from_static("x-user"))];
        let rewrite = HeaderRewrite { rename, ..HeaderRewrite::default() };
        let after = applied(&rewrite, fields(&[("x-user", "forged"), ("x-edge-user", "ada")]));
        assert_eq!(all(&after, "x-user"), ["ada"]);
        let after = applied(&rewrite, fields(&[("x-user", "stays")]));
        assert_eq!(all(&after, "x-user"), ["stays"], "nothing is renamed where nothing stands");
    }

    #[test]
    fn two_fields_can_change_names_with_each_other() {
        let (a, b) = (HeaderName::from_static("a"), HeaderName::from_static("b"));
        let rewrite = HeaderRewrite { rename: vec![(a.clone(), b.clone()), (b, a)], ..HeaderRewrite::default() };
        let after = applied(&rewrite, fields(&[("a", "1"), ("b", "2")]));
        assert_eq!(all(&after, "a"), ["2"]);
        assert_eq!(all(&after, "b"), ["1"]);
    }

    proptest! {
        #[test]
        fn to_set_and_remove_twice_is_to_do_it_once(
            list in proptest::collection::vec(("[a-d]{1,2}", "[a-z0-9]{0,4}"), 0..12),
            set in proptest::collection::vec(("[a-d]{1,2}", "[a-z0-9]{0,4}"), 0..4),
            remove in proptest::collection::vec("[a-d]{1,2}", 0..4),
        ) {
            let name = |text: &String| text.parse::<HeaderName>().expect("a name");
            let rewrite = HeaderRewrite {
                set: set.iter().map(|(key, value)| (name(key), testkit::template(value))).collect(),
                remove: remove.iter().map(name).collect(),
                ..HeaderRewrite::default()
            };
            let list: Vec<_> = list.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            let once = applied(&rewrite, fields(&list));
            prop_assert_eq!(applied(&rewrite, once.clone()), once);
        }
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
