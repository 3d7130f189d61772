//! The text that a front door hands a certificate over in, read into certificates.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// No front door hands over more: load balancers take chains of 16 KiB.
pub(super) const LONGEST: usize = 32 * 1024;

/// How many certificates a chain may have, the client's own included.
pub(super) const MOST: usize = 10;

/// PEM (RFC 7468), as it is or percent-encoded (API Gateway, load balancers, CloudFront, nginx), or byte sequences of
/// structured fields (`:MIIB…:`, RFC 9440 §2.1), more than one apart by commas. The client's own comes first.
///
/// # Errors
/// Why it is no such text, for the log.
pub(super) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    if text.len() > LONGEST {
        return Err("the certificate is too long");
    }
    let text = text.trim_ascii();
    let chain = match text.first() {
        Some(b':') => text.split(|byte| *byte == b',').take(MOST + 1).map(byte_sequence).collect::<Option<Vec<_>>>(),
        // A plus is one: load balancers leave it as it is.
        _ => pem(&percent_encoding::percent_decode(text).collect::<Vec<u8>>()),
    };
    match chain {
        Some(chain) if chain.len() > MOST => Err("the chain has too many certificates"),
        Some(chain) if !chain.is_empty() => Ok(chain),
        _ => Err("what was handed over is no certificate"),
    }
}

fn byte_sequence(item: &[u8]) -> Option<CertificateDer<'static>> {
    let encoded = item.trim_ascii().strip_prefix(b":")?.strip_suffix(b":")?;
    STANDARD.decode(encoded).ok().map(CertificateDer::from)
}

fn pem(text: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(text).take(MOST + 1).collect::<Result<_, _>>().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\nAQID++//\n-----END CERTIFICATE-----\n";
    const DER: [u8; 6] = [1, 2, 3, 0xfb, 0xef, 0xff];

    fn read(text: &str) -> Result<Vec<Vec<u8>>, &'static str> {
        Ok(certificates(text.as_bytes())?.iter().map(|certificate| certificate.to_vec()).collect())
    }

    #[test]
    fn every_front_doors_way_to_write_a_chain_is_read() {
        let encoded = "-----BEGIN%20CERTIFICATE-----%0AAQID++//%0A-----END%20CERTIFICATE-----%0A";
        let all = "%2D%2D%2D%2D%2DBEGIN%20CERTIFICATE-----%0aAQID%2b%2B%2F/%0a-----END%20CERTIFICATE-----";
        for text in [PEM, PEM.trim(), &PEM.replace('\n', "\r\n"), encoded, all, ":AQID++//:", " :AQID++//: "] {
            assert_eq!(read(text), Ok(vec![DER.to_vec()]), "{text}");
        }
        for chain in [PEM.repeat(2), encoded.repeat(2), ":AQID++//:,  :AQID++//:".to_owned()] {
            assert_eq!(read(&chain), Ok(vec![DER.to_vec(); 2]), "{chain}");
        }
    }

    #[test]
    fn what_is_none_is_refused_and_what_is_too_much_too() {
        let none = Err("what was handed over is no certificate");
        for text in [
            "",
            " ",
            "CERT",
            ":",
            "::,",
            ":AQID++//",
            ":AQID++//:;a=1",
            ":AQID-_:",
            ":AQI:",
            "-----BEGIN CERTIFICATE-----\nAQID++//\n",
            "-----BEGIN CERTIFICATE-----\nAQ*D++//\n-----END CERTIFICATE-----",
            "-----BEGIN CERTIFICATE----- AQID++// -----END CERTIFICATE-----",
            "-----BEGIN PRIVATE KEY-----\nAQID++//\n-----END PRIVATE KEY-----",
            "-----BEGIN+CERTIFICATE-----%0AAQID++//%0A-----END+CERTIFICATE-----",
        ] {
            assert_eq!(read(text), none, "{text}");
        }
        assert_eq!(read(&PEM.repeat(10)).map(|chain| chain.len()), Ok(10));
        assert_eq!(read(&PEM.repeat(11)), Err("the chain has too many certificates"));
        assert_eq!(read(&[":AQID++//:"; 11].join(",")), Err("the chain has too many certificates"));
        assert_eq!(read(&PEM.repeat(1_000)), Err("the certificate is too long"));
    }
}
