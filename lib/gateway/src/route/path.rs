//! The normal form of a path (RFC 3986 §6.2.2): two paths that an upstream may take for the same are the same here.

use std::borrow::Cow;

/// A normalised path.
#[derive(Debug, PartialEq, Eq)]
pub struct Normal<'a> {
    /// Starts with `/`; no dot segments, no empty segments but the last, unreserved characters decoded, the hex digits
    /// of what stays encoded in capitals, and encoded whatever may not stand in a path (RFC 3986 §3.3).
    pub path: Cow<'a, str>,
    /// Whether a `%2F` or a `%5C` stands in it (a backslash was sent as it is or encoded), which upstreams disagree
    /// about: refused unless the route keeps them.
    pub encoded_slash: bool,
}

/// Normalises a path as sent.
///
/// # Errors
/// What cannot be taken: a NUL, a control character, a broken escape, a path without a slash at its head.
pub fn normalise(path: &str) -> Result<Normal<'_>, &'static str> {
    if path == "*" {
        return Ok(Normal { path: Cow::Borrowed(path), encoded_slash: false });
    }
    if !path.starts_with('/') {
        return Err("it does not start with a slash");
    }
    if is_plain(path) {
        return Ok(Normal { path: Cow::Borrowed(path), encoded_slash: false });
    }
    let (decoded, encoded_slash) = decode(path)?;
    let normal = without_dots(&decoded);
    let path = if normal == path { Cow::Borrowed(path) } else { Cow::Owned(normal) };
    Ok(Normal { path, encoded_slash })
}

/// Whether a path is normal for certain, as nearly all are.
fn is_plain(path: &str) -> bool {
    let mut before = b' ';
    path.bytes().all(|b| {
        let fine = if matches!(b, b'/' | b'.') { before != b'/' } else { may_stand(b) };
        before = b;
        fine
    })
}

/// What a segment may hold as it is: RFC 3986's `pchar` without its escapes.
const fn may_stand(b: u8) -> bool {
    is_unreserved(b)
        || matches!(b, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@')
}

const fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')
}

/// Decodes what is unreserved, writes the other escapes alike, and encodes what a path may not hold: `{` and `%7B` are
/// one to an upstream, so they are one here. Also tells whether an encoded slash or a backslash stands in it.
pub(super) fn decode(path: &str) -> Result<(String, bool), &'static str> {
    let mut decoded = String::with_capacity(path.len() + 8);
    let mut encoded_slash = false;
    let mut bytes = path.bytes();
    while let Some(b) = bytes.next() {
        let byte = match b {
            b'%' => {
                let (high, low) = (bytes.next().and_then(hex), bytes.next().and_then(hex));
                let (Some(high), Some(low)) = (high, low) else { return Err("a broken escape") };
                high << 4 | low
            }
            0 => return Err("a NUL"),
            0x01..=0x1f | 0x7f => return Err("a control character"),
            b'/' => {
                decoded.push('/');
                continue;
            }
            _ if may_stand(b) => {
                decoded.push(char::from(b));
                continue;
            }
            _ => b,
        };
        if byte == 0 {
            return Err("a NUL");
        }
        if is_unreserved(byte) {
            decoded.push(char::from(byte));
        } else {
            encoded_slash |= matches!(byte, b'/' | b'\\');
            decoded.push('%');
            decoded.push(digit(byte >> 4));
            decoded.push(digit(byte & 15));
        }
    }
    Ok((decoded, encoded_slash))
}

/// Takes dot segments out (RFC 3986 §5.2.4) and lets no two slashes stand together.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    let mut trailing = false;
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "" | "." => trailing = last,
            ".." => {
                kept.pop();
                trailing = last;
            }
            segment => kept.push(segment),
        }
    }
    let mut normal = String::with_capacity(path.len());
    for segment in &kept {
        normal.push('/');
        normal.push_str(segment);
    }
    if trailing || kept.is_empty() {
        normal.push('/');
    }
    normal
}

fn hex(b: u8) -> Option<u8> {
    char::from(b).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn digit(nibble: u8) -> char {
    char::from(if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_that_mean_the_same_become_the_same() {
        for (sent, normal) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("//a///b//", "/a/b/"),
            ("/a/./b/../c", "/a/c"),
            ("/a/..", "/"),
            ("/../../a", "/a"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.", "/a/"),
            ("/%61%7e%5F", "/a~_"),
            ("/a%c3%a9%3a", "/a%C3%A9%3A"),
            ("/é", "/%C3%A9"),
            ("/a b<>\"^`", "/a%20b%3C%3E%22%5E%60"),
            ("/{id}|'[a]", "/%7Bid%7D%7C'%5Ba%5D"),
            ("/%7bid%7d", "/%7Bid%7D"),
            ("/a;v=1,2", "/a;v=1,2"),
            ("/.../..a", "/.../..a"),
            ("/%25%32%66", "/%252f"),
            ("*", "*"),
        ] {
            assert_eq!(normalise(sent).map(|normal| normal.path.into_owned()).as_deref(), Ok(normal), "{sent}");
        }
    }

    #[test]
    fn encoded_slashes_are_told_and_kept() {
        for (sent, normal) in [("/a%2fb", "/a%2Fb"), ("/a%5c..%5Cb", "/a%5C..%5Cb"), ("/a\\..\\b", "/a%5C..%5Cb")] {
            let found = normalise(sent).expect("a path");
            assert_eq!(found.path, normal);
            assert!(found.encoded_slash, "{sent}");
        }
        assert!(!normalise("/a%252fb").expect("a path").encoded_slash);
    }

    #[test]
    fn what_cannot_be_taken_is_refused() {
        for sent in ["", "a", "http://a/b", "/%00", "/\0", "/a\n", "/%", "/%4", "/%zz", "/\u{7f}", "/%+1"] {
            assert!(normalise(sent).is_err(), "{sent:?}");
        }
    }

    #[test]
    fn a_normal_path_is_borrowed() {
        for path in ["/", "/a/b.c/", "/a%20b/%C3%A9", "/..a"] {
            assert!(matches!(normalise(path).expect("a path").path, Cow::Borrowed(_)), "{path}");
        }
    }

    /// The segments of a path as an upstream reads it that decodes them after it has cut the path at its slashes.
    fn meaning(path: &str) -> Vec<Vec<u8>> {
        let mut kept = Vec::new();
        for segment in path.split('/').skip(1) {
            let decoded: Vec<u8> = percent_encoding::percent_decode_str(segment).collect();
            match &*decoded {
                b"" | b"." => {}
                b".." => drop(kept.pop()),
                _ => kept.push(decoded),
            }
        }
        kept
    }

    /// A path that has a normal form of these segments, in another spelling: letters encoded, dot and empty segments,
    /// and ways into a directory and out again put between.
    fn respelt() -> impl Strategy<Value = (String, String)> {
        let letter = ("[a-z0-9_.~-]", 0..3_u8).prop_map(|(letter, how)| {
            let byte = letter.as_bytes()[0];
            let spelt = match how {
                0 => letter.clone(),
                1 => format!("%{byte:02x}"),
                _ => format!("%{byte:02X}"),
            };
            (letter, spelt)
        });
        let segment = prop::collection::vec(letter, 1..4).prop_map(|letters| letters.into_iter().unzip());
        let detour = prop::sample::select(vec!["", "", "/", "/.", "/%2e", "/x/..", "/%41/%2E.", "//./x/b/../.."]);
        prop::collection::vec((segment, detour), 1..5)
            .prop_map(|segments: Vec<((String, String), &str)>| {
                let (mut plain, mut spelt) = (String::new(), String::new());
                for ((segment, other), detour) in segments {
                    plain = plain + "/" + &segment;
                    spelt = spelt + detour + "/" + &other;
                }
                (plain, spelt)
            })
            .prop_filter("a dot segment is no segment", |(plain, _)| {
                plain.split('/').all(|segment| !matches!(segment, "." | ".."))
            })
    }

    proptest! {
        #[test]
        fn every_spelling_of_a_path_becomes_the_one_that_routes_are_matched_by((plain, spelt) in respelt()) {
            prop_assert_eq!(normalise(&spelt).map(|normal| normal.path.into_owned()), Ok(plain));
        }

        #[test]
        fn a_normal_path_means_what_was_sent_and_says_it_in_one_way(path in "/(\\PC|[./%\\\\{}a-f0-9]|%[2-7][0-9a-fA-F]){0,24}") {
            if let Ok(normal) = normalise(&path) {
                prop_assert_eq!(meaning(&path), meaning(&normal.path));
                for escape in normal.path.split('%').skip(1) {
                    let byte = u8::from_str_radix(&escape[..2], 16).expect("an escape");
                    prop_assert!(!is_unreserved(byte) && escape[..2].to_ascii_uppercase() == escape[..2], "{}", normal.path);
                }
            }
        }

        #[test]
        fn no_text_makes_the_normaliser_panic(path in any::<String>()) {
            let _ = normalise(&path);
            let _ = normalise(&format!("/{path}"));
        }

        #[test]
        fn normal_is_normal(path in "/(\\PC|[./%\\\\{}a-f0-9]|%2[eEfF]|%5[cC]){0,24}") {
            if let Ok(normal) = normalise(&path) {
                let once = normal.path.into_owned();
                prop_assert!(once.starts_with('/'));
                prop_assert!(!once.contains("//") && !once.contains("/../") && !once.contains("/./"));
                prop_assert!(!once.ends_with("/.") && !once.ends_with("/..") && !once.contains('\\'));
                prop_assert!(once.parse::<http::uri::PathAndQuery>().is_ok_and(|parsed| parsed.path() == once), "{}", once);
                let twice = normalise(&once).expect("a normal path is a path");
                prop_assert_eq!(twice.path, once.as_str());
                // A segment with one may be gone: what is refused for what was sent is refused all the same.
                prop_assert!(normal.encoded_slash || !twice.encoded_slash);
            }
        }
    }
}
