//! Expressions and templates, through tables.

mod claims;

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
    BTreeMap::from([("STAGE".to_owned(), "prod".to_owned()), ("PRICE".to_owned(), "5$".to_owned())])
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
    for (name, value) in [
        ("x-a", "one"),
        ("x-a", "two"),
        ("x-path", r"a/b?c#d%e;+\:@!$&'()*,=~"),
        ("cookie", "s=1; t=\"2\""),
        ("cookie", "s=3"),
    ] {
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
        ("request['headers']['x-a']", "one, two"),
        ("request['path'].size()", "9"),
        ("params[request.query['e'] + 'id']", "7"),
        ("request.headers[request.query.e + 'x-a']", "one, two"),
        ("request.headers.exists(name, name.startsWith('x-'))", "true"),
        ("[1, 2, 3, 4].filter(n, n > 1).map(n, n * 2).filter(n, n > 4).exists(n, n == 8)", "true"),
        ("request.query.none == 'a' || request.query.a == '1'", "true"),
        ("request.path // a comment", "/orders/7"),
    ] {
        assert_eq!(text(expression).as_deref(), Ok(value), "{expression}");
    }
}

#[test]
fn an_access_alone_gives_what_it_gives_to_the_interpreter() {
    for access in [
        "request.method",
        "request.path",
        "request.host",
        "request.id",
        "request.ip",
        "request.scheme",
        "request.headers['x-a']",
        "request.headers.none",
        "request.query.q",
        "request.query['none']",
        "request.cookies.t",
        "params.rest",
        "caller.id",
        "caller.tenant",
        "caller.plan",
        "caller.via",
        "route.name",
    ] {
        let alone = text(access);
        assert_eq!(text(&format!("'' + {access}")).ok(), alone.clone().ok(), "{access}");
        assert_eq!(text(&format!("[{access}][0]")).ok(), alone.clone().ok(), "{access}");
        let there = alone.is_ok().to_string();
        assert_eq!(text(&format!("has({access})")), Ok(there), "{access}");
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
fn what_is_there_can_be_asked_for() {
    for (expression, there) in [
        ("has(request.headers['x-a'])", true),
        ("has(request.headers['x-none'])", false),
        ("has(request.headers.cookie)", true),
        ("has(request.query.e)", true),
        ("has(request.query.none)", false),
        ("has(request.cookies.t)", true),
        ("has(params.id)", true),
        ("has(request.path)", true),
        ("has(caller.scopes)", true),
        ("has(env.STAGE)", true),
        ("'x-a' in request.headers", true),
        ("'none' in request.query", false),
        ("'id' in params", true),
        ("'STAGE' in env", true),
        ("'a' in caller.scopes", false),
        ("'one' in [request.headers['x-a'], 'one']", true),
        ("!has(request.query.none) && has(request.query['a'])", true),
        ("has({'a': 1}.a)", true),
        ("has({'a': 1}['b'])", false),
        ("[{'a': 1}].all(it, has(it.a) && !has(it['b']))", true),
        ("request.query.q == 'has(request.headers)' || true", true),
    ] {
        assert_eq!(text(expression).as_deref(), Ok(if there { "true" } else { "false" }), "{expression}");
    }
}

#[test]
fn what_cel_does_not_check_is_checked_with_its_place() {
    for (expression, place, offset, message) in [
        ("request.pth", Place::Match, 8, "unknown field `request.pth`"),
        ("request['pth']", Place::Match, 8, "unknown field `request.pth`"),
        ("request.path == '' && foo", Place::Match, 22, "unknown variable `foo`"),
        ("'é' + foo", Place::Match, 7, "unknown variable `foo`"),
        ("request.path == ''\n  && foo", Place::Match, 24, "unknown variable `foo`"),
        ("caller.id == ''", Place::Match, 0, "not known yet where routes are matched"),
        ("response.status == 200", Place::Request, 0, "`response` is not known here"),
        ("params.nope", Place::Request, 7, "the path captures no `nope`: there is id, rest"),
        ("has(params.nope)", Place::Request, 11, "the path captures no `nope`: there is id, rest"),
        ("'nope' in params", Place::Request, 0, "the path captures no `nope`: there is id, rest"),
        ("env.NOPE", Place::Request, 4, "unknown variable `env.NOPE`: there is PRICE, STAGE"),
        ("has(env.NOPE)", Place::Request, 8, "unknown variable `env.NOPE`: there is PRICE, STAGE"),
        ("env[request.path]", Place::Request, 0, "must be written out"),
        ("env.STAGE.a", Place::Request, 10, "is a text and has no `a`"),
        ("request.ip", Place::EnvOnly, 0, "only `env` may stand here"),
        ("caller.id", Place::EnvOnly, 0, "only `env` may stand here"),
        ("request.headers['X-A']", Place::Request, 16, "write 'x-a'"),
        ("request['headers'].X", Place::Request, 19, "write 'x'"),
        ("'X-A' in request.headers", Place::Request, 0, "write 'x-a'"),
        ("request.path.name", Place::Request, 13, "`request.path` is one value and has no `name`"),
        ("request.headers.a.b", Place::Request, 18, "`request.headers.a` is one value and has no `b`"),
        ("caller.scopes.admin", Place::Request, 14, "`caller.scopes` is a list and has no `admin`"),
        ("size(request)", Place::Request, 5, "`request` is no value of its own"),
        ("request.headers", Place::Request, 8, "is no single value"),
        ("request.path.exists(c, c == 'a')", Place::Request, 8, "nothing to go through"),
        ("[1].exists(request, request == 1)", Place::Request, 4, "must not be called `request`"),
        ("lower(request.path)", Place::Request, 0, "unknown function `lower`"),
        ("request.path.lower()", Place::Request, 13, "unknown function `.lower`"),
        ("request.path.startsWith()", Place::Request, 13, "`.startsWith` with 0 arguments, it is x.startsWith(_)"),
        ("request.headers.all(k, v, true)", Place::Request, 16, "it is x.all(name, _)"),
        ("has(request.path, 1)", Place::Request, 0, "`has` with 2 arguments, it is has(_)"),
        ("has(request)", Place::Request, 0, "has() is asked of a field"),
        ("has(1)", Place::Request, 0, "has() takes a field"),
        ("has(request.headers[request.path])", Place::Request, 0, "has() takes a field"),
        ("request.path.matches('(')", Place::Request, 21, "is no regex: unclosed group"),
        ("[1].map(a, [1].map(b, [1].map(c, c)))", Place::Request, 26, "more than 2 deep"),
        ("Order{id: 1}", Place::Request, 0, "messages cannot be made here"),
        ("request.body.a", Place::Request, 8, "`request.body` is not supported yet"),
        ("request.body.items.all(i, i > 1)", Place::Request, 8, "`request.body` is not supported yet"),
        ("response.body", Place::Response, 9, "`response.body` is not supported yet"),
        ("claims.sub", Place::Match, 0, "`claims` is not known yet where routes are matched"),
        ("now > 1", Place::Match, 0, "`now` is not known yet where routes are matched"),
        ("now.year", Place::Allow, 4, "`now` is a number of seconds and has no `year`"),
        ("claims", Place::Allow, 0, "`claims` is no single value"),
        ("request.path ==", Place::Request, 15, "not CEL: mismatched input '<EOF>'"),
        ("has(request.path", Place::Request, 16, "not CEL"),
        ("request.?path", Place::Request, 7, "not CEL: unsupported syntax"),
        ("", Place::Request, 0, "must not be empty"),
    ] {
        let problems = compile(expression, place).expect_err(expression);
        let found = problems.iter().find(|problem| problem.message.contains(message));
        let found = found.unwrap_or_else(|| panic!("{expression}: {problems:?}"));
        assert_eq!(found.offset, offset, "{expression}: {found:?}");
    }
    let problems = compile("foo + bar == params.nope", Place::Request).expect_err("three problems");
    assert_eq!(problems.iter().map(|problem| problem.offset).collect::<Vec<_>>(), [0, 6, 20], "all at once, in order");
}

#[test]
fn what_would_be_too_much_for_the_stack_is_refused() {
    let many = |part: &str, count| part.repeat(count);
    for (text, message) in [
        (format!("'{}'", many("a", 5000)), "not be longer than 4096 bytes"),
        (vec!["1"; 2000].join("+"), "more than 600 words and signs"),
        (vec!["true"; 500].join("&&"), "more than 600 words and signs"),
        (vec!["1"; 200].join("+"), "not be deeper than 32 parts"),
        (format!("request.headers{}", many(".a", 1000)), "more than 600 words and signs"),
        (format!("x{}", many(".size()", 100)), "not be deeper than 32 parts"),
        (format!("{}1{}", many("[", 200), many("]", 200)), "recursion limit"),
        (format!("{}1{}", many("{1:", 100), many("}", 100)), "recursion limit"),
        (many("(", 500), "recursion limit"),
        (format!("{}1", many("true?1:", 500)), "more than 16 `?`"),
        (format!("{}1", many("!-", 2000)), "more than 4 `!` or `-` in a row"),
        (format!("{}true{}", many("[1].exists(x,", 30), many(")", 30)), "recursion limit"),
        (format!("{}true{}", many("[1].exists(x,", 9), many(")", 9)), "more than 2 deep"),
    ] {
        // A quarter of what a thread has, in a build without optimisation; three quarters where it is evaluated too.
        let shown: String = text.chars().take(40).collect();
        let compiled = std::thread::Builder::new().stack_size(512 << 10).spawn(move || compile(&text, Place::Request));
        let problems = compiled.expect("a thread").join().expect("no overflow").expect_err(&shown);
        assert!(problems.iter().any(|problem| problem.message.contains(message)), "{shown}: {:?}", problems.first());
    }
    for text in [
        format!("{}1{}", many("[", 24), many("]", 24)) + " == 1",
        vec!["1"; 32].join("+"),
        vec!["request.path == ''"; 80].join("||"),
        format!("{}1", many("1==2?1:", 16)),
        format!("{}true{}", many("[1].exists(x,", 2), many(")", 2)),
        format!("{}1{}", many("(", 24), many(")", 24)),
        format!("{}1{}", many("string(", 24), many(")", 24)),
    ] {
        let run = move || compile(&text, Place::Request).map(|compiled| compiled.text(&asked().facts("")).is_ok());
        let found = std::thread::Builder::new().stack_size(1536 << 10).spawn(run).expect("a thread").join();
        assert_eq!(found.expect("no overflow"), Ok(true));
    }
}

#[test]
fn a_pattern_that_a_request_gives_is_bounded() {
    let matches = |pattern: &str| {
        let asked = testkit::asked_with_params("GET /orders/7", &[("id", pattern)]);
        compile("request.path.matches(params.id)", Place::Request).expect("an expression").truth(&asked.facts(""))
    };
    assert_eq!(matches("^/orders/[0-9]$"), Ok(true));
    assert_eq!(matches("^$"), Ok(false));
    for pattern in ["(", "a{1000}{1000}", &"a".repeat(257)] {
        assert!(matches(pattern).is_err(), "{pattern}");
    }
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
        ("${r'\\'}${'''it's }'''}${params.id}", "\\it's }7"),
        ("${params.id // }\n}", "7"),
        ("${env.PRICE}${params.id}$${$", "5$7${$"),
    ] {
        let template = template(text, Place::Request).unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
        assert_eq!(template.render(&asked.facts("")), rendered, "{text}");
    }
    assert_eq!(template("${env.STAGE}/x", Place::EnvOnly).expect("a template").fixed(), Some("prod/x"));
    let problems = template("é ${params.nope} ${oops", Place::Request).expect_err("two problems");
    assert!(problems[0].message.contains("captures no `nope`") && problems[0].offset == 12, "{problems:?}");
    assert!(problems[1].message.contains("is not closed") && problems[1].offset == 18, "{problems:?}");
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
        ("/x/${request.headers['x-path']}", Some("/x/a%2Fb%3Fc%23d%25e%3B%2B%5C:@!$&'()*,=~")),
        (
            "/x?y=${request.headers['x-path']}",
            Some("/x?y=a%2Fb%3Fc%23d%25e%3B%2B%5C%3A%40%21%24%26%27%28%29%2A%2C%3D~"),
        ),
        ("${request.path}?a=${params.rest}", Some("/orders/7?a=a%2Fb%20c")),
        ("/x/${request.query.none}", None),
        ("/x/v${request.query.none}/y", Some("/x/v/y")),
    ] {
        let template = template(text, Place::Request).unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
        let found = template.render_path(&asked.facts(""));
        if text.contains("/../") {
            continue; // A constant of the config is its author's.
        }
        assert_eq!(found.ok().as_deref(), rendered, "{text}");
    }
}

#[test]
fn captures_of_several_segments_keep_their_slashes_and_nothing_else() {
    for (value, rendered) in [
        ("a/b", Some("/x/a/b")),
        ("a/b/", Some("/x/a/b/")),
        ("a?b/c;d", Some("/x/a%3Fb/c%3Bd")),
        ("", None),
        ("a/../b", None),
        ("./a", None),
        ("a/..", None),
        ("/evil.example", None),
        ("a//b", None),
    ] {
        let mut asked = asked();
        asked.params = Params::default();
        asked.params.push_rest(Arc::from("rest"), value.to_owned());
        let template = template("/x/${params.rest}", Place::Request).expect("a template");
        assert_eq!(template.render_path(&asked.facts("")).ok().as_deref(), rendered, "{value}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_compile_panic(text in "\\PC{0,60}") {
        for problem in compile(&text, Place::Request).err().into_iter().flatten() {
            prop_assert!(text.is_char_boundary(problem.offset), "{:?}", problem);
        }
        let _ = template(&text, Place::Request);
        let _ = template(&format!("${{{text}}}"), Place::Request);
    }

    #[test]
    fn no_expression_makes_compile_or_reading_panic(text in "(request|params|headers|caller|claims|now|has|env|STAGE|in|exists|\\{|\\}|x|\\.|\\[|\\]|\\(|\\)|'a'|1|\\+|==|&&|!|\\?|:|,| ){0,20}") {
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
    fn no_capture_of_several_segments_leaves_its_place(value in "\\PC{0,20}|[a./%?#&=\\\\;]{0,8}") {
        let mut asked = asked();
        asked.params = Params::default();
        asked.params.push_rest(Arc::from("rest"), value.clone());
        let path = template("/x/${params.rest}", Place::Request).expect("a template");
        if let Ok(path) = path.render_path(&asked.facts("")) {
            prop_assert!(path.starts_with("/x/") && !path.contains("//") && !path.contains(['?', '#', ';', '\\']), "{}", &path);
            let normal = crate::route::normalise(&path).map(|normal| normal.path.into_owned());
            prop_assert_eq!(normal.ok(), Some(path.into_owned()));
        }
    }

    #[test]
    fn no_values_together_add_a_segment(a in "[a./%;]{0,3}", b in "[a./%;]{0,3}") {
        let asked = testkit::asked_with_params("GET /", &[("id", &a), ("rest", &b)]);
        let path = template("/a/${params.id}${params.rest}/b", Place::Request).expect("a template");
        let whole = format!("{a}{b}");
        match path.render_path(&asked.facts("")) {
            Ok(path) => prop_assert_eq!(path.matches('/').count(), 3, "{}", &path),
            Err(_) => prop_assert!(matches!(whole.as_str(), "" | "." | ".."), "{}", whole),
        }
    }

    #[test]
    fn no_value_breaks_a_header(value in "[\\x00-\\x7f]{0,12}") {
        let asked = testkit::asked_with_params("GET /", &[("id", &value)]);
        let header = template("a${params.id}", Place::Request).expect("a template");
        let forbidden = value.bytes().any(|b| (b < b' ' && b != b'\t') || b == 0x7f);
        prop_assert_eq!(header.render_header(&asked.facts("")).is_err(), forbidden);
    }
}
