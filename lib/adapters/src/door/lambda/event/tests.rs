//! Events taken by their shape, and byte for byte.

use serde_json::{Value, json};

use super::*;

mod doors;
mod identity;

fn event() -> Value {
    json!({
        "version": "2.0", "rawPath": "/", "rawQueryString": "",
        "headers": { "host": "abc.lambda-url.eu-west-1.on.aws" },
        "requestContext": {
            "domainName": "abc.lambda-url.eu-west-1.on.aws", "requestId": "r-1",
            "http": { "method": "GET", "path": "/", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.7" }
        },
        "isBase64Encoded": false
    })
}

fn with(change: impl FnOnce(&mut Value)) -> Result<Incoming, NotHttp> {
    let mut event = event();
    change(&mut event);
    read_text(&event.to_string())
}

fn read_text(event: &str) -> Result<Incoming, NotHttp> {
    read(event.as_bytes(), Invocation { id: "invocation".to_owned(), answer_by: None })
}

fn full(body: Body) -> Vec<u8> {
    match body {
        Body::Empty => Vec::new(),
        Body::Full(bytes) => bytes.to_vec(),
        Body::Stream(_) => panic!("an event's body is in memory"),
    }
}

#[test]
fn what_the_platform_says_becomes_the_origin() {
    let incoming = with(|_| {}).unwrap();
    let Origin { ip, scheme, host, version, id, seed: lot, deadline, front_time, .. } = incoming.request.origin;
    assert_eq!(ip.to_string(), "192.0.2.7");
    assert_eq!(scheme, Scheme::Https);
    assert_eq!(host, "abc.lambda-url.eu-west-1.on.aws");
    assert_eq!((version, id.as_str(), deadline, front_time), ("1.1", "r-1", None, None));
    assert_eq!(lot, seed("r-1"));
    assert!(incoming.front == Front::FunctionUrl && incoming.refusal.is_none());
}

#[test]
fn the_front_doors_time_is_taken_where_it_is_one_and_costs_nothing_where_it_is_not() {
    for (said, taken) in [
        (json!(1_795_521_600_000_u64), Some(1_795_521_600_000)),
        (json!(0), Some(0)),
        (json!(u64::MAX), Some(u64::MAX)),
        (json!(-1), None),
        (json!(1.5), None),
        (json!("1795521600000"), None),
        (json!({ "a": [1] }), None),
        (Value::Null, None),
    ] {
        for (name, version) in [("timeEpoch", "2.0"), ("requestTimeEpoch", "2.0"), ("requestTimeEpoch", "1.0")] {
            let incoming = with(|event| {
                event["version"] = version.into();
                (event["path"], event["httpMethod"]) = ("/".into(), "GET".into());
                event["requestContext"][name] = said.clone();
            });
            assert_eq!(incoming.unwrap().request.origin.front_time, taken.map(Timestamp::from_millis), "{name} {said}");
        }
    }
}

#[test]
fn paths_are_taken_byte_for_byte() {
    for path in [
        "/a/../b",
        "/a/%2e%2e/b",
        "/a%2fb/../c",
        "/a\\b",
        "/a b",
        "/ä/日本",
        "/a#b",
        "/a?b",
        "//a;x=1//",
        "/%zz",
        "/a\u{0}b",
        "/\"<>^`{|}",
        "*",
    ] {
        let incoming = with(|event| event["rawPath"] = path.into()).unwrap();
        assert_eq!(incoming.request.path, path);
        assert!(incoming.refusal.is_none(), "{path}");
    }
}

#[test]
fn queries_are_taken_byte_for_byte() {
    for query in [
        "a b",
        "a\tb",
        "a=\"b\"",
        "a=<b>",
        ">",
        "<",
        "\"",
        " ",
        "\t",
        "q=a+b",
        "a=1&a=2&b",
        "a=%zz",
        "{|}^[]`\\",
        "é=ü",
        "#x",
        "a=b#c?d",
        "?",
        "&&=&",
        "\u{0}",
        "\u{7f}",
        "%",
        "a=%F0%9F",
    ] {
        let incoming = with(|event| event["rawQueryString"] = query.into()).unwrap();
        assert_eq!(incoming.request.query.as_deref(), Some(query));
    }
    assert_eq!(with(|_| {}).unwrap().request.query, None);
}

#[test]
fn a_path_or_query_of_over_64_kb_is_taken_whole() {
    let long = format!("/{}", "a".repeat(70_000));
    let incoming = with(|event| {
        event["rawPath"] = long.as_str().into();
        event["rawQueryString"] = long.as_str().into();
    })
    .unwrap();
    assert_eq!(incoming.request.path, long);
    assert_eq!(incoming.request.query, Some(long));
}

#[test]
fn bytes_that_are_no_text_are_kept_percent_encoded_in_path_and_query_and_as_they_are_in_fields() {
    let mut text = event().to_string().into_bytes();
    for (place, bytes) in [
        (&br#""rawPath":"/""#[..], &b"\"rawPath\":\"/\xff\xe9x\""[..]),
        (br#""rawQueryString":"""#, br#""rawQueryString":"a=\ud800b""#),
        (br#""headers":{"#, b"\"headers\":{\"x-latin\":\"caf\xe9\","),
    ] {
        let at = text.windows(place.len()).position(|window| window == place).unwrap();
        text.splice(at..at + place.len(), bytes.iter().copied());
    }
    let request = read(&text, Invocation::default()).unwrap().request;
    assert_eq!(request.path, "/%FF%E9x");
    assert_eq!(request.query.as_deref(), Some("a=%ED%A0%80b"));
    assert_eq!(request.headers["x-latin"].as_bytes(), b"caf\xe9");
}

#[test]
fn a_path_that_is_no_path_is_the_clients_400_and_an_empty_one_the_root() {
    let refused = with(|event| event["rawPath"] = "orders".into()).unwrap();
    assert_eq!(refused.refusal.unwrap().code(), "bad_path");
    let root = with(|event| event["rawPath"] = "".into()).unwrap();
    assert_eq!(root.request.path, "/");
}

#[test]
fn any_host_is_taken_as_it_is_but_in_lower_case() {
    for host in ["API.Example.com:8443", "[::1]:80", "a b", "<>", "%zz@x", "http://x/", "xn--é", "::::", "\"", "a,b"] {
        let incoming = with(|event| event["headers"]["host"] = host.into()).unwrap();
        assert_eq!(incoming.request.origin.host, host.to_ascii_lowercase());
    }
    for absent in [Value::Null, "".into()] {
        let incoming = with(|event| event["headers"]["host"] = absent).unwrap();
        assert_eq!(incoming.request.origin.host, "abc.lambda-url.eu-west-1.on.aws");
    }
}

#[test]
fn what_a_forwarded_field_says_changes_nothing() {
    let incoming = with(|event| {
        event["headers"]["x-forwarded-proto"] = "\u{1}::garbage//".into();
        event["headers"]["x-forwarded-for"] = "203.0.113.9".into();
    })
    .unwrap();
    assert_eq!(incoming.request.origin.scheme, Scheme::Https);
    assert_eq!(incoming.request.origin.ip.to_string(), "192.0.2.7");
}

#[test]
fn fields_that_http_does_not_allow_are_left_out_and_the_rest_kept() {
    let headers = with(|event| {
        event["headers"] = json!({
            "X-Mixed": "Case", "x-list": "a, b", "x-utf8": "grüße", "x-nul": "a\u{0}b", "x-line": "a\r\nb: c",
            "bad name": "x", "": "x", "x-null": null, "x-empty": ""
        });
    })
    .unwrap()
    .request
    .headers;
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["x-empty", "x-list", "x-mixed", "x-utf8"]);
    assert_eq!(headers["x-list"], "a, b");
    assert_eq!(headers["x-utf8"].as_bytes(), "grüße".as_bytes());
}

#[test]
fn more_fields_than_a_map_can_hold_do_not_end_the_process() {
    let outcome = with(|event| {
        event["headers"] =
            (0..40_000).map(|n| (format!("x-{n}"), Value::from("1"))).collect::<serde_json::Map<_, _>>().into();
    });
    assert_eq!(outcome.unwrap_err().why, "it has too many fields");
}

#[test]
fn cookies_become_one_field() {
    let cookie = |cookies: Value| {
        let headers = with(|event| event["cookies"] = cookies).unwrap().request.headers;
        headers.get(COOKIE).map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(cookie(json!(["a=1", "b=2; c=3"])).as_deref(), Some("a=1; b=2; c=3"));
    assert_eq!(cookie(json!(["a=1", null, ""])).as_deref(), Some("a=1"));
    assert_eq!(cookie(json!([])), None);
    assert_eq!(cookie(Value::Null), None);
    assert_eq!(cookie(json!(["a=\n"])), None);
}

#[test]
fn bodies_come_out_byte_for_byte() {
    let body = |body: Value, encoded: bool| {
        let incoming = with(|event| {
            event["body"] = body;
            event["isBase64Encoded"] = encoded.into();
        })
        .unwrap();
        assert!(incoming.refusal.is_none());
        full(incoming.request.body)
    };
    assert_eq!(body("//4AYQ==".into(), true), [0xff, 0xfe, 0x00, 0x61]);
    assert_eq!(body("{\"a\":\"\\u00e9\\n\"}".into(), false), b"{\"a\":\"\\u00e9\\n\"}");
    assert_eq!(body("grüße 🦀".into(), false), "grüße 🦀".as_bytes());
    for (nothing, encoded) in [(Value::Null, false), ("".into(), false), (Value::Null, true), ("".into(), true)] {
        assert!(body(nothing, encoded).is_empty());
    }
}

#[test]
fn base64_that_is_none_is_the_clients_400() {
    for bad in ["!!!", "a", "AAAA=", "//4AYQ", "AA\nAA", "AAAA AAAA", "é", "-_-_"] {
        let incoming = with(|event| {
            event["body"] = bad.into();
            event["isBase64Encoded"] = true.into();
        })
        .unwrap();
        assert_eq!(incoming.refusal.map(|refusal| refusal.code()), Some("body_broken"), "{bad}");
    }
}

#[test]
fn what_is_missing_or_null_has_a_value_that_is_safe() {
    let bare = r#"{"version":"2.0","rawPath":"/x","requestContext":{"http":{"method":"DELETE"}}}"#;
    let nulls = r#"{"version":"2.0","rawPath":"/x","rawQueryString":null,"headers":null,"cookies":null,"body":null,
        "isBase64Encoded":null,"requestContext":{"domainName":null,"requestId":null,
        "http":{"method":"DELETE","protocol":null,"sourceIp":null}}}"#;
    for event in [bare, nulls] {
        let Incoming { request, refusal, front } = read_text(event).unwrap();
        assert_eq!((refusal.is_none(), front), (true, Front::HttpApi));
        assert_eq!((request.method, request.path.as_str(), request.query), (Method::DELETE, "/x", None));
        assert!(request.headers.is_empty() && request.body.known_len() == Some(0));
        assert_eq!(request.origin.ip, UNKNOWN);
        assert_eq!((request.origin.host.as_str(), request.origin.id.as_str()), ("", "invocation"));
    }
    let unreadable = with(|event| event["requestContext"]["http"]["sourceIp"] = "IP".into()).unwrap();
    assert_eq!(unreadable.request.origin.ip, UNKNOWN);
}

#[test]
fn the_protocol_is_written_as_via_writes_it() {
    for (protocol, version) in [
        ("HTTP/1.0", "1.0"),
        ("HTTP/1.1", "1.1"),
        ("HTTP/2.0", "2.0"),
        ("HTTP/2", "2.0"),
        ("HTTP/3", "3.0"),
        ("x", "1.1"),
    ] {
        let incoming = with(|event| event["requestContext"]["http"]["protocol"] = protocol.into()).unwrap();
        assert_eq!(incoming.request.origin.version, version);
    }
}

#[test]
fn a_function_url_and_an_emulator_are_told_by_their_domain() {
    for (domain, is) in [
        ("abc.lambda-url.eu-west-1.on.aws", true),
        ("localhost", true),
        ("abc.execute-api.eu-west-1.amazonaws.com", false),
        ("api.example.com", false),
        ("lambda-url.example.com", false),
        ("x.on.aws", false),
    ] {
        let incoming = with(|event| event["requestContext"]["domainName"] = domain.into()).unwrap();
        assert_eq!(incoming.front == Front::FunctionUrl, is, "{domain}");
    }
}

#[test]
fn what_is_no_http_request_is_told_by_its_shape() {
    for (event, why) in [
        ("", "it is not JSON"),
        ("{", "it is not JSON"),
        ("nonsense", "it is not JSON"),
        ("null", "a field is not as it should be"),
        ("[]", "a field is not as it should be"),
        ("42", "a field is not as it should be"),
        ("{}", "there is no `requestContext`"),
        (r#"{"version":"1.0","path":"/","httpMethod":"GET"}"#, "there is no `requestContext`"),
        (r#"{"version":2.0,"rawPath":"/"}"#, "a field is not as it should be"),
        (r#"{"version":"2.0","requestContext":{}}"#, "there is no `rawPath`"),
        (r#"{"version":"2.0","rawPath":"/"}"#, "there is no `requestContext`"),
        (r#"{"version":"2.0","rawPath":"/","requestContext":{}}"#, "there is no `requestContext.http`"),
        (r#"{"version":"2.0","rawPath":"/","requestContext":{"http":{}}}"#, "there is no method"),
        (r#"{"version":"2.0","rawPath":"/","requestContext":{"http":{"method":"G T"}}}"#, "there is no method"),
        (
            r#"{"version":"2.0","rawPath":["/"],"requestContext":{"http":{"method":"GET"}}}"#,
            "a field is not as it should be",
        ),
        (r#"{"version":"2.0","rawPath":"/","rawPath":"/","requestContext":{}}"#, "a field is not as it should be"),
    ] {
        assert_eq!(read_text(event).map(|_| ()).unwrap_err().why, why, "{event}");
    }
}

#[test]
fn what_other_services_send_is_named() {
    for (event, why) in [
        (
            r#"{"Records":[{"eventSource":"aws:sqs","messageId":"1","body":"x"}]}"#,
            "it has `Records`, as those of queues, buckets and streams have",
        ),
        (
            r#"{"Records":[{"eventSource":"aws:s3","s3":{"bucket":{"name":"b"}}}]}"#,
            "it has `Records`, as those of queues, buckets and streams have",
        ),
        (
            r#"{"version":"0","id":"1","detail-type":"Scheduled Event","source":"aws.events","detail":{}}"#,
            "it is of an event bus or a schedule",
        ),
        (
            r#"{"raw_path":"/","method":"GET","headers":{},"body":null,"is_base64_encoded":false}"#,
            "it is of VPC Lattice",
        ),
        (
            r#"{"version":"2.0","path":"/","method":"GET","headers":{"host":["a"]},
                "requestContext":{"serviceNetworkArn":"arn","serviceArn":"arn","region":"eu-west-1"}}"#,
            "a field is not as it should be",
        ),
        (
            r#"{"version":"2.0","path":"/","method":"GET","requestContext":{"serviceNetworkArn":"arn"}}"#,
            "it is of VPC Lattice",
        ),
        (
            r#"{"headers":{"Host":"a"},"multiValueHeaders":{"Host":["a"]},"isBase64Encoded":false,
                "requestContext":{"routeKey":"$connect","eventType":"CONNECT","connectionId":"c","stage":"prod"}}"#,
            "it is of a WebSocket API",
        ),
        (
            r#"{"type":"TOKEN","methodArn":"arn:aws:execute-api:eu-west-1:1:a/prod/GET/","authorizationToken":"x"}"#,
            "it asks an authorizer",
        ),
        (
            r#"{"type":"REQUEST","methodArn":"arn","resource":"/","path":"/","httpMethod":"GET","requestContext":{}}"#,
            "it asks an authorizer",
        ),
        (
            r#"{"version":"3.0","requestContext":{"http":{"method":"GET"}},"rawPath":"/"}"#,
            "its `version` is neither 1.0 nor 2.0",
        ),
        (
            r#"{"version":"2.0","rawPath":"/","requestContext":{"elb":{"targetGroupArn":"arn"},"http":{"method":"GET"}}}"#,
            "it has both a `version` and a `requestContext.elb`",
        ),
        (
            r#"{"httpMethod":"GET","path":"/","requestContext":{}}"#,
            "it has neither `version` nor `resource` nor `requestContext.elb`",
        ),
        (r#"{"resource":"/","path":"/","requestContext":{}}"#, "there is no method"),
        (r#"{"resource":"/","httpMethod":"GET","requestContext":{}}"#, "there is no `path`"),
        (r#"{"httpMethod":"GET","requestContext":{"elb":{}}}"#, "there is no `path`"),
    ] {
        assert_eq!(read_text(event).map(|_| ()).unwrap_err().why, why, "{event}");
    }
}

#[test]
fn what_is_not_read_may_be_nested_as_deep_as_it_likes() {
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep = event().to_string().replacen('{', &format!("{{\"x\":{nested},"), 1);
    assert!(read_text(&deep).is_ok());
}

#[test]
fn an_authorizers_event_is_no_request_though_it_looks_like_one() {
    for key in ["routeArn", "identitySource"] {
        assert_eq!(with(|event| event[key] = "arn".into()).map(|_| ()).unwrap_err().why, "it asks an authorizer");
    }
}

#[test]
fn seeds_are_the_ids_own_and_spread() {
    assert_eq!(seed("r-1"), seed("r-1"));
    assert_eq!(seed(""), 0xf52a_15e9_a9b5_e89b);
    let ones: u32 = (0..1_000).map(|n| (seed(&format!("r-{n}")) ^ seed(&format!("r-{}", n + 1))).count_ones()).sum();
    assert!((31_000..33_000).contains(&ones), "{ones} of 64,000 bits differ");
}
