//! What changes of a request on its way in and of an answer on its way out.

pub mod headers;
pub mod path;
pub mod query;

use std::collections::BTreeMap;

use http::{Method, StatusCode};

use crate::exchange::{Body, Response};
use crate::expression::{AnswerFacts, Facts};
use crate::refusal::Refusal;

use headers::HeaderRewrite;
use path::PathRewrite;
use query::QueryRewrite;

/// `request:` of a route or a split's entry, compiled.
#[derive(Debug, Default)]
pub struct RequestTransform {
    /// The path.
    pub path: PathRewrite,
    /// The query.
    pub query: QueryRewrite,
    /// Header fields.
    pub headers: HeaderRewrite,
    /// The method, where it is another.
    pub method: Option<Method>,
    /// The authority sent on, where it is another than the upstream's settings say.
    pub host: Option<String>,
}

/// `response:` of a route or a split's entry, compiled.
#[derive(Debug, Default)]
pub struct ResponseTransform {
    /// Header fields.
    pub headers: HeaderRewrite,
    /// Statuses that become others.
    pub status: BTreeMap<StatusCode, StatusCode>,
}

impl ResponseTransform {
    /// Changes an answer. Templates see it as the upstream gave it.
    ///
    /// # Errors
    /// [`Refusal::Unforwardable`] where a header's value would break the answer.
    pub fn apply(&self, facts: &Facts<'_>, response: &mut Response) -> Result<(), Refusal> {
        if !self.headers.is_empty() {
            let seen = AnswerFacts { status: response.status, headers: &response.headers };
            let facts = Facts { response: Some(seen), ..*facts };
            let values = self.headers.values(&facts)?;
            self.headers.apply(values, &mut response.headers);
        }
        if let Some(status) = self.status.get(&response.status) {
            response.status = *status;
            if without_content(*status) {
                response.body = Body::Empty;
                response.headers.remove(http::header::CONTENT_LENGTH);
                response.headers.remove(http::header::CONTENT_TYPE);
                response.headers.remove(http::header::CONTENT_ENCODING);
            }
        }
        Ok(())
    }
}

/// Whether an answer of this status has no content (RFC 9110 §15.3.5, §15.3.6, §15.4.5).
pub(crate) const fn without_content(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::testkit::asked;

    fn mapped(to: StatusCode) -> Response {
        let mut response = Response::empty(StatusCode::NOT_FOUND);
        response.body = Body::Full(Bytes::from_static(b"gone"));
        for name in ["content-encoding", "content-length", "content-type", "etag"] {
            response.headers.insert(HeaderName::from_static(name), HeaderValue::from_static("4"));
        }
        let status = BTreeMap::from([(StatusCode::NOT_FOUND, to)]);
        let transform = ResponseTransform { status, ..ResponseTransform::default() };
        transform.apply(&asked("GET /").facts("r"), &mut response).expect("applies");
        response
    }

    #[test]
    fn a_status_that_goes_without_content_takes_it_and_its_fields_away() {
        for to in [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED] {
            let response = mapped(to);
            assert_eq!((response.status, response.body.known_len()), (to, Some(0)));
            assert_eq!(response.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["etag"]);
        }
    }

    #[test]
    fn another_status_keeps_the_content() {
        let response = mapped(StatusCode::GONE);
        assert_eq!((response.status, response.body.known_len()), (StatusCode::GONE, Some(4)));
        assert_eq!(response.headers.len(), 4);
    }
}
