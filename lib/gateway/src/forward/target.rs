//! Where an upstream listens.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use super::sign::SigV4;
use crate::secret::Secret;

/// Where an upstream listens: one `targets` entry, compiled.
#[derive(Debug, Clone)]
pub struct Target {
    /// Tells connections apart: two targets with the same key may share them.
    pub key: Arc<str>,
    /// Host name or address to dial; an IPv6 address without its brackets.
    pub host: String,
    /// Port to dial.
    pub port: u16,
    /// TLS settings; `None` is plain HTTP.
    pub tls: Option<Tls>,
    /// What is spoken.
    pub protocol: Protocol,
    /// For the TCP and TLS handshakes together.
    pub connect_timeout: Duration,
    /// Its share of the traffic; 0 takes none.
    pub weight: u32,
    /// The authority of its `url`: what `Host` says under `host: upstream`.
    pub authority: String,
    /// The path of its `url` without a trailing slash, put before every path; often empty.
    pub base_path: String,
    /// The signature that the adapter puts on each request, whose content must be whole.
    pub sign: Option<SigV4>,
}

/// The protocol spoken to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, over TLS by ALPN, in clear by prior knowledge (RFC 9113 §3.3).
    Http2,
    /// Whatever ALPN agrees on; HTTP/1.1 in clear.
    Auto,
}

impl Protocol {
    /// As the config writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Auto => "auto",
        }
    }
}

/// TLS to an upstream.
#[derive(Clone, Default)]
pub struct Tls {
    /// PEM of the authorities to trust instead of the system's.
    pub ca_pem: Option<Arc<[u8]>>,
    /// PEM of the client certificate chain and its key, both in one text. New connections show what it is then.
    pub identity: Option<Arc<Secret>>,
    /// The name to verify and send as SNI, where it is not the host.
    pub server_name: Option<String>,
}

impl Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("ca", &self.ca_pem.is_some())
            .field("identity", &self.identity)
            .field("server_name", &self.server_name)
            .finish()
    }
}

/// How targets are dialled: what those of one upstream share.
#[derive(Debug, Clone)]
pub struct Dial {
    /// What is spoken.
    pub protocol: Protocol,
    /// For the TCP and TLS handshakes together.
    pub connect_timeout: Duration,
    /// TLS settings; `None` has those of the system, where the address says `https`.
    pub tls: Option<Tls>,
    /// The signature on each request.
    pub sign: Option<SigV4>,
}

impl Dial {
    /// The target at an address like `https://orders.internal:8443/v1`.
    ///
    /// # Errors
    /// What is wrong with the address, to be read after it.
    pub fn target(&self, url: &str, weight: u32) -> Result<Target, &'static str> {
        const FORM: &str = "must be an address like https://orders.internal:8443/v1";
        let uri: Uri = url.parse().map_err(|_| FORM)?;
        let authority = uri.authority().ok_or(FORM)?.clone();
        if authority.as_str().contains('@') {
            return Err("must not carry a user or a password");
        }
        if uri.query().is_some() || url.contains('#') {
            return Err("must not carry a query or a fragment");
        }
        let (tls, port) = match uri.scheme_str() {
            Some("https") => (Some(self.tls.clone().unwrap_or_default()), 443),
            Some("http") if self.tls.is_some() => return Err("must be https:// where the upstream has `tls`"),
            Some("http") => (None, 80),
            _ => return Err(FORM),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(port);
        let key = format!(
            "{} {host}:{port} {} {:?} {:?}",
            if tls.is_some() { "tls" } else { "tcp" },
            self.protocol.as_str(),
            self.connect_timeout,
            tls.as_ref().map(fingerprint),
        );
        Ok(Target {
            key: Arc::from(key),
            host,
            port,
            tls,
            protocol: self.protocol,
            connect_timeout: self.connect_timeout,
            weight,
            authority: authority.to_string(),
            base_path: uri.path().trim_end_matches('/').to_owned(),
            sign: self.sign.clone(),
        })
    }
}

/// Tells TLS settings apart without holding their secrets.
fn fingerprint(tls: &Tls) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    let identity = tls.identity.as_ref().map(|identity| identity.id().as_bytes());
    for part in [tls.ca_pem.as_deref(), identity, tls.server_name.as_deref().map(str::as_bytes)] {
        let part = part.unwrap_or_default();
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
