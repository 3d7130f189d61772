//! TLS to upstreams: whom we trust, who we are, what is agreed on.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio_rustls::TlsAcceptor;
use tollgate::forward::FaultKind;
use tollgate::secret::Secret;

use super::*;
use crate::wire::Raw;

/// A certificate authority made for one test.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn pem(&self) -> Vec<u8> {
        self.0.pem().into_bytes()
    }

    /// Certificate and key for `name`, in one PEM.
    fn issue(&self, name: &str) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem() + &key.serialize_pem()).into_bytes()
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&self.pem()).unwrap()).unwrap();
        Arc::new(roots)
    }
}

/// A server for `orders.internal`; `clients` are verified where there are any.
fn acceptor(authority: &Authority, clients: Option<&Authority>, alpn: &[&str]) -> TlsAcceptor {
    let pem = authority.issue("orders.internal");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(clients.roots(), provider).build().unwrap(),
        ),
        None => builder.with_no_client_auth(),
    };
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().unwrap();
    let mut config = builder.with_single_cert(chain, PrivateKeyDer::from_pem_slice(&pem).unwrap()).unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

fn trusting(authority: &Authority) -> Tls {
    Tls { ca_pem: Some(authority.pem().into()), server_name: Some("orders.internal".to_owned()), ..Tls::default() }
}

fn identity(pem: Vec<u8>) -> Option<Arc<Secret>> {
    Some(Arc::new(Secret::new("file:identity.pem", Some(pem.into()))))
}

/// One request; the server answers over whichever protocol was agreed on and tells of it.
async fn over(
    acceptor: TlsAcceptor,
    protocol: Protocol,
    tls: Tls,
) -> (Option<String>, Result<Response, UpstreamFault>) {
    let listening = Listening::open().await;
    let upstream = upstream();
    let target = target_with(listening.port, protocol, Some(tls));
    let (spoken, response) = tokio::join!(
        async {
            let stream = acceptor.accept(listening.socket().await).await.ok()?;
            let alpn = stream.get_ref().1.alpn_protocol().map(|alpn| String::from_utf8(alpn.to_vec()).unwrap());
            if alpn.as_deref() == Some("h2") {
                tokio::spawn(http2::echo(stream));
            } else {
                let mut raw = Raw::new(stream);
                tokio::spawn(async move {
                    raw.head().await;
                    raw.send(OK).await;
                    raw.rest().await;
                });
            }
            alpn
        },
        send(&upstream, &target, get("/")),
    );
    (spoken, response)
}

#[tokio::test]
async fn a_server_is_trusted_by_the_ca_and_the_name_that_the_config_gives() {
    let authority = Authority::new();
    let (spoken, response) =
        over(acceptor(&authority, None, &["http/1.1"]), Protocol::Http1, trusting(&authority)).await;
    assert_eq!(spoken.as_deref(), Some("http/1.1"));
    assert_eq!(response.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn a_server_of_another_name_or_of_another_ca_is_not_trusted() {
    let authority = Authority::new();
    let other_name = Tls { server_name: Some("payments.internal".to_owned()), ..trusting(&authority) };
    let its_address = Tls { server_name: None, ..trusting(&authority) };
    let other_ca = trusting(&Authority::new());
    for tls in [other_name, its_address, other_ca] {
        let fault = over(acceptor(&authority, None, &[]), Protocol::Http1, tls).await.1.unwrap_err();
        assert!(matches!(fault.kind, FaultKind::Connect), "{fault}");
        assert!(fault.detail.contains("certificate"), "{fault}");
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_a_server_that_asks() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let shown = Tls { identity: identity(clients.issue("tollgate")), ..trusting(&authority) };
    let (_, response) = over(acceptor(&authority, Some(&clients), &[]), Protocol::Http1, shown).await;
    assert_eq!(response.unwrap().status, StatusCode::OK);

    let (_, response) = over(acceptor(&authority, Some(&clients), &[]), Protocol::Http1, trusting(&authority)).await;
    let fault = response.unwrap_err();
    assert!(matches!(fault.kind, FaultKind::Connect | FaultKind::Reset), "{fault}");
}

#[tokio::test]
async fn a_client_certificate_that_changes_is_shown_on_new_connections_and_old_ones_are_given_up() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let (old, new) = (clients.issue("old.tollgate"), clients.issue("new.tollgate"));
    let secret = Arc::new(Secret::new("ssm:/shop/mtls", Some(old.clone().into())));
    let tls = Tls { identity: Some(Arc::clone(&secret)), ..trusting(&authority) };
    let (listening, acceptor, upstream) =
        (Listening::open().await, acceptor(&authority, Some(&clients), &[]), upstream());
    let target = target_with(listening.port, Protocol::Http1, Some(tls));
    let accept = async || {
        let stream = acceptor.accept(listening.socket().await).await.unwrap();
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
        (shown, Raw::new(stream))
    };
    let answer = async |raw: &mut Raw<_>| {
        raw.head().await;
        raw.send(OK).await;
    };
    let ask = async || whole(send(&upstream, &target, get("/")).await.unwrap().body).await.unwrap();
    let ((shown, mut first), _) = tokio::join!(
        async {
            let (shown, mut raw) = accept().await;
            answer(&mut raw).await;
            (shown, raw)
        },
        ask()
    );
    assert_eq!(shown, CertificateDer::from_pem_slice(&old).unwrap());
    // The same value again opens nothing.
    secret.set(old.into());
    tokio::join!(answer(&mut first), ask());
    secret.set(new.clone().into());
    let (shown, _) = tokio::join!(
        async {
            let (shown, mut raw) = accept().await;
            answer(&mut raw).await;
            shown
        },
        ask()
    );
    assert_eq!(shown, CertificateDer::from_pem_slice(&new).unwrap());
    first.rest().await;
}

#[tokio::test]
async fn what_is_spoken_is_agreed_on_by_alpn() {
    let authority = Authority::new();
    let both = &["h2", "http/1.1"][..];
    for (protocol, offered, agreed) in [
        (Protocol::Http1, both, Some("http/1.1")),
        (Protocol::Http2, both, Some("h2")),
        (Protocol::Auto, both, Some("h2")),
        (Protocol::Auto, &["http/1.1"][..], Some("http/1.1")),
        (Protocol::Auto, &[][..], None),
        (Protocol::Http1, &[][..], None),
    ] {
        let (spoken, response) = over(acceptor(&authority, None, offered), protocol, trusting(&authority)).await;
        assert_eq!(spoken.as_deref(), agreed, "{protocol:?} to {offered:?}");
        assert_eq!(response.unwrap().status, StatusCode::OK, "{protocol:?} to {offered:?}");
    }
}

#[tokio::test]
async fn http2_is_not_spoken_to_a_server_that_did_not_agree() {
    let authority = Authority::new();
    for offered in [&["http/1.1"][..], &[][..]] {
        let (_, response) = over(acceptor(&authority, None, offered), Protocol::Http2, trusting(&authority)).await;
        let fault = response.unwrap_err();
        assert!(matches!(fault.kind, FaultKind::Connect), "{fault}");
    }
}

#[tokio::test]
async fn a_pem_of_no_use_is_told_before_anything_is_dialled() {
    let authority = Authority::new();
    let port = Listening::nobody().await;
    let key_only = KeyPair::generate().unwrap().serialize_pem().into_bytes();
    for (tls, word) in [
        (Tls { ca_pem: Some(Arc::from(&b"junk"[..])), ..Tls::default() }, "the ca holds no certificate"),
        (Tls { identity: identity(authority.pem()), ..trusting(&authority) }, "no private key"),
        (Tls { identity: identity(key_only), ..trusting(&authority) }, "no certificate"),
        (Tls { server_name: Some("a b".to_owned()), ..trusting(&authority) }, "server name"),
    ] {
        let fault = upstream().prepare(&target_with(port, Protocol::Http1, Some(tls))).unwrap_err();
        assert!(matches!(fault.kind, FaultKind::Connect), "{fault}");
        assert!(fault.detail.contains(word), "{fault}");
    }
}
