//! The socket as hyper sees it: refuses on the bytes, and loses patience.
//!
//! hyper's own timer for heads is made anew for each request; the one here is set once and looks, when it rings, whether
//! there is still cause.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::LocalSettings;
use super::strict::Strict;
use crate::pieces;

/// The start of every HTTP/2 connection (RFC 9113 §3.4) that no HTTP/1 request begins with.
const PREFACE: &[u8] = b"PRI ";

/// What hyper gets instead of a head out of form: none may hold a NUL, so it answers 400 and closes, after the answers
/// that are still due. The empty line makes it look at once.
const POISON: &[u8] = b"\0\r\n\r\n";

/// Reads the first bytes, at least as many as tell HTTP/2 from HTTP/1, and says which it is.
///
/// # Errors
/// What ended the connection before.
pub(super) async fn sniff(socket: &mut TcpStream) -> io::Result<(Vec<u8>, bool)> {
    let mut ahead = Vec::with_capacity(PREFACE.len());
    while ahead.len() < PREFACE.len() {
        if (&mut *socket).take((PREFACE.len() - ahead.len()) as u64).read_buf(&mut ahead).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !PREFACE.starts_with(&ahead) {
            return Ok((ahead, false));
        }
    }
    Ok((ahead, true))
}

/// How many requests of one connection are being answered.
#[derive(Debug, Default)]
pub(super) struct Load {
    count: AtomicU32,
    /// Who looks at the connection: to be woken when nothing is being answered any more, since its patience begins then.
    watcher: Mutex<Option<Waker>>,
}

/// One of the requests counted by a [`Load`], until it is dropped.
#[derive(Debug)]
pub(super) struct Busy(Arc<Load>);

impl Load {
    pub(super) fn enter(self: &Arc<Self>) -> Busy {
        self.count.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Whether there is any; `cx` is woken when there is none.
    fn any(&self, cx: &Context<'_>) -> bool {
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        let any = self.count.load(Ordering::Relaxed) > 0;
        *watcher = any.then(|| cx.waker().clone());
        any
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let watcher = {
            let mut watcher = self.0.watcher.lock().unwrap_or_else(PoisonError::into_inner);
            if self.0.count.fetch_sub(1, Ordering::Relaxed) == 1 { watcher.take() } else { None }
        };
        if let Some(watcher) = watcher {
            watcher.wake();
        }
    }
}

/// A client's socket.
pub(super) struct Gate {
    socket: TcpStream,
    ahead: Vec<u8>,
    /// `None` over HTTP/2, whose frames leave no room for two readings.
    strict: Option<Strict>,
    refused: bool,
    load: Arc<Load>,
    header_timeout: Duration,
    keep_alive: Duration,
    half_closed: Duration,
    stall: Duration,
    /// Whether the client has ended its half. It may have gone, or still read.
    ended: bool,
    /// Since when the client is waited for; `None` while a request of its is under way.
    waiting: Option<Instant>,
    bell: Option<Pin<Box<Sleep>>>,
    writing: Option<Pin<Box<Sleep>>>,
    copy: Vec<u8>,
}

impl Gate {
    /// `ahead` is what [`sniff`] has read.
    pub(super) fn new(socket: TcpStream, ahead: Vec<u8>, h2: bool, load: Arc<Load>, settings: &LocalSettings) -> Self {
        Self {
            socket,
            ahead,
            strict: (!h2).then(Strict::default),
            refused: false,
            load,
            header_timeout: settings.header_timeout,
            keep_alive: settings.keep_alive,
            half_closed: settings.half_closed,
            ended: false,
            stall: settings.body_stall,
            waiting: None,
            bell: None,
            writing: None,
            copy: Vec::new(),
        }
    }

    /// Nothing has come: pending, or the end of the connection where the client is out of time, or has ended it and
    /// waits for no answer.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let within_head = self.strict.as_ref().is_some_and(Strict::within_head);
        let within_body = self.strict.as_ref().is_some_and(|strict| !strict.between() && !within_head);
        let patience = match (self.ended, self.load.any(cx)) {
            (true, true) if !within_body => self.half_closed,
            (true, _) => return Poll::Ready(Ok(())),
            (false, busy) if busy || within_body => {
                self.waiting = None;
                return Poll::Pending;
            }
            (false, _) if within_head => self.header_timeout,
            (false, _) => self.keep_alive,
        };
        let until = *self.waiting.get_or_insert_with(Instant::now) + patience;
        let bell = self.bell.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if bell.deadline() > until {
            bell.as_mut().reset(until);
        }
        while bell.as_mut().poll(cx).is_ready() {
            if bell.deadline() >= until {
                return Poll::Ready(Ok(()));
            }
            bell.as_mut().reset(until);
        }
        Poll::Pending
    }

    /// Follows what has been read into `buf` after `before`.
    fn follow(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let Some(strict) = &mut self.strict else { return Ok(()) };
        let (was_between, at_head) = (strict.between(), strict.between() || strict.within_head());
        let Err(why) = strict.feed(buf.filled().get(before..).unwrap_or_default()) else {
            if was_between && strict.within_head() {
                self.waiting = None;
            }
            return Ok(());
        };
        self.refused = true;
        if !at_head {
            // These bytes began within a body; anything put in their place would be taken for a part of it.
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        buf.set_filled(before);
        POISON.clone_into(&mut self.ahead);
        Ok(())
    }

    /// Hands over what has been read ahead.
    fn hand_over(&mut self, buf: &mut ReadBuf<'_>) {
        let taken = self.ahead.len().min(buf.remaining());
        buf.put_slice(self.ahead.drain(..taken).as_slice());
    }
}

impl AsyncRead for Gate {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.refused && this.ahead.is_empty() {
            // hyper has been told. It still asks whether the client is there, and would drop its answer for any other
            // word than this; it closes the connection itself.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if !this.ahead.is_empty() {
            this.hand_over(buf);
        } else {
            match Pin::new(&mut this.socket).poll_read(cx, buf) {
                Poll::Ready(read) => read?,
                Poll::Pending => return this.wait(cx),
            }
            // Over HTTP/2 the end of the connection is the end of every stream.
            if buf.filled().len() == before && this.strict.is_some() {
                if !this.ended {
                    (this.ended, this.waiting) = (true, None);
                }
                return this.wait(cx);
            }
        }
        if buf.filled().len() > before && !this.refused {
            this.follow(buf, before)?;
            if this.refused {
                this.hand_over(buf);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Gate {
    /// Passes on how a write went; one that stands still for too long is given up.
    fn patiently<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.writing = None;
            return written;
        }
        let stall = self.stall;
        let bell = self.writing.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + stall)));
        ready!(bell.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Gate {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.patiently(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let written = pieces::poll_write(&mut this.socket, cx, bufs, &mut this.copy);
        self.patiently(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
