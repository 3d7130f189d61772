//! A Lambda authorizer of API Gateway: its events of format 2.0 and 1.0, and the call.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::told::Told;
use crate::call::{Call, Endpoint};
use crate::forward::Upstream;

/// The function to ask, and the API that it believes to stand before.
#[derive(Debug)]
pub struct Function {
    endpoint: Endpoint,
    function: Arn,
    /// The format of its events.
    payload: Payload,
    api_id: String,
    stage: String,
}

/// The format of an authorizer's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// 1.0, as REST APIs send it.
    V1,
    /// 2.0, as HTTP APIs do.
    V2,
}

/// The ARN of a function: `arn:PARTITION:lambda:REGION:ACCOUNT:function:NAME`, with a version or an alias or without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arn {
    text: String,
    partition: String,
    region: String,
    account: String,
}

impl Arn {
    /// Reads one.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let word = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'$'))
        };
        match parts.as_slice() {
            ["arn", partition, "lambda", region, account, "function", name @ ..]
                if matches!(name.len(), 1 | 2)
                    && [partition, region].into_iter().chain(name).all(|part| word(part))
                    && account.len() == 12
                    && account.bytes().all(|b| b.is_ascii_digit()) =>
            {
                let [partition, region, account] = [partition, region, account].map(|part| (*part).to_owned());
                Some(Self { text: text.to_owned(), partition, region, account })
            }
            _ => None,
        }
    }

    /// Its region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Where the function is called (`Invoke`), at `base` where that is given.
    pub fn url(&self, base: Option<&str>) -> String {
        let suffix = if self.partition == "aws-cn" { ".cn" } else { "" };
        let default = format!("https://lambda.{}.amazonaws.com{suffix}", self.region);
        let base = base.unwrap_or(&default).trim_end_matches('/');
        // A qualifier may stand in the path's ARN.
        format!("{base}/2015-03-31/functions/{}/invocations", utf8_percent_encode(&self.text, ENCODED))
    }
}

/// What AWS's own clients encode in a segment of a path: what RFC 3986 §2.3 does not reserve stays.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl Function {
    /// The function, called at `endpoint`, which signs.
    pub const fn new(endpoint: Endpoint, function: Arn, payload: Payload, api_id: String, stage: String) -> Self {
        Self { endpoint, function, payload, api_id, stage }
    }

    /// Its ARN.
    pub fn arn(&self) -> &str {
        &self.function.text
    }

    /// Asks, and gives the answer with how large it is.
    ///
    /// # Errors
    /// Why there is no answer that says anything.
    pub(super) async fn ask(
        &self,
        told: &Told<'_>,
        sources: &[String],
        upstream: &dyn Upstream,
        timeout: Duration,
        most: usize,
    ) -> Result<(Answer, usize), String> {
        let event = match self.payload {
            Payload::V1 => self.event_v1(told, sources),
            Payload::V2 => self.event_v2(told, sources),
        };
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let body = Bytes::from(event.to_string());
        let reply = self.endpoint.call(upstream, Call { method: Method::POST, headers, body, timeout, most }).await?;
        if reply.status != StatusCode::OK {
            return Err(format!("Lambda answered {}", reply.status));
        }
        if reply.headers.contains_key(FUNCTION_ERROR) {
            // What an authorizer throws to have a 401 answered.
            let thrown: Map<String, Value> = serde_json::from_slice(&reply.body).unwrap_or_default();
            return match thrown.get("errorMessage").and_then(Value::as_str) {
                Some("Unauthorized") => Ok((Answer::NotTaken("the authorizer threw Unauthorized".to_owned()), 0)),
                _ => Err("the authorizer failed".to_owned()),
            };
        }
        Ok((Answer::of_lambda(&reply.body)?, reply.body.len()))
    }

    /// The ARN of what is called: `arn:aws:execute-api:REGION:ACCOUNT:API/STAGE/METHOD/PATH`.
    pub(super) fn method_arn(&self, told: &Told<'_>) -> String {
        let Self { function: Arn { partition, region, account, .. }, api_id, stage, .. } = self;
        let (method, path) = (told.asked.method, told.path.trim_start_matches('/'));
        format!("arn:{partition}:execute-api:{region}:{account}:{api_id}/{stage}/{method}/{path}")
    }

    /// Payload format 2.0.
    fn event_v2(&self, told: &Told<'_>, sources: &[String]) -> Value {
        let asked = told.asked;
        let cookies = told.joined(&COOKIE).filter(|_| told.headers.contains_key(COOKIE));
        let cookies: Option<Vec<_>> = cookies.map(|text| text.split("; ").map(str::to_owned).collect());
        let prefix = asked.origin.host.split('.').next().unwrap_or_default();
        json!({
            "version": "2.0",
            "type": "REQUEST",
            "routeArn": self.method_arn(told),
            "identitySource": sources,
            "routeKey": &**asked.route,
            "rawPath": told.path,
            "rawQueryString": asked.query.unwrap_or_default(),
            "cookies": cookies,
            "headers": headers(told, |name| *name != COOKIE),
            "queryStringParameters": query(told, |values| Value::from(values.join(","))),
            "requestContext": {
                "accountId": self.function.account,
                "apiId": self.api_id,
                "domainName": asked.origin.host,
                "domainPrefix": prefix,
                "http": {
                    "method": asked.method.as_str(),
                    "path": told.path,
                    "protocol": format!("HTTP/{}", asked.origin.version),
                    "sourceIp": asked.origin.ip.to_string(),
                    "userAgent": told.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()),
                },
                "requestId": asked.origin.id,
                "routeKey": &**asked.route,
                "stage": self.stage,
                "time": time(told),
                "timeEpoch": asked.now.millis(),
            },
        })
    }

    /// Payload format 1.0.
    fn event_v1(&self, told: &Told<'_>, sources: &[String]) -> Value {
        let asked = told.asked;
        let sources = sources.join(",");
        json!({
            "version": "1.0",
            "type": "REQUEST",
            "methodArn": self.method_arn(told),
            "identitySource": sources,
            "authorizationToken": sources,
            "resource": &**asked.route,
            "path": told.path,
            "httpMethod": asked.method.as_str(),
            "headers": headers(told, |_| true),
            "queryStringParameters": query(told, |values| values.last().cloned().into()),
            "multiValueQueryStringParameters": query(told, |values| values.to_vec().into()),
            "requestContext": {
                "accountId": self.function.account,
                "apiId": self.api_id,
                "domainName": asked.origin.host,
                "httpMethod": asked.method.as_str(),
                "identity": {
                    "sourceIp": asked.origin.ip.to_string(),
                    "userAgent": told.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()),
                },
                "path": told.path,
                "protocol": format!("HTTP/{}", asked.origin.version),
                "requestId": asked.origin.id,
                "requestTime": time(told),
                "requestTimeEpoch": asked.now.millis(),
                "resourcePath": &**asked.route,
                "stage": self.stage,
            },
        })
    }
}

/// Each field once, its values joined.
fn headers(told: &Told<'_>, named: impl Fn(&HeaderName) -> bool) -> Map<String, Value> {
    let names = told.headers.keys().filter(|name| named(name));
    names.filter_map(|name| Some((name.as_str().to_owned(), told.joined(name)?.into()))).collect()
}

/// The query's parameters, decoded; `null` where there are none.
fn query(told: &Told<'_>, shown: impl Fn(&[String]) -> Value) -> Value {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for pair in told.asked.query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decoded(name), decoded(value));
        match found.iter_mut().find(|(other, _)| *other == name) {
            Some((_, values)) => values.push(value),
            None => found.push((name, vec![value])),
        }
    }
    let members: Map<_, _> = found.into_iter().map(|(name, values)| (name, shown(&values))).collect();
    if members.is_empty() { Value::Null } else { members.into() }
}

fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// As API Gateway writes it: `12/Mar/2020:19:03:58 +0000`.
fn time(told: &Told<'_>) -> String {
    let seconds = i64::try_from(told.asked.now.secs()).unwrap_or_default();
    let at = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    at.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string()
}

const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
