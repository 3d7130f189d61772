//! Numbers and addresses in decimal, written into a text without the machinery of `fmt`: several stand in each request.

use std::fmt::Write;
use std::net::IpAddr;

/// Writes a number.
pub(crate) fn push_number(text: &mut String, number: u64) {
    text.push_str(itoa::Buffer::new().format(number));
}

/// Writes an address as `Display` does.
pub(crate) fn push_ip(text: &mut String, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            for (place, octet) in ip.octets().into_iter().enumerate() {
                if place > 0 {
                    text.push('.');
                }
                text.push_str(itoa::Buffer::new().format(octet));
            }
        }
        // Writing to a string cannot fail.
        IpAddr::V6(ip) => _ = write!(text, "{ip}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_read_as_display_writes_them(number in any::<u64>(), ip in any::<IpAddr>()) {
            let (mut one, mut other) = (String::new(), String::new());
            push_number(&mut one, number);
            push_ip(&mut other, ip);
            prop_assert_eq!((one, other), (number.to_string(), ip.to_string()));
        }
    }
}
