//! The control plane: what is made, listed, rotated, revoked, and what it refuses to make.

use super::*;

async fn states(gate: &Gate, tenant: &str) -> Vec<(String, State)> {
    let entries = gate.keyring().list(tenant).await.unwrap();
    entries.into_iter().map(|Listed { id, state, .. }| (id, state)).collect()
}

#[tokio::test]
async fn a_list_has_every_key_of_its_tenant_with_its_state() {
    let gate = Gate::new();
    let (one, two) = (gate.key().await, gate.key().await);
    gate.clock.pass(1);
    let short = Order { lives: Some(Duration::from_secs(5)), ..order() };
    let three = gate.keyring().create(&short, gate.seed()).await.unwrap();
    let other = Order { tenant: "other".to_owned(), ..order() };
    gate.keyring().create(&other, gate.seed()).await.unwrap();
    gate.keyring().revoke("acme", &two.entry.id).await.unwrap();
    gate.clock.pass(5);
    let expected = [(one, State::Active), (two, State::Revoked), (three, State::Expired)];
    assert_eq!(states(&gate, "acme").await, expected.map(|(made, state)| (made.entry.id, state)));
    assert_eq!(states(&gate, "nobody").await, []);
}

#[tokio::test]
async fn a_rotated_key_is_the_same_caller_and_the_old_one_ends_after_the_overlap() {
    let gate = Gate::new();
    let yearly = Order { lives: Some(Duration::from_secs(1_000)), ..order() };
    let old = gate.keyring().create(&yearly, gate.seed()).await.unwrap();
    gate.clock.pass(100);
    let (id, overlap) = (old.entry.id.as_str(), Duration::from_secs(60));
    let new = gate.keyring().rotate("acme", id, Renewal { overlap, ..Renewal::default() }, gate.seed()).await.unwrap();
    assert_eq!((new.entry.id.as_str(), new.entry.version), (id, 2));
    assert_eq!(new.entry.expires, Some(NOON + 100 + 1_000), "as long as the last one");
    assert!(new.key.reveal().starts_with("gwk_live_") && new.key.reveal() != old.key.reveal());
    for made in [&old, &new] {
        let caller = gate.ask(made.key.reveal()).await.unwrap();
        assert_eq!((caller.id(), caller.tenant(), caller.scopes().len()), (id, "acme", 2));
    }
    gate.clock.pass(60);
    assert_eq!(gate.code(old.key.reveal()).await, "credentials_invalid");
    assert_eq!(gate.code(new.key.reveal()).await, "api_key");
    assert_eq!(gate.keyring().revoke("acme", id).await.unwrap().keys, 2, "both");
}

#[tokio::test]
async fn what_is_not_there_or_was_revoked_can_be_neither_rotated_nor_revoked() {
    let gate = Gate::new();
    let Made { entry, .. } = gate.key().await;
    gate.keyring().revoke("acme", &entry.id).await.unwrap();
    for (tenant, id) in [("acme", "k7"), ("other", entry.id.as_str()), ("acme", entry.id.as_str())] {
        let revoked = gate.keyring().revoke(tenant, id).await;
        assert!(matches!(revoked, Err(KeyringError::NotFound { .. })), "{tenant} {id}");
        let rotated = gate.keyring().rotate(tenant, id, Renewal::default(), gate.seed()).await;
        assert!(matches!(rotated, Err(KeyringError::NotFound { .. })), "{tenant} {id}");
    }
}

#[tokio::test]
async fn a_tenant_has_at_most_a_thousand_keys_and_those_that_are_over_make_room() {
    let gate = Gate::new();
    let first = gate.key().await;
    for _ in 1..super::super::keyring::MOST_KEYS {
        gate.key().await;
    }
    let full = gate.keyring().create(&order(), gate.seed()).await;
    assert!(matches!(full, Err(KeyringError::Full { .. })));
    gate.keyring().revoke("acme", &first.entry.id).await.unwrap();
    let last = gate.key().await;
    let ids: Vec<_> = states(&gate, "acme").await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), 1_000);
    assert!(ids.contains(&last.entry.id) && !ids.contains(&first.entry.id));
    assert_eq!(gate.code(first.key.reveal()).await, "credentials_invalid");
}

#[tokio::test]
async fn an_order_that_would_not_fit_is_refused_before_anything_is_written() {
    let gate = Gate::new();
    let long = |length: usize| "x".repeat(length);
    let scopes = |scopes: &[&str]| scopes.iter().map(|scope| (*scope).to_owned()).collect::<BTreeSet<_>>();
    let many = (0..65).map(|number| number.to_string()).collect();
    for wrong in [
        Order { tenant: String::new(), ..order() },
        Order { tenant: long(129), ..order() },
        Order { tenant: "a\nb".to_owned(), ..order() },
        Order { plan: "a b".to_owned(), ..order() },
        Order { plan: long(65), ..order() },
        Order { scopes: scopes(&["a b"]), ..order() },
        Order { scopes: scopes(&[""]), ..order() },
        Order { scopes: scopes(&[&long(129)]), ..order() },
        Order { scopes: many, ..order() },
        Order { env: "pro_d".to_owned(), ..order() },
    ] {
        let refused = gate.keyring().create(&wrong, gate.seed()).await;
        assert!(matches!(refused, Err(KeyringError::Invalid(_))), "{wrong:?}");
    }
    assert_eq!(states(&gate, "acme").await, []);
}

#[tokio::test]
async fn a_key_has_a_plan_of_the_config_or_none_and_a_rotation_may_move_it_to_another() {
    let plan = |name: &str| (name.to_owned(), Arc::new(Plan { name: name.into(), limits: Vec::new() }));
    let with = |plan: &str| Order { plan: plan.to_owned(), ..order() };
    let mut gate = Gate::new();
    let kept = gate.keyring().create(&with("gone"), gate.seed()).await.unwrap();
    gate.plans = Arc::new([plan("free"), plan("pro")].into());
    let unknown = gate.keyring().create(&with("fre"), gate.seed()).await;
    assert!(matches!(unknown, Err(KeyringError::UnknownPlan { plan }) if plan == "fre"));
    for plan in ["", "free", "pro"] {
        assert_eq!(gate.keyring().create(&with(plan), gate.seed()).await.unwrap().entry.plan, plan);
    }
    let rotate = async |plan: Option<&str>| {
        let renewal = Renewal { plan: plan.map(str::to_owned), overlap: Duration::from_secs(60), ..Renewal::default() };
        gate.keyring().rotate("acme", &kept.entry.id, renewal, gate.seed()).await.map(|made| made.entry.plan)
    };
    for (plan, named) in [(None, "gone"), (Some("por"), "por")] {
        assert!(matches!(rotate(plan).await, Err(KeyringError::UnknownPlan { plan }) if plan == named));
    }
    assert_eq!(gate.keyring().list("acme").await.unwrap().len(), 4, "nothing was made");
    for (plan, expected) in [(Some("pro"), "pro"), (None, "pro"), (Some(""), "")] {
        assert_eq!(rotate(plan).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_key_of_an_older_pepper_is_taken_back_as_soon_as_one_of_the_newest() {
    let before = Gate::new();
    let made = before.key().await;
    let during = before.beside(api_keys("partners", &["two", "one"], None));
    assert_eq!(during.code(made.key.reveal()).await, "api_key");
    before.keyring().revoke("acme", &made.entry.id).await.unwrap();
    before.clock.pass(1);
    assert_eq!(during.code(made.key.reveal()).await, "credentials_invalid");
}
