//! What methods do to fields.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Takes those values of a field off that are `own`, a method's credentials. A value that is no text is none.
pub(super) fn take_off(headers: &mut HeaderMap, name: &HeaderName, own: impl Fn(&str) -> bool) {
    let is_own = |value: &HeaderValue| value.to_str().is_ok_and(&own);
    if !headers.get_all(name).iter().any(is_own) {
        return;
    }
    let others: Vec<_> = headers.get_all(name).iter().filter(|value| !is_own(value)).cloned().collect();
    headers.remove(name);
    for value in others {
        headers.append(name.clone(), value);
    }
}
