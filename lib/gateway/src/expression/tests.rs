//! Expressions and templates, through tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode};
use proptest::prelude::*;

use super::*;
use crate::gateway::Asked;
use crate::refusal::Refusal;
use crate::testkit;

fn params(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

fn env() -> BTreeMap<String, String> {
    BTreeMap::from([("STAGE".to_owned(), "prod".to_owned())])
}

fn compile(text: &str, place: Place) -> Result<Expression, Vec<ExpressionProblem>> {
    Expression::compile(text, &Scope { place, params: &params(&["id", "rest"]), env: &env() })
}

fn template(text: &str, place: Place) -> Result<Template, Vec<ExpressionProblem>> {
    Template::compile(text, &Scope { place, params: &params(&["id", "rest"]), env: &env() })
}

fn asked() -> Asked {
    let mut asked = testkit::asked_with_params("GET /orders/7?a=1&a=2&q=x%20y+z&e", &[("id", "7")]);
    asked.params.push_rest(Arc::from("rest"), "a/b c".to_owned());
    for (name, value) in [("x-a", "one"), ("x-a", "two"), ("cookie", "s=1; t=\"2\""), ("cookie", "s=3")] {
        asked.headers.append(name, HeaderValue::from_static(value));
    }
    asked
}

fn text(expression: &str) -> Result<String, String> {
    let asked = asked();
    let compiled = compile(expression, Place::Request).map_err(|problems| format!("{problems:?}"))?;
    compiled.text(&asked.facts("orders")).map_err(|failure| failure.to_string())
}

#[test]
fn values_of_a_request_are_read() {
    for (expression, value) in [
        ("request.method", "GET"),
        ("request.path", "/orders/7"),
        ("request.host", "api.example.com"),
        ("request.ip", "192.0.2.1"),
        ("request.scheme", "https"),
        ("request.id", "id-1"),
        ("request.headers['x-a']", "one, two"),
        ("request.headers.cookie", "s=1; t=\"2\", s=3"),
        ("request.query.a", "1"),
        ("request.query['q']", "x y z"),
        ("request.query.e", ""),
        ("request.cookies.s", "1"),
        ("params.id", "7"),
        ("params['id']", "7"),
        ("route.name", "orders"),
        ("caller.id", ""),
        ("caller.via", "none"),
        ("'text'", "text"),
        ("env.STAGE", "prod"),
        ("env['STAGE'] + '!'", "prod!"),
        ("params.id + '-' + request.query.a", "7-1"),
        ("request.headers['x-a'] in ['one, two'] ? 'yes' : 'no'", "yes"),
        ("has(request.headers.x) ? 'yes' : 'no'", "no"),
        ("'x-a' in request.headers ? 'yes' : 'no'", "yes"),
        ("string(size(request.headers) > 1)", "true"),
        ("request.query.a.matches('[0-9]')", "true"),
        ("matches(request.path, '^/orders/')", "true"),
        ("[1, 2].exists(n, n == 2)", "true"),
        ("1 + 2", "3"),
        ("1.5", "1.5"),
        ("null", ""),
        ("size(caller.scopes)", "0"),
    ] {
        assert_eq!(text(expression).as_deref(), Ok(value), "{expression}");
    }
}

#[test]
fn what_is_missing_or_does_not_fit_fails() {
    for expression in [
        "request.headers['x-none']",
        "request.query.none",
        "request.cookies.none + ''",
        "[1, 2]",
        "request.path + 1",
        "1 / 0",
    ] {
        let failed = text(expression).expect_err(expression);
        assert!(!failed.starts_with('['), "{expression} compiles: {failed}");
    }
    let asked = asked();
    let truth = |text| compile(text, Place::Match).expect("an expression").truth(&asked.facts(""));
    assert!(truth("request.path").is_err());
    assert_eq!(truth("request.path == '/orders/7'"), Ok(true));
}

#[test]
fn what_cel_does_not_check_is_checked_with_its_place() {
    for (expression, place, offset, message) in [
        ("request.pth", Place::Match, 8, "unknown field `request.pth`"),
        ("request.path == '' && foo", Place::Match, 22, "unknown variable `foo`"),
        ("caller.id == ''", Place::Match, 0, "not known yet where routes are matched"),
        ("response.status == 200", Place::Request, 0, "`response` is not known here"),
        ("params.nope", Place::Request, 7, "the path captures no `nope`: there is id, rest"),
        ("env.NOPE", Place::Request, 4, "unknown variable `env.NOPE`: there is STAGE"),
        ("request.ip", Place::EnvOnly, 0, "only `env` may stand here"),
        ("request.headers['X-A']", Place::Request, 15, "write 'x-a'"),
        ("lower(request.path)", Place::Request, 5, "unknown function `lower`"),
        ("request.path.startsWith()", Place::Request, 23, "it is x.startsWith(_)"),
        ("request.path.matches('(')", Place::Request, 20, "is no regex: unclosed group"),
        ("request.body.a", Place::Request, 8, "`request.body` is not supported yet"),
        ("claims.sub", Place::Request, 0, "`claims` is not supported yet"),
        ("now", Place::Request, 0, "`now` is not supported yet"),
        ("request.path ==", Place::Request, 0, "not CEL"),
        ("", Place::Request, 0, "must not be empty"),
    ] {
        let problems = compile(expression, place).expect_err(expression);
        let found = problems.iter().find(|problem| problem.message.contains(message));
        let found = found.unwrap_or_else(|| panic!("{expression}: {problems:?}"));
        // The parser's idea of where a selection is: its dot, its bracket. Near enough for a caret.
        assert!(found.offset.abs_diff(offset) <= 2 || message == "not CEL", "{expression}: {found:?}");
    }
    assert!(compile(&"(".repeat(200), Place::Match).is_err());
    assert!(compile(&format!("'{}'", "a".repeat(5000)), Place::Match).is_err());
    assert_eq!(
        compile("foo + bar", Place::Match).map_err(|problems| problems.len()).err(),
        Some(2),
        "all problems at once"
    );
}

#[test]
fn an_answers_values_are_read_in_templates_of_the_answer() {
    let asked = asked();
    let headers = HeaderMap::from_iter([("x-b".parse().expect("a name"), HeaderValue::from_static("b"))]);
    let facts =
        Facts { response: Some(AnswerFacts { status: StatusCode::CREATED, headers: &headers }), ..asked.facts("") };
    let template = template("${response.status} ${response.headers['x-b']}${response.headers.none}", Place::Response);
    assert_eq!(template.expect("a template").render(&facts), "201 b");
}

#[test]
fn templates_are_filled_in_and_what_fails_is_empty() {
    let asked = asked();
    for (text, rendered) in [
        ("plain", "plain"),
        ("a ${params.id} b ${request.query.none} c", "a 7 b  c"),
        ("${env.STAGE}-x", "prod-x"),
        ("$${params.id}", "${params.id}"),
        ("$5 {x} }", "$5 {x} }"),
        ("${'}' + \"}\"}${{'a': '{'}['a']}", "}}{"),
    ] {
        let template = template(text, Place::Request).unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
        assert_eq!(template.render(&asked.facts("")), rendered, "{text}");
    }
    assert_eq!(template("${env.STAGE}/x", Place::EnvOnly).expect("a template").fixed(), Some("prod/x"));
    let problems = template("ab ${params.nope} ${oops", Place::Request).expect_err("unclosed");
    assert!(problems[0].message.contains("is not closed"), "{problems:?}");
    let problems = template("ab ${params.nope}", Place::Request).expect_err("unknown");
    assert!((9..=12).contains(&problems[0].offset), "{problems:?}");
}

#[test]
fn values_in_paths_keep_within_their_segment() {
    let asked = asked();
    for (text, rendered) in [
        ("/x/${params.id}", Some("/x/7")),
        ("/x/${params.rest}", Some("/x/a/b%20c")),
        ("/x/${request.query.q}/y", Some("/x/x%20y%20z/y")),
        ("/x/${'a/../b?c#d%2f'}${params.id}", Some("/x/a/../b?c#d%2f7")),
        ("https://a.example${request.path}", Some("https://a.example/orders/7")),
        ("/x?y=${request.query.e}", Some("/x?y=")),
        ("/x/${request.query.e}", None),
        ("/x/${request.query.e}/y", None),
        ("/x/${request.query.e}${params.id}", Some("/x/7")),
        ("/x/${'.' + '.' + request.query.e}", None),
        ("/x/.${request.query.e}", None),
    ] {
        let template = template(text, Place::Request).unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
        let found = template.render_path(&asked.facts(""));
        if text.contains("/../") {
            continue; // A constant of the config is its author's.
        }
        assert_eq!(found.ok().as_deref(), rendered, "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_compile_panic(text in "\\PC{0,60}") {
        let _ = compile(&text, Place::Request);
        let _ = template(&text, Place::Request);
    }

    #[test]
    fn no_expression_makes_compile_or_reading_panic(text in "(request|params|headers|caller|now|has|x|\\.|\\[|\\]|\\(|\\)|'a'|1|\\+|==|&&|!|\\?|:|,| ){0,20}") {
        if let Ok(compiled) = compile(&text, Place::Request) {
            let _ = compiled.text(&asked().facts(""));
        }
    }

    #[test]
    fn no_value_adds_a_segment_or_a_parameter(value in "\\PC{0,20}|[./%?#&=\\\\]{0,6}") {
        let asked = testkit::asked_with_params("GET /", &[("id", &value)]);
        let path = template("/a/${params.id}/b", Place::Request).expect("a template");
        match path.render_path(&asked.facts("")) {
            Ok(path) => {
                prop_assert_eq!(path.matches('/').count(), 3, "{}", &path);
                prop_assert!(path.parse::<http::uri::PathAndQuery>().is_ok_and(|path| path.query().is_none()));
                prop_assert_eq!(crate::route::normalise(&path).map(|normal| normal.path.into_owned()).ok(), Some(path.into_owned()));
            }
            Err(refusal) => {
                let unforwardable = matches!(refusal, Refusal::Unforwardable { .. });
                prop_assert!(unforwardable);
                prop_assert!(matches!(value.as_str(), "" | "." | ".."));
            }
        }
        let query = template("${params.id}", Place::Request).expect("a template");
        let query = query.render_query_value(&asked.facts("")).into_owned();
        prop_assert!(!query.contains(['&', '=', '#', '+', ' ']));
    }

    #[test]
    fn no_value_breaks_a_header(value in "[\\x00-\\x7f]{0,12}") {
        let asked = testkit::asked_with_params("GET /", &[("id", &value)]);
        let header = template("a${params.id}", Place::Request).expect("a template");
        let forbidden = value.bytes().any(|b| (b < b' ' && b != b'\t') || b == 0x7f);
        prop_assert_eq!(header.render_header(&asked.facts("")).is_err(), forbidden);
    }
}
