//! Signature Version 4 of requests, by the SDK's own signer.
//!
//! Signed are `host`, `content-type`, every `x-amz-*` field and the content: what AWS asks for, and nothing that a hop on
//! the way may change.

use std::borrow::Cow;

use aws_sdk_dynamodb::config::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
};
use aws_sigv4::sign::v4;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tollgate::clock::Timestamp;
use tollgate::exchange::Body;
use tollgate::forward::Outbound;
use tollgate::forward::sign::SigV4;

use super::account::{Account, system_time};

impl Account {
    /// Signs `outbound`, which nothing may change any more. What it carried of another signature is replaced.
    ///
    /// # Errors
    /// Why it cannot be signed, for the log.
    pub async fn sign(&self, scheme: &SigV4, outbound: &mut Outbound) -> Result<(), String> {
        let region = match &scheme.region {
            Some(region) => region,
            None => self.region().await?,
        };
        let credentials = self.credentials().await?;
        sign(&scheme.service, region, credentials, self.now(), outbound)
    }
}

fn sign(
    service: &str,
    region: &str,
    credentials: Credentials,
    at: Timestamp,
    outbound: &mut Outbound,
) -> Result<(), String> {
    let Outbound { method, uri, headers, body } = outbound;
    for name in REPLACED {
        headers.remove(name);
    }
    let content: &[u8] = match body {
        Body::Empty => &[],
        Body::Full(bytes) => bytes,
        Body::Stream(_) => return Err("a body that still arrives cannot be signed".to_owned()),
    };
    let host = uri.authority().ok_or("a request without a host cannot be signed")?.as_str();
    let (settings, signed_uri) = how(service, uri);
    let identity = credentials.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(system_time(at))
        .settings(settings)
        .build()
        .map_err(|error| error.to_string())?
        .into();
    let fields = std::iter::once((HOST.as_str(), host)).chain(covered(headers));
    let signable = SignableRequest::new(method.as_str(), signed_uri, fields, SignableBody::Bytes(content));
    let signed = signable.and_then(|signable| aws_sigv4::http_request::sign(signable, &params));
    let (instructions, _) = signed.map_err(|error| error.to_string())?.into_parts();
    for field in instructions.into_parts().0 {
        let mut value = HeaderValue::from_str(field.value()).map_err(|error| error.to_string())?;
        value.set_sensitive(field.sensitive() || field.name() == AUTHORIZATION.as_str());
        headers.insert(HeaderName::from_static(field.name()), value);
    }
    Ok(())
}

/// The fields that the signature covers, beside `host`.
fn covered(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers
        .iter()
        .filter(|(name, _)| *name == CONTENT_TYPE || name.as_str().starts_with("x-amz-"))
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
}

/// How the service reads what was signed. S3 decodes a path and encodes it again, and takes `..` and `//` as they are;
/// every other service encodes the path once more as it came.
fn how(service: &str, uri: &Uri) -> (SigningSettings, String) {
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    if !S3.contains(&service) {
        return (settings, uri.to_string());
    }
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    let path: Cow<'_, str> = utf8_percent_encode(uri.path(), NOT_KEPT_BY_S3).into();
    let scheme = uri.scheme_str().unwrap_or("https");
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    (settings, format!("{scheme}://{authority}{path}{query}"))
}

/// Services whose paths are signed as S3's are.
const S3: [&str; 4] = ["s3", "s3-object-lambda", "s3-outposts", "s3express"];

/// What of a path that is encoded already S3 encodes beyond it.
const NOT_KEPT_BY_S3: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b'%');

/// The fields of a signature.
const REPLACED: [HeaderName; 4] = [
    AUTHORIZATION,
    HeaderName::from_static("x-amz-date"),
    HeaderName::from_static("x-amz-security-token"),
    HeaderName::from_static("x-amz-content-sha256"),
];

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Method;
    use http_body_util::BodyExt;

    use super::*;

    const AT: Timestamp = Timestamp::from_secs(1_369_353_600); // 2013-05-24T00:00:00Z

    fn signed(service: &str, method: Method, uri: &'static str, fields: &[(&'static str, &'static str)]) -> Outbound {
        let credentials =
            Credentials::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None, None, "test");
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let body =
            if method == Method::PUT { Body::Full(Bytes::from_static(b"Welcome to Amazon S3.")) } else { Body::Empty };
        let mut outbound = Outbound { method, uri: Uri::from_static(uri), headers, body };
        sign(service, "us-east-1", credentials, AT, &mut outbound).unwrap();
        outbound
    }

    fn signature(outbound: &Outbound) -> &str {
        outbound.headers["authorization"].to_str().unwrap().rsplit_once("Signature=").unwrap().1
    }

    // Amazon S3 API Reference, "Signature Calculations for the Authorization Header", its examples. Those that sign
    // `range` or `date` cannot be had, since only what AWS asks for is signed.
    #[test]
    fn the_examples_of_the_s3_reference_are_signed_as_it_says() {
        let lifecycle = signed("s3", Method::GET, "https://examplebucket.s3.amazonaws.com/?lifecycle", &[]);
        assert_eq!(signature(&lifecycle), "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
        let list = signed("s3", Method::GET, "https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J", &[]);
        assert_eq!(signature(&list), "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
        assert_eq!(list.headers["x-amz-date"], "20130524T000000Z");
        assert_eq!(
            list.headers["x-amz-content-sha256"],
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn a_path_of_s3_is_signed_as_s3_encodes_it_and_sent_as_it_is() {
        let raw = signed("s3", Method::PUT, "https://b.s3.amazonaws.com/a(1)$x//../%2B", &[]);
        let encoded = signed("s3", Method::PUT, "https://b.s3.amazonaws.com/a%281%29%24x//../%2B", &[]);
        assert_eq!(signature(&raw), signature(&encoded));
        assert_eq!(raw.uri.path(), "/a(1)$x//../%2B");
        let other = signed("execute-api", Method::PUT, "https://b.s3.amazonaws.com/a(1)$x//../%2B", &[]);
        assert_ne!(signature(&other), signature(&raw));
    }

    #[test]
    fn a_clients_own_signature_and_token_are_replaced_and_only_what_aws_asks_for_is_covered() {
        let fields = [
            ("authorization", "AWS4-HMAC-SHA256 Credential=theirs"),
            ("x-amz-security-token", "theirs"),
            ("x-amz-date", "20000101T000000Z"),
            ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
            ("x-amz-meta-a", "1"),
            ("content-type", "text/plain"),
            ("user-agent", "a"),
            ("x-forwarded-for", "192.0.2.1"),
        ];
        let outbound = signed("s3", Method::PUT, "https://b.s3.amazonaws.com/a", &fields);
        let authorization = outbound.headers["authorization"].to_str().unwrap();
        let covered = authorization.split("SignedHeaders=").nth(1).unwrap().split(',').next().unwrap();
        assert_eq!(covered, "content-type;host;x-amz-content-sha256;x-amz-date;x-amz-meta-a");
        assert!(outbound.headers.get("x-amz-security-token").is_none());
        assert!(outbound.headers["authorization"].is_sensitive());
        assert_eq!(outbound.headers.get_all("x-amz-date").iter().count(), 1);
    }

    #[test]
    fn a_body_that_still_arrives_is_not_signed() {
        let stream = Body::stream(http_body_util::Empty::new().map_err(|never| match never {}));
        let mut outbound = Outbound {
            method: Method::POST,
            uri: Uri::from_static("https://a.example/"),
            headers: HeaderMap::new(),
            body: stream,
        };
        let credentials = Credentials::new("a", "b", None, None, "test");
        assert!(sign("s3", "us-east-1", credentials, AT, &mut outbound).is_err());
    }
}
