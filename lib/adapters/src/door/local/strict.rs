//! Strictness on the bytes of HTTP/1 requests: what hyper accepts and a gateway must not.
//!
//! hyper ends a line at a bare LF, drops one of two framings, takes codings before `chunked`, and cuts a fragment off the
//! target. Each may be read otherwise by whoever stands in front of us, and such a difference is how one request is
//! smuggled inside another (RFC 9112 §11.2). So the stream is followed here, message by message, beside hyper: heads line
//! by line, bodies only as far as to know where the next head begins.

use memchr::memchr;

/// Follows one connection's bytes.
#[derive(Debug, Default)]
pub(super) struct Strict {
    at: At,
    /// The line that the last bytes left unfinished.
    line: Vec<u8>,
    head: Head,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum At {
    #[default]
    Head,
    Length(u64),
    Chunked(Chunk),
}

/// Where in a chunked body (RFC 9112 §7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    Start,
    Size(u64),
    Extension(u64),
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
}

#[derive(Debug, Default)]
struct Head {
    begun: bool,
    length: Option<u64>,
    chunked: bool,
}

impl Strict {
    /// Whether the next byte begins a request.
    pub(super) fn between(&self) -> bool {
        self.at == At::Head && !self.head.begun && self.line.is_empty()
    }

    /// Whether a head has begun and not ended.
    pub(super) fn within_head(&self) -> bool {
        self.at == At::Head && !self.between()
    }

    /// Follows `bytes`, the next ones of the connection.
    ///
    /// # Errors
    /// What is wrong first; nothing is followed after it.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), &'static str> {
        while !bytes.is_empty() {
            bytes = match self.at {
                At::Head => self.head(bytes)?,
                At::Length(left) => {
                    let (passed, rest) = skip(left, bytes);
                    self.at = if passed == left { At::Head } else { At::Length(left - passed) };
                    rest
                }
                At::Chunked(chunk) => {
                    let (next, rest) = chunk.step(bytes)?;
                    self.at = next.map_or(At::Head, At::Chunked);
                    rest
                }
            };
        }
        Ok(())
    }

    /// One line of a head, or the part of one that there is.
    fn head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], &'static str> {
        let Some((line, rest)) = memchr(b'\n', bytes).and_then(|end| bytes.split_at_checked(end + 1)) else {
            self.line.extend_from_slice(bytes);
            return Ok(&[]);
        };
        if self.line.is_empty() {
            self.whole_line(line)?;
        } else {
            let mut whole = std::mem::take(&mut self.line);
            whole.extend_from_slice(line);
            self.whole_line(&whole)?;
        }
        Ok(rest)
    }

    fn whole_line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let Some(line) = line.strip_suffix(b"\r\n") else { return Err("a line ends in a bare LF") };
        if line.is_empty() {
            // Empty lines before a request are skipped (RFC 9112 §2.2).
            if self.head.begun {
                let head = std::mem::take(&mut self.head);
                self.at = head.ended()?;
            }
            return Ok(());
        }
        if self.head.begun {
            return self.head.field(line);
        }
        self.head.begun = true;
        if memchr(b'#', line).is_some() { Err("the target has a fragment") } else { Ok(()) }
    }
}

impl Head {
    fn field(&mut self, line: &[u8]) -> Result<(), &'static str> {
        if line.first().is_some_and(|first| matches!(first, b' ' | b'\t')) {
            return Err("a field is folded over lines");
        }
        if let Some(value) = value_of(line, b"content-length") {
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let length = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
            match (length, self.length) {
                (None, _) => return Err("a Content-Length is no number"),
                (Some(now), Some(before)) if now != before => return Err("two Content-Length differ"),
                (Some(_), _) => self.length = length,
            }
        } else if let Some(value) = value_of(line, b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err("a Transfer-Encoding is not `chunked` alone");
            }
            self.chunked = true;
        }
        Ok(())
    }

    fn ended(self) -> Result<At, &'static str> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err("Content-Length and Transfer-Encoding together"),
            (true, None) => Ok(At::Chunked(Chunk::Start)),
            (false, None | Some(0)) => Ok(At::Head),
            (false, Some(length)) => Ok(At::Length(length)),
        }
    }
}

impl Chunk {
    /// One step into `bytes`, which are not empty: the state after it, `None` at the body's end, and what is left.
    fn step(self, bytes: &[u8]) -> Result<(Option<Self>, &[u8]), &'static str> {
        let Some((&byte, rest)) = bytes.split_first() else { return Ok((Some(self), bytes)) };
        let next = match self {
            Self::Start => Self::Size(digit(byte).ok_or("a chunk has no size")?),
            Self::Size(size) => match byte {
                b'\r' => Self::SizeLf(size),
                b';' | b' ' | b'\t' => Self::Extension(size),
                _ => {
                    let digit = digit(byte).ok_or("a chunk's size is no number")?;
                    Self::Size(size.checked_mul(16).ok_or("a chunk is too large")? + digit)
                }
            },
            Self::Extension(size) => match byte {
                b'\r' => Self::SizeLf(size),
                b'\n' => return Err("a chunk's size ends in a bare LF"),
                _ => self,
            },
            Self::SizeLf(size) => match (byte, size) {
                (b'\n', 0) => Self::TrailerStart,
                (b'\n', _) => Self::Data(size),
                _ => return Err("a chunk's size ends in a bare CR"),
            },
            Self::Data(left) => {
                let (passed, rest) = skip(left, bytes);
                let next = if passed == left { Self::DataCr } else { Self::Data(left - passed) };
                return Ok((Some(next), rest));
            }
            Self::DataCr if byte == b'\r' => Self::DataLf,
            Self::DataLf if byte == b'\n' => Self::Start,
            Self::DataCr | Self::DataLf => return Err("a chunk is longer than its size"),
            Self::TrailerStart if byte == b'\r' => Self::EndLf,
            Self::TrailerStart | Self::Trailer => match byte {
                b'\r' => Self::TrailerLf,
                b'\n' => return Err("a trailer ends in a bare LF"),
                _ => Self::Trailer,
            },
            Self::TrailerLf if byte == b'\n' => Self::TrailerStart,
            Self::EndLf if byte == b'\n' => return Ok((None, rest)),
            Self::TrailerLf | Self::EndLf => return Err("a trailer ends in a bare CR"),
        };
        Ok((Some(next), rest))
    }
}

/// The value of `line` if its name is `name`, without the white space around it.
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (written, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":").filter(|_| written.eq_ignore_ascii_case(name))?;
    Some(value.trim_ascii())
}

fn digit(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

/// How many of `left` bytes there are in `bytes`, and what comes after them.
fn skip(left: u64, bytes: &[u8]) -> (u64, &[u8]) {
    let there = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    (there as u64, bytes.get(there..).unwrap_or_default())
}

#[cfg(test)]
mod tests;
