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
            if matches!(*status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::RESET_CONTENT) {
                response.body = Body::Empty;
                response.headers.remove(http::header::CONTENT_LENGTH);
                response.headers.remove(http::header::CONTENT_TYPE);
            }
        }
        Ok(())
    }
}
