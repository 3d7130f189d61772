//! The gateway's own calls: key sets, introspection, authorizers, tokens. They go through the port [`Upstream`], so
//! that there is one HTTP client, one pool and one TLS; they follow no redirect, and are bounded in time and size.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, StatusCode, Uri};

use crate::exchange::{Body, BodyFault};
use crate::forward::sign::SigV4;
use crate::forward::{Dial, Outbound, Protocol, Target, Tls, Upstream};

/// An address that the gateway calls.
#[derive(Debug, Clone)]
pub struct Endpoint {
    target: Target,
    uri: Uri,
}

/// One call. `Debug` shows neither fields nor content, which may hold secrets.
pub struct Call {
    /// The method.
    pub method: Method,
    /// The fields; `content-length` is set here.
    pub headers: HeaderMap,
    /// The content.
    pub body: Bytes,
    /// For all of it, the answer's content included.
    pub timeout: Duration,
    /// The most that the answer's content may have, in bytes.
    pub most: usize,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, headers: _, body, timeout, most } = self;
        write!(f, "Call({method} with {} bytes, for {timeout:?}, for {most} bytes)", body.len())
    }
}

/// An answer, whole. `Debug` shows its status alone: there may be a token in the rest.
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its fields.
    pub headers: HeaderMap,
    /// Its content.
    pub body: Bytes,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply({} with {} bytes)", self.status, self.body.len())
    }
}

impl Endpoint {
    /// The endpoint at `url`; over TLS, or in clear on this machine alone, since who reads or changes such an answer
    /// decides who is let in. `ca_pem` are the authorities to trust instead of the system's.
    ///
    /// # Errors
    /// What is wrong with the address, to be read after it.
    pub fn parse(url: &str, ca_pem: Option<Bytes>) -> Result<Self, &'static str> {
        const FORM: &str = "must be an address like https://login.example.com/keys";
        let uri: Uri = url.parse().map_err(|_| FORM)?;
        let authority = uri.authority().ok_or(FORM)?.as_str();
        let tls = ca_pem.map(|pem| Tls { ca_pem: Some(pem.to_vec().into()), ..Tls::default() });
        let dial = Dial { protocol: Protocol::Auto, connect_timeout: Duration::from_secs(1), tls, sign: None };
        let scheme = uri.scheme_str().ok_or(FORM)?;
        if dial.tls.is_some() && scheme == "http" {
            return Err("must be https:// where there is a `ca`");
        }
        if url.contains('#') {
            return Err("must not carry a fragment");
        }
        let target = dial.target(&format!("{scheme}://{authority}"), 1)?;
        if target.tls.is_none() && !is_loopback(&target.host) {
            return Err("must be https://, or on this machine");
        }
        let key = format!("{OWN}{}", target.key).into();
        Ok(Self { target: Target { key, ..target }, uri })
    }

    /// The same endpoint, with a signature on each call.
    #[must_use]
    pub fn signed(mut self, sign: SigV4) -> Self {
        self.target.sign = Some(sign);
        self
    }

    /// Its address.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Calls it.
    ///
    /// # Errors
    /// Why there is no answer, for the log.
    pub async fn call(&self, upstream: &dyn Upstream, call: Call) -> Result<Reply, String> {
        let Call { method, mut headers, body, timeout, most } = call;
        if !body.is_empty() || method == Method::POST {
            headers.insert(CONTENT_LENGTH, body.len().into());
        }
        let outbound = || {
            let body = if body.is_empty() { Body::Empty } else { Body::Full(body.clone()) };
            Outbound { method: method.clone(), uri: self.uri.clone(), headers: headers.clone(), body }
        };
        let exchange = async {
            let sent = match upstream.send(&self.target, outbound()).await {
                // It went out on a kept connection that had ended meanwhile; what is asked twice is no harm here.
                Err(fault) if fault.stale_connection => upstream.send(&self.target, outbound()).await,
                sent => sent,
            };
            let response = sent.map_err(|fault| fault.to_string())?;
            let most = u64::try_from(most).unwrap_or(u64::MAX);
            let body = response.body.collect(most).await.map_err(|fault| match fault {
                BodyFault::TooLarge { limit } => format!("its answer is larger than {limit} bytes"),
                fault @ (BodyFault::Stalled(_) | BodyFault::Broken(_)) => fault.to_string(),
            })?;
            Ok::<_, String>(Reply { status: response.status, headers: response.headers, body })
        };
        let host = &self.target.authority;
        match tokio::time::timeout(timeout, exchange).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(why)) => Err(format!("{host}: {why}")),
            Err(_) => Err(format!("{host}: no answer within {timeout:?}")),
        }
    }
}

/// How the keys of targets begin that the gateway calls itself.
const OWN: &str = "own ";

/// Whether what goes to this target is a call of the gateway's own, and no request of a client.
pub fn is_own(target: &Target) -> bool {
    target.key.starts_with(OWN)
}

/// Whether a host is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::exchange::Response;
    use crate::forward::{BoxFuture, FaultKind, UpstreamFault};

    /// Answers the last of so many sendings; those before break off, on a kept connection or not.
    #[derive(Debug)]
    struct Breaking {
        stale: bool,
        left: Mutex<usize>,
    }

    impl Upstream for Breaking {
        fn send<'a>(&'a self, _: &'a Target, outbound: Outbound) -> BoxFuture<'a, Result<Response, UpstreamFault>> {
            Box::pin(async move {
                let mut left = self.left.lock().unwrap();
                *left -= 1;
                if *left > 0 {
                    let detail = "it broke off".to_owned();
                    return Err(UpstreamFault { kind: FaultKind::Reset, stale_connection: self.stale, detail });
                }
                Ok(Response { status: StatusCode::OK, headers: outbound.headers, body: outbound.body })
            })
        }
    }

    #[tokio::test]
    async fn a_call_that_a_kept_connection_broke_is_made_once_more() {
        let endpoint = Endpoint::parse("https://login.example.com/", None).unwrap();
        for (stale, sendings, answered) in [(true, 2, true), (true, 3, false), (false, 2, false)] {
            let upstream = Breaking { stale, left: Mutex::new(sendings) };
            let call = Call {
                method: Method::POST,
                headers: HeaderMap::new(),
                body: Bytes::from_static(b"a=b"),
                timeout: Duration::from_secs(1),
                most: 64,
            };
            let reply = endpoint.call(&upstream, call).await;
            assert_eq!(reply.as_ref().is_ok_and(|reply| reply.body == "a=b"), answered, "{reply:?}");
        }
    }

    #[test]
    fn debug_shows_nothing_of_what_is_said() {
        let (headers, body) = (HeaderMap::from_iter([(http::header::AUTHORIZATION, "hush".parse().unwrap())]), "hush");
        let reply = Reply { status: StatusCode::OK, headers: headers.clone(), body: body.into() };
        let call = Call { method: Method::POST, headers, body: body.into(), timeout: Duration::from_secs(1), most: 64 };
        let shown = format!("{call:?} {reply:?}");
        assert_eq!(shown, "Call(POST with 4 bytes, for 1s, for 64 bytes) Reply(200 OK with 4 bytes)");
    }

    #[test]
    fn an_endpoint_is_over_tls_or_on_this_machine() {
        for url in
            ["https://login.example.com/keys?v=1", "http://127.0.0.1:9400/keys", "http://[::1]/", "http://localhost"]
        {
            let endpoint = Endpoint::parse(url, None).unwrap_or_else(|why| panic!("{url} {why}"));
            assert!(url.starts_with(endpoint.uri().to_string().trim_end_matches('/')), "{}", endpoint.uri());
        }
        for url in [
            "http://login.example.com/",
            "ftp://a/",
            "a",
            "/keys",
            "https://u:p@a/",
            "https://a/#b",
            "http://127.0.0.1.example.com",
        ] {
            assert!(Endpoint::parse(url, None).is_err(), "{url}");
        }
    }
}
