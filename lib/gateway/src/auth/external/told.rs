//! What an authorizer is told of a request: the path as routes match it, and of the fields only those that are named.

use std::borrow::Cow;

use http::header::COOKIE;
use http::{HeaderMap, HeaderName};

use crate::auth::{Denied, Presented};
use crate::route::normalise;

/// A request, for an authorizer.
#[derive(Debug)]
pub(super) struct Told<'r> {
    pub(super) asked: &'r Presented<'r>,
    /// Normalised: what is decided of must be what is sent on, not one of its other writings.
    pub(super) path: Cow<'r, str>,
    /// Those of `forward_headers`.
    pub(super) headers: HeaderMap,
}

impl<'r> Told<'r> {
    pub(super) fn of(asked: &'r Presented<'r>, forward: &[HeaderName]) -> Result<Self, Denied> {
        let normal = normalise(asked.path).map_err(|why| Denied::Invalid(format!("the path: {why}")))?;
        let mut headers = HeaderMap::new();
        for name in forward {
            for value in asked.headers.get_all(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        Ok(Self { asked, path: normal.path, headers })
    }

    /// Path and query.
    pub(super) fn target(&self) -> String {
        match self.asked.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.to_string(),
        }
    }

    /// All values of a field in one text, as events of Lambda have them.
    pub(super) fn joined(&self, name: &HeaderName) -> Option<String> {
        let values: Vec<_> =
            self.asked.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        let between = if *name == COOKIE { "; " } else { "," };
        (!values.is_empty()).then(|| values.join(between))
    }
}
