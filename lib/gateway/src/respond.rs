//! Answers of the gateway's own that are no refusals: fixed ones and redirects.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;

use crate::exchange::{Body, Response};
use crate::expression::{Facts, Template};
use crate::refusal::Refusal;
use crate::transform::path::PathRewrite;
use crate::transform::without_content;

/// `to: {respond: …}`, compiled.
#[derive(Debug)]
pub struct Respond {
    /// The status.
    pub status: StatusCode,
    /// Header fields.
    pub headers: Vec<(HeaderName, Template)>,
    /// The content.
    pub body: RespondBody,
}

/// Content of a fixed answer.
#[derive(Debug)]
pub enum RespondBody {
    /// None.
    Empty,
    /// Text, sent as `text/plain` unless a header says otherwise.
    Text(Template),
    /// A document, sent as `application/json` unless a header says otherwise.
    Json(JsonTemplate),
}

/// A JSON document whose texts may hold `${…}`.
#[derive(Debug)]
pub enum JsonTemplate {
    /// What has no `${…}` in it.
    Fixed(Value),
    /// A text.
    Text(Template),
    /// A list.
    List(Vec<Self>),
    /// An object, in the order written.
    Map(Vec<(String, Self)>),
}

impl JsonTemplate {
    fn render(&self, facts: &Facts<'_>) -> Value {
        match self {
            Self::Fixed(value) => value.clone(),
            Self::Text(template) => Value::String(template.render(facts).into_owned()),
            Self::List(items) => items.iter().map(|item| item.render(facts)).collect(),
            Self::Map(entries) => {
                Value::Object(entries.iter().map(|(key, value)| (key.clone(), value.render(facts))).collect())
            }
        }
    }
}

impl Respond {
    /// The answer to a request.
    ///
    /// # Errors
    /// [`Refusal::Unforwardable`] where a header's value would break the answer.
    pub fn answer(&self, facts: &Facts<'_>) -> Result<Response, Refusal> {
        let mut headers = HeaderMap::new();
        for (name, template) in &self.headers {
            headers.append(name, template.render_header(facts)?);
        }
        let (content_type, body) = match &self.body {
            _ if without_content(self.status) => {
                return Ok(Response { status: self.status, headers, body: Body::Empty });
            }
            RespondBody::Empty => return Ok(Response { status: self.status, headers, body: Body::Empty }),
            RespondBody::Text(template) => {
                ("text/plain; charset=utf-8", Bytes::from(template.render(facts).into_owned()))
            }
            RespondBody::Json(template) => ("application/json", Bytes::from(template.render(facts).to_string())),
        };
        if !headers.contains_key(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        Ok(Response { status: self.status, headers, body: Body::Full(body) })
    }
}

/// `to: {redirect: …}`, compiled (RFC 9110 §15.4). The request's query is kept, but by a `location` that writes a query
/// or a fragment of its own.
#[derive(Debug)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// The whole address; `None` is made of the parts below.
    pub location: Option<Template>,
    /// Another scheme.
    pub scheme: Option<String>,
    /// Another host, with or without a port.
    pub host: Option<String>,
    /// Another port.
    pub port: Option<u16>,
    /// Another path.
    pub path: RedirectPath,
}

/// The path of a redirect.
#[derive(Debug)]
pub enum RedirectPath {
    /// The request's.
    Same,
    /// This one.
    Whole(Template),
    /// The request's, with its prefix taken off and another put before.
    Prefix(PathRewrite),
}

impl RedirectPath {
    /// A prefix taken off by whole segments, another put before.
    pub fn prefix(strip: Option<String>, add: Option<String>) -> Self {
        Self::Prefix(PathRewrite::prefix(strip, add))
    }
}

impl Redirect {
    /// To a whole address.
    ///
    /// # Errors
    /// Words that follow the text as written: its authority must be fixed, or the redirect would be open.
    pub fn location(location: Template, status: StatusCode) -> Result<Self, String> {
        if !location.leads_to_a_fixed_host() {
            return Err(
                "must begin with a fixed address or with `/`: a client must not choose where it leads".to_owned()
            );
        }
        Ok(Self { location: Some(location), ..Self::parts(status) })
    }

    /// To the request's own address, until parts are changed.
    pub const fn parts(status: StatusCode) -> Self {
        Self { status, location: None, scheme: None, host: None, port: None, path: RedirectPath::Same }
    }

    /// The answer to a request.
    ///
    /// # Errors
    /// [`Refusal::Unforwardable`] where the address cannot be written.
    pub fn answer(&self, facts: &Facts<'_>) -> Result<Response, Refusal> {
        let location = match &self.location {
            Some(location) => {
                let mut address = location.render_path(facts)?.into_owned();
                if !location.has(&['?', '#']) {
                    push_query(&mut address, facts.query);
                }
                address
            }
            None => self.assembled(facts)?,
        };
        let mut response = Response::empty(self.status);
        let location = HeaderValue::try_from(utf8_percent_encode(&location, REFUSED).to_string())
            .map_err(|_| Refusal::Unforwardable { why: "an address no header can hold" })?;
        response.headers.insert(LOCATION, location);
        Ok(response)
    }

    fn assembled(&self, facts: &Facts<'_>) -> Result<String, Refusal> {
        let scheme = self.scheme.as_deref().unwrap_or(facts.scheme.as_str());
        let (asked_host, asked_port) = split_port(facts.host);
        let (host, own_port) = self.host.as_deref().map_or((asked_host, None), split_port);
        // A named scheme drops the request's port, which was the other scheme's.
        let asked_port = asked_port.filter(|_| self.scheme.is_none());
        let port = self.port.or(own_port).or(asked_port);
        let port = port.filter(|port| !matches!((scheme, *port), ("http", 80) | ("https", 443)));
        let path = match &self.path {
            RedirectPath::Same => facts.path.to_owned(),
            RedirectPath::Whole(template) => template.render_path(facts)?.into_owned(),
            RedirectPath::Prefix(rewrite) => rewrite.apply(facts, facts.path)?.into_owned(),
        };
        // A client of HTTP/1.0 need not say a host; then the path alone leads back to where it came from.
        let mut location = if host.is_empty() { String::new() } else { format!("{scheme}://{host}") };
        if let Some(port) = port.filter(|_| !host.is_empty()) {
            location.push_str(&format!(":{port}"));
        }
        // What follows the authority without a slash would be more of it: `example.com` and `.evil.net`.
        if !path.starts_with('/') {
            location.push('/');
        }
        location.push_str(&path);
        push_query(&mut location, facts.query);
        Ok(location)
    }
}

fn push_query(location: &mut String, query: Option<&str>) {
    if let Some(query) = query {
        location.push('?');
        location.push_str(query);
    }
}

fn split_port(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !port.contains(']') => (host, port.parse().ok()),
        _ => (authority, None),
    }
}

/// What cannot stand in an address (RFC 3986 §2) and what `http::Uri` refuses.
const REFUSED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'^').add(b'`');

#[cfg(test)]
mod vectors;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Scheme;
    use crate::testkit::{asked, asked_with_params, template, template_of};

    fn location(redirect: &Redirect, request: &str, scheme: Scheme, host: &str) -> String {
        let mut asked = asked(request);
        asked.origin.scheme = scheme;
        asked.origin.host = host.to_owned();
        let response = redirect.answer(&asked.facts("r")).expect("an answer");
        response.headers[LOCATION].to_str().expect("text").to_owned()
    }

    #[test]
    fn what_is_not_named_stays() {
        let mut redirect = Redirect::parts(StatusCode::FOUND);
        assert_eq!(location(&redirect, "GET /a?b=1", Scheme::Http, "x.example:8080"), "http://x.example:8080/a?b=1");
        redirect.host = Some("new.example".to_owned());
        assert_eq!(location(&redirect, "GET /a", Scheme::Http, "x.example:8080"), "http://new.example:8080/a");
    }

    #[test]
    fn a_host_may_bring_its_port_and_need_not_be_known() {
        let mut redirect = Redirect::parts(StatusCode::FOUND);
        assert_eq!(location(&redirect, "GET /a", Scheme::Http, ""), "/a");
        assert_eq!(location(&redirect, "GET /", Scheme::Https, "[::1]:8443"), "https://[::1]:8443/");
        assert_eq!(location(&redirect, "GET /", Scheme::Https, "[::1]"), "https://[::1]/");
        redirect.host = Some("new.example:81".to_owned());
        assert_eq!(location(&redirect, "GET /a", Scheme::Http, "x.example:8080"), "http://new.example:81/a");
    }

    #[test]
    fn a_location_keeps_the_query_unless_it_has_its_own() {
        for (text, expected) in [
            ("https://new.example.com${request.path}", "https://new.example.com/a/b?c=1"),
            ("/moved", "/moved?c=1"),
            ("/moved?from=old", "/moved?from=old"),
            ("/moved#here", "/moved#here"),
        ] {
            let redirect = Redirect::location(template(text), StatusCode::PERMANENT_REDIRECT).expect("a location");
            assert_eq!(location(&redirect, "GET /a/b?c=1", Scheme::Https, "x.example"), expected);
        }
    }

    #[test]
    fn an_address_holds_nothing_that_an_address_may_not() {
        let redirect = Redirect::parts(StatusCode::FOUND);
        let request = "GET /a?b=\"\u{e9}<%20";
        assert_eq!(location(&redirect, request, Scheme::Https, "x.example"), "https://x.example/a?b=%22%C3%A9%3C%20");
    }

    #[test]
    fn a_status_without_content_has_none_though_one_is_written() {
        let body = RespondBody::Text(template("hello"));
        let respond = Respond { status: StatusCode::NO_CONTENT, headers: Vec::new(), body };
        let response = respond.answer(&asked("GET /").facts("r")).expect("an answer");
        assert!(response.headers.is_empty() && matches!(response.body, Body::Empty));
    }

    #[test]
    fn a_named_scheme_without_a_port_drops_the_port() {
        let mut redirect = Redirect::parts(StatusCode::FOUND);
        redirect.scheme = Some("https".to_owned());
        assert_eq!(location(&redirect, "GET /a", Scheme::Http, "x.example:8080"), "https://x.example/a");
        redirect.port = Some(8443);
        assert_eq!(location(&redirect, "GET /a", Scheme::Http, "x.example"), "https://x.example:8443/a");
        redirect.port = Some(443);
        assert_eq!(location(&redirect, "GET /a", Scheme::Http, "x.example"), "https://x.example/a");
    }

    #[test]
    fn prefixes_are_replaced_by_whole_segments() {
        let mut redirect = Redirect::parts(StatusCode::MOVED_PERMANENTLY);
        redirect.path = RedirectPath::prefix(Some("/old".to_owned()), Some("/new".to_owned()));
        assert_eq!(location(&redirect, "GET /old/a?b", Scheme::Https, "x.example"), "https://x.example/new/a?b");
        assert_eq!(location(&redirect, "GET /older", Scheme::Https, "x.example"), "https://x.example/new/older");
        redirect.path = RedirectPath::Whole(template("/all"));
        assert_eq!(location(&redirect, "GET /old/a", Scheme::Https, "x.example"), "https://x.example/all");
        redirect.path = RedirectPath::Whole(template("${request.query.to}"));
        for (to, path) in [(".evil.net", "/.evil.net"), ("@evil.net", "/@evil.net"), ("//evil.net", "/%2F%2Fevil.net")]
        {
            let found = location(&redirect, &format!("GET /old?to={to}"), Scheme::Https, "x.example");
            assert_eq!(found, format!("https://x.example{path}?to={to}"));
        }
    }

    #[test]
    fn no_client_chooses_where_a_redirect_leads() {
        for open in [
            "${params.to}",
            "https://${params.to}/",
            "//${params.to}",
            "/${params.to}",
            "https://a.example${params.to}",
        ] {
            assert!(Redirect::location(template_of(open, &["to"]), StatusCode::FOUND).is_err(), "{open}");
        }
        for fixed in [
            "https://a.example/${params.to}",
            "/x/${params.to}",
            "https://a.example",
            "https://a.example${request.path}",
            "/",
        ] {
            assert!(Redirect::location(template_of(fixed, &["to"]), StatusCode::FOUND).is_ok(), "{fixed}");
        }
    }

    #[test]
    fn a_document_is_json_whatever_its_texts_are_filled_with() {
        let respond = Respond {
            status: StatusCode::CREATED,
            headers: vec![(HeaderName::from_static("x-a"), template("b"))],
            body: RespondBody::Json(JsonTemplate::Map(vec![
                ("hello".to_owned(), JsonTemplate::Text(template_of("${params.name}!", &["name"]))),
                ("n".to_owned(), JsonTemplate::Fixed(Value::from(1))),
            ])),
        };
        let asked = asked_with_params("GET /", &[("name", "\"},\"x\":{\"")]);
        let response = respond.answer(&asked.facts("r")).expect("an answer");
        assert_eq!(response.headers[CONTENT_TYPE], "application/json");
        let Body::Full(body) = response.body else { panic!("a body") };
        let value: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(value, serde_json::json!({"hello": "\"},\"x\":{\"!", "n": 1}));
    }
}
