//! The text that is signed, put together from the request and never from what it claims.

use std::borrow::Cow;

use http::header::HOST;

use super::claim::{Claim, Form};
use crate::auth::Presented;
use crate::exchange::Scheme;

/// Versions that a client may have written into its request line: an edge in front speaks its own.
pub(super) const VERSIONS: [&str; 3] = ["1.1", "2.0", "1.0"];

/// What a signature covers, in text; `version` is the one of the request line.
pub(super) fn signed(claim: &Claim<'_>, asked: &Presented<'_>, version: &str) -> Result<Vec<u8>, String> {
    let mut text = Vec::with_capacity(256);
    for part in &claim.parts {
        let value = match claim.form {
            Form::Lines => line_value(part, claim, asked, version)?,
            Form::Base(_) => base_value(part, asked)?,
        };
        if !text.is_empty() && claim.form == Form::Lines {
            text.push(b'\n');
        }
        match claim.form {
            // Kong's request line stands alone.
            Form::Lines if *part == "request-line" => {}
            Form::Lines => text.extend_from_slice(format!("{part}: ").as_bytes()),
            Form::Base(_) => text.extend_from_slice(format!("\"{part}\": ").as_bytes()),
        }
        text.extend_from_slice(&value);
        if claim.form != Form::Lines {
            text.push(b'\n');
        }
    }
    if let Form::Base(params) = claim.form {
        text.extend_from_slice(format!("\"@signature-params\": {params}").as_bytes());
    }
    Ok(text)
}

/// Kong's names and draft-cavage-12's (§2.3).
fn line_value<'r>(
    part: &str,
    claim: &Claim<'_>,
    asked: &Presented<'r>,
    version: &str,
) -> Result<Cow<'r, [u8]>, String> {
    let method = asked.method.as_str();
    let number = |number: Option<u64>| number.map(|number| owned(number.to_string()));
    match part {
        "request-line" => Ok(owned(format!("{method} {} HTTP/{version}", target(asked)?))),
        "(request-target)" | "@request-target" => {
            Ok(owned(format!("{} {}", method.to_ascii_lowercase(), target(asked)?)))
        }
        "(created)" => number(claim.created).ok_or_else(|| "it signs (created) and has none".to_owned()),
        "(expires)" => number(claim.expires).ok_or_else(|| "it signs (expires) and has none".to_owned()),
        _ => field(part, asked),
    }
}

/// RFC 9421 §2.2, where it can be told from a request alone.
fn base_value<'r>(part: &str, asked: &Presented<'r>) -> Result<Cow<'r, [u8]>, String> {
    let authority = || {
        let default = if asked.origin.scheme == Scheme::Https { ":443" } else { ":80" };
        asked.origin.host.strip_suffix(default).unwrap_or(&asked.origin.host)
    };
    match part {
        "@method" => Ok(owned(asked.method.as_str().to_owned())),
        "@authority" => Ok(owned(authority().to_owned())),
        "@scheme" => Ok(owned(asked.origin.scheme.as_str().to_owned())),
        "@target-uri" => Ok(owned(format!("{}://{}{}", asked.origin.scheme.as_str(), authority(), target(asked)?))),
        "@request-target" => target(asked).map(owned),
        "@path" => target(asked).map(|_| owned(asked.path.to_owned())),
        "@query" => target(asked).map(|_| owned(format!("?{}", asked.query.unwrap_or_default()))),
        _ if part.starts_with('@') => Err(format!("it signs {part}, which is not taken")),
        _ => field(part, asked),
    }
}

/// Path and query as sent. What could end a line, or the path early, would make two requests of one text.
fn target(asked: &Presented<'_>) -> Result<String, String> {
    let target = match asked.query {
        Some(query) => format!("{}?{query}", asked.path),
        None => asked.path.to_owned(),
    };
    if asked.path.contains(['?', '#']) || target.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return Err("the target has a character that ends it".to_owned());
    }
    Ok(target)
}

/// The one field of a name. Of several, an upstream may take another than was signed.
fn field<'r>(name: &str, asked: &Presented<'r>) -> Result<Cow<'r, [u8]>, String> {
    if name == HOST.as_str() {
        return Ok(owned(asked.origin.host.clone()));
    }
    let mut values = asked.headers.get_all(name).iter();
    let value = values.next().ok_or_else(|| format!("it signs {name}, which is not there"))?;
    if values.next().is_some() {
        return Err(format!("it signs {name}, which is there more than once"));
    }
    Ok(Cow::Borrowed(value.as_bytes().trim_ascii()))
}

fn owned(text: String) -> Cow<'static, [u8]> {
    Cow::Owned(text.into_bytes())
}
