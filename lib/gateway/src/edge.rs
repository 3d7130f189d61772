//! Behind an edge (CloudFront, say) the host, the address, the scheme and the client's certificate come from fields that
//! the edge sets, believed only beside the right secret and stripped before anything else reads them.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::auth::{CLIENT_CERT, CLIENT_CERT_CHAIN};
use crate::exchange::{CertFrom, ClientCert, Origin, Request, Scheme};
use crate::mode::{Mode, Shadowed};
use crate::refusal::Refusal;
use crate::secret::Secrets;

/// The `edge` settings, compiled. The default believes nobody.
#[derive(Clone, Default)]
pub struct Edge {
    /// The header that carries the secret.
    pub secret_header: Option<HeaderName>,
    /// Secrets that are right, several during a rotation.
    pub secrets: Secrets,
    /// Whether a request without the right secret is refused.
    pub required: bool,
    /// In shadow the refusal is only taken down; off, nobody is believed and nobody refused.
    pub mode: Mode,
    /// Carries the authority that the client asked for.
    pub host: Option<HeaderName>,
    /// Carries the client's address, with or without a port.
    pub client_ip: Option<HeaderName>,
    /// Carries the client's scheme.
    pub scheme: Option<HeaderName>,
    /// Carries the request's id.
    pub request_id: Option<HeaderName>,
    /// Carries the client's certificate. Beside `client-cert`, `client-cert-chain` is read too (RFC 9440 §2).
    pub client_certificate: Option<HeaderName>,
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edge")
            .field("secret_header", &self.secret_header)
            .field("secrets", &self.secrets)
            .field("required", &self.required)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl Edge {
    /// Believes the edge's fields where the secret is right, and strips them in any case.
    ///
    /// # Errors
    /// [`Refusal::EdgeRequired`] where the secret is required and was not right, [`Refusal::SecretUnavailable`] where it
    /// is required and could not be resolved; neither in shadow, where the request passes unbelieved.
    pub fn admit(&self, request: &mut Request, shadowed: &mut Shadowed) -> Result<(), Refusal> {
        let Some(secret_header) = &self.secret_header else { return Ok(()) };
        let trusted = self.mode.ask(shadowed, || self.trusts(request.headers.get(secret_header)))?;
        if trusted == Some(true) {
            self.believe(&request.headers, &mut request.origin);
        }
        let fields = [
            &self.secret_header,
            &self.host,
            &self.client_ip,
            &self.scheme,
            &self.request_id,
            &self.client_certificate,
        ];
        for field in fields.into_iter().flatten() {
            request.headers.remove(field);
        }
        Ok(())
    }

    fn trusts(&self, given: Option<&HeaderValue>) -> Result<bool, Refusal> {
        let trusted = given.is_some_and(|given| {
            let known = self.secrets.iter().filter_map(|secret| secret.get());
            known.fold(false, |right, secret| right | equal(&secret, given.as_bytes()))
        });
        match self.secrets.missing() {
            _ if trusted || !self.required => Ok(trusted),
            // Nobody can be told from the edge: that is our fault, not the client's.
            Some(why) if self.secrets.iter().all(|secret| secret.get().is_none()) => {
                Err(Refusal::SecretUnavailable { why })
            }
            _ => Err(Refusal::EdgeRequired),
        }
    }

    fn believe(&self, headers: &HeaderMap, origin: &mut Origin) {
        let text = |name: &Option<HeaderName>| {
            name.as_ref().and_then(|name| headers.get(name)).and_then(|value| value.to_str().ok()).map(str::trim)
        };
        if let Some(host) = text(&self.host).filter(|host| !host.is_empty()) {
            origin.host = host.to_ascii_lowercase();
        }
        if let Some(field) = &self.client_ip
            && let Some(ip) = text(&self.client_ip).and_then(|text| address(field, text))
        {
            origin.ip = ip;
        }
        if let Some(scheme) = text(&self.scheme) {
            origin.scheme = if scheme.eq_ignore_ascii_case("http") { Scheme::Http } else { Scheme::Https };
        }
        if let Some(id) = text(&self.request_id).filter(|id| is_id(id)) {
            origin.id = id.to_owned();
        }
        if let Some(text) = self.client_certificate.as_ref().and_then(|name| certificate(headers, name)) {
            origin.client_certificate = Some(ClientCert { from: CertFrom::Edge, text });
        }
    }
}

/// What the edge hands over of a certificate, where that is one thing.
fn certificate(headers: &HeaderMap, name: &HeaderName) -> Option<Bytes> {
    let own = only(headers, name)?;
    match headers.get_all(CLIENT_CERT_CHAIN).iter().next() {
        Some(_) if *name == CLIENT_CERT => {
            let chain = only(headers, &CLIENT_CERT_CHAIN)?;
            Some([own.as_bytes(), b", ", chain.as_bytes()].concat().into())
        }
        _ => Some(Bytes::copy_from_slice(own.as_bytes())),
    }
}

/// The value of a field that there is once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// An address with or without a port: `192.0.2.1`, `192.0.2.1:443`, `2001:db8::1`, `[2001:db8::1]:443`. CloudFront's
/// own field always has a port, and no brackets round an IPv6 address: its last group is the port.
fn address(field: &HeaderName, text: &str) -> Option<IpAddr> {
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Some(socket.ip());
    }
    if field.as_str() == "cloudfront-viewer-address"
        && let Some(ip) = text.rsplit_once(':').and_then(|(ip, _)| ip.parse().ok())
    {
        return Some(ip);
    }
    text.parse().ok()
}

/// Whether a text may stand as a request id: short, and of visible ASCII.
fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Compares in constant time for a given length: how long it takes tells nothing of where two secrets differ.
pub(crate) fn equal(secret: &[u8], given: &[u8]) -> bool {
    secret.len() == given.len() && secret.iter().zip(given).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::secret::Secret;
    use crate::testkit;

    fn request(fields: &[(&'static str, &'static str)]) -> Request {
        let mut request = testkit::request("GET /");
        request.origin.host = "abc.lambda-url.example".to_owned();
        for (name, value) in fields {
            request.headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        request
    }

    fn secrets<const N: usize>(values: [Option<&str>; N]) -> Secrets {
        let secret = |value: Option<&str>| Arc::new(Secret::new("env:EDGE", value.map(|text| text.to_owned().into())));
        Secrets::new(values.map(secret))
    }

    fn edge(required: bool) -> Edge {
        Edge {
            secret_header: Some(HeaderName::from_static("x-edge-secret")),
            secrets: secrets([Some("old"), Some("new")]),
            required,
            mode: Mode::Enforce,
            host: Some(HeaderName::from_static("x-forwarded-host")),
            client_ip: Some(HeaderName::from_static("cloudfront-viewer-address")),
            scheme: Some(HeaderName::from_static("cloudfront-forwarded-proto")),
            request_id: None,
            client_certificate: None,
        }
    }

    fn admit(edge: &Edge, request: &mut Request) -> Result<(), Refusal> {
        let mut shadowed = Shadowed::default();
        let admitted = edge.admit(request, &mut shadowed);
        assert_eq!(shadowed, Shadowed::default(), "nothing is in shadow");
        admitted
    }

    #[test]
    fn the_right_secret_makes_the_edges_fields_believed_and_all_are_stripped() {
        let mut request = request(&[
            ("x-edge-secret", "new"),
            ("x-forwarded-host", "Shop.example.com"),
            ("cloudfront-viewer-address", "2001:db8::1:46532"),
            ("cloudfront-forwarded-proto", "http"),
            ("x-kept", "1"),
        ]);
        admit(&edge(true), &mut request).expect("the secret is right");
        assert_eq!(request.origin.host, "shop.example.com");
        assert_eq!(request.origin.scheme, Scheme::Http);
        assert_eq!(request.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-kept"]);
    }

    #[test]
    fn without_the_secret_the_fields_are_stripped_unbelieved() {
        let mut request = request(&[("x-edge-secret", "nev"), ("x-forwarded-host", "evil.example")]);
        admit(&edge(false), &mut request).expect("not required");
        assert_eq!(request.origin.host, "abc.lambda-url.example");
        assert!(request.headers.is_empty());
    }

    #[test]
    fn a_required_secret_that_is_wrong_or_missing_is_refused() {
        for fields in [&[][..], &[("x-edge-secret", "")], &[("x-edge-secret", "newer")]] {
            assert!(matches!(admit(&edge(true), &mut request(fields)), Err(Refusal::EdgeRequired)));
        }
    }

    #[test]
    fn a_required_secret_that_could_not_be_resolved_is_our_fault() {
        let edge = Edge { secrets: secrets([None]), ..edge(true) };
        let refused = admit(&edge, &mut request(&[("x-edge-secret", "")]));
        assert!(matches!(refused, Err(Refusal::SecretUnavailable { .. })));
    }

    #[test]
    fn in_shadow_a_wrong_secret_is_taken_down_and_passes_unbelieved_and_a_right_one_is_believed() {
        let edge = Edge { mode: Mode::Shadow, ..edge(true) };
        for (secret, host, codes) in [("nev", "abc.lambda-url.example", &["edge_required"][..]), ("new", "shop", &[])] {
            let (mut shadowed, mut request) =
                (Shadowed::default(), request(&[("x-edge-secret", secret), ("x-forwarded-host", "shop")]));
            assert!(edge.admit(&mut request, &mut shadowed).is_ok());
            assert_eq!((request.origin.host.as_str(), shadowed.codes().as_slice()), (host, codes));
            assert!(request.headers.is_empty());
        }
    }

    #[test]
    fn in_shadow_a_secret_that_could_not_be_resolved_is_taken_down() {
        let edge = Edge { mode: Mode::Shadow, secrets: secrets([None]), ..edge(true) };
        let mut shadowed = Shadowed::default();
        assert!(edge.admit(&mut request(&[("x-edge-secret", "")]), &mut shadowed).is_ok());
        assert_eq!(shadowed.codes(), ["secret_unavailable"]);
    }

    #[test]
    fn an_edge_that_is_off_believes_nobody_refuses_nobody_and_strips_all_the_same() {
        let edge = Edge { mode: Mode::Off, ..edge(true) };
        for secret in ["new", "nev"] {
            let mut request = request(&[("x-edge-secret", secret), ("x-forwarded-host", "shop.example.com")]);
            assert!(admit(&edge, &mut request).is_ok());
            assert_eq!(request.origin.host, "abc.lambda-url.example");
            assert!(request.headers.is_empty());
        }
    }

    #[test]
    fn a_certificate_is_believed_beside_the_secret_alone_and_only_where_there_is_one() {
        let named = |name| Edge { client_certificate: Some(HeaderName::from_static(name)), ..edge(false) };
        let got = |name, fields: &[(&'static str, &'static str)]| {
            let mut request = request(fields);
            admit(&named(name), &mut request).expect("not required");
            assert!(!request.headers.contains_key(name));
            request.origin.client_certificate.map(|handed| {
                assert_eq!(handed.from, CertFrom::Edge);
                String::from_utf8(handed.text.to_vec()).unwrap()
            })
        };
        let secret = ("x-edge-secret", "new");
        assert_eq!(got("x-cert", &[secret, ("x-cert", "A")]).as_deref(), Some("A"));
        assert_eq!(got("x-cert", &[("x-edge-secret", "nev"), ("x-cert", "A")]), None);
        assert_eq!(got("x-cert", &[("x-cert", "A")]), None);
        assert_eq!(got("x-cert", &[secret, ("x-cert", "A"), ("x-cert", "B")]), None);
        assert_eq!(got("x-cert", &[secret, ("client-cert", "A")]), None);
        assert_eq!(got("x-cert", &[secret, ("x-cert", "A"), ("client-cert-chain", "B")]).as_deref(), Some("A"));
        let chain = [secret, ("client-cert", ":A:"), ("client-cert-chain", ":B:, :C:")];
        assert_eq!(got("client-cert", &chain).as_deref(), Some(":A:, :B:, :C:"));
        assert_eq!(got("client-cert", &[secret, ("client-cert", ":A:")]).as_deref(), Some(":A:"));
        assert_eq!(got("client-cert", &[secret, ("client-cert-chain", ":B:")]), None);
    }

    #[test]
    fn addresses_are_read_with_and_without_ports() {
        let cloudfront = HeaderName::from_static("cloudfront-viewer-address");
        let other = HeaderName::from_static("x-client");
        for (field, text, ip) in [
            (&other, "192.0.2.1", "192.0.2.1"),
            (&other, "192.0.2.1:443", "192.0.2.1"),
            (&other, "2001:db8::1", "2001:db8::1"),
            (&other, "[2001:db8::1]:443", "2001:db8::1"),
            (&cloudfront, "192.0.2.1:46532", "192.0.2.1"),
            (&cloudfront, "2001:db8::1:46532", "2001:db8::1"),
        ] {
            assert_eq!(address(field, text), ip.parse().ok(), "{text}");
        }
        assert_eq!(address(&other, "nobody"), None);
    }
}
