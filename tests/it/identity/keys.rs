//! Keys of an issuer: found, kept through outages, exchanged and taken back.

use serde_json::json;

use super::issuer::{Issuer, KEYS, METADATA};
use super::site::{Answer, Site};
use super::*;

/// A shop that takes tokens of `issuer`, whose keys are found as `keys` says.
fn config(issuer: &str, keys: &str) -> Config {
    Config::of(&format!(
        r#"version: 1
auth: {{customers: {{jwt: {{issuer: "{issuer}", audiences: [orders], keys: {keys}}}}}}}
routes: [{{name: who, auth: customers, match: {{path: /}}, to: {{respond: {{body: "${{caller.id}} ${{caller.via}}"}}}}}}]
"#
    ))
}

async fn discovering(issuer: &Issuer) -> Shop {
    Shop::open(config(&issuer.site.url, "{discover: true}")).await
}

#[tokio::test]
async fn a_token_of_an_issuer_is_let_in_and_its_second_request_asks_nobody() {
    let issuer = Issuer::http().await;
    let shop = discovering(&issuer).await;
    let token = issuer.token("one");
    assert_eq!(shop.ask(&token).await, (200, "ada jwt".to_owned()));
    assert_eq!(issuer.site.targets(), [METADATA, KEYS]);
    for _ in 0..5 {
        assert_eq!(shop.ask(&token).await, (200, "ada jwt".to_owned()));
    }
    let another = issuer.token_with("one", json!({}), json!({"sub": "eve"}));
    assert_eq!(shop.ask(&another).await, (200, "eve jwt".to_owned()));
    assert!(issuer.site.targets().is_empty());
}

#[tokio::test]
async fn keys_at_an_address_of_their_own_need_no_metadata() {
    let issuer = Issuer::http().await;
    let url = &issuer.site.url;
    let shop = Shop::open(config(url, &format!("{{jwks_url: \"{url}{KEYS}\"}}"))).await;
    assert_eq!(shop.status(&issuer.token("one")).await, 200);
    assert_eq!(issuer.site.targets(), [KEYS]);
}

#[tokio::test]
async fn an_issuer_behind_a_ca_of_its_own_is_trusted_by_that_and_by_nothing_else() {
    let issuer = Issuer::https().await;
    let token = issuer.token("one");
    let trusting = config(&issuer.site.url, "{discover: true, ca: ca.pem}");
    trusting.add("ca.pem", issuer.site.ca.as_ref().unwrap());
    let shop = Shop::open(trusting).await;
    assert_eq!(shop.status(&token).await, 200);
    assert_eq!(issuer.site.targets(), [METADATA, KEYS]);

    let shop = discovering(&issuer).await;
    let (status, why) = shop.handle(&token).await;
    assert_eq!(status, 503);
    assert!(why.contains("certificate"), "{why}");
    assert!(issuer.site.targets().is_empty());
}

#[tokio::test]
async fn an_outage_of_a_day_costs_no_request_and_keys_of_two_days_let_nobody_in() {
    let issuer = Issuer::http().await;
    let shop = discovering(&issuer).await;
    let (token, fresh) = (issuer.token("one"), issuer.token_with("one", json!({}), json!({"jti": 1})));
    assert_eq!(shop.status(&token).await, 200);
    for (hour, fault) in [
        Answer::Breaks,
        Answer::Says(503, String::new()),
        Answer::Says(200, "<html>".to_owned()),
        Answer::Says(200, r#"{"keys": []}"#.to_owned()),
    ]
    .into_iter()
    .cycle()
    .take(23)
    .enumerate()
    {
        issuer.does(Some(fault));
        for _ in 0..6 {
            shop.pass(600);
            assert_eq!(shop.handle(&token).await.0, 200, "hour {hour}");
            assert_eq!(shop.status(&fresh).await, 200, "hour {hour}");
        }
        assert!(!issuer.site.targets().is_empty(), "it is asked again and again");
    }
    shop.pass(2 * 3_600);
    assert_eq!(shop.status(&token).await, 503, "even a token that was verified");
    issuer.does(None);
    shop.pass(1);
    assert_eq!(shop.status(&token).await, 200);
}

#[tokio::test]
async fn an_issuer_that_never_answered_lets_nobody_in_and_is_asked_again_a_second_later() {
    let issuer = Issuer::http().await;
    let shop = discovering(&issuer).await;
    issuer.does(Some(Answer::Breaks));
    let token = issuer.token("one");
    for _ in 0..3 {
        assert_eq!(shop.status(&token).await, 503);
    }
    assert_eq!(issuer.site.targets(), [METADATA]);
    issuer.does(None);
    shop.pass(1);
    assert_eq!(shop.status(&token).await, 200);
}

#[tokio::test]
async fn a_new_key_is_taken_up_by_the_first_request_that_brings_a_token_of_it() {
    let issuer = Issuer::http().await;
    let shop = discovering(&issuer).await;
    assert_eq!(shop.status(&issuer.token("one")).await, 200);
    issuer.publish(&["one", "two"]);
    issuer.site.asked();
    assert_eq!(shop.status(&issuer.token("two")).await, 200);
    assert_eq!(issuer.site.targets(), [METADATA, KEYS]);
    assert_eq!(shop.status(&issuer.token("one")).await, 200);
}

#[tokio::test]
async fn tokens_of_keys_that_are_none_make_the_issuer_be_asked_once_in_half_a_minute() {
    let issuer = Issuer::http().await;
    let shop = discovering(&issuer).await;
    assert_eq!(shop.status(&issuer.token("one")).await, 200);
    issuer.publish(&["one", "never published"]);
    issuer.publish(&["one"]);
    let made_up =
        |number: u32| issuer.token_with("never published", json!({"kid": format!("made up {number}")}), json!({}));
    issuer.site.asked();
    for number in 0..60 {
        assert_eq!(shop.status(&made_up(number)).await, 401);
        shop.pass(1);
    }
    assert_eq!(issuer.site.targets(), [METADATA, KEYS].repeat(2));
}

#[tokio::test]
async fn a_key_of_no_use_is_left_out_and_told_of_where_it_is_missed_and_the_others_serve() {
    let issuer = Issuer::http().await;
    let shop = discovering(&issuer).await;
    issuer.publish_with("for encryption", json!({"use": "enc"}));
    assert_eq!(shop.status(&issuer.token("one")).await, 200);
    let (status, told) = shop.handle(&issuer.token("for encryption")).await;
    assert_eq!(status, 401);
    assert!(told.contains("there is no key \"for encryption\"; ") && told.contains("is left out"), "{told}");
}

#[tokio::test]
async fn a_key_that_is_removed_ends_its_tokens_with_the_next_refresh() {
    let issuer = Issuer::http().await;
    let shop = discovering(&issuer).await;
    let (old, new) = (issuer.token("one"), issuer.token_with("one", json!({}), json!({"jti": 1})));
    assert_eq!(shop.status(&old).await, 200);
    issuer.publish(&["two"]);
    // The refresh comes after the response that is the first past its time.
    shop.pass(540);
    assert_eq!(shop.handle(&old).await.0, 200);
    assert_eq!((shop.status(&old).await, shop.status(&new).await), (401, 401));
    assert_eq!(shop.status(&issuer.token("two")).await, 200);
}

#[tokio::test]
async fn the_local_door_refreshes_keys_after_a_response_too() {
    let issuer = Issuer::http().await;
    let shop = discovering(&issuer).await;
    let old = issuer.token("one");
    assert_eq!(shop.status(&old).await, 200);
    issuer.publish(&["two"]);
    shop.pass(540);
    assert_eq!(shop.status(&old).await, 200);
    soon(async { while shop.status(&old).await == 200 {} }).await;
}

#[tokio::test]
async fn a_token_never_says_where_its_key_is() {
    let issuer = Issuer::http().await;
    let elsewhere = Site::http(|_| Answer::Says(200, r#"{"keys": []}"#.to_owned())).await;
    let shop = discovering(&issuer).await;
    assert_eq!(shop.status(&issuer.token("one")).await, 200);
    issuer.publish(&["one", "theirs"]);
    let theirs = |header| issuer.token_with("theirs", header, json!({}));
    let tokens = [
        theirs(json!({"jku": format!("{}/keys", elsewhere.url)})),
        theirs(json!({"x5u": format!("{}/cert", elsewhere.url)})),
        theirs(json!({"kid": format!("{}/keys", elsewhere.url)})),
        theirs(json!({"kid": "../../../../etc/passwd"})),
    ];
    issuer.publish(&["one"]);
    for token in tokens {
        assert_eq!(shop.status(&token).await, 401);
    }
    assert!(elsewhere.targets().is_empty());
}
