//! Client addresses as a limit counts them.

use std::net::{IpAddr, Ipv6Addr};

/// The network of `prefix` bits that an IPv6 address is in: whoever has one address there has all of them. IPv4
/// addresses stay as they are, also where they are written as IPv6 (RFC 4291 §2.5.5.2).
pub(super) fn masked(ip: IpAddr, prefix: u8) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let host_bits = 128_u32.saturating_sub(prefix.into());
            IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & u128::MAX.checked_shl(host_bits).unwrap_or(0)))
        }
        ip @ IpAddr::V4(_) => ip,
    }
}

#[cfg(test)]
mod tests {
    use ipnet::Ipv6Net;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ipv4_counts_whole_however_it_is_written() {
        for (ip, counts_as) in [
            ("203.0.113.9", "203.0.113.9"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("::1", "::"),
        ] {
            assert_eq!(masked(ip.parse().unwrap(), 64), counts_as.parse::<IpAddr>().unwrap(), "{ip}");
        }
    }

    proptest! {
        #[test]
        fn an_ipv6_address_counts_as_its_network(bits in any::<u128>(), prefix in 1..=128_u8) {
            let ip = Ipv6Addr::from_bits(bits);
            prop_assume!(ip.to_ipv4_mapped().is_none());
            let network = Ipv6Net::new(ip, prefix).unwrap().network();
            prop_assert_eq!(masked(ip.into(), prefix), IpAddr::V6(network));
        }
    }
}
