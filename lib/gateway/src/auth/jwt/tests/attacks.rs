//! What is tried on gateways, and why each of it is refused. Every token is well signed where the attack lets it be.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::signer::{b64, mac};
use super::*;

/// A token of this header and the good claims.
fn headed(signer: &Signer, header: &str) -> String {
    signer.token_of(header, &good().to_string())
}

#[test]
fn a_token_is_one_of_an_allowed_algorithm_in_its_exact_spelling() {
    let rsa = Signer::new(Algorithm::Rs256, "r");
    let jwt = entry(&[&rsa]);
    assert_eq!(check(&jwt, &headed(&rsa, r#"{"alg":"RS256","kid":"r"}"#)).unwrap().id(), "user-1");
    for alg in [
        r#""none""#,
        r#""None""#,
        r#""NONE""#,
        r#""nOnE""#,
        r#""none ""#,
        r#"" none""#,
        r#""n\u006fne""#,
        r#""none\u0000""#,
        r#""""#,
        r#""rs256""#,
        r#""RS256\u0000""#,
        r#""RS256 ""#,
        r#""RS-256""#,
        r#""RSA""#,
        r#""RS1""#,
        r#""RS255""#,
        r#""ES256K""#,
        r#""ECDH-ES""#,
        r#""dir""#,
        r#""HS1""#,
        "null",
        "0",
        "true",
        "[]",
        r#"["RS256"]"#,
        r#"{"alg":"RS256"}"#,
    ] {
        let token = headed(&rsa, &format!(r#"{{"alg":{alg},"kid":"r"}}"#));
        let unsigned = &token[..=token.rfind('.').unwrap()];
        for token in [token.as_str(), unsigned] {
            let why = check(&jwt, token).unwrap_err();
            assert!(why.starts_with("the token's alg is "), "{alg}: {why}");
        }
    }
    assert_eq!(check(&jwt, &headed(&rsa, r#"{"kid":"r"}"#)).unwrap_err(), "the token's header has no alg");
    let escaped = headed(&rsa, r#"{"\u0061lg":"RS\u0032\u00356","kid":"r"}"#);
    assert!(check(&jwt, &escaped).is_ok(), "JSON has more than one spelling of the same text");
}

#[test]
fn an_algorithm_that_is_not_allowed_is_refused_whatever_the_key_can_do() {
    let rsa = Signer::new(Algorithm::Rs256, "r");
    let mut policy = policy(Keys::Fixed(set_of(&[&rsa])));
    policy.algorithms = vec![Algorithm::Rs256];
    let jwt = Jwt::new("customers", policy);
    for (alg, algorithm) in Algorithm::ALL {
        if !matches!(rsa.jwk()["kty"].as_str(), Some("RSA")) || algorithm == Algorithm::Rs256 {
            continue;
        }
        let signed = format!("{}.{}", b64(format!(r#"{{"alg":"{alg}","kid":"r"}}"#)), b64(good().to_string()));
        let signature = rsa.sign_by(algorithm, signed.as_bytes());
        let why = check(&jwt, &format!("{signed}.{}", b64(signature))).unwrap_err();
        assert_eq!(why, format!("the token's alg {alg} is not one of `algorithms`"));
    }
}

#[test]
fn a_public_key_is_no_secret_to_sign_with() {
    let (rsa, ec) = (Signer::new(Algorithm::Rs256, "r"), Signer::new(Algorithm::Es256, "e"));
    let mut policy = policy(Keys::Fixed(set_of(&[&rsa, &ec])));
    // Even where a config had let HMAC through.
    policy.algorithms.extend([Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512]);
    let jwt = Jwt::new("customers", policy);
    for signer in [&rsa, &ec] {
        let jwk = signer.jwk();
        let member = |name: &str| jwk[name].as_str().unwrap_or_default().to_owned();
        let decoded = |name: &str| URL_SAFE_NO_PAD.decode(member(name)).unwrap();
        let point = [&[4], decoded("x").as_slice(), decoded("y").as_slice()].concat();
        let secrets = [
            jwk.to_string().into_bytes(),
            member("n").into_bytes(),
            decoded("n"),
            decoded("x"),
            point,
            Vec::new(),
            vec![0],
        ];
        for (alg, algorithm) in [("HS256", Algorithm::Hs256), ("HS384", Algorithm::Hs384), ("HS512", Algorithm::Hs512)]
        {
            for secret in &secrets {
                for kid in [format!(r#","kid":"{}""#, signer.kid), String::new()] {
                    let signed = format!("{}.{}", b64(format!(r#"{{"alg":"{alg}"{kid}}}"#)), b64(good().to_string()));
                    let token = format!("{signed}.{}", b64(mac(algorithm, secret, signed.as_bytes())));
                    let why = check(&jwt, &token).unwrap_err();
                    assert!(why.contains(&format!("for {alg}")), "{why}");
                }
            }
        }
    }
}

#[test]
fn signatures_of_curves_are_r_and_s_of_full_length_and_within_bounds() {
    for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::Es512] {
        let signer = Signer::new(algorithm, "e");
        let jwt = entry(&[&signer]);
        let token = signer.token(&good());
        assert!(check(&jwt, &token).is_ok());
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let (r, s) = signature.split_at(signature.len() / 2);
        let zero = vec![0; r.len()];
        let one = [&zero[1..], &[1]].concat();
        let full = vec![0xff; r.len()];
        for (what, changed) in [
            ("DER", der(r, s)),
            ("nothing", Vec::new()),
            ("r alone", r.to_vec()),
            ("swapped", [s, r].concat()),
            ("twice", [&signature[..], &signature].concat()),
            ("a byte more", [&signature[..], &[0]].concat()),
            ("a byte before", [&[0], &signature[..]].concat()),
            ("a byte less", signature[..signature.len() - 1].to_vec()),
            ("longer halves", [&[0], r, &[0], s].concat()),
            ("r is zero", [&zero, s].concat()),
            ("s is zero", [r, &zero].concat()),
            ("both are zero", [&zero[..], &zero].concat()),
            ("both are one", [&one[..], &one].concat()),
            ("r is too large", [&full, s].concat()),
            ("s is too large", [r, &full].concat()),
        ] {
            assert_eq!(
                check(&jwt, &format!("{signed}.{}", b64(changed))).unwrap_err(),
                "the signature is wrong",
                "{algorithm}: {what}"
            );
        }
    }
}

/// SEQUENCE { INTEGER r, INTEGER s }, of less than 128 bytes.
fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let digits = [&[0], number].concat();
        [&[2, u8::try_from(digits.len()).unwrap()], digits.as_slice()].concat()
    };
    let both = [integer(r), integer(s)].concat();
    [&[0x30, 0x81, u8::try_from(both.len()).unwrap_or(255)], both.as_slice()].concat()
}

#[test]
fn another_curve_or_another_kind_of_key_is_not_confused_with_the_right_one() {
    let signers = [
        Signer::new(Algorithm::Es256, "same"),
        Signer::new(Algorithm::Es384, "same"),
        Signer::new(Algorithm::EdDsa, "same"),
        Signer::new(Algorithm::Rs256, "same"),
    ];
    for own in &signers {
        let jwt = entry(&[own]);
        for other in &signers {
            let taken = check(&jwt, &other.token(&good()));
            assert_eq!(taken.is_ok(), std::ptr::eq(own, other), "{} by {}: {taken:?}", own.algorithm, other.algorithm);
            // Signed by the other, and said to be of the own algorithm.
            let header = format!(r#"{{"alg":"{}","kid":"same"}}"#, own.algorithm);
            assert_eq!(check(&jwt, &headed(other, &header)).is_ok(), std::ptr::eq(own, other));
        }
    }
    let all = entry(&signers.iter().collect::<Vec<_>>());
    for signer in &signers {
        assert!(check(&all, &signer.token(&good())).is_ok(), "one name for keys of several kinds (RFC 7517 §4.5)");
    }
}

#[test]
fn keys_that_a_token_brings_or_points_to_are_not_used() {
    let (own, attacker) = (Signer::new(Algorithm::Es256, "own"), Signer::new(Algorithm::Es256, "own"));
    let jwt = entry(&[&own]);
    let jwk = attacker.jwk();
    for more in [
        format!(r#""jwk":{jwk}"#),
        r#""jku":"https://attacker.example/jwks.json""#.to_owned(),
        r#""jku":"https://issuer.example/@attacker.example/""#.to_owned(),
        r#""x5u":"http://169.254.169.254/latest/meta-data/""#.to_owned(),
        r#""x5c":["MIIB"]"#.to_owned(),
        r#""x5t":"AAAA","x5t#S256":"AAAA""#.to_owned(),
    ] {
        let header = format!(r#"{{"alg":"ES256","kid":"own",{more}}}"#);
        assert_eq!(check(&jwt, &headed(&attacker, &header)).unwrap_err(), "the signature is wrong", "{more}");
        assert!(check(&jwt, &headed(&own, &header)).is_ok(), "they are not looked at: {more}");
        let header = format!(r#"{{"alg":"ES256","kid":"theirs",{more}}}"#);
        assert_eq!(check(&jwt, &headed(&attacker, &header)).unwrap_err(), "there is no key \"theirs\"");
    }
}

#[test]
fn a_kid_is_looked_up_and_nothing_else() {
    let own = Signer::new(Algorithm::Es256, "own");
    let jwt = entry(&[&own]);
    for kid in [
        "",
        "own ",
        "OWN",
        "own\\u0000",
        "../../../../dev/null",
        "/etc/passwd",
        "x' UNION SELECT 'AA' --",
        "own;id",
        "*",
        "0",
        "https://attacker.example/key",
        "%6fwn",
        "$(id)",
        "\\u043ewn",
    ] {
        let why = check(&jwt, &headed(&own, &format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#))).unwrap_err();
        assert!(why.starts_with("there is no key "), "{kid}: {why}");
    }
    for (kid, why) in [
        ("null", "the token's kid is no string"),
        ("0", "the token's kid is no string"),
        ("[\"own\"]", "the token's kid is no string"),
    ] {
        assert_eq!(check(&jwt, &headed(&own, &format!(r#"{{"alg":"ES256","kid":{kid}}}"#))).unwrap_err(), why);
    }
    let long = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, "k".repeat(257));
    assert_eq!(check(&jwt, &headed(&own, &long)).unwrap_err(), "the token's kid has more than 256 bytes");
    assert!(check(&jwt, &headed(&own, r#"{"alg":"ES256"}"#)).is_ok(), "a token need not name its key");
}

#[test]
fn headers_that_ask_for_more_than_is_understood_are_refused() {
    let own = Signer::new(Algorithm::Es256, "own");
    let jwt = entry(&[&own]);
    for (more, why) in [
        (r#""crit":["exp"]"#, "`crit`"),
        (r#""crit":["b64"],"b64":true"#, "`crit`"),
        (r#""crit":[]"#, "`crit`"),
        (r#""crit":null"#, "`crit`"),
        (r#""crit":"x""#, "`crit`"),
        (r#""b64":false"#, "RFC 7797"),
        (r#""b64":"false""#, "RFC 7797"),
        (r#""zip":"DEF""#, "`zip`"),
        (r#""enc":"A256GCM""#, "`enc`"),
        (r#""kid":"own""#, "a member twice"),
        (r#""alg":"none""#, "a member twice"),
        (r#""x":{"a":1,"a":2}"#, "a member twice"),
        (r#""typ":7"#, "typ is no string"),
        (r#""typ":"logout+jwt""#, "typ is \"logout+jwt\""),
        (r#""typ":"JOSE""#, "typ is \"JOSE\""),
    ] {
        let why_not = check(&jwt, &headed(&own, &format!(r#"{{"alg":"ES256","kid":"own",{more}}}"#))).unwrap_err();
        assert!(why_not.contains(why), "{more}: {why_not}");
    }
    for more in [
        r#""b64":true"#,
        r#""typ":"JWT""#,
        r#""typ":"jwt""#,
        r#""typ":"application/at+JWT""#,
        r#""cty":"x","other":[1]"#,
    ] {
        let header = format!(r#"{{"alg":"ES256","kid":"own",{more}}}"#);
        assert!(check(&jwt, &headed(&own, &header)).is_ok(), "{more}");
    }
    for header in [
        "",
        "null",
        "[]",
        r#""alg""#,
        "{",
        r#"{"alg":"ES256",}"#,
        "{'alg':'ES256'}",
        "\u{feff}{\"alg\":\"ES256\"}",
        "{\"alg\":\"ES256\"}{}",
    ] {
        let why = check(&jwt, &headed(&own, header)).unwrap_err();
        assert!(why.starts_with("the token's header"), "{header}: {why}");
    }
}

#[test]
fn a_token_has_three_parts_each_in_its_one_form() {
    let own = Signer::new(Algorithm::Es256, "own");
    let jwt = entry(&[&own]);
    let token = own.token(&good());
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts.as_slice() else { panic!("three parts") };
    for bad in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        header.to_string(),
        format!("{header}.{payload}"),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}.{signature}"),
        format!("{token}..."),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{header}.{payload}."),
        format!("{token}{token}"),
        format!("{token}="),
        format!("{token}=="),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}=.{signature}"),
        format!(" {token}"),
        format!("{token} "),
        format!("{token}\n"),
        format!("{header}.\n{payload}.{signature}"),
        format!("\"{token}\""),
        token.replace('.', "%2E"),
        token.replace('.', "\u{ff0e}"),
        format!("{{\"payload\":\"{payload}\",\"protected\":\"{header}\",\"signature\":\"{signature}\"}}"),
        token.to_uppercase(),
        format!("{token}\0"),
        format!("token={token}"),
        format!("{token},{token}"),
    ] {
        assert!(check(&jwt, &bad).is_err(), "{bad:?}");
    }
    for length in 0..token.len() {
        assert!(check(&jwt, &token[..length]).is_err(), "cut to {length}");
    }
    let mut large = good();
    large["pad"] = "x".repeat(16 * 1024).into();
    assert!(check(&jwt, &own.token(&large)).unwrap_err().contains("more than 16384"));
    large["pad"] = "x".repeat(11 * 1024).into();
    assert!(check(&jwt, &own.token(&large)).is_ok());
}

#[test]
fn a_signature_of_another_token_or_by_another_key_is_wrong() {
    let (own, other) = (Signer::new(Algorithm::Rs256, "k"), Signer::new(Algorithm::Rs256, "k"));
    let jwt = entry(&[&own]);
    let mut admin = good();
    admin["sub"] = "admin".into();
    let (user, admin) = (own.token(&good()), own.token(&admin));
    let (_, signature) = user.rsplit_once('.').unwrap();
    let (signed, _) = admin.rsplit_once('.').unwrap();
    for bad in [
        format!("{signed}.{signature}"),
        other.token(&good()),
        format!("{signed}.{}", b64([0; 256])),
        format!("{signed}.{}", b64([0xff; 256])),
    ] {
        assert_eq!(check(&jwt, &bad).unwrap_err(), "the signature is wrong");
    }
}

#[test]
fn a_header_that_is_a_long_text_makes_no_long_line_in_the_log() {
    let signer = Signer::new(Algorithm::EdDsa, "k");
    let why = check(&entry(&[&signer]), &headed(&signer, &format!("\"{}\"", "x".repeat(8_000)))).unwrap_err();
    assert!(why.len() < 400 && why.starts_with("the token's header: "), "{why}");
}
