//! Who asks: how the gateway proves to an introspection endpoint that it may (RFC 7662 §2.1, RFC 6749 §2.3.1).

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue};

use crate::secret::Secret;

/// The client that the gateway is at an authorization server.
#[derive(Debug)]
pub struct Client {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: Arc<Secret>,
    /// Whether both go in the content (`client_secret_post`), and not in `Authorization` (`client_secret_basic`).
    pub post: bool,
}

impl Client {
    /// The fields and the content that ask for `token`.
    ///
    /// # Errors
    /// That the secret is not resolved, or no text.
    pub(super) fn question(&self, token: &str) -> Result<(HeaderMap, String), String> {
        let reference = self.secret.reference();
        let secret = self.secret.get().ok_or_else(|| format!("{reference} is not resolved"))?;
        let secret = std::str::from_utf8(&secret).map_err(|_| format!("{reference} is no text"))?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static("tollgate"));
        let mut form = format!("token={}&token_type_hint=access_token", encoded(token));
        let (id, secret) = (encoded(&self.id), encoded(secret));
        if self.post {
            form.push_str(&format!("&client_id={id}&client_secret={secret}"));
        } else {
            let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
            let mut field = HeaderValue::try_from(basic).map_err(|error| error.to_string())?;
            field.set_sensitive(true);
            headers.insert(AUTHORIZATION, field);
        }
        Ok((headers, form))
    }
}

/// As `application/x-www-form-urlencoded` has it (RFC 6749 appendix B).
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => encoded.push(char::from(byte)),
            b' ' => encoded.push('+'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn client(post: bool) -> Client {
        let secret = Secret::new("env:IDP_SECRET", Some(Bytes::from_static("p:s+%ü".as_bytes())));
        Client { id: "my gateway:1".to_owned(), secret: Arc::new(secret), post }
    }

    #[test]
    fn id_and_secret_are_encoded_each_before_they_are_joined() {
        let (headers, form) = client(false).question("a+b/c==").unwrap();
        let basic = headers[AUTHORIZATION].to_str().unwrap().strip_prefix("Basic ").unwrap();
        assert_eq!(STANDARD.decode(basic).unwrap(), b"my+gateway%3A1:p%3As%2B%25%C3%BC");
        assert_eq!(form, "token=a%2Bb%2Fc%3D%3D&token_type_hint=access_token");
        assert!(!format!("{headers:?}").contains(basic));
    }

    #[test]
    fn with_post_both_go_in_the_content_alone() {
        let (headers, form) = client(true).question("t").unwrap();
        assert!(!headers.contains_key(AUTHORIZATION));
        let wanted = "token=t&token_type_hint=access_token&client_id=my+gateway%3A1&client_secret=p%3As%2B%25%C3%BC";
        assert_eq!(form, wanted);
    }

    #[test]
    fn a_secret_that_is_not_there_is_told_by_its_name_and_one_that_is_is_never_shown() {
        let absent = Client { secret: Arc::new(Secret::new("env:IDP_SECRET", None)), ..client(false) };
        assert_eq!(absent.question("t").unwrap_err(), "env:IDP_SECRET is not resolved");
        assert!(!format!("{:?}", client(true)).contains("p:s"));
    }
}
