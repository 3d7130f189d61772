//! What is counted together.

use super::*;

/// How many of these addresses, each asking once in order, are let in by a limit of one.
async fn let_in(by: &str, ipv6_prefix: Option<u8>, ips: &[&str]) -> Vec<bool> {
    let limit = Arc::into_inner(counted("l", "1/min", by, Algorithm::FixedWindow, "1")).unwrap();
    let limits = limits([Arc::new(limit.counting_networks(ipv6_prefix))]);
    let (table, clock, headers) = (MemoryTable::default(), TestClock::at(NOON), HeaderMap::new());
    let mut passed = Vec::new();
    for ip in ips {
        let facts = facts(&headers, "/", ip.parse().unwrap(), &clock);
        passed.push(
            limits
                .take(
                    Held::default(),
                    &facts,
                    &Caller::of_test("", "", ""),
                    Around {
                        table: &table,
                        clock: &clock,
                        seed: 1,
                        deadline: None,
                        environments: Some(NonZeroU32::MIN),
                    },
                )
                .await
                .refused
                .is_none(),
        );
    }
    passed
}

#[tokio::test]
async fn addresses_of_one_ipv6_network_are_one_client_where_that_is_written() {
    let ips = ["2001:db8:0:1::1", "2001:db8:0:1:ffff::9", "2001:db8:0:2::1"];
    assert_eq!(let_in("request.ip", Some(64), &ips).await, [true, false, true]);
    assert_eq!(let_in("request.ip", Some(48), &ips).await, [true, false, false]);
    assert_eq!(let_in("request.ip", None, &ips).await, [true, true, true]);
    assert_eq!(let_in("request.method + ' ' + request.ip", Some(64), &ips).await, [true, false, true]);
}

#[tokio::test]
async fn ipv4_addresses_are_never_masked_and_one_written_as_ipv6_is_the_same_client() {
    let ips = ["192.0.2.1", "192.0.2.2", "::ffff:192.0.2.1", "::ffff:192.0.2.3"];
    assert_eq!(let_in("request.ip", Some(8), &ips).await, [true, true, false, true]);
}
