//! What a fault of a connection means: whose it is, and whether the request may simply be sent again.

use std::error::Error;
use std::fmt::Write;

use tollgate::exchange::BodyFault;
use tollgate::forward::{FaultKind, UpstreamFault};

use super::connect::Meter;

/// No connection came about.
pub(super) fn unreachable(detail: impl Into<String>) -> UpstreamFault {
    UpstreamFault { kind: FaultKind::Connect, stale_connection: false, detail: detail.into() }
}

/// Nothing signs the request.
pub(super) fn unsigned(detail: String) -> UpstreamFault {
    UpstreamFault { kind: FaultKind::Unsigned, stale_connection: false, detail }
}

/// What came is no answer that may be passed on.
pub(super) fn out_of_protocol(detail: impl Into<String>) -> UpstreamFault {
    UpstreamFault { kind: FaultKind::Protocol, stale_connection: false, detail: detail.into() }
}

/// The connection closed under a request that it had not begun to write.
pub(super) fn closed_unused(detail: String) -> UpstreamFault {
    UpstreamFault { kind: FaultKind::Reset, stale_connection: false, detail }
}

/// Judges `error`, which ended a request that was sent when `meter` had read `before` bytes.
///
/// `broken` is what ended the request's own body, if it did: hyper tells of it in its own words over HTTP/1 and not at
/// all over HTTP/2.
pub(super) fn judge(error: &hyper::Error, broken: Option<BodyFault>, meter: &Meter, before: u64) -> UpstreamFault {
    let detail = chain(error);
    if let Some(broken) = broken {
        return UpstreamFault { kind: FaultKind::RequestBody(broken), stale_connection: false, detail };
    }
    let h2 = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    let of_protocol = error.is_parse() || h2.is_some_and(h2::Error::is_library);
    let kind = if of_protocol { FaultKind::Protocol } else { FaultKind::Reset };
    // A peer that refused the stream or went away before it says that it did nothing (RFC 9113 §8.7).
    let refused =
        h2.is_some_and(|h2| h2.is_remote() && (h2.is_go_away() || h2.reason() == Some(h2::Reason::REFUSED_STREAM)));
    let unanswered = refused || meter.read() == before;
    UpstreamFault { kind, stale_connection: !of_protocol && unanswered && meter.served() > 0, detail }
}

/// The error and its causes in one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        // Writing to a String cannot fail.
        let _ = write!(text, ": {next}");
        cause = next.source();
    }
    text
}
