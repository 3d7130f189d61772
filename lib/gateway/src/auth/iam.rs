//! IAM: AWS checked the request's signature (Signature Version 4) at a front door with `AWS_IAM`, and says whose it is.
//!
//! A session of an assumed role counts as its role: whoever may assume it chooses the session's name, so that is no
//! identity. AWS says nothing of a role's path; names of roles are unique in an account without it.

use std::fmt;
use std::sync::Arc;

use http::header::AUTHORIZATION;

use super::caller::{Caller, Identity};
use super::fields::take_off;
use super::granted::Granted;
use super::jwt::Source;
use super::{Challenge, Denied, Method, Presented};
use crate::access::Pattern;
use crate::exchange::{After, IamIdentity, Origin, Request};
use crate::forward::BoxFuture;
use crate::gateway::World;

/// An entry of `auth` that identifies by what AWS checked.
#[derive(Debug)]
pub struct Iam {
    name: Arc<str>,
    allow: Vec<Principal>,
    granted: Granted,
}

/// Who is allowed: an ARN, in whose resource `*` stands for a run of characters, none or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal(Pattern);

/// Longer than any ARN of a principal is.
const LONGEST: usize = 2_048;

impl Iam {
    /// What [`Caller::via`] says of callers that AWS knows.
    const VIA: &str = "iam";

    /// The entry `name`, which lets these in.
    pub fn new(name: &str, allow: Vec<Principal>, granted: Granted) -> Self {
        Self { name: name.into(), allow, granted }
    }

    fn caller(&self, origin: &Origin) -> Result<Caller, Denied> {
        let said = origin.iam.as_ref().filter(|said| !said.arn.is_empty()).ok_or(Denied::Missing)?;
        self.judge(said).map_err(|why| Denied::Invalid(format!("{}: {why}", self.name)))
    }

    fn judge(&self, said: &IamIdentity) -> Result<Caller, String> {
        let Some(arn) = Arn::parse(&said.arn) else { return Err("AWS names nobody that can be read".to_owned()) };
        if !said.account.is_empty() && said.account != arn.account {
            return Err(format!("AWS says two accounts, {} and {}", arn.account, said.account));
        }
        let id = arn.role().unwrap_or_else(|| said.arn.clone());
        if !self.allow.iter().any(|principal| principal.0.fits(&id) || principal.0.fits(&said.arn)) {
            return Err(format!("{} is not allowed", said.arn));
        }
        let claims = [
            ("arn", said.arn.as_str()),
            ("account", arn.account),
            ("user_id", &said.user_id),
            ("organization", &said.organization),
        ];
        let claims = claims.iter().filter(|(_, text)| !text.is_empty());
        Ok(Caller::of(Identity {
            claims: claims.map(|(name, text)| ((*name).to_owned(), (*text).into())).collect(),
            ..self.granted.identity(Self::VIA, id, arn.account)
        }))
    }
}

impl Method for Iam {
    fn identify<'a>(
        &'a self,
        asked: &'a Presented<'a>,
        _: &'a World,
        _: &'a mut After,
    ) -> BoxFuture<'a, Result<Caller, Denied>> {
        Box::pin(std::future::ready(self.caller(asked.origin)))
    }

    /// The signature, symmetric or not, and the session's token, in the fields or in the query: whoever has both may
    /// send the request again until the signature ends.
    fn strip(&self, request: &mut Request) {
        take_off(&mut request.headers, &AUTHORIZATION, |value| value.starts_with(SCHEMES));
        request.headers.remove("x-amz-security-token");
        for name in ["X-Amz-Signature", "X-Amz-Security-Token"] {
            Source::Query(name.to_owned()).strip(request);
        }
    }

    fn challenge(&self) -> Challenge {
        Challenge::Scheme(SCHEME)
    }

    fn describe(&self) -> String {
        let allow: Vec<String> = self.allow.iter().map(ToString::to_string).collect();
        format!("iam, {}", allow.join(" or "))
    }
}

const SCHEME: &str = "AWS4-HMAC-SHA256";

/// How the schemes of AWS's signatures begin.
const SCHEMES: &str = "AWS4-";

impl Principal {
    /// # Errors
    /// What is wrong with it, as the end of a sentence that names it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let arn = Arn::parse(text).ok_or("must be the ARN of a user, a role or a session, with its account")?;
        if let Some(role) = arn.resource.strip_prefix("role/")
            && role.contains('/')
        {
            return Err("must name a role without its path, which AWS does not tell");
        }
        Ok(Self(Pattern::new(text)))
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// `arn:partition:service::account:resource`, the service being `iam` or `sts`.
struct Arn<'a> {
    partition: &'a str,
    service: &'a str,
    account: &'a str,
    resource: &'a str,
}

impl<'a> Arn<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(':');
        let [arn, partition, service, region, account, resource] = std::array::from_fn(|_| parts.next());
        let (partition, service, account, resource) = (partition?, service?, account?, resource?);
        let fits = arn == Some("arn")
            && parts.next().is_none()
            && text.len() <= LONGEST
            && text.bytes().all(|b| b.is_ascii_graphic())
            && partition.starts_with("aws")
            && !partition.contains('*')
            && matches!(service, "iam" | "sts")
            && region == Some("")
            && account.len() == 12
            && account.bytes().all(|b| b.is_ascii_digit())
            && !resource.is_empty();
        fits.then_some(Self { partition, service, account, resource })
    }

    /// The role that it is a session of, as IAM names it but for its path.
    fn role(&self) -> Option<String> {
        let name = (self.service == "sts").then(|| self.resource.strip_prefix("assumed-role/"))??;
        let (name, _) = name.split_once('/')?;
        Some(format!("arn:{}:iam::{}:role/{name}", self.partition, self.account))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = "arn:aws:iam::123456789012:role/*";
    const SESSION: &str = "arn:aws:sts::123456789012:assumed-role/orders/i-0abc";

    fn said(arn: &str) -> IamIdentity {
        IamIdentity {
            arn: arn.to_owned(),
            account: "123456789012".to_owned(),
            user_id: "AROAX:i-0abc".to_owned(),
            organization: "o-shop".to_owned(),
        }
    }

    fn iam(allow: &[&str]) -> Iam {
        let allow = allow.iter().map(|text| Principal::parse(text).unwrap()).collect();
        Iam::new("internal", allow, Granted { plan: "pro".to_owned(), ..Granted::default() })
    }

    #[test]
    fn a_session_counts_as_its_role_and_its_account_is_the_tenant() {
        let caller = iam(&[ROLE]).judge(&said(SESSION)).unwrap();
        assert_eq!(caller.id(), "arn:aws:iam::123456789012:role/orders");
        assert_eq!((caller.tenant(), caller.plan(), caller.via()), ("123456789012", "pro", "iam"));
        let claims = serde_json::to_string(caller.claims()).unwrap();
        let expected = r#"{"arn":"arn:aws:sts::123456789012:assumed-role/orders/i-0abc","account":"123456789012","user_id":"AROAX:i-0abc","organization":"o-shop"}"#;
        assert_eq!(claims, expected);
    }

    #[test]
    fn those_who_are_allowed_are_let_in_and_no_others() {
        for (allow, arn, allowed) in [
            (ROLE, SESSION, true),
            (ROLE, "arn:aws:iam::123456789012:user/ada", false),
            (ROLE, "arn:aws:iam::123456789012:root", false),
            (ROLE, "arn:aws-cn:sts::123456789012:assumed-role/orders/i", false),
            ("arn:aws:iam::123456789012:role/orders", SESSION, true),
            ("arn:aws:iam::123456789012:role/order", SESSION, false),
            ("arn:aws:iam::123456789012:role/Orders", SESSION, false),
            ("arn:aws:iam::123456789012:role/or*s", SESSION, true),
            ("arn:aws:iam::123456789012:role/*er*s", SESSION, true),
            ("arn:aws:iam::123456789012:role/orders*orders", SESSION, false),
            ("arn:aws:iam::123456789012:role/*x*s", SESSION, false),
            ("arn:aws:sts::123456789012:assumed-role/orders/i-0abc", SESSION, true),
            ("arn:aws:sts::123456789012:assumed-role/orders/i-1*", SESSION, false),
            ("arn:aws:iam::123456789012:user/*", "arn:aws:iam::123456789012:user/team/ada", true),
            ("arn:aws:iam::123456789012:user/team/*", "arn:aws:iam::123456789012:user/ada", false),
            ("arn:aws:iam::123456789012:*", SESSION, true),
        ] {
            assert_eq!(iam(&[allow]).judge(&said(arn)).is_ok(), allowed, "{allow} of {arn}");
        }
    }

    #[test]
    fn the_signature_goes_no_further_wherever_it_stands_and_all_else_does() {
        let mut request = crate::testkit::request("GET /");
        for value in ["Basic YTpi", "AWS4-HMAC-SHA256 Credential=a", "AWS4-ECDSA-P256-SHA256 Credential=a"] {
            request.headers.append(AUTHORIZATION, http::HeaderValue::from_static(value));
        }
        request.headers.insert("x-amz-security-token", http::HeaderValue::from_static("hush"));
        request.query = Some("a=1&X-Amz-Signature=hush&X-Amz%2DSecurity-Token=hush&X-Amz-Date=2".to_owned());
        iam(&[ROLE]).strip(&mut request);
        let left: Vec<_> = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(left, [("authorization", &b"Basic YTpi"[..])]);
        assert_eq!(request.query.as_deref(), Some("a=1&X-Amz-Date=2"));
    }

    #[test]
    fn what_aws_would_not_say_is_nobody() {
        for arn in [
            "arn",
            "arn:aws:iam::12345678901:role/a",
            "arn:aws:lambda::123456789012:role/a",
            "arn:aws:iam:eu-west-1:123456789012:role/a",
            "arn:aws:iam::123456789012:",
            "arn:aws:iam::123456789012:role/a b",
            "arn:aws:iam::123456789012:role/a:b",
            "arn:aws:iam::210987654321:role/a",
        ] {
            assert!(iam(&["arn:aws:iam::123456789012:*"]).judge(&said(arn)).is_err(), "{arn}");
        }
    }

    #[test]
    fn principals_that_could_match_nobody_or_anybody_are_refused() {
        for text in [
            "",
            "*",
            "arn:aws:iam::*:role/a",
            "arn:*:iam::123456789012:role/a",
            "arn:aws:*::123456789012:role/a",
            "arn:aws:iam::1234567890123:role/a",
            "arn:aws:iam::123456789012:role/path/a",
            "arn:aws:iam::123456789012:role/a:b",
        ] {
            assert!(Principal::parse(text).is_err(), "{text}");
        }
        assert_eq!(Principal::parse(ROLE).unwrap().to_string(), ROLE);
    }
}
