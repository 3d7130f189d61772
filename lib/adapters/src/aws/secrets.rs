//! Parameters of the Systems Manager and secrets of the Secrets Manager, asked for over the gateway's own HTTP client.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tollgate::call::{Call, Endpoint, Reply};
use tollgate::forward::Upstream;
use tollgate::forward::sign::SigV4;

use super::Account;

/// For one call. Whoever asks has a bound of its own, which is shorter.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The most that an answer may have: a secret has 64 KiB, written as JSON or in base64.
const MOST: usize = 512 * 1024;

/// Calls at once.
const AT_ONCE: usize = 8;

/// The most of what AWS says of an error that goes to the log.
const LONGEST_MESSAGE: usize = 300;

/// Endpoints of their own instead of the region's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Of the Systems Manager.
    pub ssm: Option<String>,
    /// Of the Secrets Manager.
    pub secretsmanager: Option<String>,
}

impl Endpoints {
    /// As `get` knows them by the names that every AWS program takes.
    pub fn of(get: impl Fn(&'static str) -> Option<String>) -> Self {
        let get = |name| get(name).filter(|url| !url.is_empty());
        Self { ssm: get("AWS_ENDPOINT_URL_SSM"), secretsmanager: get("AWS_ENDPOINT_URL_SECRETS_MANAGER") }
    }
}

/// Reads `ssm:` and `secretsmanager:` references.
pub struct AwsSecrets {
    account: Arc<Account>,
    upstream: Arc<dyn Upstream>,
    endpoints: Endpoints,
    turns: Semaphore,
}

impl AwsSecrets {
    /// Asks over `upstream`, which signs as `account`. Nothing is asked yet.
    pub fn new(account: Arc<Account>, upstream: Arc<dyn Upstream>, endpoints: Endpoints) -> Self {
        Self { account, upstream, endpoints, turns: Semaphore::new(AT_ONCE) }
    }

    /// The value of the parameter `name`, decrypted.
    ///
    /// # Errors
    /// Why there is none, for the log.
    pub async fn parameter(&self, name: &str) -> Result<Bytes, String> {
        let asked = json!({"Name": name, "WithDecryption": true});
        let answer = self.ask("ssm", self.endpoints.ssm.as_deref(), "AmazonSSM.GetParameter", name, &asked).await?;
        let value = answer.pointer("/Parameter/Value").and_then(Value::as_str);
        value.map(|value| Bytes::from(value.to_owned())).ok_or_else(|| "the answer holds no value".to_owned())
    }

    /// The value of the secret `id`; with `member`, that of one member of the JSON object that it is.
    ///
    /// # Errors
    /// Why there is none, for the log.
    pub async fn secret(&self, id: &str, member: Option<&str>) -> Result<Bytes, String> {
        const OPERATION: &str = "secretsmanager.GetSecretValue";
        let endpoint = self.endpoints.secretsmanager.as_deref();
        let answer = self.ask("secretsmanager", endpoint, OPERATION, id, &json!({"SecretId": id})).await?;
        let text = answer.get("SecretString").and_then(Value::as_str);
        let binary = answer.get("SecretBinary").and_then(Value::as_str);
        match (text, binary, member) {
            (Some(text), _, Some(member)) => member_of(text, member),
            (Some(text), _, None) => Ok(Bytes::from(text.to_owned())),
            (None, Some(_), Some(_)) => Err("it is binary and has no members".to_owned()),
            (None, Some(binary), None) => {
                let bytes = STANDARD.decode(binary).map_err(|_| "the answer's base64 is none".to_owned())?;
                Ok(Bytes::from(bytes))
            }
            (None, None, _) => Err("the answer holds no value".to_owned()),
        }
    }

    async fn ask(
        &self,
        service: &'static str,
        endpoint: Option<&str>,
        operation: &'static str,
        name: &str,
        asked: &Value,
    ) -> Result<Value, String> {
        let region = match region_of(name) {
            Some(region) => region,
            None => self.account.region().await?,
        };
        let url = endpoint.map_or_else(|| regional(service, region), str::to_owned);
        let endpoint = Endpoint::parse(&url, None).map_err(|why| format!("the endpoint \"{url}\" {why}"))?;
        let endpoint = endpoint.signed(SigV4 { service: service.into(), region: Some(region.into()) });
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-amz-json-1.1"));
        headers.insert(HeaderName::from_static("x-amz-target"), HeaderValue::from_static(operation));
        let body = Bytes::from(asked.to_string());
        let _turn = self.turns.acquire().await.map_err(|closed| closed.to_string())?;
        let call = Call { method: Method::POST, headers, body, timeout: TIMEOUT, most: MOST };
        read(&endpoint.call(&*self.upstream, call).await?)
    }
}

impl fmt::Debug for AwsSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsSecrets").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

/// The region of an ARN (`arn:PARTITION:SERVICE:REGION:…`), which may be another than ours.
fn region_of(name: &str) -> Option<&str> {
    name.strip_prefix("arn:")?.split(':').nth(2).filter(|region| !region.is_empty())
}

fn regional(service: &str, region: &str) -> String {
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("https://{service}.{region}.{domain}/")
}

/// An answer in AWS's JSON protocol, or what went wrong in AWS's words.
fn read(reply: &Reply) -> Result<Value, String> {
    let answer = serde_json::from_slice::<Value>(&reply.body);
    if reply.status == StatusCode::OK {
        // The parser's own words would quote what it read.
        return answer.map_err(|_| "the answer is no JSON".to_owned());
    }
    let answer = answer.unwrap_or_default();
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    let kind = text("__type").map(|kind| kind.rsplit('#').next().unwrap_or(kind)).unwrap_or_default();
    let message: String =
        text("message").or_else(|| text("Message")).unwrap_or_default().chars().take(LONGEST_MESSAGE).collect();
    let told = [kind, message.as_str()].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ");
    Err(format!("AWS answered {} {told}", reply.status.as_u16()))
}

fn member_of(text: &str, member: &str) -> Result<Bytes, String> {
    let object = serde_json::from_str::<Value>(text).map_err(|_| "it is no JSON and has no members".to_owned())?;
    match object.get(member) {
        Some(Value::String(value)) => Ok(Bytes::from(value.clone())),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Bytes::from(value.to_string())),
        Some(Value::Null | Value::Array(_) | Value::Object(_)) => Err(format!("its member \"{member}\" is no text")),
        None => Err(format!("it has no member \"{member}\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_says_its_region_and_a_name_does_not() {
        assert_eq!(
            region_of("arn:aws:secretsmanager:eu-central-1:123456789012:secret:shop-AbCdEf"),
            Some("eu-central-1")
        );
        for name in ["/shop/edge", "shop", "arn:aws:ssm", "arn:aws:ssm::1:parameter/a"] {
            assert_eq!(region_of(name), None, "{name}");
        }
        assert_eq!(regional("ssm", "eu-west-1"), "https://ssm.eu-west-1.amazonaws.com/");
        assert_eq!(regional("ssm", "cn-north-1"), "https://ssm.cn-north-1.amazonaws.com.cn/");
    }

    #[test]
    fn one_member_of_a_secret_may_be_meant_and_what_is_told_quotes_nothing() {
        let secret = r#"{"user": "gw", "password": "hush", "port": 5432, "hosts": ["a"]}"#;
        assert_eq!(member_of(secret, "password").unwrap(), "hush");
        assert_eq!(member_of(secret, "port").unwrap(), "5432");
        for (secret, member) in [(secret, "hosts"), (secret, "none"), ("hush", "password"), ("[\"hush\"]", "password")]
        {
            let why = member_of(secret, member).unwrap_err();
            assert!(!why.contains("hush"), "{why}");
        }
    }
}
