//! CORS (the Fetch standard, §3.2): preflights are answered before anything asks who is calling, since browsers send no
//! credentials with them; the gateway's own fields replace the upstream's on every answer, refusals included.

use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderName, ORIGIN, VARY,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::exchange::{Origin, Response};
use crate::mode::{Mode, Shadowed};

/// `cors:` as written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CorsSettings {
    /// Origins, `https://*.example.com`, or `*`.
    pub origins: Vec<String>,
    /// Methods; `None` is the route's own.
    pub methods: Option<Vec<String>>,
    /// Request headers that may be sent, or `*`.
    pub headers: Vec<String>,
    /// Answer headers that scripts may read, or `*`.
    pub expose: Vec<String>,
    /// Whether cookies and credentials may be sent.
    pub credentials: bool,
    /// How long browsers may keep a preflight's answer.
    pub max_age: Option<Duration>,
    /// In shadow and off, preflights are requests like others and the upstream's fields pass.
    pub mode: Mode,
}

/// CORS of a route, compiled.
#[derive(Debug, Default)]
pub struct Cors(Option<Box<Rules>>);

#[derive(Debug)]
struct Rules {
    settings: CorsSettings,
    origins: Vec<OriginMatch>,
    methods: HeaderValue,
    any_method: bool,
    headers: HeaderValue,
    any_header: bool,
    expose: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
}

#[derive(Debug)]
enum OriginMatch {
    Any,
    Exact(String),
    /// What comes before `*.` and what after `*`, the dot included.
    Under(String, String),
}

impl Cors {
    /// No CORS: preflights are requests like others, and the upstream's fields pass.
    pub const fn none() -> Self {
        Self(None)
    }

    /// Compiles the settings for a route with these methods.
    ///
    /// # Errors
    /// What is wrong with an origin, a method or a header, in words that follow "`cors`".
    pub fn new(settings: &CorsSettings, route_methods: &[Method]) -> Result<Self, String> {
        let origins =
            settings.origins.iter().map(|origin| OriginMatch::parse(origin)).collect::<Result<Vec<_>, _>>()?;
        if origins.is_empty() {
            return Err("needs at least one origin".to_owned());
        }
        let methods: Vec<String> = match &settings.methods {
            Some(methods) => methods.clone(),
            None if route_methods.is_empty() => vec!["*".to_owned()],
            None => route_methods.iter().map(|method| method.as_str().to_owned()).collect(),
        };
        for method in &methods {
            if Method::from_bytes(method.as_bytes()).is_err() || method.bytes().any(|b| b.is_ascii_lowercase()) {
                return Err(format!("has a method \"{method}\" that is no word in capitals"));
            }
        }
        for header in settings.headers.iter().chain(&settings.expose) {
            if header != "*" && HeaderName::from_bytes(header.as_bytes()).is_err() {
                return Err(format!("has \"{header}\", which is no header name"));
            }
        }
        let list = |names: &[String]| HeaderValue::from_str(&names.join(", ")).map_err(|error| error.to_string());
        Ok(Self(Some(Box::new(Rules {
            origins,
            any_method: methods.iter().any(|method| method == "*"),
            methods: list(&methods)?,
            any_header: settings.headers.iter().any(|header| header == "*"),
            headers: list(&settings.headers)?,
            expose: if settings.expose.is_empty() { None } else { Some(list(&settings.expose)?) },
            max_age: settings.max_age.map(|age| HeaderValue::from(age.as_secs())),
            settings: settings.clone(),
        }))))
    }

    /// The settings it was made of; `None` without CORS.
    pub fn settings(&self) -> Option<&CorsSettings> {
        self.0.as_ref().map(|rules| &rules.settings)
    }

    /// The methods of the settings, the route's filled in.
    pub fn methods(&self) -> Option<&str> {
        self.0.as_ref().and_then(|rules| rules.methods.to_str().ok())
    }

    /// The answer to a preflight, where the route has CORS and the request is one: 204, without CORS fields where the
    /// origin is not listed.
    pub fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Response> {
        let rules = self.enforced()?;
        is_preflight(method, headers)?;
        let mut response = Response::empty(StatusCode::NO_CONTENT);
        let fields = &mut response.headers;
        fields.insert(
            VARY,
            HeaderValue::from_static("Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        );
        let Some(origin) = headers.get(ORIGIN).filter(|origin| rules.lists(origin)) else { return Some(response) };
        rules.allow(origin, fields);
        let credentials = rules.settings.credentials;
        let method = headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| rules.any_method && credentials);
        fields.insert(ACCESS_CONTROL_ALLOW_METHODS, method.unwrap_or(&rules.methods).clone());
        if rules.any_header && credentials {
            if let Some(asked) = asked_headers(headers) {
                fields.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked);
            }
        } else if !rules.headers.is_empty() {
            fields.insert(ACCESS_CONTROL_ALLOW_HEADERS, rules.headers.clone());
        }
        if let Some(max_age) = &rules.max_age {
            fields.insert(ACCESS_CONTROL_MAX_AGE, max_age.clone());
        }
        Some(response)
    }

    /// In shadow, takes down an origin whose browser would turn away under these rules. Browsers name the origin to
    /// their own site too (POST, say), and do not ask there.
    pub fn watch(&self, headers: &HeaderMap, at: &Origin, shadowed: &mut Shadowed) {
        let Some(rules) = self.0.as_ref().filter(|rules| rules.settings.mode == Mode::Shadow) else { return };
        let Some(origin) = headers.get(ORIGIN).filter(|origin| !rules.lists(origin)) else { return };
        let own = format!("{}://{}", at.scheme.as_str(), at.host);
        if origin.as_bytes() != own.as_bytes() {
            let origin: String = String::from_utf8_lossy(origin.as_bytes()).chars().take(100).collect();
            shadowed.note("origin_not_listed", format!("the origin {origin:?} is not listed"));
        }
    }

    fn enforced(&self) -> Option<&Rules> {
        self.0.as_deref().filter(|rules| rules.settings.mode == Mode::Enforce)
    }

    /// Puts the gateway's CORS fields on an answer in place of the upstream's.
    pub fn fields(&self, origin: Option<&HeaderValue>, answer: &mut HeaderMap) {
        let Some(rules) = self.enforced() else { return };
        strip(answer);
        if rules.varies() {
            vary_by_origin(answer);
        }
        let Some(origin) = origin.filter(|origin| rules.lists(origin)) else { return };
        rules.allow(origin, answer);
        if let Some(expose) = &rules.expose {
            answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
    }
}

/// The method that a preflight asks for; `None` where the request is no preflight.
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> Option<Method> {
    if *method != Method::OPTIONS || !headers.contains_key(ORIGIN) {
        return None;
    }
    Method::from_bytes(headers.get(ACCESS_CONTROL_REQUEST_METHOD)?.as_bytes()).ok()
}

impl Rules {
    fn lists(&self, origin: &HeaderValue) -> bool {
        origin.to_str().is_ok_and(|origin| self.origins.iter().any(|listed| listed.matches(origin)))
    }

    /// Whether the answer depends on who asks.
    fn varies(&self) -> bool {
        self.settings.credentials || !self.origins.iter().any(|origin| matches!(origin, OriginMatch::Any))
    }

    fn allow(&self, origin: &HeaderValue, fields: &mut HeaderMap) {
        let value = if self.varies() { origin.clone() } else { HeaderValue::from_static("*") };
        fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, value);
        if self.settings.credentials {
            fields.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

impl OriginMatch {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        Self::parts(&text.to_ascii_lowercase())
            .ok_or_else(|| format!("has an origin \"{text}\" that is not of the form https://shop.example.com"))
    }

    fn parts(text: &str) -> Option<Self> {
        let (scheme, host) = text.split_once("://")?;
        let wildcard = host.strip_prefix("*.");
        let authority: Authority = wildcard.unwrap_or(host).parse().ok()?;
        let has_port = authority.as_str().len() > authority.host().len();
        let scheme_fits =
            !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        let host_fits = !authority.host().is_empty() && !authority.as_str().contains(['@', '*']);
        if !scheme_fits || !host_fits || (has_port && authority.port_u16().is_none()) {
            return None;
        }
        // Browsers never write a scheme's own port (the URL standard, §4.5).
        let own = matches!((scheme, authority.port_u16()), ("http", Some(80)) | ("https", Some(443)));
        let authority = if own { authority.host() } else { authority.as_str() };
        Some(match wildcard {
            Some(_) => Self::Under(format!("{scheme}://"), format!(".{authority}")),
            None => Self::Exact(format!("{scheme}://{authority}")),
        })
    }

    fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(listed) => listed == origin,
            Self::Under(scheme, suffix) => origin
                .strip_prefix(scheme.as_str())
                .and_then(|host| host.strip_suffix(suffix.as_str()))
                .is_some_and(|labels| labels.split('.').all(is_label)),
        }
    }
}

/// Underscores are no letters of a host name, and yet some hosts have them.
fn is_label(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// All that a preflight asks for, though it came in several fields.
fn asked_headers(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut asked = headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter();
    let mut whole = asked.next()?.as_bytes().to_vec();
    for more in asked {
        whole.extend_from_slice(b", ");
        whole.extend_from_slice(more.as_bytes());
    }
    HeaderValue::from_bytes(&whole).ok()
}

/// Removes every `Access-Control-*` field, those of later drafts too (`-Allow-Private-Network`).
fn strip(answer: &mut HeaderMap) {
    let is_cors = |name: &&HeaderName| name.as_str().starts_with("access-control-");
    if answer.keys().any(|name| is_cors(&name)) {
        let gone: Vec<HeaderName> = answer.keys().filter(is_cors).cloned().collect();
        for name in gone {
            answer.remove(name);
        }
    }
}

fn vary_by_origin(answer: &mut HeaderMap) {
    let named = answer
        .get_all(VARY)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim() == "*" || name.trim().eq_ignore_ascii_case("origin"));
    if !named {
        answer.append(VARY, HeaderValue::from_static("Origin"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(settings: &CorsSettings) -> Cors {
        Cors::new(settings, &[Method::GET, Method::PUT]).expect("settings are right")
    }

    fn shop() -> CorsSettings {
        CorsSettings {
            origins: vec!["https://shop.example.com".into(), "https://*.example.org".into()],
            headers: vec!["x-token".into()],
            expose: vec!["x-total".into()],
            max_age: Some(Duration::from_secs(600)),
            ..CorsSettings::default()
        }
    }

    fn asked(origin: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, HeaderValue::from_static(origin));
        headers.insert(ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("PUT"));
        headers.insert(ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static("x-asked"));
        headers
    }

    fn field<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
        response.headers.get(name).and_then(|value| value.to_str().ok())
    }

    #[test]
    fn a_preflight_of_a_listed_origin_gets_the_routes_methods() {
        let response =
            cors(&shop()).preflight(&Method::OPTIONS, &asked("https://shop.example.com")).expect("an answer");
        assert_eq!(response.status, StatusCode::NO_CONTENT);
        assert_eq!(field(&response, "access-control-allow-origin"), Some("https://shop.example.com"));
        assert_eq!(field(&response, "access-control-allow-methods"), Some("GET, PUT"));
        assert_eq!(field(&response, "access-control-allow-headers"), Some("x-token"));
        assert_eq!(field(&response, "access-control-max-age"), Some("600"));
        assert_eq!(field(&response, "access-control-allow-credentials"), None);
    }

    #[test]
    fn wildcard_origins_stand_for_whole_labels() {
        let cors = cors(&shop());
        let allowed = |origin| {
            let response = cors.preflight(&Method::OPTIONS, &asked(origin)).expect("an answer");
            field(&response, "access-control-allow-origin").map(str::to_owned)
        };
        assert_eq!(allowed("https://a.b.example.org").as_deref(), Some("https://a.b.example.org"));
        for origin in [
            "https://example.org",
            "http://a.example.org",
            "https://evil.com/.example.org",
            "null",
            "https://shop.example.com.evil",
        ] {
            assert_eq!(allowed(origin), None, "{origin}");
        }
    }

    #[test]
    fn an_origin_is_compared_as_browsers_write_it() {
        let origins = vec!["HTTPS://Shop.Example.com:443".into(), "https://*.example.org:8443".into()];
        let cors = cors(&CorsSettings { origins, ..CorsSettings::default() });
        for (origin, listed) in [
            ("https://shop.example.com", true),
            ("https://a.example.org:8443", true),
            ("https://a.example.org", false),
            ("https://a..example.org:8443", false),
            ("https://.a.example.org:8443", false),
            ("https://evil:1@a.example.org:8443", false),
        ] {
            let mut answer = HeaderMap::new();
            cors.fields(Some(&HeaderValue::from_static(origin)), &mut answer);
            assert_eq!(answer.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), listed, "{origin}");
        }
    }

    #[test]
    fn fields_of_later_drafts_are_not_the_upstreams_either() {
        let mut answer = HeaderMap::new();
        answer.insert("access-control-allow-private-network", HeaderValue::from_static("true"));
        cors(&shop()).fields(None, &mut answer);
        assert_eq!(answer.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["vary"]);
    }

    #[test]
    fn all_headers_that_a_preflight_asks_for_are_echoed() {
        let any = vec!["*".to_owned()];
        let settings =
            CorsSettings { origins: any.clone(), headers: any, credentials: true, ..CorsSettings::default() };
        let mut headers = asked("https://a.example");
        headers.append(ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static("x-more"));
        let response = cors(&settings).preflight(&Method::OPTIONS, &headers).expect("an answer");
        assert_eq!(field(&response, "access-control-allow-headers"), Some("x-asked, x-more"));
    }

    #[test]
    fn with_credentials_what_was_asked_for_is_echoed_instead_of_a_star() {
        let any = vec!["*".to_owned()];
        let settings = CorsSettings {
            origins: any.clone(),
            methods: Some(any.clone()),
            headers: any,
            credentials: true,
            ..CorsSettings::default()
        };
        let response = cors(&settings).preflight(&Method::OPTIONS, &asked("https://a.example")).expect("an answer");
        assert_eq!(field(&response, "access-control-allow-origin"), Some("https://a.example"));
        assert_eq!(field(&response, "access-control-allow-methods"), Some("PUT"));
        assert_eq!(field(&response, "access-control-allow-headers"), Some("x-asked"));
        assert_eq!(field(&response, "access-control-allow-credentials"), Some("true"));
    }

    #[test]
    fn the_gateways_fields_replace_the_upstreams() {
        let mut answer = HeaderMap::new();
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        answer.insert(VARY, HeaderValue::from_static("accept"));
        cors(&shop()).fields(Some(&HeaderValue::from_static("https://evil.example")), &mut answer);
        assert!(!answer.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
        assert_eq!(answer.get_all(VARY).iter().count(), 2);
        cors(&shop()).fields(Some(&HeaderValue::from_static("https://shop.example.com")), &mut answer);
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_ORIGIN], "https://shop.example.com");
        assert_eq!(answer[ACCESS_CONTROL_EXPOSE_HEADERS], "x-total");
        assert_eq!(answer.get_all(VARY).iter().count(), 2, "Vary: Origin is said once");
    }

    #[test]
    fn without_cors_the_upstreams_fields_pass_and_preflights_are_requests() {
        let mut answer = HeaderMap::new();
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        Cors::none().fields(None, &mut answer);
        assert!(answer.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
        assert!(Cors::none().preflight(&Method::OPTIONS, &asked("https://a.example")).is_none());
    }

    #[test]
    fn in_shadow_and_off_the_upstreams_fields_pass_and_preflights_are_requests() {
        for mode in [Mode::Shadow, Mode::Off] {
            let cors = cors(&CorsSettings { mode, ..shop() });
            let mut answer = HeaderMap::new();
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            cors.fields(Some(&HeaderValue::from_static("https://shop.example.com")), &mut answer);
            assert_eq!(answer.len(), 1);
            assert_eq!(answer[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
            assert!(cors.preflight(&Method::OPTIONS, &asked("https://shop.example.com")).is_none());
        }
    }

    #[test]
    fn in_shadow_an_origin_that_is_not_listed_is_taken_down_but_for_the_sites_own() {
        let at = crate::testkit::request("GET /").origin;
        let told = |mode, origin| {
            let mut shadowed = Shadowed::default();
            cors(&CorsSettings { mode, ..shop() }).watch(&asked(origin), &at, &mut shadowed);
            shadowed.codes()
        };
        assert_eq!(told(Mode::Shadow, "https://evil.example"), ["origin_not_listed"]);
        assert_eq!(told(Mode::Shadow, "https://shop.example.com"), [""; 0]);
        assert_eq!(told(Mode::Shadow, "https://api.example.com"), [""; 0], "the site's own");
        for mode in [Mode::Enforce, Mode::Off] {
            assert_eq!(told(mode, "https://evil.example"), [""; 0]);
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for origin in [
            "shop.example.com",
            "https://",
            "https://*.*.a",
            "https://a/b",
            "https://*",
            "https://a:b",
            "https://a:99999",
            "ht tp://a",
            "https://u@a",
        ] {
            let settings = CorsSettings { origins: vec![origin.to_owned()], ..CorsSettings::default() };
            assert!(Cors::new(&settings, &[]).is_err(), "{origin}");
        }
    }
}
