//! TLS towards upstreams: whom to trust, who we are, what is spoken.

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tollgate::forward::{Protocol, Target, Tls};

/// The crypto provider, and the system's roots once somebody needed them. Both are passed on by hand: nothing is
/// installed for the whole process.
#[derive(Debug, Default)]
pub(super) struct Trust {
    provider: OnceLock<Arc<CryptoProvider>>,
    system: OnceLock<Arc<RootCertStore>>,
}

impl Trust {
    /// The connector and the verified name for a target; `None` where it is plain HTTP.
    ///
    /// # Errors
    /// In words for the log: a PEM without what it should hold, a name that is none, a system without roots.
    pub(super) fn connector(&self, target: &Target) -> Result<Option<(TlsConnector, ServerName<'static>)>, String> {
        let Some(tls) = &target.tls else { return Ok(None) };
        let name = tls.server_name.as_deref().unwrap_or(&target.host).to_owned();
        let name = ServerName::try_from(name).map_err(|error| format!("the server name is none: {error}"))?;
        let config = self.config(tls, target.protocol)?;
        Ok(Some((TlsConnector::from(Arc::new(config)), name)))
    }

    fn config(&self, tls: &Tls, protocol: Protocol) -> Result<ClientConfig, String> {
        let roots = match &tls.ca_pem {
            Some(pem) => Arc::new(roots_of(pem)?),
            None => self.system()?,
        };
        let provider = self.provider.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("no TLS version in common with the provider: {error}"))?
            .with_root_certificates(roots);
        let mut config = match &tls.identity {
            Some(secret) => {
                let pem = secret.get().ok_or_else(|| secret.missing().unwrap_or_default())?;
                let (chain, key) = identity_of(&pem)?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| format!("the client certificate is of no use: {error}"))?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = match protocol {
            Protocol::Http1 => vec![b"http/1.1".to_vec()],
            Protocol::Http2 => vec![b"h2".to_vec()],
            Protocol::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        Ok(config)
    }

    fn system(&self) -> Result<Arc<RootCertStore>, String> {
        if let Some(roots) = self.system.get() {
            return Ok(Arc::clone(roots));
        }
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err("the system has no root certificates".to_owned());
        }
        Ok(Arc::clone(self.system.get_or_init(|| Arc::new(roots))))
    }
}

fn roots_of(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("the ca is no PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("the ca holds no usable certificate: {error}"))?;
    }
    if roots.is_empty() {
        return Err("the ca holds no certificate".to_owned());
    }
    Ok(roots)
}

fn identity_of(pem: &[u8]) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("the client certificate is no PEM: {error}"))?;
    if chain.is_empty() {
        return Err("the client certificate holds no certificate".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(pem)
        .map_err(|error| format!("the client certificate holds no private key: {error}"))?;
    Ok((chain, key))
}
