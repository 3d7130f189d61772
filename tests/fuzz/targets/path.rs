//! Any text as a path: what becomes of it means the same, says it in one way, and stays below the root. So no route can
//! be reached by another spelling of a path than the one that it is matched and forwarded by.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode_str;
use tollgate::route::normalise;

/// What a path names, as a server understands it that decodes after it has cut the path at its slashes: a different way
/// there than the normaliser's, which decodes first.
fn meaning(path: &str) -> (Vec<Vec<u8>>, bool) {
    let (mut kept, mut directory) = (Vec::new(), false);
    for segment in path.split('/').skip(1) {
        let decoded: Vec<u8> = percent_decode_str(segment).collect();
        directory = matches!(&*decoded, b"" | b"." | b"..");
        match &*decoded {
            b"" | b"." => {}
            b".." => drop(kept.pop()),
            _ => kept.push(decoded),
        }
    }
    let directory = directory || kept.is_empty();
    (kept, directory)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fuzz_target!(|path: &str| {
    let Ok(normal) = normalise(path) else { return };
    if path == "*" {
        return;
    }
    let text = &*normal.path;
    assert!(text.starts_with('/'), "{text}");
    assert!(text.split('/').all(|segment| !matches!(segment, "." | "..")), "{text}");
    assert!(!text.contains("//") && !text.contains('\\'), "{text}");
    assert!(text.parse::<http::uri::PathAndQuery>().is_ok_and(|parsed| parsed.as_str() == text), "{text}");
    for escape in text.split('%').skip(1) {
        let digits = escape.get(..2).expect("two digits");
        let byte = u8::from_str_radix(digits, 16).expect("an escape");
        assert!(byte != 0 && !is_unreserved(byte) && digits.to_ascii_uppercase() == digits, "{text}");
    }
    assert_eq!(normalise(text).expect("a path").path, text);
    assert_eq!(meaning(path), meaning(text), "{text}");
    // What a segment decodes to tells whether a slash was hidden in what is left.
    let slashes: BTreeSet<bool> =
        meaning(text).0.iter().map(|segment| segment.iter().any(|b| b"/\\".contains(b))).collect();
    assert!(!slashes.contains(&true) || normal.encoded_slash, "{text}");
});
