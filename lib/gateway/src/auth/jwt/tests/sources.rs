//! Where tokens are found, and that nothing else is taken off.

use super::*;

const COOKIE_AND_QUERY: [fn() -> Source; 2] =
    [|| Source::Cookie("session".to_owned()), || Source::Query("access_token".to_owned())];

fn everywhere(signer: &Signer) -> Jwt {
    let mut policy = policy(Keys::Fixed(set_of(&[signer])));
    policy.from.push(Source::Header("x-token".parse().unwrap()));
    policy.from.extend(COOKIE_AND_QUERY.map(|source| source()));
    Jwt::new("customers", policy)
}

/// A request of these parts: fields, and a query.
fn of(fields: &[(&str, &str)], query: Option<&str>) -> Request {
    let mut request = request("GET /");
    for (name, value) in fields {
        request.headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    request.query = query.map(str::to_owned);
    request
}

#[tokio::test]
async fn a_token_is_found_in_each_place_and_taken_off_with_nothing_else() {
    let signer = Signer::new(Algorithm::EdDsa, "k");
    let (jwt, clock, token) = (everywhere(&signer), TestClock::at(NOON), signer.token(&good()));
    let encoded = token.replace('.', "%2e");
    for (fields, query, fields_left, query_left) in [
        (vec![("authorization", format!("Bearer {token}"))], None, vec![], None),
        (vec![("authorization", format!("bEaReR {token}"))], Some("a=1".to_owned()), vec![], Some("a=1")),
        (vec![("authorization", format!("Bearer   {token}  "))], None, vec![], None),
        (
            vec![("authorization", format!("Bearer {token}")), ("authorization", "Basic YTpi".to_owned())],
            None,
            vec![("authorization", "Basic YTpi")],
            None,
        ),
        (vec![("x-token", token.clone())], None, vec![], None),
        (vec![("x-token", format!("bearer {token}"))], None, vec![], None),
        (vec![("cookie", format!("session={token}"))], None, vec![], None),
        (vec![("cookie", format!("a=1; session={token}; b=\"2\""))], None, vec![("cookie", "a=1; b=\"2\"")], None),
        (
            vec![("cookie", "a=1;  c=3".to_owned()), ("cookie", format!("session={token}"))],
            None,
            vec![("cookie", "a=1;  c=3")],
            None,
        ),
        (vec![("cookie", format!(" session = {token};x"))], None, vec![("cookie", "x")], None),
        (vec![], Some(format!("access_token={token}")), vec![], None),
        (vec![], Some(format!("a=%20&access_token={encoded}&&b")), vec![], Some("a=%20&&b")),
        (vec![], Some(format!("%61ccess_token={token}&c=+")), vec![], Some("c=+")),
    ] {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut request = of(&fields, query.as_deref());
        assert_eq!(
            ask(&jwt, &request, &clock).await.map(|caller| caller.id().to_owned()),
            Ok("user-1".to_owned()),
            "{fields:?} {query:?}"
        );
        jwt.strip(&mut request);
        let left: Vec<_> =
            request.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!((left, request.query.as_deref()), (fields_left, query_left), "{fields:?} {query:?}");
    }
}

#[tokio::test]
async fn two_tokens_are_refused_be_they_the_same() {
    let signer = Signer::new(Algorithm::EdDsa, "k");
    let (jwt, clock, token) = (everywhere(&signer), TestClock::at(NOON), signer.token(&good()));
    let (bearer, cookie, query) =
        (format!("Bearer {token}"), format!("session={token}"), format!("access_token={token}"));
    let twice = Err(Denied::Invalid("customers: there is more than one token".to_owned()));
    for (fields, query) in [
        (vec![("authorization", bearer.as_str()), ("authorization", bearer.as_str())], None),
        (vec![("authorization", bearer.as_str()), ("authorization", "Bearer")], None),
        (vec![("authorization", bearer.as_str()), ("cookie", cookie.as_str())], None),
        (vec![("authorization", bearer.as_str()), ("x-token", "")], None),
        (vec![("authorization", bearer.as_str())], Some(query.as_str())),
        (vec![("cookie", &format!("{cookie}; session=x"))], None),
        (vec![("cookie", cookie.as_str()), ("cookie", cookie.as_str())], None),
        (vec![], Some(&format!("{query}&access%5ftoken=")[..])),
    ] {
        assert_eq!(ask(&jwt, &of(&fields, query), &clock).await, twice, "{fields:?} {query:?}");
    }
}

#[tokio::test]
async fn what_is_no_token_of_ours_is_missing_and_what_looks_like_one_is_invalid() {
    let signer = Signer::new(Algorithm::EdDsa, "k");
    let (jwt, clock, token) = (everywhere(&signer), TestClock::at(NOON), signer.token(&good()));
    for fields in [
        vec![],
        vec![("authorization", "Basic YTpi")],
        vec![("authorization", token.as_str())],
        vec![("authorization", "Bearers x")],
        vec![("authorization", "")],
        vec![("proxy-authorization", &format!("Bearer {token}"))],
        vec![("cookie", "sessions=x; a; session")],
    ] {
        let mut request = of(&fields, Some("access_tokens=1&Access_token=2"));
        let before = (request.headers.clone(), request.query.clone());
        assert_eq!(ask(&jwt, &request, &clock).await, Err(Denied::Missing), "{fields:?}");
        jwt.strip(&mut request);
        assert_eq!((request.headers, request.query), before);
    }
    for fields in [
        vec![("authorization", "Bearer")],
        vec![("authorization", "Bearer ")],
        vec![("authorization", "bearer\tx")],
        vec![("x-token", "")],
        vec![("authorization", &format!("Bearer token={token}"))],
        vec![("authorization", &format!("Bearer {token}, Bearer {token}"))],
        vec![("authorization", &format!("Bearer {token} x"))],
        vec![("cookie", "session=")],
        vec![("cookie", &format!("session=\"{token}\""))],
        vec![("authorization", "Bearer \u{e9}")],
    ] {
        let mut request = of(&fields, None);
        let found = ask(&jwt, &request, &clock).await;
        assert!(matches!(found, Err(Denied::Invalid(_))), "{fields:?}: {found:?}");
        jwt.strip(&mut request);
        assert!(request.headers.is_empty(), "{fields:?}");
    }
}
