//! What API Gateway and load balancers make of a request, taken back to what the client sent.

use super::*;

pub(super) fn http_api(stage: &str, path: &str) -> Value {
    json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "a=%20b&a=2",
        "cookies": ["a=1", "b=2"],
        "headers": { "host": "a1b2.execute-api.eu-west-1.amazonaws.com", "x-forwarded-for": "203.0.113.9" },
        "queryStringParameters": { "a": " b,2" },
        "requestContext": {
            "domainName": "a1b2.execute-api.eu-west-1.amazonaws.com", "requestId": "JKJaXmPLvHcESHA=", "stage": stage,
            "http": { "method": "GET", "path": path, "protocol": "HTTP/2.0", "sourceIp": "192.0.2.7" }
        },
        "isBase64Encoded": false
    })
}

pub(super) fn v1(path: &str, query: &Value) -> Value {
    json!({
        "resource": "/{proxy+}", "path": path, "httpMethod": "POST",
        "headers": { "Host": "api.example.com", "X-Twice": "2", "Cookie": "b=2" },
        "multiValueHeaders": {
            "Host": ["api.example.com"], "X-Twice": ["1", "2"], "Cookie": ["a=1", "b=2"], "X-Null": null
        },
        "queryStringParameters": null,
        "multiValueQueryStringParameters": query,
        "pathParameters": { "proxy": "x" }, "stageVariables": null,
        "requestContext": {
            "domainName": "api.example.com", "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef", "stage": "prod",
            "path": "/prod/x", "httpMethod": "POST", "protocol": "HTTP/1.1", "resourcePath": "/{proxy+}",
            "identity": { "sourceIp": "192.0.2.7", "userAgent": "curl" }
        },
        "body": "eyJhIjoxfQ==", "isBase64Encoded": true
    })
}

pub(super) fn balanced() -> Value {
    json!({
        "requestContext": { "elb": { "targetGroupArn": "arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/t/1" } },
        "httpMethod": "GET", "path": "/a%20b/%2e%2e/c", "queryStringParameters": { "q": "%C3%A9", "flag": "" },
        "headers": {
            "host": "lb.example.com", "x-forwarded-for": "198.51.100.1, 192.0.2.7", "x-forwarded-proto": "https",
            "x-forwarded-port": "443", "cookie": "a=1; b=2"
        },
        "body": "", "isBase64Encoded": false
    })
}

pub(super) fn read_value(event: &Value) -> Incoming {
    read_text(&event.to_string()).unwrap()
}

fn changed(mut event: Value, change: impl FnOnce(&mut Value)) -> Incoming {
    change(&mut event);
    read_value(&event)
}

#[test]
fn an_http_apis_decoded_path_is_encoded_again_without_its_stage() {
    for (stage, path, taken) in [
        ("$default", "/orders/1", "/orders/1"),
        ("$default", "/a b/%/?x#y", "/a%20b/%25/%3Fx%23y"),
        ("$default", "/50%25", "/50%2525"),
        ("$default", "/grüße/\u{1}", "/gr%C3%BC%C3%9Fe/%01"),
        ("$default", "/$default/x", "/$default/x"),
        ("prod", "/prod/orders/1", "/orders/1"),
        ("prod", "/prod", "/"),
        ("prod", "/prod/", "/"),
        ("prod", "/production/x", "/production/x"),
        ("prod", "/orders/prod/x", "/orders/prod/x"),
        ("prod", "/prod/prod/x", "/prod/x"),
    ] {
        let incoming = read_value(&http_api(stage, path));
        assert_eq!((incoming.request.path.as_str(), incoming.front), (taken, Front::HttpApi), "{stage} {path}");
        assert!(incoming.refusal.is_none());
        let older = changed(v1(path, &Value::Null), |event| {
            event["version"] = "1.0".into();
            event["requestContext"]["stage"] = stage.into();
        });
        assert_eq!((older.request.path.as_str(), older.front), (taken, Front::HttpApiV1), "{stage} {path}");
    }
}

#[test]
fn an_http_apis_query_is_as_it_was_sent_and_its_cookies_are_one_field() {
    let request = read_value(&http_api("$default", "/")).request;
    assert_eq!(request.query.as_deref(), Some("a=%20b&a=2"));
    assert_eq!(request.headers[COOKIE], "a=1; b=2");
    let Origin { ip, scheme, host, version, id, .. } = request.origin;
    assert_eq!((ip.to_string().as_str(), scheme, version), ("192.0.2.7", Scheme::Https, "2.0"));
    assert_eq!((host.as_str(), id.as_str()), ("a1b2.execute-api.eu-west-1.amazonaws.com", "JKJaXmPLvHcESHA="));
}

#[test]
fn a_rest_apis_path_is_as_it_was_sent_and_its_stage_no_part_of_it() {
    for path in ["/orders/1", "/a%20b", "/%2e%2e/x", "/prod/x", "/a%2Fb"] {
        let incoming = read_value(&v1(path, &Value::Null));
        assert_eq!((incoming.request.path.as_str(), incoming.front), (path, Front::RestApi));
        assert_eq!(incoming.request.query, None);
    }
}

#[test]
fn queries_that_were_decoded_are_encoded_again_with_every_value() {
    for (query, taken) in [
        (json!({ "a": ["1", "2"], "b": [""] }), Some("a=1&a=2&b=")),
        (json!({ "q": ["a b&c=d"], "é": ["%"] }), Some("q=a%20b%26c%3Dd&%C3%A9=%25")),
        (json!({ "a[]": ["+#/?"] }), Some("a%5B%5D=%2B%23%2F%3F")),
        (json!({ "n": null, "m": [null], "-._~": ["-._~"] }), Some("m=&-._~=-._~")),
        (json!({}), None),
        (Value::Null, None),
    ] {
        assert_eq!(read_value(&v1("/", &query)).request.query.as_deref(), taken);
    }
    let single = changed(v1("/", &Value::Null), |event| event["queryStringParameters"] = json!({ "a": "1 2" }));
    assert_eq!(single.request.query.as_deref(), Some("a=1%202"));
}

#[test]
fn every_value_of_a_field_is_there_where_the_event_has_lists() {
    let request = read_value(&v1("/", &Value::Null)).request;
    assert_eq!(request.headers.get_all("x-twice").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(request.headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    assert_eq!(request.method, Method::POST);
    assert_eq!(
        (request.origin.host.as_str(), request.origin.ip.to_string().as_str()),
        ("api.example.com", "192.0.2.7")
    );
    assert_eq!(request.origin.id, "c6af9ac6-7b61-11e6-9a41-93e8deadbeef");
    assert_eq!(full(request.body), b"{\"a\":1}");
    for absent in [Value::Null, json!({})] {
        let single = changed(v1("/", &Value::Null), |event| event["multiValueHeaders"] = absent);
        assert_eq!(single.request.headers["x-twice"], "2");
    }
}

#[test]
fn a_load_balancers_path_and_query_are_taken_as_they_were_sent() {
    let incoming = read_value(&balanced());
    assert_eq!(incoming.front, Front::LoadBalancer { lists: false });
    let request = incoming.request;
    assert_eq!((request.path.as_str(), request.query.as_deref()), ("/a%20b/%2e%2e/c", Some("q=%C3%A9&flag=")));
    assert_eq!(request.headers[COOKIE], "a=1; b=2");
    assert_eq!((request.origin.host.as_str(), request.origin.id.as_str()), ("lb.example.com", "invocation"));
}

#[test]
fn a_load_balancer_with_lists_is_read_with_every_value() {
    let incoming = changed(balanced(), |event| {
        event["headers"] = Value::Null;
        event["queryStringParameters"] = Value::Null;
        event["multiValueHeaders"] = json!({ "host": ["lb.example.com"], "x-twice": ["1", "2"] });
        event["multiValueQueryStringParameters"] = json!({ "a": ["1", "%32"], "b%5B": ["&"] });
    });
    assert_eq!(incoming.front, Front::LoadBalancer { lists: true });
    assert_eq!(incoming.request.query.as_deref(), Some("a=1&a=%32&b%5B=&"));
    assert_eq!(incoming.request.headers.get_all("x-twice").iter().count(), 2);
}

#[test]
fn behind_a_load_balancer_the_client_is_its_last_hop_and_never_what_came_before() {
    for (hops, ip) in [
        ("192.0.2.7", "192.0.2.7"),
        ("10.0.0.1, 192.0.2.7", "192.0.2.7"),
        ("10.0.0.1,192.0.2.7:51234", "192.0.2.7"),
        ("10.0.0.1, 2001:db8::7", "2001:db8::7"),
        ("10.0.0.1, [2001:db8::7]:51234", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("10.0.0.1, unknown", "0.0.0.0"),
        ("10.0.0.1,", "0.0.0.0"),
        ("", "0.0.0.0"),
    ] {
        let incoming = changed(balanced(), |event| event["headers"]["x-forwarded-for"] = hops.into());
        assert_eq!(incoming.request.origin.ip.to_string(), ip, "{hops}");
        let listed = changed(balanced(), |event| {
            event["multiValueHeaders"] = json!({ "x-forwarded-for": ["10.9.9.9", hops] });
        });
        assert_eq!(listed.request.origin.ip.to_string(), ip, "{hops}");
    }
}

#[test]
fn a_load_balancer_says_the_scheme() {
    for (said, scheme) in [(json!("https"), Scheme::Https), (json!("http"), Scheme::Http), (Value::Null, Scheme::Http)]
    {
        let incoming = changed(balanced(), |event| event["headers"]["x-forwarded-proto"] = said);
        assert_eq!(incoming.request.origin.scheme, scheme);
    }
}

#[test]
fn a_health_check_of_a_load_balancer_is_a_request_without_an_address_and_a_host() {
    let incoming = changed(balanced(), |event| {
        event["path"] = "/health".into();
        event["queryStringParameters"] = json!({});
        event["headers"] = json!({ "user-agent": "ELB-HealthChecker/2.0" });
    });
    let request = incoming.request;
    assert_eq!((request.path.as_str(), request.query, request.origin.host.as_str()), ("/health", None, ""));
    assert_eq!((request.origin.ip, request.origin.scheme), (UNKNOWN, Scheme::Http));
    assert!(incoming.refusal.is_none());
}
