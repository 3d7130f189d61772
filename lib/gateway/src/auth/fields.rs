//! What methods do to fields.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Takes those values of a field off that are `own`, a method's credentials. A value that is no text is none.
pub(super) fn take_off(headers: &mut HeaderMap, name: &HeaderName, own: impl Fn(&str) -> bool) {
    retain(headers, name, |value| (!value.to_str().is_ok_and(&own)).then_some(value));
}

/// Keeps of a field's values what `keep` leaves of them.
pub(super) fn retain(headers: &mut HeaderMap, name: &HeaderName, keep: impl Fn(HeaderValue) -> Option<HeaderValue>) {
    let before: Vec<HeaderValue> = headers.get_all(name).iter().cloned().collect();
    if before.is_empty() {
        return;
    }
    headers.remove(name);
    for value in before.into_iter().filter_map(keep) {
        headers.append(name.clone(), value);
    }
}
