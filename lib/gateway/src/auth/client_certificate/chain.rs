//! The chain from a client's certificate to an authority that is trusted (RFC 5280 §6), by `webpki` and what it leaves.

use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use super::rule::Names;
use super::x509::X509;

/// How many authorities one entry may trust.
const MOST_AUTHORITIES: usize = 100;

/// How many bytes of a serial number are told: no more are allowed (RFC 5280 §4.1.2.2), but for a leading zero.
const SERIAL: usize = 21;

/// Signatures that are taken: nothing with SHA-1, no RSA key under 2048 bits (those of issuers are judged by these).
static ALGORITHMS: &[&dyn rustls_pki_types::SignatureVerificationAlgorithm] = &[
    webpki::aws_lc_rs::ECDSA_P256_SHA256,
    webpki::aws_lc_rs::ECDSA_P256_SHA384,
    webpki::aws_lc_rs::ECDSA_P256_SHA512,
    webpki::aws_lc_rs::ECDSA_P384_SHA256,
    webpki::aws_lc_rs::ECDSA_P384_SHA384,
    webpki::aws_lc_rs::ECDSA_P384_SHA512,
    webpki::aws_lc_rs::ECDSA_P521_SHA256,
    webpki::aws_lc_rs::ECDSA_P521_SHA384,
    webpki::aws_lc_rs::ECDSA_P521_SHA512,
    webpki::aws_lc_rs::ED25519,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA256,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA384,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA512,
    webpki::aws_lc_rs::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    webpki::aws_lc_rs::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    webpki::aws_lc_rs::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

/// The authorities that are trusted.
pub struct Authorities(Vec<Authority>);

struct Authority {
    anchor: TrustAnchor<'static>,
    not_before: u64,
    not_after: u64,
}

/// What a verified chain proves.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) names: Names,
    /// The serial number, in hexadecimal.
    pub(super) serial: String,
    /// The last second that the client's certificate is valid.
    pub(super) not_after: u64,
    /// The last second that the whole chain is.
    pub(super) holds_until: u64,
    /// The certificates between the client's and the authority's, in that order (RFC 9440 §2.3).
    pub(super) between: Vec<CertificateDer<'static>>,
}

impl Authorities {
    /// The authorities of a PEM file.
    ///
    /// # Errors
    /// Which of them cannot be trusted and why, as the end of a sentence that names the file.
    pub fn parse(pem: &[u8]) -> Result<Self, String> {
        let mut authorities = Vec::new();
        for (number, certificate) in (1..).zip(CertificateDer::pem_slice_iter(pem)) {
            let certificate = certificate.map_err(|_| format!("is broken at certificate {number}"))?;
            let fit = Authority::of(&certificate).map_err(|why| format!("certificate {number} {why}"))?;
            authorities.push(fit);
            if number > MOST_AUTHORITIES {
                return Err(format!("has more than {MOST_AUTHORITIES} certificates"));
            }
        }
        if authorities.is_empty() { Err("has no certificate in it".to_owned()) } else { Ok(Self(authorities)) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Verifies a chain, the client's certificate first, at `now` in seconds since the epoch.
    ///
    /// # Errors
    /// Why it is not proven, for the log.
    pub(super) fn verify(&self, chain: &[CertificateDer<'_>], now: u64) -> Result<Proof, String> {
        let (client, others) = chain.split_first().ok_or("there is no certificate")?;
        let read = X509::read(client).ok_or("the certificate cannot be read")?;
        if !read.has_strong_key() {
            return Err("the certificate's key is too weak, or of a kind that is not taken".to_owned());
        }
        if !read.may_sign() {
            return Err("the certificate's key may not sign".to_owned());
        }
        // webpki does not look at the time of an authority.
        let valid = |authority: &&Authority| (authority.not_before..=authority.not_after).contains(&now);
        let (anchors, ends): (Vec<_>, Vec<_>) =
            self.0.iter().filter(valid).map(|authority| (authority.anchor.clone(), authority.not_after)).unzip();
        let certificate =
            EndEntityCert::try_from(client).map_err(|error| format!("the certificate cannot be read: {error}"))?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let path = certificate
            .verify_for_usage(ALGORITHMS, &anchors, others, time, KeyUsage::client_auth(), None, None)
            .map_err(|error| format!("no way from the certificate to an authority of `ca` holds: {error}"))?;
        let mut holds_until = read.not_after;
        let mut constrained = path.anchor().name_constraints.is_some();
        for issuer in path.intermediate_certificates() {
            let der = issuer.der();
            let issuer = X509::read(&der).ok_or("an intermediate certificate cannot be read")?;
            if !issuer.may_certify() {
                return Err("the key of an intermediate certificate may not sign certificates".to_owned());
            }
            constrained |= issuer.constrains_names;
            holds_until = holds_until.min(issuer.not_after);
        }
        let end = anchors.iter().zip(ends).find(|(anchor, _)| std::ptr::eq(*anchor, path.anchor()));
        holds_until = holds_until.min(end.map_or(0, |(_, end)| end));
        Ok(Proof {
            names: names(&certificate, &read, constrained),
            serial: super::hex(read.serial.get(..SERIAL).unwrap_or(read.serial)),
            not_after: read.not_after,
            holds_until,
            between: between(&path),
        })
    }
}

impl std::fmt::Debug for Authorities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authorities({})", self.0.len())
    }
}

impl Authority {
    fn of(certificate: &CertificateDer<'_>) -> Result<Self, &'static str> {
        let read = X509::read(certificate).ok_or("cannot be read")?;
        if !read.is_ca || !read.may_certify() {
            return Err("is not an authority's: its `basicConstraints` or `keyUsage` let it sign no certificates");
        }
        let anchor = webpki::anchor_from_trusted_cert(certificate).map_err(|_| "cannot be read")?;
        Ok(Self { anchor: anchor.to_owned(), not_before: read.not_before, not_after: read.not_after })
    }
}

/// Constraints of names are not about common names, so beneath one a common name proves nothing.
fn names(certificate: &EndEntityCert<'_>, read: &X509<'_>, constrained: bool) -> Names {
    Names {
        uris: certificate.valid_uri_names().map(str::to_owned).collect(),
        dns: certificate.valid_dns_names().map(str::to_ascii_lowercase).collect(),
        cn: read.common_name().filter(|_| !constrained).map(str::to_owned),
    }
}

fn between(path: &VerifiedPath<'_>) -> Vec<CertificateDer<'static>> {
    path.intermediate_certificates().map(|certificate| certificate.der().into_owned()).collect()
}
