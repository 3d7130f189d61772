//! What may pass from one side of the gateway to the other, and what may not.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

fn origin() -> Origin {
    Origin {
        ip: IpAddr::from([203, 0, 113, 7]),
        scheme: Scheme::Https,
        host: "api.example.com".to_owned(),
        version: "1.1",
        id: "req-1".to_owned(),
        seed: 0,
        deadline: None,
        front_time: None,
        client_certificate: None,
        iam: None,
    }
}

fn fields(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<_> = headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
    (!values.is_empty()).then(|| values.join(" | "))
}

fn sent(pairs: &[(&str, &str)], origin: &Origin) -> HeaderMap {
    let mut headers = fields(pairs);
    outbound(&mut headers, origin, None);
    headers
}

#[test]
fn hop_by_hop_fields_and_those_that_connection_names_do_not_reach_an_upstream() {
    let headers = sent(
        &[
            ("connection", "keep-alive, X-Secret-Hop"),
            ("connection", "close,,x-other ,"),
            ("x-secret-hop", "1"),
            ("x-other", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eA=="),
            ("proxy-authenticate", "Basic"),
            ("transfer-encoding", "chunked"),
            ("content-length", "3"),
            ("content-length", "4"),
            ("te", "gzip"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("expect", "100-continue"),
            ("host", "evil"),
            ("accept", "text/plain"),
            ("authorization", "Bearer x"),
        ],
        &origin(),
    );
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    let expected = [
        "accept",
        "authorization",
        "forwarded",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-request-id",
    ];
    assert_eq!(names, expected);
}

#[test]
fn fields_that_only_a_gateway_may_write_are_never_the_clients() {
    for name in [
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-prefix",
        "x-forwarded-client-cert",
        "x_forwarded_for",
        "x-forwarded_for",
        "x-real-ip",
        "x_real_ip",
        "x-original-url",
        "x-rewrite-url",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-request-id",
        "x-request-deadline-ms",
    ] {
        let headers = sent(&[(name, "forged")], &origin());
        assert!(!headers.values().any(|value| value == "forged"), "{name} passed");
    }
    assert_eq!(text(&sent(&[("x_tenant", "kept")], &origin()), "x_tenant").as_deref(), Some("kept"));
}

#[test]
fn te_keeps_trailers_and_nothing_else() {
    let te = |value| text(&sent(&[("te", value), ("connection", "te")], &origin()), "te");
    assert_eq!(te("gzip, Trailers").as_deref(), Some("trailers"));
    assert_eq!(te("gzip;q=0.5"), None);
}

#[test]
fn the_origin_is_told_in_both_notations() {
    let headers = sent(&[], &origin());
    assert_eq!(text(&headers, "forwarded").as_deref(), Some("for=203.0.113.7;host=api.example.com;proto=https"));
    assert_eq!(text(&headers, "x-forwarded-for").as_deref(), Some("203.0.113.7"));
    assert_eq!(text(&headers, "x-forwarded-host").as_deref(), Some("api.example.com"));
    assert_eq!(text(&headers, "x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(text(&headers, "x-forwarded-port").as_deref(), Some("443"));
    assert_eq!(text(&headers, "x-request-id").as_deref(), Some("req-1"));
}

#[test]
fn an_ipv6_client_and_a_host_with_a_port_are_quoted() {
    let v6 =
        Origin { ip: "2001:db8::1".parse().unwrap(), host: "[::1]:8080".to_owned(), scheme: Scheme::Http, ..origin() };
    let headers = sent(&[], &v6);
    assert_eq!(text(&headers, "forwarded").as_deref(), Some(r#"for="[2001:db8::1]";host="[::1]:8080";proto=http"#));
    assert_eq!(text(&headers, "x-forwarded-for").as_deref(), Some("2001:db8::1"));
    assert_eq!(text(&headers, "x-forwarded-host").as_deref(), Some("[::1]:8080"));
    assert_eq!(text(&headers, "x-forwarded-port").as_deref(), Some("8080"));

    let bare = Origin { host: "[::1]".to_owned(), ..v6 };
    assert_eq!(text(&sent(&[], &bare), "x-forwarded-port").as_deref(), Some("80"));
}

#[test]
fn a_host_that_would_break_out_of_its_quotes_is_left_out() {
    for host in ["", "a\";for=\"b", "a\\", "a b", "a\r\nx: y", "ä"] {
        let odd = Origin { host: host.to_owned(), ..origin() };
        let headers = sent(&[], &odd);
        assert_eq!(text(&headers, "forwarded").as_deref(), Some("for=203.0.113.7;proto=https"), "{host:?}");
        assert_eq!(text(&headers, "x-forwarded-host"), None, "{host:?}");
    }
}

#[test]
fn via_is_appended_in_one_line_with_the_version_that_was_received() {
    assert_eq!(text(&sent(&[], &origin()), "via").as_deref(), Some("1.1 tollgate"));
    let old = Origin { version: "1.0", ..origin() };
    assert_eq!(text(&sent(&[], &old), "via").as_deref(), Some("1.0 tollgate"));
    let two = sent(&[("via", "1.0 fred"), ("via", "1.1 p.example")], &Origin { version: "2.0", ..origin() });
    assert_eq!(text(&two, "via").as_deref(), Some("1.0 fred, 1.1 p.example, 2.0 tollgate"));
}

#[test]
fn the_time_left_is_sent_in_milliseconds() {
    let mut headers = fields(&[("x-request-deadline-ms", "999999")]);
    outbound(&mut headers, &origin(), Some(Duration::from_micros(2_900_900)));
    assert_eq!(text(&headers, "x-request-deadline-ms").as_deref(), Some("2900"));
}

#[test]
fn an_answer_loses_hop_by_hop_fields_and_keeps_the_rest() {
    let mut headers = fields(&[
        ("connection", "x-internal"),
        ("x-internal", "1"),
        ("keep-alive", "timeout=5"),
        ("upgrade", "h2c"),
        ("transfer-encoding", "chunked"),
        ("trailer", "x-checksum"),
        ("server", "nginx"),
        ("via", "1.1 cache"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
    ]);
    inbound(&mut headers, StatusCode::OK, Protocol::Http1);
    let expected = fields(&[
        ("trailer", "x-checksum"),
        ("server", "nginx"),
        ("via", "1.1 cache, 1.1 tollgate"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
    ]);
    assert_eq!(headers, expected);
}

#[test]
fn a_content_length_stays_on_an_answer_but_not_on_a_204_nor_beside_a_transfer_encoding() {
    let length = |pairs: &[(&str, &str)], status| {
        let mut headers = fields(pairs);
        inbound(&mut headers, status, Protocol::Http2);
        text(&headers, "content-length")
    };
    assert_eq!(length(&[("content-length", "12")], StatusCode::OK).as_deref(), Some("12"));
    assert_eq!(length(&[("content-length", "12")], StatusCode::NOT_MODIFIED).as_deref(), Some("12"));
    assert_eq!(length(&[("content-length", "0")], StatusCode::NO_CONTENT), None);
    assert_eq!(length(&[("content-length", "12"), ("transfer-encoding", "chunked")], StatusCode::OK), None);
}

fn some_fields() -> impl Strategy<Value = HeaderMap> {
    let name = prop_oneof![
        Just("connection".to_owned()),
        Just("te".to_owned()),
        Just("transfer-encoding".to_owned()),
        Just("content-length".to_owned()),
        Just("x-forwarded-for".to_owned()),
        Just("x_real_ip".to_owned()),
        "[a-c]{1,2}",
        "x-[a-c_-]{1,6}",
    ];
    let value = prop_oneof!["[a-c]{1,2}(, ?[a-c]{1,2}){0,2}", "trailers|close|chunked|x-a|te", "[ -~]{0,12}"];
    prop::collection::vec((name, value), 0..12).prop_map(|pairs| {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        fields(&pairs)
    })
}

/// A name that no client's field may have on its way to an upstream, or one that it may, with some of its hyphens made
/// underscores.
fn name_that(may_pass: bool) -> impl Strategy<Value = String> {
    let names = if may_pass {
        vec![
            "accept",
            "authorization",
            "cookie",
            "x-a",
            "x-api-key",
            "trailer",
            "x-forward",
            "forwarded-by",
            "x-realip",
        ]
    } else {
        vec![
            "connection",
            "content-length",
            "expect",
            "forwarded",
            "host",
            "http2-settings",
            "keep-alive",
            "proxy-authorization",
            "proxy-connection",
            "te",
            "transfer-encoding",
            "upgrade",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-port",
            "x-forwarded-prefix",
            "x-forwarded-proto",
            "x-forwarded-client-cert",
            "x-http-method-override",
            "x-original-url",
            "x-real-ip",
            "x-request-deadline-ms",
            "x-request-id",
            "x-rewrite-url",
        ]
    };
    (prop::sample::select(names), any::<u8>()).prop_map(|(name, which)| {
        let mut hyphen = 0;
        name.chars()
            .map(|letter| {
                hyphen += u32::from(letter == '-');
                if letter == '-' && which >> hyphen & 1 == 1 { '_' } else { letter }
            })
            .collect()
    })
}

/// Fields that may pass, fields that may not, and which of the first `Connection` names, in whichever case.
fn fields_of_a_client() -> impl Strategy<Value = (HeaderMap, Vec<String>)> {
    let field = prop_oneof![
        (name_that(true), "[a-z]{0,4}").prop_map(|(name, value)| (name, value)),
        (name_that(false), "forged[a-z]{0,4}").prop_map(|(name, value)| (name, value)),
    ];
    let named = prop::collection::vec(name_that(true), 0..3);
    (prop::collection::vec(field, 0..16), named, any::<bool>()).prop_map(|(fields, named, loud)| {
        let mut headers = HeaderMap::new();
        for (name, value) in &fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        for name in &named {
            let option = if loud { name.to_ascii_uppercase() } else { name.clone() };
            headers.append(CONNECTION, HeaderValue::from_str(&format!("close ,{option}")).unwrap());
        }
        (headers, named)
    })
}

proptest! {
    #[test]
    fn what_only_a_gateway_may_say_is_said_once_and_by_it_alone((client, _) in fields_of_a_client()) {
        let mut headers = client;
        outbound(&mut headers, &origin(), None);
        let forged = headers.iter().find(|(_, value)| value.as_bytes().starts_with(b"forged"));
        prop_assert!(forged.is_none(), "{:?}", forged);
        for (name, value) in sent(&[], &origin()) {
            let name = name.unwrap();
            prop_assert_eq!(headers.get_all(&name).iter().collect::<Vec<_>>(), vec![&value], "{}", name);
        }
    }

    #[test]
    fn every_other_field_passes_with_its_values_in_their_order_unless_connection_names_it(
        (client, named) in fields_of_a_client(),
    ) {
        let mut headers = client.clone();
        outbound(&mut headers, &origin(), None);
        for (name, value) in &client {
            let passes = !value.as_bytes().starts_with(b"forged") && name != CONNECTION && !named.iter().any(|one| name == one.as_str());
            if passes {
                prop_assert!(headers.get_all(name).iter().eq(client.get_all(name)), "{}", name);
            } else if !matches!(name.as_str(), "forwarded" | "x-request-id") && !name.as_str().starts_with("x-forwarded-") {
                prop_assert!(!headers.contains_key(name), "{}", name);
            }
        }
    }

    #[test]
    fn a_second_cleaning_changes_nothing_but_via(headers in some_fields()) {
        let mut once = headers;
        outbound(&mut once, &origin(), None);
        let mut twice = once.clone();
        outbound(&mut twice, &origin(), None);
        twice.remove(VIA);
        once.remove(VIA);
        prop_assert_eq!(&once, &twice);

        inbound(&mut twice, StatusCode::OK, Protocol::Http1);
        let mut again = twice.clone();
        inbound(&mut again, StatusCode::OK, Protocol::Http1);
        twice.remove(VIA);
        again.remove(VIA);
        prop_assert_eq!(&twice, &again);
    }

    #[test]
    fn no_framing_and_no_hop_by_hop_field_is_ever_left(headers in some_fields()) {
        let mut headers = headers;
        outbound(&mut headers, &origin(), None);
        for name in headers.keys() {
            let judged = name.as_str().replace('_', "-");
            prop_assert!(!hop_by_hop(&judged) || headers.get(TE).is_some_and(|te| te == "trailers"), "{}", name);
            prop_assert!(!matches!(judged.as_str(), "host" | "content-length" | "transfer-encoding"), "{}", name);
        }
    }
}
