//! Requests whose framing two readers could read differently.

use proptest::prelude::*;

use super::*;

/// What the whole of `bytes` comes to, however it is cut.
fn judged(bytes: &str) -> Result<At, &'static str> {
    let mut whole = Strict::default();
    let verdict = whole.feed(bytes.as_bytes());
    let mut apart = Strict::default();
    let one_by_one = bytes.as_bytes().chunks(1).try_for_each(|byte| apart.feed(byte));
    assert_eq!(verdict, one_by_one, "{bytes:?}");
    assert_eq!(whole.at, apart.at, "{bytes:?}");
    verdict.map(|()| whole.at)
}

fn refused(bytes: &str) -> &'static str {
    judged(bytes).expect_err(bytes)
}

#[test]
fn whole_requests_leave_it_between_two() {
    for bytes in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\ncontent-length:0\r\n\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 2\r\nContent-Length: 2 \r\n\r\n\n\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1 ;a=\"b\"\r\n\n\r\n00\r\nx: y\r\nz: \r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n\n\n\nGET / HTTP/1.1\r\n\r\n",
    ] {
        assert_eq!(judged(bytes), Ok(At::Head), "{bytes:?}");
    }
}

#[test]
fn every_line_ends_in_cr_and_lf() {
    assert_eq!(refused("GET / HTTP/1.1\nHost: a\r\n\r\n"), "a line ends in a bare LF");
    assert_eq!(refused("GET / HTTP/1.1\r\nx: a\nTransfer-Encoding: chunked\r\n\r\n"), "a line ends in a bare LF");
    assert_eq!(refused("GET / HTTP/1.1\r\nx: a\r\n\n"), "a line ends in a bare LF");
    assert_eq!(refused("\nGET / HTTP/1.1\r\n\r\n"), "a line ends in a bare LF");
}

#[test]
fn one_framing_stands_alone() {
    let both = "Content-Length and Transfer-Encoding together";
    assert_eq!(refused("POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), both);
    assert_eq!(refused("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"), both);
    assert_eq!(refused("POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n"), "two Content-Length differ");
    for length in ["+5", "-1", "5, 5", "0x5", "", "5 5", "99999999999999999999", "五"] {
        let request = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n");
        assert_eq!(refused(&request), "a Content-Length is no number", "{length:?}");
    }
    for coding in ["gzip, chunked", "chunked, chunked", "identity", "xchunked", "\"chunked\"", "chunked;a=b", ""] {
        let request = format!("POST / HTTP/1.1\r\nTransfer-Encoding: {coding}\r\n");
        assert_eq!(refused(&request), "a Transfer-Encoding is not `chunked` alone", "{coding:?}");
    }
    let twice = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(refused(twice), "a Transfer-Encoding is not `chunked` alone");
}

#[test]
fn a_folded_field_and_a_fragment_are_refused() {
    assert_eq!(refused("GET / HTTP/1.1\r\nx: a\r\n b\r\n"), "a field is folded over lines");
    assert_eq!(refused("GET / HTTP/1.1\r\n\tx: a\r\n"), "a field is folded over lines");
    assert_eq!(refused("GET /a#b HTTP/1.1\r\n"), "the target has a fragment");
}

#[test]
fn chunks_are_what_they_say() {
    let after = |chunks: &str| refused(&format!("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"));
    assert_eq!(after("x"), "a chunk has no size");
    assert_eq!(after("5x"), "a chunk's size is no number");
    assert_eq!(after("5\n"), "a chunk's size is no number");
    assert_eq!(after("5;a\n"), "a chunk's size ends in a bare LF");
    assert_eq!(after("5\rx"), "a chunk's size ends in a bare CR");
    assert_eq!(after("1\r\nab"), "a chunk is longer than its size");
    assert_eq!(after("1\r\na\n"), "a chunk is longer than its size");
    assert_eq!(after("11111111111111111"), "a chunk is too large");
    assert_eq!(after("0\r\nx: y\n"), "a trailer ends in a bare LF");
    assert_eq!(after("0\r\nx: y\rz"), "a trailer ends in a bare CR");
    assert_eq!(after("0\r\n\rx"), "a trailer ends in a bare CR");
}

proptest! {
    #[test]
    fn any_bytes_come_to_the_same_however_they_are_cut(
        parts in prop::collection::vec(prop_oneof![
            Just("POST / HTTP/1.1\r\n".to_owned()),
            "content-length: [0-9]{1,2}\r\n",
            Just("transfer-encoding: chunked\r\n".to_owned()),
            Just("\r\n".to_owned()),
            "[0-9a-f]{1,2}\r\n",
            "[a-z]{1,3}",
            Just("\n".to_owned()),
        ], 0..12),
        cut in 0_usize..64,
    ) {
        let bytes = parts.concat();
        let mut whole = Strict::default();
        let verdict = whole.feed(bytes.as_bytes());
        let mut apart = Strict::default();
        let (first, second) = bytes.as_bytes().split_at(cut.min(bytes.len()));
        let cut_verdict = apart.feed(first).and_then(|()| apart.feed(second));
        prop_assert_eq!(verdict, cut_verdict);
    }
}
