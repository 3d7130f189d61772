//! A small web site, over HTTP or HTTPS, that counts what it is asked.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

/// What it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// A status and a body.
    Says(u16, String),
    /// None, ever.
    Hangs,
    /// The connection's end.
    Breaks,
}

pub(super) struct Site {
    pub(super) url: String,
    /// The certificate to trust, where it is one of HTTPS.
    pub(super) ca: Option<String>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

type Serve = Arc<dyn Fn(&Asked) -> Answer + Send + Sync>;

impl Site {
    pub(super) async fn http(serve: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self::start(None, Arc::new(serve)).await
    }

    /// The same behind a certificate that nobody but itself has signed.
    pub(super) async fn https(serve: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let pem = made.cert.pem();
        let chain = vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Self::start(Some((TlsAcceptor::from(Arc::new(config)), pem)), Arc::new(serve)).await
    }

    async fn start(tls: Option<(TlsAcceptor, String)>, serve: Serve) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (acceptor, ca) = tls.unzip();
        let scheme = if ca.is_some() { "https" } else { "http" };
        let journal = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (serve, journal, acceptor) = (Arc::clone(&serve), Arc::clone(&journal), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => speak(stream, serve, journal).await,
                        Some(acceptor) => {
                            // A client that does not trust it goes away.
                            if let Ok(stream) = acceptor.accept(stream).await {
                                speak(stream, serve, journal).await;
                            }
                        }
                    }
                });
            }
        });
        Self { url: format!("{scheme}://{address}"), ca, asked }
    }

    /// What it was asked since that was last told.
    pub(super) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    /// The targets of that alone.
    pub(super) fn targets(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.target).collect()
    }
}

async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin, serve: Serve, journal: Arc<Mutex<Vec<Asked>>>) {
    let service = service_fn(|request: Request<Incoming>| {
        let (serve, journal) = (Arc::clone(&serve), Arc::clone(&journal));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
            let asked = Asked {
                method: head.method.to_string(),
                target: head.uri.to_string(),
                headers: head.headers,
                body: String::from_utf8(body.to_vec()).unwrap(),
            };
            let answer = serve(&asked);
            journal.lock().unwrap().push(asked);
            match answer {
                Answer::Says(status, body) => {
                    let response = Response::builder().status(status).header("content-type", "application/json");
                    Ok(response.body(Full::new(Bytes::from(body))).unwrap())
                }
                Answer::Hangs => std::future::pending().await,
                Answer::Breaks => Err(std::io::Error::other("it breaks")),
            }
        }
    });
    drop(Builder::new().serve_connection(TokioIo::new(stream), service).await);
}
