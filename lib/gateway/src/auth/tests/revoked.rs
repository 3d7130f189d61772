//! How soon a key that was taken back is refused, and what the bulletin costs.

use super::*;

#[tokio::test]
async fn a_revoked_key_is_refused_within_the_bound_and_at_once_where_it_was_not_known() {
    let gate = Gate::new();
    let Made { key, entry } = gate.key().await;
    assert_eq!(gate.code(key.reveal()).await, "api_key");
    assert_eq!(gate.code(key.reveal()).await, "api_key");
    let revoked = gate.keyring().revoke("acme", &entry.id).await.unwrap();
    assert_eq!(revoked, TakenBack { keys: 1, told: true });
    assert_eq!(gate.code(key.reveal()).await, "api_key", "it is known here, and the bulletin is of this second");
    let elsewhere = gate.beside(api_keys("partners", &["one"], None));
    assert_eq!(elsewhere.code(key.reveal()).await, "credentials_invalid");
    gate.clock.pass(1);
    assert_eq!(gate.code(key.reveal()).await, "credentials_invalid");
}

#[tokio::test]
async fn where_the_bulletin_cannot_be_read_a_revoked_key_is_refused_within_a_minute() {
    let gate = Gate::new();
    let Made { key, entry } = gate.key().await;
    assert_eq!(gate.code(key.reveal()).await, "api_key");
    gate.table.hides_the_bulletin();
    gate.keyring().revoke("acme", &entry.id).await.unwrap();
    gate.clock.pass(30);
    assert_eq!(gate.code(key.reveal()).await, "api_key", "nobody told");
    gate.clock.pass(REVOKED_AT_LAST.as_secs() - 30);
    assert_eq!(gate.code(key.reveal()).await, "credentials_invalid");
}

#[tokio::test]
async fn the_bulletin_is_read_once_a_second_and_only_for_keys_that_are_known() {
    let gate = Gate::new();
    let Made { key, .. } = gate.key().await;
    assert_eq!(gate.code(&made_up(1)).await, "credentials_invalid");
    assert_eq!(gate.code(key.reveal()).await, "api_key");
    assert_eq!(gate.table.bulletins(), 0);
    for _ in 0..10 {
        for _ in 0..5 {
            assert_eq!(gate.code(key.reveal()).await, "api_key");
        }
        gate.clock.pass(1);
    }
    assert_eq!(gate.table.bulletins(), 10);
}

#[tokio::test]
async fn of_more_revoked_keys_than_the_bulletin_holds_none_is_let_in_either() {
    let gate = Gate::new();
    let (first, other) = (gate.key().await, gate.key().await);
    for made in [&first, &other] {
        assert_eq!(gate.code(made.key.reveal()).await, "api_key");
        assert_eq!(gate.code(made.key.reveal()).await, "api_key");
    }
    gate.keyring().revoke("acme", &first.entry.id).await.unwrap();
    for _ in 0..150 {
        let one = gate.key().await;
        gate.keyring().revoke("acme", &one.entry.id).await.unwrap();
    }
    gate.clock.pass(1);
    gate.table.reads();
    assert_eq!(gate.code(first.key.reveal()).await, "credentials_invalid");
    assert_eq!(gate.code(other.key.reveal()).await, "api_key");
    assert_eq!(gate.table.reads(), 2, "all that was known is asked for again");
}

#[tokio::test]
async fn an_earlier_end_that_a_rotation_gives_a_key_is_learnt_within_a_second() {
    let gate = Gate::new();
    let Made { key, entry } = gate.key().await;
    assert_eq!(gate.code(key.reveal()).await, "api_key");
    let renewal = Renewal { overlap: Duration::from_secs(2), ..Renewal::default() };
    gate.keyring().rotate("acme", &entry.id, renewal, gate.seed()).await.unwrap();
    gate.clock.pass(1);
    for _ in 0..3 {
        gate.table.reads();
        assert_eq!(gate.code(key.reveal()).await, "api_key");
    }
    assert_eq!(gate.table.reads(), 0, "what was read since is known");
    gate.clock.pass(1);
    assert_eq!(gate.code(key.reveal()).await, "credentials_invalid");
}
