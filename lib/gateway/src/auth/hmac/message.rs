//! `Signature-Input` and `Signature` of HTTP Message Signatures (RFC 9421 §4).
//!
//! Read strictly: one signature, and only the serialisation that RFC 8941 §4.1 would write, so that the parameters as
//! sent are those that were signed.

use super::claim::{Claim, Form, check_parts, decode, seconds};

const FORM: &str = "Signature-Input is not one label=(\"…\");created=…;keyid=\"…\"";

/// The one signature of these two fields.
pub(super) fn claim<'r>(input: &'r str, signature: &'r str) -> Result<Claim<'r>, &'static str> {
    let (label, params) = input.split_once('=').ok_or(FORM)?;
    let (same, signature) = signature.split_once('=').ok_or("Signature is not label=:base64:")?;
    if !is_key(label) || label != same {
        return Err("Signature-Input and Signature must have one signature, of one label");
    }
    let signature = signature.strip_prefix(':').and_then(|text| text.strip_suffix(':'));
    let signature = decode(signature.ok_or("Signature is not label=:base64:")?)?;
    let (listed, rest) = params.strip_prefix('(').and_then(|text| text.split_once(')')).ok_or(FORM)?;
    let parts: Option<Vec<_>> =
        listed.split(' ').map(|item| item.strip_prefix('"')?.strip_suffix('"').filter(|name| is_name(name))).collect();
    // Parameters of parts (`;sf`, `;key`, `;req`) would stand here.
    let parts = parts.ok_or("it covers a part that is not just a name in quotes")?;
    check_parts(&parts)?;
    let mut claim =
        Claim { client: "", algorithm: None, parts, created: None, expires: None, signature, form: Form::Base(params) };
    let mut seen = Vec::new();
    for parameter in split_parameters(rest)? {
        let (name, value) = parameter;
        if seen.contains(&name) {
            return Err("it has a parameter twice");
        }
        seen.push(name);
        match (name, value) {
            ("keyid", Value::Text(text)) => claim.client = text,
            ("alg", Value::Text(text)) => claim.algorithm = Some(text),
            ("created", Value::Number(number)) => claim.created = Some(number),
            ("expires", Value::Number(number)) => claim.expires = Some(number),
            ("keyid" | "alg" | "created" | "expires", _) => return Err(FORM),
            // `nonce`, `tag` and what is to come are signed, and tell nothing here.
            _ => {}
        }
    }
    if claim.client.is_empty() {
        return Err("it has no keyid");
    }
    Ok(claim)
}

#[derive(Clone, Copy)]
enum Value<'r> {
    Text(&'r str),
    Number(u64),
}

/// `;name="text"` and `;name=number`, any number of them.
fn split_parameters(mut rest: &str) -> Result<Vec<(&str, Value<'_>)>, &'static str> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (name, after) = rest.strip_prefix(';').and_then(|text| text.split_once('=')).ok_or(FORM)?;
        if !is_key(name) {
            return Err(FORM);
        }
        let (value, after) = if let Some(quoted) = after.strip_prefix('"') {
            let (text, after) = quoted.split_once('"').ok_or(FORM)?;
            if !text.bytes().all(|b| b == b' ' || (b.is_ascii_graphic() && b != b'\\')) {
                return Err(FORM);
            }
            (Value::Text(text), after)
        } else {
            let (digits, after) = after.split_at(after.find(';').unwrap_or(after.len()));
            (Value::Number(seconds(digits).ok_or(FORM)?), after)
        };
        found.push((name, value));
        rest = after;
    }
    Ok(found)
}

/// RFC 8941 §3.1.2.
fn is_key(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase() || c == '*')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.*".contains(&b))
}

/// A field's name in small letters, or a derived one.
fn is_name(name: &str) -> bool {
    let field = name.strip_prefix('@').unwrap_or(name);
    !field.is_empty()
        && field.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: &str = r#"sig-b25=("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret""#;
    const SIGNATURE: &str = "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:";

    #[test]
    fn the_example_of_the_standard_is_read() {
        let read = claim(INPUT, SIGNATURE).expect("a claim");
        assert_eq!((read.client, read.created, read.signature.len()), ("test-shared-secret", Some(1_618_884_473), 32));
        assert_eq!(read.parts, ["date", "@authority", "content-type"]);
        assert_eq!(read.form, Form::Base(INPUT.strip_prefix("sig-b25=").expect("a label")));
    }

    #[test]
    fn what_would_not_be_written_so_or_is_more_than_one_is_not_read() {
        for (from, to) in [
            ("\"date\" ", "\"date\"  "),
            ("\"date\" ", "\"date\";sf "),
            ("\"date\" ", "\"Date\" "),
            ("\"date\" ", "date "),
            ("\"date\" ", "\"date\" \"date\" "),
            ("(\"date\" \"@authority\" \"content-type\")", "()"),
            (";created", "; created"),
            ("1618884473", "\"1618884473\""),
            ("1618884473", "01618884473"),
            ("1618884473", "1618884473.0"),
            (";keyid=\"test-shared-secret\"", ""),
            (";keyid", ";keyid=\"a\";keyid"),
            ("\"test-shared-secret\"", "test-shared-secret"),
            ("secret\"", "secret\", sig2=()"),
            ("sig-b25=", "Sig="),
            ("sig-b25=", "other="),
        ] {
            let input = INPUT.replace(from, to);
            assert_ne!(input, INPUT);
            assert!(claim(&input, SIGNATURE).is_err(), "{input}");
        }
        for signature in
            ["sig-b25=pxcQ", "sig-b25=:pxcQ", "sig-b25=:px cQ:", "sig-b25=:pxcQ:, b=:pxcQ:", "b=:pxcQ:", ""]
        {
            assert!(claim(INPUT, signature).is_err(), "{signature}");
        }
    }
}
