//! What a request says of its signature: the parameters of `Authorization: hmac …` as Kong reads them, and of
//! `Signature …` as draft-cavage-http-signatures-12 §2.1 has them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The most parts that a signature may cover.
const MOST_PARTS: usize = 64;

/// The parameters that it may have, each once.
const NAMES: [&str; 7] = ["username", "keyId", "algorithm", "created", "expires", "headers", "signature"];

/// A signature, and what it claims to be of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claim<'r> {
    /// Whose it is.
    pub(super) client: &'r str,
    /// `None` where it is left to the key.
    pub(super) algorithm: Option<&'r str>,
    /// What is signed, in order, each once.
    pub(super) parts: Vec<&'r str>,
    /// Seconds since the epoch.
    pub(super) created: Option<u64>,
    /// Likewise.
    pub(super) expires: Option<u64>,
    pub(super) signature: Vec<u8>,
    pub(super) form: Form<'r>,
}

/// How the signed text is put together.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Form<'r> {
    /// A line a part, as Kong and draft-cavage have it.
    Lines,
    /// A signature base (RFC 9421 §2.5); these are its parameters, as sent.
    Base(&'r str),
}

impl<'r> Claim<'r> {
    /// The parameters of `hmac` or `Signature`.
    pub(super) fn lines(text: &'r str) -> Result<Self, &'static str> {
        let found = parameters(text)?;
        let get = |name: &str| found.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        let ((Some(client), None) | (None, Some(client))) = (get("username"), get("keyId")) else {
            return Err("it needs one of username and keyId");
        };
        let time = |name| get(name).map(|text| seconds(text).ok_or("a time is no number of seconds")).transpose();
        let parts: Vec<_> = get("headers").ok_or("it does not name what is signed")?.split(' ').collect();
        check_parts(&parts)?;
        Ok(Self {
            client,
            // draft-cavage-12 §2.1.3: `hs2019` says nothing, the algorithm is the key's.
            algorithm: get("algorithm").filter(|name| *name != "hs2019"),
            parts,
            created: time("created")?,
            expires: time("expires")?,
            signature: decode(get("signature").ok_or("it has no signature")?)?,
            form: Form::Lines,
        })
    }
}

/// Base64 without any slack (RFC 4648 §3.5): one signature has one text.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, &'static str> {
    STANDARD.decode(text).map_err(|_| "the signature is no base64")
}

/// A number of seconds: digits alone, without zeros in front.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let plain = (1..=15).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    (plain && (text == "0" || !text.starts_with('0'))).then(|| text.parse().ok())?
}

/// Names are small, each stands once, and there are not too many.
pub(super) fn check_parts(parts: &[&str]) -> Result<(), &'static str> {
    if parts.len() > MOST_PARTS {
        return Err("it covers too much");
    }
    for (at, part) in parts.iter().enumerate() {
        if part.is_empty() || part.bytes().any(|b| b.is_ascii_uppercase() || !b.is_ascii_graphic()) {
            return Err("what is signed must be named in small letters, one space between names");
        }
        if parts.iter().take(at).any(|other| other == part) {
            return Err("it names a part twice");
        }
    }
    Ok(())
}

/// `name="text"` or `name=number`, with commas between.
fn parameters(text: &str) -> Result<Vec<(&str, &str)>, &'static str> {
    const FORM: &str = "its parameters are not name=\"value\", with commas between";
    let mut found: Vec<(&str, &str)> = Vec::new();
    let mut rest = text.trim_matches([' ', '\t']);
    loop {
        let (name, after) = rest.split_once('=').ok_or(FORM)?;
        if !NAMES.contains(&name) {
            return Err("it has a parameter that is not known");
        }
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or(FORM)?,
            None => after.split_at(after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len())),
        };
        // Escapes would make two texts of one value.
        if !value.bytes().all(|b| b == b' ' || (b.is_ascii_graphic() && b != b'\\')) {
            return Err(FORM);
        }
        if found.iter().any(|(other, _)| *other == name) {
            return Err("it has a parameter twice");
        }
        found.push((name, value));
        let after = after.trim_start_matches([' ', '\t']);
        if after.is_empty() {
            return Ok(found);
        }
        rest = after.strip_prefix(',').ok_or(FORM)?.trim_start_matches([' ', '\t']);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KONG: &str =
        r#"username="alice", algorithm="hmac-sha256", headers="date request-line digest", signature="AAEC""#;

    #[test]
    fn what_kongs_clients_send_is_read() {
        let claim = Claim::lines(KONG).expect("a claim");
        assert_eq!((claim.client, claim.algorithm), ("alice", Some("hmac-sha256")));
        assert_eq!(claim.parts, ["date", "request-line", "digest"]);
        assert_eq!((claim.signature, claim.created), (vec![0, 1, 2], None));
    }

    #[test]
    fn what_draft_cavage_writes_is_read() {
        let text = r#"keyId="alice",algorithm="hs2019",created=1402170695,expires=1402170699,headers="(request-target) (created)",signature="AAEC""#;
        let claim = Claim::lines(text).expect("a claim");
        assert_eq!((claim.client, claim.algorithm), ("alice", None));
        assert_eq!((claim.created, claim.expires), (Some(1_402_170_695), Some(1_402_170_699)));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_not_read() {
        for (from, to) in [
            ("username=\"alice\"", "username=\"alice\", username=\"bob\""),
            ("username=\"alice\"", "username=\"alice\", Username=\"bob\""),
            ("username=\"alice\"", "username=\"alice\", keyId=\"bob\""),
            ("username=\"alice\", ", ""),
            ("algorithm", "algorithms"),
            ("algorithm", "Algorithm"),
            ("username=\"alice\"", "username=\"alice\", realm=\"a\""),
            ("alice", "al\\\"ice"),
            ("headers=\"date request-line digest\", ", ""),
            ("date request-line", "date  request-line"),
            ("date request-line", "date date"),
            ("date request-line", "Date request-line"),
            ("\"date request-line digest\"", "\"\""),
            ("AAEC", "AAEC="),
            ("AAEC", "AAE"),
            ("AAEC", "AAE C"),
            ("AAEC", "AAF="),
            ("signature=\"AAEC\"", "signature=\"AAEC"),
            ("signature=\"AAEC\"", "signature=\"AAEC\" x"),
            ("signature=\"AAEC\"", "signature=\"AAEC\","),
            ("signature=\"AAEC\"", "signature=\"AAEC\", created=01"),
            ("signature=\"AAEC\"", "signature=\"AAEC\", created=-1"),
            ("signature=\"AAEC\"", "signature=\"AAEC\", created=1.5"),
            ("signature=\"AAEC\"", "signature=\"AAEC\", created=\"\""),
        ] {
            let text = KONG.replace(from, to);
            assert_ne!(text, KONG);
            assert!(Claim::lines(&text).is_err(), "{text}");
        }
    }
}
