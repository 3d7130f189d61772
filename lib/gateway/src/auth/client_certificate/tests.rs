//! Chains made for the test, against authorities made for the test.

use bytes::Bytes;
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, DnValue, ExtendedKeyUsagePurpose, GeneralSubtree,
    IsCa, KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData, SanType, SignatureAlgorithm, date_time_ymd,
};
use rustls_pki_types::CertificateDer;

use super::*;
use crate::testkit;

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// 2026-11-24 12:00:00.
const NOW: u64 = 1_795_521_600;

/// An authority, valid from 2020 until 2100.
fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2100, 1, 1));
    params
}

fn root() -> Issuer {
    Issuer::self_signed(params("root"), KeyPair::generate().unwrap()).unwrap()
}

fn below(issuer: &Issuer, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Issuer {
    let mut params = params(name);
    change(&mut params);
    Issuer::signed_by(params, KeyPair::generate().unwrap(), issuer).unwrap()
}

/// A client's certificate: the URI of `orders`, the host name `till.shop`, the common name `till-7.devices`.
fn client(issuer: &Issuer, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
    client_with(issuer, &KeyPair::generate().unwrap(), change)
}

fn client_with(
    issuer: &Issuer,
    key: &impl PublicKeyData,
    change: impl FnOnce(&mut CertificateParams),
) -> CertificateDer<'static> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "till-7.devices");
    params.subject_alt_names = vec![
        SanType::URI("spiffe://shop/orders".try_into().unwrap()),
        SanType::DnsName("Till.shop".try_into().unwrap()),
    ];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.serial_number = Some(0x1234_5678_u64.into());
    (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2027, 1, 1));
    change(&mut params);
    params.signed_by(key, issuer).unwrap().into()
}

fn authorities(issuers: &[&Issuer]) -> Authorities {
    Authorities::parse(issuers.iter().map(|issuer| issuer.pem()).collect::<String>().as_bytes()).unwrap()
}

fn method(issuers: &[&Issuer], allow: &[&str]) -> ClientCertificates {
    let allow = allow.iter().map(|rule| Rule::parse(rule).unwrap()).collect();
    let granted = Granted { tenant: Some("shop".to_owned()), ..Granted::default() };
    ClientCertificates::new("devices", CertFrom::ApiGateway, authorities(issuers), allow, granted)
}

const ANY: &[&str] = &["uri:spiffe://shop/*"];

fn text(chain: &[CertificateDer<'_>]) -> Bytes {
    chain.iter().map(|certificate| format!(":{}:", STANDARD.encode(certificate))).collect::<Vec<_>>().join(",").into()
}

fn present(from: CertFrom, text: Bytes) -> Origin {
    Origin { client_certificate: Some(ClientCert { from, text }), ..testkit::request("GET /").origin }
}

fn ask(method: &ClientCertificates, chain: &[CertificateDer<'_>], now: u64) -> Result<Caller, Denied> {
    method.caller(&present(CertFrom::ApiGateway, text(chain)), Timestamp::from_secs(now))
}

/// Why a chain is refused.
fn refused(method: &ClientCertificates, chain: &[CertificateDer<'_>], now: u64) -> String {
    match ask(method, chain, now) {
        Err(Denied::Invalid(why)) => {
            let why = why.strip_prefix("devices: ").unwrap();
            // Of a chain that does not hold, webpki's own word.
            why.strip_prefix("no way from the certificate to an authority of `ca` holds: ").unwrap_or(why).to_owned()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_certificate_of_an_authority_is_a_caller_named_by_the_rule_that_matched() {
    let root = root();
    let own = client(&root, |_| {});
    for (allow, id) in [
        (&["uri:spiffe://shop/*"][..], "uri:spiffe://shop/orders"),
        (&["dns:*.shop"], "dns:till.shop"),
        (&["cn:*.devices"], "cn:till-7.devices"),
        (&["cn:nobody", "dns:till.shop", "uri:spiffe://shop/*"], "dns:till.shop"),
    ] {
        let caller = ask(&method(&[&root], allow), std::slice::from_ref(&own), NOW).unwrap();
        assert_eq!((caller.id(), caller.tenant(), caller.via()), (id, "shop", "client_certificate"));
    }
    let why = refused(&method(&[&root], &["uri:spiffe://shop/stock", "cn:till-7"]), &[own], NOW);
    assert_eq!(why, "the certificate 12345678 has no name that is allowed");
}

#[test]
fn what_is_proven_is_told_in_claims_and_sent_on_as_rfc_9440_has_it() {
    let (root, between) = (root(), |root: &Issuer| below(root, "between", |_| {}));
    let between = between(&root);
    let own = client(&between, |_| {});
    let chain = [own.clone(), between.der().clone()];
    let caller = ask(&method(&[&root], ANY), &chain, NOW).unwrap();
    let fingerprint = hex(digest(&SHA256, &own).as_ref());
    let claims = serde_json::to_string(caller.claims()).unwrap();
    let names = r#""uris":["spiffe://shop/orders"],"dns":["till.shop"],"cn":"till-7.devices""#;
    let expected = format!(r#"{{"fingerprint":"{fingerprint}","serial":"12345678",{names},"not_after":1798761600}}"#);
    assert_eq!(claims, expected);
    let item = |der: &[u8]| HeaderValue::try_from(format!(":{}:", STANDARD.encode(der))).unwrap();
    assert_eq!(caller.forward(), [(CLIENT_CERT, item(&own)), (CLIENT_CERT_CHAIN, item(between.der()))]);
    let direct = client(&root, |_| {});
    let caller = ask(&method(&[&root], ANY), std::slice::from_ref(&direct), NOW).unwrap();
    assert_eq!(caller.forward(), [(CLIENT_CERT, item(&direct))]);
    assert_eq!(method(&[&root], ANY).forwards(), [CLIENT_CERT, CLIENT_CERT_CHAIN]);
}

#[test]
fn only_who_is_named_may_hand_certificates_over() {
    let root = root();
    let handed = text(&[client(&root, |_| {})]);
    let alb = |target_group: &str, verified| CertFrom::Alb { target_group: target_group.to_owned(), verified };
    let all = [CertFrom::ApiGateway, alb("arn:a", true), alb("arn:a", false), alb("arn:b", true), CertFrom::Edge];
    for named in &all {
        let method = ClientCertificates { from: named.clone(), ..method(&[&root], ANY) };
        for from in &all {
            let got = method.caller(&present(from.clone(), handed.clone()), Timestamp::from_secs(NOW));
            assert_eq!(got.is_ok(), from == named, "{from:?} where {named:?} is named");
            assert!(from == named || got == Err(Denied::Missing));
        }
    }
    let nothing = testkit::request("GET /").origin;
    assert_eq!(method(&[&root], ANY).caller(&nothing, Timestamp::from_secs(NOW)), Err(Denied::Missing));
}

#[test]
fn a_certificate_is_taken_from_its_first_to_its_last_second() {
    let root = root();
    let own = client(&root, |_| {});
    let (first, last) = (1_767_225_600, 1_798_761_600);
    for (now, why) in [
        (first - 1, Some("CertNotValidYet")),
        (first, None),
        (NOW, None),
        (last, None),
        (last + 1, Some("CertExpired")),
    ] {
        let got = ask(&method(&[&root], ANY), std::slice::from_ref(&own), now);
        match (why, got) {
            (None, got) => drop(got.unwrap()),
            (Some(why), Err(Denied::Invalid(got))) => assert!(got.contains(why), "{now}: {got}"),
            (Some(_), got) => panic!("{now}: {got:?}"),
        }
    }
}

#[test]
fn an_authority_that_has_ended_or_not_begun_proves_nothing_even_where_another_does() {
    let key = || KeyPair::from_pem(KEY.trim()).unwrap();
    let of = |from, until| {
        let mut params = params("root");
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        Issuer::self_signed(params, key()).unwrap()
    };
    let (old, new, later) = (of(2020, 2026), of(2025, 2030), of(2028, 2040));
    let own = [client(&new, |_| {})];
    assert!(ask(&method(&[&new], ANY), &own, NOW).is_ok());
    assert!(ask(&method(&[&old, &new, &later], ANY), &own, NOW).is_ok());
    assert_eq!(refused(&method(&[&old], ANY), &own, NOW), "UnknownIssuer");
    assert_eq!(refused(&method(&[&later], ANY), &own, NOW), "UnknownIssuer");
}

const KEY: &str = "
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEICl9tLcW0ZfQ3yq4zCZcJ1FzCzQ4h0b5b5CjX6f8jX0N
-----END PRIVATE KEY-----
";

#[test]
fn a_chain_must_lead_to_an_authority_by_certificates_that_are_there() {
    let (root, other) = (root(), root());
    let first = below(&root, "first", |_| {});
    let second = below(&first, "second", |_| {});
    let own = client(&second, |_| {});
    let [first, second] = [&first, &second].map(|issuer| issuer.der().clone());
    let method = method(&[&root], ANY);
    for chain in [
        vec![own.clone(), second.clone(), first.clone()],
        vec![own.clone(), first.clone(), second.clone()],
        vec![own.clone(), other.der().clone(), second.clone(), first.clone(), root.der().clone()],
    ] {
        assert!(ask(&method, &chain, NOW).is_ok());
    }
    for chain in
        [vec![own.clone()], vec![own.clone(), second.clone()], vec![own.clone(), first.clone()], vec![second, first]]
    {
        let why = refused(&method, &chain, NOW);
        assert!(why == "UnknownIssuer" || why == "the certificate's key may not sign", "{why}");
    }
    let stranger = client(&other, |_| {});
    assert!(ask(&method, std::slice::from_ref(&stranger), NOW).is_err());
    assert!(ask(&method, &[stranger, root.der().clone()], NOW).is_err());
}

#[test]
fn a_certificate_that_signed_itself_is_nobodys_and_an_authoritys_is_no_clients() {
    let root = root();
    let mut params = params("root");
    params.is_ca = IsCa::NoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.subject_alt_names = vec![SanType::URI("spiffe://shop/orders".try_into().unwrap())];
    let own = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    assert_eq!(refused(&method(&[&root], ANY), &[own.der().clone()], NOW), "InvalidSignatureForPublicKey");
    let ca = client(&root, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_eq!(refused(&method(&[&root], ANY), &[ca], NOW), "CaUsedAsEndEntity");
}

#[test]
fn keys_are_used_for_what_they_are_made_for() {
    let root = root();
    let method = method(&[&root], ANY);
    let own = |change: fn(&mut CertificateParams)| [client(&root, change)];
    assert!(ask(&method, &own(|params| params.extended_key_usages.clear()), NOW).is_ok());
    assert!(ask(&method, &own(|params| params.key_usages.clear()), NOW).is_ok());
    let server = own(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    assert!(refused(&method, &server, NOW).starts_with("RequiredEkuNotFound"));
    let agreement = own(|params| params.key_usages = vec![KeyUsagePurpose::KeyAgreement]);
    assert_eq!(refused(&method, &agreement, NOW), "the certificate's key may not sign");

    let by = |change: fn(&mut CertificateParams)| {
        let between = below(&root, "between", change);
        [client(&between, |_| {}), between.der().clone()]
    };
    assert!(ask(&method, &by(|_| {}), NOW).is_ok());
    let no_ca = by(|params| params.is_ca = IsCa::ExplicitNoCa);
    assert_eq!(refused(&method, &no_ca, NOW), "EndEntityUsedAsCa");
    let no_signer = by(|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    assert_eq!(refused(&method, &no_signer, NOW), "the key of an intermediate certificate may not sign certificates");
    let servers = by(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    assert!(refused(&method, &servers, NOW).starts_with("RequiredEkuNotFound"));
    let old = by(|params| params.not_after = date_time_ymd(2026, 1, 1));
    assert!(refused(&method, &old, NOW).starts_with("CertExpired"));
}

#[test]
fn constraints_of_path_length_and_of_names_hold() {
    let root = root();
    let method = method(&[&root], &["uri:spiffe://shop/*", "cn:*.devices", "dns:*.shop"]);
    let short = below(&root, "short", |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let under = below(&short, "under", |_| {});
    let chain = [client(&under, |_| {}), under.der().clone(), short.der().clone()];
    assert_eq!(refused(&method, &chain, NOW), "PathLenConstraintViolated");

    let constrained = |permitted: &str| {
        let permitted_subtrees = vec![GeneralSubtree::DnsName(permitted.to_owned())];
        let between = below(&root, "between", |params| {
            params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
        });
        let only = |names: fn(&mut CertificateParams)| [client(&between, names), between.der().clone()];
        let host = only(|params| params.subject_alt_names = vec![SanType::DnsName("till.shop".try_into().unwrap())]);
        let nothing = only(|params| params.subject_alt_names.clear());
        (host, nothing)
    };
    let ((right, nothing), (wrong, _)) = (constrained("shop"), constrained("devices"));
    assert_eq!(ask(&method, &right, NOW).unwrap().id(), "dns:till.shop", "not by its common name, which comes first");
    assert_eq!(refused(&method, &wrong, NOW), "NameConstraintViolation");
    assert!(refused(&method, &nothing, NOW).ends_with("has no name that is allowed"));
}

/// A public key as `bytes` have it.
struct Claimed(Vec<u8>, &'static SignatureAlgorithm);

impl PublicKeyData for Claimed {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.1
    }
}

/// An RSA key with a modulus of so many bits (RFC 8017 appendix A.1.1).
fn rsa(bits: usize) -> Claimed {
    let mut modulus = vec![0xff; bits.div_ceil(8)];
    modulus[0] = 0xff >> (modulus.len() * 8 - bits);
    if modulus[0] & 0x80 != 0 {
        modulus.insert(0, 0);
    }
    let length = |of: usize| u16::try_from(of).unwrap().to_be_bytes();
    let exponent = [0x02, 0x03, 0x01, 0x00, 0x01];
    let integer = [&[0x02, 0x82][..], &length(modulus.len()), &modulus, &exponent].concat();
    Claimed([&[0x30, 0x82][..], &length(integer.len()), &integer].concat(), &rcgen::PKCS_RSA_SHA256)
}

#[test]
fn keys_that_are_weak_or_of_unknown_kinds_are_refused() {
    let root = root();
    let method = method(&[&root], ANY);
    for (key, strong) in [
        (rsa(1_024), false),
        (rsa(2_047), false),
        (rsa(2_048), true),
        (rsa(4_096), true),
        (Claimed(Vec::new(), &rcgen::PKCS_RSA_SHA256), false),
        (Claimed(vec![4; 65], &rcgen::PKCS_ECDSA_P256_SHA256), true),
        (Claimed(vec![4; 97], &rcgen::PKCS_ECDSA_P384_SHA384), true),
        (Claimed(vec![4; 133], &rcgen::PKCS_ECDSA_P521_SHA512), true),
        (Claimed(vec![4; 32], &rcgen::PKCS_ED25519), true),
    ] {
        let own = client_with(&root, &key, |_| {});
        assert_eq!(ask(&method, &[own], NOW).is_ok(), strong, "{} bytes of {:?}", key.0.len(), key.1);
    }
    // secp256k1 beside P-256.
    let mut own = client(&root, |_| {}).to_vec();
    let p256 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let at = own.windows(8).position(|window| window == p256).unwrap();
    own[at + 7] = 0x08;
    let why = refused(&method, &[own.into()], NOW);
    assert_eq!(why, "the certificate's key is too weak, or of a kind that is not taken");
}

#[test]
fn a_common_name_counts_where_there_is_one_that_can_be_read() {
    let root = root();
    let method = method(&[&root], &["cn:*.devices"]);
    let named = |value: DnValue| client(&root, |params| params.distinguished_name.push(DnType::CommonName, value));
    for (value, counts) in [
        (DnValue::Utf8String("ä.devices".to_owned()), true),
        (DnValue::PrintableString("a.devices".try_into().unwrap()), true),
        (DnValue::Ia5String("a.devices".try_into().unwrap()), true),
        (DnValue::BmpString("a.devices".try_into().unwrap()), false),
    ] {
        assert_eq!(ask(&method, &[named(value.clone())], NOW).is_ok(), counts, "{value:?}");
    }
    let none = client(&root, |params| params.distinguished_name = rcgen::DistinguishedName::new());
    assert!(ask(&method, &[none], NOW).is_err());
    let two = client(&root, |params| {
        let common = DnType::CustomDnType(vec![2, 5, 4, 3]);
        params.distinguished_name.push(common, "other.devices");
    });
    assert!(ask(&method, &[two], NOW).is_err());
}

#[test]
fn what_is_proven_is_remembered_for_five_minutes_and_never_beyond_the_chains_end() {
    let root = root();
    let between = below(&root, "between", |params| params.not_after = date_time_ymd(2026, 12, 1));
    let chain = [client(&between, |_| {}), between.der().clone()];
    let (method, ends) = (method(&[&root], ANY), 1_796_083_200);
    let proven = |now| {
        ask(&method, &chain, now).unwrap();
        let mut proven = method.proven.lock().unwrap();
        let hash = digest(&SHA256, &text(&chain)).as_ref().first_chunk::<32>().copied().unwrap();
        let proven = proven.get(&hash).unwrap();
        (proven.from.secs(), proven.until.secs())
    };
    assert_eq!(proven(NOW), (NOW, NOW + 300));
    assert_eq!(proven(NOW + 299), (NOW, NOW + 300), "remembered");
    assert_eq!(proven(NOW + 300), (NOW + 300, NOW + 600), "proven anew");
    assert_eq!(proven(NOW - 1), (NOW - 1, NOW + 299), "the clock was set back");
    assert_eq!(proven(ends - 10), (ends - 10, ends + 1));
    assert!(ask(&method, &chain, ends).is_ok());
    assert!(refused(&method, &chain, ends + 1).starts_with("CertExpired"));
}

#[test]
fn what_is_remembered_is_bounded() {
    let root = root();
    let own = client(&root, |_| {});
    let method = method(&[&root], ANY);
    for spaces in 0..2_000 {
        let text = [text(std::slice::from_ref(&own)).to_vec(), vec![b' '; spaces]].concat();
        method.caller(&present(CertFrom::ApiGateway, text.into()), Timestamp::from_secs(NOW)).unwrap();
    }
    assert!(method.proven.lock().unwrap().len() <= MOST);
}

#[test]
fn what_is_no_authority_cannot_be_trusted_as_one() {
    let root = root();
    let own = client(&root, |_| {});
    let pem =
        |der: &[u8]| format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der));
    let parse = |text: &str| Authorities::parse(text.as_bytes()).map(|authorities| authorities.count());
    assert_eq!(parse(&root.pem().repeat(3)), Ok(3));
    assert_eq!(parse(""), Err("has no certificate in it".to_owned()));
    assert_eq!(parse(&root.pem().repeat(101)), Err("has more than 100 certificates".to_owned()));
    assert_eq!(parse("-----BEGIN CERTIFICATE-----\nAA"), Err("is broken at certificate 1".to_owned()));
    assert_eq!(parse(&(root.pem() + &pem(b"hello"))), Err("certificate 2 cannot be read".to_owned()));
    let why = parse(&(root.pem() + &pem(&own))).unwrap_err();
    assert!(why.starts_with("certificate 2 is not an authority's"), "{why}");
}

#[test]
fn no_change_of_one_bit_of_a_chain_is_taken_and_none_of_its_length() {
    let root = root();
    let between = below(&root, "between", |_| {});
    let chain = [client(&between, |_| {}), between.der().clone()];
    let authorities = authorities(&[&root]);
    assert!(authorities.verify(&chain, NOW).is_ok());
    for changed in 0..chain.len() {
        let mut copy = chain.clone();
        for at in 0..chain[changed].len() {
            for bit in 0..8 {
                let mut bytes = chain[changed].to_vec();
                bytes[at] ^= 1 << bit;
                copy[changed] = bytes.into();
                assert!(authorities.verify(&copy, NOW).is_err(), "bit {bit} of byte {at} of certificate {changed}");
            }
            copy[changed] = chain[changed][..at].to_vec().into();
            assert!(authorities.verify(&copy, NOW).is_err(), "certificate {changed} cut at {at}");
        }
        copy[changed] = [&chain[changed][..], &[0]].concat().into();
        assert!(authorities.verify(&copy, NOW).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_change_of_one_byte_of_a_certificate_is_taken(at in any::<prop::sample::Index>(), by in 1u8..) {
        thread_local! {
            static MADE: (Authorities, CertificateDer<'static>) = {
                let root = root();
                (authorities(&[&root]), client(&root, |_| {}))
            };
        }
        MADE.with(|(authorities, own)| {
            let mut bytes = own.to_vec();
            let at = at.index(bytes.len());
            bytes[at] = bytes[at].wrapping_add(by);
            prop_assert!(authorities.verify(&[bytes.into()], NOW).is_err());
            Ok(())
        })?;
    }

    #[test]
    fn no_bytes_make_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = x509::X509::read(&bytes).map(|read| (read.common_name().is_some(), read.has_strong_key()));
        let _ = text::certificates(&bytes);
    }
}
