//! Where an issuer says its keys are: OpenID Connect Discovery 1.0 §4, and RFC 8414 §3 where that is not served.

use serde_json::{Map, Value};

use crate::auth::jwt::token::line;

/// Where the metadata of `issuer` may be, the likelier first; `None` where it can have none.
pub(crate) fn well_known(issuer: &str) -> Option<[String; 2]> {
    let (scheme, rest) = issuer.split_once("://")?;
    if rest.contains(['?', '#', '@', '\\']) || rest.starts_with('/') {
        return None;
    }
    let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let path = path.strip_suffix('/').unwrap_or(path);
    Some([
        format!("{scheme}://{host}{path}/.well-known/openid-configuration"),
        format!("{scheme}://{host}/.well-known/oauth-authorization-server{path}"),
    ])
}

/// The address of the keys, by the metadata of `issuer`.
///
/// # Errors
/// Where the metadata is another issuer's (OpenID Connect Discovery 1.0 §4.3, RFC 8414 §3.3), or names no keys.
pub(super) fn jwks_uri<'m>(metadata: &'m Map<String, Value>, issuer: &str) -> Result<&'m str, String> {
    match metadata.get("issuer").and_then(Value::as_str) {
        Some(said) if said == issuer => {}
        Some(said) => {
            return Err(format!("its metadata is that of {:?}, and not byte for byte of {issuer:?}", line(said)));
        }
        None => return Err("its metadata names no issuer".to_owned()),
    }
    let uri = metadata.get("jwks_uri").and_then(Value::as_str);
    uri.ok_or_else(|| "its metadata names no jwks_uri".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metadata_is_beside_the_issuer_or_between_its_host_and_its_path() {
        for (issuer, openid, oauth) in [
            (
                "https://login.example.com",
                "https://login.example.com/.well-known/openid-configuration",
                "https://login.example.com/.well-known/oauth-authorization-server",
            ),
            (
                "https://login.example.com/",
                "https://login.example.com/.well-known/openid-configuration",
                "https://login.example.com/.well-known/oauth-authorization-server",
            ),
            (
                "http://127.0.0.1:8080/realms/shop",
                "http://127.0.0.1:8080/realms/shop/.well-known/openid-configuration",
                "http://127.0.0.1:8080/.well-known/oauth-authorization-server/realms/shop",
            ),
            (
                "https://login.example.com/t1/",
                "https://login.example.com/t1/.well-known/openid-configuration",
                "https://login.example.com/.well-known/oauth-authorization-server/t1",
            ),
        ] {
            assert_eq!(well_known(issuer).unwrap(), [openid, oauth]);
        }
    }

    #[test]
    fn an_issuer_with_a_query_a_fragment_a_user_or_no_host_has_no_metadata() {
        for issuer in
            ["login.example.com", "https://a/?x=1", "https://a/#x", "https://u@a/", "https:///a", r"https://a\b", ""]
        {
            assert_eq!(well_known(issuer), None, "{issuer}");
        }
    }

    #[test]
    fn the_keys_are_where_the_issuers_own_metadata_says_and_nobody_elses() {
        let ours = "https://login.example.com/";
        let of = |text: &str| {
            let metadata: Map<String, Value> = serde_json::from_str(text).unwrap();
            jwks_uri(&metadata, ours).map(str::to_owned)
        };
        let good = r#"{"issuer": "https://login.example.com/", "jwks_uri": "https://login.example.com/keys"}"#;
        assert_eq!(of(good).unwrap(), "https://login.example.com/keys");
        for (text, why) in [
            (r#"{"issuer": "https://login.example.com", "jwks_uri": "https://a/"}"#, "not byte for byte"),
            (r#"{"issuer": "https://LOGIN.example.com/", "jwks_uri": "https://a/"}"#, "not byte for byte"),
            (r#"{"issuer": ["https://login.example.com/"], "jwks_uri": "https://a/"}"#, "names no issuer"),
            (r#"{"jwks_uri": "https://a/"}"#, "names no issuer"),
            (r#"{"issuer": "https://login.example.com/"}"#, "names no jwks_uri"),
            (r#"{"issuer": "https://login.example.com/", "jwks_uri": 7}"#, "names no jwks_uri"),
        ] {
            let told = of(text).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }
}
