//! Fields by which the gateway tells an upstream who calls. A client's own copies are taken off before anything reads
//! the request, on every route: what arrives behind the gateway under such a name is the gateway's word, or nothing.
//!
//! Servers that hand fields on as variables (CGI, RFC 3875 §4.1.18) read `X_User_Id` as `X-User-Id`, and some make one
//! sign of every other, so names are compared by their letters and digits alone.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::{Frame, SizeHint};

use crate::exchange::{Body, BodyFault, BodyStream, Request};

/// What upstreams take for the word of whoever ended TLS (RFC 9440; Envoy), whatever the config.
const ALWAYS: [&str; 3] = ["client-cert", "client-cert-chain", "x-forwarded-client-cert"];
/// What a load balancer writes of a client certificate begins so.
const OF_BALANCERS: &str = "x-amzn-mtls-";

/// The names that no client may send.
#[derive(Debug, Clone)]
pub struct Asserted(Arc<[HeaderName]>);

impl Asserted {
    /// Those that any method sends on, and those that are always the gateway's.
    pub fn new(forwarded: impl IntoIterator<Item = HeaderName>) -> Self {
        let mut names: Vec<_> = ALWAYS.map(HeaderName::from_static).into_iter().chain(forwarded).collect();
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        Self(names.into())
    }

    /// Takes them off a request, out of its trailers too.
    pub fn strip(&self, request: &mut Request) {
        self.strip_fields(&mut request.headers);
        if let Body::Stream(_) = &request.body
            && let Body::Stream(inner) = std::mem::take(&mut request.body)
        {
            request.body = Body::stream(Sifted { inner, asserted: self.clone() });
        }
    }

    fn strip_fields(&self, fields: &mut HeaderMap) {
        let gone: Vec<HeaderName> = fields.keys().filter(|name| self.holds(name.as_str())).cloned().collect();
        for name in gone {
            fields.remove(name);
        }
    }

    /// Whether this is one of them, or looks like one.
    pub fn holds(&self, name: &str) -> bool {
        let begins = name.as_bytes().get(..OF_BALANCERS.len());
        begins.is_some_and(|begins| same(begins, OF_BALANCERS.as_bytes()))
            || self.0.iter().any(|own| same(own.as_str().as_bytes(), name.as_bytes()))
    }
}

/// Whether two names, in lower case, are one to a server that tells no sign from another.
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    let alike = |(a, b): (&u8, &u8)| a == b || !(a.is_ascii_alphanumeric() || b.is_ascii_alphanumeric());
    one.len() == other.len() && one.iter().zip(other).all(alike)
}

/// A body whose trailers come without them.
struct Sifted {
    inner: BodyStream,
    asserted: Asserted,
}

impl http_body::Body for Sifted {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let mut frame = ready!(self.inner.as_mut().poll_frame(cx));
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            self.asserted.strip_fields(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::testkit;

    fn asserted() -> Asserted {
        Asserted::new([HeaderName::from_static("x-user-id"), HeaderName::from_static("x_tenant")])
    }

    fn left(names: &[&str]) -> Vec<String> {
        let mut request = testkit::request("GET /");
        for name in names {
            for value in ["forged", "again"] {
                let name: HeaderName = name.parse().expect("a name");
                request.headers.append(name, HeaderValue::from_static(value));
            }
        }
        asserted().strip(&mut request);
        request.headers.keys().map(|name| name.as_str().to_owned()).collect()
    }

    #[test]
    fn what_the_gateway_tells_upstreams_is_taken_off_in_every_spelling() {
        let forged = [
            "X-User-Id",
            "x_user_id",
            "X-USER_id",
            "x.user.id",
            "x-tenant",
            "client-cert",
            "Client_Cert",
            "client-cert-chain",
            "x-forwarded-client-cert",
            "x_forwarded-client_cert",
            "x-amzn-mtls-clientcert",
            "X_Amzn_Mtls_Clientcert-Leaf",
            "x-amzn-mtls-",
        ];
        assert_eq!(left(&forged), [""; 0]);
        let others = ["user-id", "x-user-id-2", "xuserid", "client-certs", "x-amzn-mtls", "x-amzn-trace-id", "cookie"];
        assert_eq!(left(&others), others);
    }

    /// Any spelling of a name: letters in either case, another sign for each sign.
    fn spelt(name: &'static str) -> impl Strategy<Value = String> {
        let each: Vec<BoxedStrategy<char>> = name
            .chars()
            .map(|c| match c {
                c if c.is_ascii_alphanumeric() => {
                    prop_oneof![Just(c.to_ascii_lowercase()), Just(c.to_ascii_uppercase())].boxed()
                }
                _ => prop_oneof![Just('-'), Just('_'), Just('.'), Just('~')].boxed(),
            })
            .collect();
        each.prop_map(|chars| chars.into_iter().collect())
    }

    fn forged() -> impl Strategy<Value = String> {
        prop_oneof![
            spelt("x-user-id"),
            spelt("x-tenant"),
            spelt("client-cert"),
            spelt("client-cert-chain"),
            spelt("x-forwarded-client-cert"),
            spelt("x-amzn-mtls-clientcert-subject"),
        ]
    }

    proptest! {
        #[test]
        fn no_spelling_of_an_asserted_name_is_left_and_every_other_field_is(
            forged in proptest::collection::vec(forged(), 0..6),
            others in proptest::collection::btree_set("[a-w][a-z0-9_-]{0,8}", 0..6),
        ) {
            let others: Vec<_> = others.iter().map(String::as_str).filter(|name| !asserted().holds(name)).collect();
            let all: Vec<_> = forged.iter().map(String::as_str).chain(others.iter().copied()).collect();
            let mut left = left(&all);
            left.sort();
            prop_assert_eq!(left, others);
        }
    }

    #[tokio::test]
    async fn trailers_come_without_them_and_the_content_as_it_was() {
        let mut trailers = HeaderMap::new();
        for name in ["x-user-id", "X_User_Id", "client-cert", "x-checksum"] {
            trailers.insert(name.parse::<HeaderName>().expect("a name"), HeaderValue::from_static("1"));
        }
        let frames = [Ok(Frame::data(Bytes::from_static(b"content"))), Ok(Frame::trailers(trailers))];
        let mut request = testkit::request("POST /");
        request.body = Body::stream(Frames(frames.into()));
        asserted().strip(&mut request);
        let Body::Stream(body) = request.body else { panic!("it stays a stream") };
        let whole = http_body_util::BodyExt::collect(body).await.expect("a body");
        let names: Vec<_> = whole.trailers().expect("trailers").keys().map(HeaderName::to_string).collect();
        assert_eq!(names, ["x-checksum"]);
        assert_eq!(whole.to_bytes(), "content");
    }

    struct Frames(std::collections::VecDeque<Result<Frame<Bytes>, BodyFault>>);

    impl http_body::Body for Frames {
        type Data = Bytes;
        type Error = BodyFault;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
            Poll::Ready(self.0.pop_front())
        }
    }
}
