//! What is read of a certificate (RFC 5280 §4.1) beside what `webpki` tells: from when to when, the common name, the kind
//! and strength of its key, what the key may do, and whether it constrains names.
//!
//! Nothing here is believed before `webpki` has verified the chain.

use super::der::{self, Reader};

/// A certificate, taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct X509<'a> {
    /// The bytes of the serial number.
    pub(super) serial: &'a [u8],
    /// Seconds since the epoch; earlier is the epoch.
    pub(super) not_before: u64,
    /// The last second, likewise.
    pub(super) not_after: u64,
    subject: &'a [u8],
    key: &'a [u8],
    /// The first byte of the key's usages, where it has any.
    usage: Option<u8>,
    /// Whether its key may sign certificates at all (`basicConstraints`).
    pub(super) is_ca: bool,
    /// Whether it constrains the names below it.
    pub(super) constrains_names: bool,
}

impl<'a> X509<'a> {
    pub(super) fn read(certificate: &'a [u8]) -> Option<Self> {
        let mut signed = Reader::new(Reader::only(certificate, der::SEQUENCE)?);
        let mut fields = Reader::new(signed.take(der::SEQUENCE)?);
        fields.optional(der::context(0))?; // The version.
        let serial = fields.take(der::INTEGER)?;
        fields.take(der::SEQUENCE)?; // The algorithm.
        fields.take(der::SEQUENCE)?; // The issuer.
        let mut validity = Reader::new(fields.take(der::SEQUENCE)?);
        let (not_before, not_after) = (time(&mut validity)?, time(&mut validity)?);
        let subject = fields.take(der::SEQUENCE)?;
        let key = fields.take(der::SEQUENCE)?;
        let mut read =
            Self { serial, not_before, not_after, subject, key, usage: None, is_ca: false, constrains_names: false };
        while !fields.at_end() {
            if let (tag, extensions) = fields.any()?
                && tag == der::context(3)
            {
                read.extensions(Reader::only(extensions, der::SEQUENCE)?)?;
            }
        }
        Some(read)
    }

    fn extensions(&mut self, extensions: &'a [u8]) -> Option<()> {
        let mut extensions = Reader::new(extensions);
        while !extensions.at_end() {
            let mut extension = Reader::new(extensions.take(der::SEQUENCE)?);
            let id = extension.take(der::OID)?;
            extension.optional(der::BOOLEAN)?; // Whether it is critical.
            let value = extension.take(der::OCTET_STRING)?;
            match id {
                KEY_USAGE => self.usage = Some(Reader::only(value, der::BIT_STRING)?.get(1).copied().unwrap_or(0)),
                BASIC_CONSTRAINTS => {
                    let ca = Reader::new(Reader::only(value, der::SEQUENCE)?).optional(der::BOOLEAN)?;
                    self.is_ca = ca == Some(&[0xff]);
                }
                NAME_CONSTRAINTS => self.constrains_names = true,
                _ => {}
            }
        }
        Some(())
    }

    /// Whether its key may sign what proves that a client holds it (RFC 5280 §4.2.1.3, RFC 8446 §4.4.2.2).
    pub(super) fn may_sign(&self) -> bool {
        self.usage.is_none_or(|usage| usage & DIGITAL_SIGNATURE != 0)
    }

    /// Whether its key may sign certificates (RFC 5280 §4.2.1.3).
    pub(super) fn may_certify(&self) -> bool {
        self.usage.is_none_or(|usage| usage & KEY_CERT_SIGN != 0)
    }

    /// The common name, where there is exactly one, of the kinds of text that are written today.
    pub(super) fn common_name(&self) -> Option<&'a str> {
        let mut names = Reader::new(self.subject);
        let mut found = None;
        while !names.at_end() {
            let mut together = Reader::new(names.take(der::SET)?);
            while !together.at_end() {
                let mut pair = Reader::new(together.take(der::SEQUENCE)?);
                let (kind, (tag, text)) = (pair.take(der::OID)?, pair.any()?);
                if kind != COMMON_NAME {
                    continue;
                }
                let readable = matches!(tag, der::UTF8_STRING | der::PRINTABLE_STRING | der::IA5_STRING);
                if found.is_some() || !readable {
                    return None;
                }
                found = Some(std::str::from_utf8(text).ok()?);
            }
        }
        found
    }

    /// Whether its key is of a kind and a size that is taken: RSA of 2048 bits at least, ECDSA on P-256, P-384 and P-521,
    /// Ed25519. `webpki` judges the keys of issuers; the client's own is used by nobody but the front door.
    pub(super) fn has_strong_key(&self) -> bool {
        self.strong_key().unwrap_or(false)
    }

    fn strong_key(&self) -> Option<bool> {
        let mut key = Reader::new(self.key);
        let mut algorithm = Reader::new(key.take(der::SEQUENCE)?);
        match algorithm.take(der::OID)? {
            RSA => {
                let bits = key.take(der::BIT_STRING)?.strip_prefix(&[0])?;
                let modulus = Reader::new(Reader::only(bits, der::SEQUENCE)?).take(der::INTEGER)?;
                let modulus = modulus.strip_prefix(&[0]).unwrap_or(modulus);
                let unset = modulus.first().map_or(8, |byte| byte.leading_zeros());
                Some(modulus.len() * 8 >= 2_048 + usize::try_from(unset).ok()?)
            }
            EC => Some([P256, P384, P521].contains(&algorithm.take(der::OID)?)),
            kind => Some(kind == ED25519),
        }
    }
}

// Object identifiers, as DER has them (RFC 5280 §4.2.1 and appendix A, RFC 5480, RFC 8410).
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x1e];
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];

// Bits of the first byte of `keyUsage`, counted from the left.
const DIGITAL_SIGNATURE: u8 = 0x80;
const KEY_CERT_SIGN: u8 = 0x04;

/// A time (RFC 5280 §4.1.2.5): `YYMMDDHHMMSSZ` from 1950 to 2049, or `YYYYMMDDHHMMSSZ`.
fn time(reader: &mut Reader<'_>) -> Option<u64> {
    let (tag, text) = reader.any()?;
    let text = text.strip_suffix(b"Z")?;
    let mut pairs = text.chunks_exact(2).map(|pair| match pair {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => Some(u64::from(tens - b'0') * 10 + u64::from(ones - b'0')),
        _ => None,
    });
    let mut next = || pairs.next().flatten();
    let year = match tag {
        der::UTC_TIME if text.len() == 12 => next().map(|year| if year < 50 { 2000 + year } else { 1900 + year })?,
        der::GENERALIZED_TIME if text.len() == 14 => next()? * 100 + next()?,
        _ => return None,
    };
    let (month, day, hour, minute, second) = (next()?, next()?, next()?, next()?, next()?);
    let within = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 60;
    let seconds = |days: u64| days * 86_400 + hour * 3_600 + minute * 60 + second;
    within.then(|| days_before(year, month, day).map_or(0, seconds))
}

/// Days from the epoch to a day of the Gregorian calendar, by counting from March; `None` before the epoch.
fn days_before(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    days.checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written_and_only_so() {
        for (tag, text, seconds) in [
            (der::UTC_TIME, "700101000000Z", Some(0)),
            (der::UTC_TIME, "000229235959Z", Some(951_868_799)),
            (der::UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (der::UTC_TIME, "500101000000Z", Some(0)),
            (der::GENERALIZED_TIME, "21000301000000Z", Some(4_107_542_400)),
            (der::GENERALIZED_TIME, "20261124223000Z", Some(1_795_559_400)),
            (der::GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (der::GENERALIZED_TIME, "00000101000000Z", Some(0)),
            (der::GENERALIZED_TIME, "700101000000Z", None),
            (der::UTC_TIME, "20261124223000Z", None),
            (der::UTC_TIME, "701301000000Z", None),
            (der::UTC_TIME, "700101240000Z", None),
            (der::UTC_TIME, "7001010000Z", None),
            (der::UTC_TIME, "700101000000", None),
            (der::UTC_TIME, "70010100000xZ", None),
            (der::UTC_TIME, "700101000000+0100", None),
            (der::OCTET_STRING, "700101000000Z", None),
        ] {
            let length = u8::try_from(text.len()).unwrap();
            let element = [&[tag, length][..], text.as_bytes()].concat();
            assert_eq!(time(&mut Reader::new(&element)), seconds, "{text}");
        }
    }
}
