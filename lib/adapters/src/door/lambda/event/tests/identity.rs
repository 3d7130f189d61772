//! Who front doors say is calling, and who clients say is.

use tollgate::exchange::{CertFrom, ClientCert, IamIdentity};

use super::doors::{balanced, http_api, read_value, v1};
use super::*;

const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----";
const GROUP: &str = "arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/t/1";

fn certificate(event: &Value) -> Option<ClientCert> {
    read_value(event).request.origin.client_certificate
}

fn iam(event: &Value) -> Option<IamIdentity> {
    read_value(event).request.origin.iam
}

fn from(from: CertFrom, text: &'static str) -> Option<ClientCert> {
    Some(ClientCert { from, text: Bytes::from_static(text.as_bytes()) })
}

fn alb(verified: bool) -> CertFrom {
    CertFrom::Alb { target_group: GROUP.to_owned(), verified }
}

fn said(user_id: &str) -> Option<IamIdentity> {
    let text = |text: &str| text.to_owned();
    Some(IamIdentity {
        arn: text("arn:aws:iam::123456789012:user/ada"),
        account: text("123456789012"),
        user_id: text(user_id),
        organization: text("o-shop"),
    })
}

#[test]
fn api_gateway_says_the_certificate_in_its_context() {
    let mut event = http_api("$default", "/");
    event["requestContext"]["authentication"] =
        json!({ "clientCert": { "clientCertPem": PEM, "subjectDN": "CN=ada" } });
    assert_eq!(certificate(&event), from(CertFrom::ApiGateway, PEM));
    let mut event = v1("/", &Value::Null);
    event["requestContext"]["identity"]["clientCert"] = json!({ "clientCertPem": PEM, "serialNumber": "1" });
    assert_eq!(certificate(&event), from(CertFrom::ApiGateway, PEM));
    event["version"] = "1.0".into();
    assert_eq!(certificate(&event), from(CertFrom::ApiGateway, PEM));
}

#[test]
fn a_certificate_that_is_not_said_is_none() {
    for nothing in [
        json!(null),
        json!({}),
        json!({ "clientCert": null }),
        json!({ "clientCert": {} }),
        json!({ "clientCert": { "clientCertPem": "" } }),
    ] {
        let (mut event, mut rest) = (http_api("$default", "/"), v1("/", &Value::Null));
        event["requestContext"]["authentication"] = nothing.clone();
        rest["requestContext"]["identity"]["clientCert"] = nothing["clientCert"].clone();
        assert_eq!((certificate(&event), certificate(&rest)), (None, None), "{nothing}");
    }
}

#[test]
fn a_load_balancer_says_it_in_fields_beside_its_target_group() {
    for (field, verified) in [("x-amzn-mtls-clientcert-leaf", true), ("x-amzn-mtls-clientcert", false)] {
        let mut event = balanced();
        event["headers"][field] = "-----BEGIN%20".into();
        assert_eq!(certificate(&event), from(alb(verified), "-----BEGIN%20"));
        let headers = event["headers"].take();
        event["multiValueHeaders"] =
            headers.as_object().unwrap().iter().map(|(k, v)| (k.clone(), json!([v]))).collect();
        event.as_object_mut().unwrap().remove("headers");
        assert_eq!(certificate(&event), from(alb(verified), "-----BEGIN%20"));
        event["multiValueHeaders"][field] = json!(["own", "forged"]);
        assert_eq!(certificate(&event), None, "two");
        event["multiValueHeaders"][field] = json!(["own"]);
        event["requestContext"]["elb"] = json!({});
        assert_eq!(certificate(&event), None, "no target group");
    }
    let mut event = balanced();
    event["headers"]["x-amzn-mtls-clientcert-leaf"] = "own".into();
    event["headers"]["x-amzn-mtls-clientcert"] = "forged".into();
    assert_eq!(certificate(&event), None, "one of them is the client's");
    assert_eq!(certificate(&balanced()), None);
}

#[test]
fn what_clients_write_of_certificates_and_of_themselves_is_not_looked_at() {
    let forged = |event: &mut Value, lists: bool| {
        for name in ["x-amzn-mtls-clientcert", "x-amzn-mtls-clientcert-leaf", "client-cert", "x-forwarded-client-cert"]
        {
            let (map, value) = if lists { ("multiValueHeaders", json!([PEM])) } else { ("headers", PEM.into()) };
            event[map][name] = value;
        }
        event["body"] = json!({ "requestContext": { "authentication": { "clientCert": { "clientCertPem": PEM } } } })
            .to_string()
            .into();
        event["isBase64Encoded"] = false.into();
    };
    for (mut event, lists) in [(event(), false), (http_api("$default", "/"), false), (v1("/", &Value::Null), true)] {
        forged(&mut event, lists);
        assert_eq!((certificate(&event), iam(&event)), (None, None), "{event}");
    }
    let mut balanced = balanced();
    balanced["headers"]["client-cert"] = PEM.into();
    balanced["headers"]["x-forwarded-client-cert"] = PEM.into();
    assert_eq!((certificate(&balanced), iam(&balanced)), (None, None));
}

#[test]
fn function_urls_and_http_apis_say_whose_signature_they_checked() {
    let authorizer = json!({ "iam": {
        "accessKey": "AKIA…", "accountId": "123456789012", "callerId": "AIDA…", "cognitoIdentity": null,
        "principalOrgId": "o-shop", "userArn": "arn:aws:iam::123456789012:user/ada", "userId": "AIDA…"
    } });
    for mut event in [event(), http_api("$default", "/")] {
        event["requestContext"]["authorizer"] = authorizer.clone();
        assert_eq!(iam(&event), said("AIDA…"));
        for member in ["accountId", "principalOrgId", "userId"] {
            event["requestContext"]["authorizer"]["iam"][member] = Value::Null;
        }
        let arn = "arn:aws:iam::123456789012:user/ada".to_owned();
        assert_eq!(iam(&event), Some(IamIdentity { arn, ..IamIdentity::default() }));
    }
}

#[test]
fn rest_apis_say_it_of_the_identity() {
    let mut event = v1("/", &Value::Null);
    for (name, value) in [
        ("userArn", "arn:aws:iam::123456789012:user/ada"),
        ("accountId", "123456789012"),
        ("user", "AIDA…"),
        ("caller", "AIDA…"),
        ("principalOrgId", "o-shop"),
    ] {
        event["requestContext"]["identity"][name] = value.into();
    }
    assert_eq!(iam(&event), said("AIDA…"));
    event["requestContext"]["identity"]["userArn"] = Value::Null;
    assert_eq!(iam(&event), None);
}

#[test]
fn an_authorizer_of_the_users_own_says_nothing_of_aws_and_costs_nothing() {
    for authorizer in [
        json!(null),
        json!({}),
        json!({ "lambda": { "iam": { "userArn": "arn:aws:iam::1:root" } } }),
        json!({ "jwt": { "claims": { "iam": "x" }, "scopes": null } }),
        json!({ "iam": null }),
        json!({ "iam": "arn:aws:iam::1:root" }),
        json!({ "iam": 7, "principalId": "a" }),
        json!({ "iam": [1, { "a": 2 }] }),
        json!({ "iam": {} }),
        json!("iam"),
        json!([{ "iam": 1 }]),
        json!(true),
        json!(-7),
        json!(1.5),
    ] {
        let (mut two, mut one) = (http_api("$default", "/"), v1("/", &Value::Null));
        two["requestContext"]["authorizer"] = authorizer.clone();
        one["requestContext"]["authorizer"] = authorizer.clone();
        assert_eq!((iam(&two), iam(&one)), (None, None), "{authorizer}");
    }
    // Payload format 1.0 has the context of an authorizer of the user's own where format 2.0 has `iam`.
    let mut event = v1("/", &Value::Null);
    event["requestContext"]["authorizer"] = json!({ "iam": { "userArn": "arn:aws:iam::123456789012:root" } });
    assert_eq!(iam(&event), None);
}
