//! What a person reads: one readable line a request, and messages.

use std::io::{self, Write};

use tollgate::exchange::Exchange;

/// Says something on standard error. What cannot be written there is lost, as there is nowhere else to say it.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", text.trim_end());
}

/// Prints what was asked for on standard output.
pub(crate) fn print(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{}", text.trim_end());
}

/// `12:01:02 200 GET /hello/ada  hello  0.4 ms`, with what stopped it and where it went.
pub(crate) fn request(exchange: &Exchange) -> String {
    let secs = exchange.opened.secs() % 86_400;
    let (hour, minute, second) = (secs / 3600, secs / 60 % 60, secs % 60);
    let mut line = format!(
        "{hour:02}:{minute:02}:{second:02} {} {} {}",
        exchange.status.as_u16(),
        exchange.method,
        printable(&exchange.path),
    );
    if let Some(route) = &exchange.route {
        line.push_str(&format!("  {route}"));
    }
    if let Some(upstream) = &exchange.upstream {
        line.push_str(&format!(" -> {upstream}"));
        if exchange.attempts > 1 {
            line.push_str(&format!(" ({} attempts)", exchange.attempts));
        }
    }
    line.push_str(&format!("  {:.1} ms", exchange.took.as_secs_f64() * 1e3));
    if let Some(code) = exchange.stopped_by {
        line.push_str(&format!("  {code}"));
    }
    if let Some(detail) = &exchange.detail {
        line.push_str(&format!(": {}", printable(detail)));
    }
    for shadow in exchange.shadowed.all() {
        line.push_str(&format!("  would refuse, {}: {}", shadow.code, printable(&shadow.detail)));
    }
    line
}

/// A client's text without what could move the cursor or forge a line.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(300).collect()
}
