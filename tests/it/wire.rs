//! Raw bytes over loopback: the other end of whatever is tested.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tollgate::exchange::{Body, BodyFault};

/// Nothing that works takes this long; whatever does fails its test instead of hanging.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for `event`, or fails.
pub(crate) async fn soon<T>(event: impl Future<Output = T>) -> T {
    timeout(PATIENCE, event).await.expect("it takes too long")
}

/// One end of a connection, spoken byte by byte.
pub(crate) struct Raw<S = TcpStream> {
    stream: S,
    seen: Vec<u8>,
}

impl Raw {
    pub(crate) async fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::new(stream)
    }

    /// Ends our half; the other end may still speak.
    pub(crate) async fn close_write(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Closes with a reset instead of an end.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, seen: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Whether the other end still took `bytes`.
    pub(crate) async fn takes(&mut self, bytes: &str) -> bool {
        soon(self.stream.write_all(bytes.as_bytes())).await.is_ok()
    }

    /// Everything up to and with `end`.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.seen.windows(end.len()).position(|window| window == end.as_bytes()) {
                let rest = self.seen.split_off(at + end.len());
                return String::from_utf8(std::mem::replace(&mut self.seen, rest)).unwrap();
            }
            let read = soon(self.stream.read_buf(&mut self.seen)).await.unwrap();
            assert_ne!(read, 0, "closed after {:?}", String::from_utf8_lossy(&self.seen));
        }
    }

    /// A message's head, its empty line with it.
    pub(crate) async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    pub(crate) async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.seen.len() < count {
            let read = soon(self.stream.read_buf(&mut self.seen)).await.unwrap();
            assert_ne!(read, 0, "closed after {} of {count} bytes", self.seen.len());
        }
        let rest = self.seen.split_off(count);
        std::mem::replace(&mut self.seen, rest)
    }

    /// Everything until the other end closes, by an end or by a reset.
    pub(crate) async fn rest(&mut self) -> String {
        // A reset, too, is a close.
        let read = timeout(PATIENCE, self.stream.read_to_end(&mut self.seen)).await;
        assert!(read.is_ok(), "it stays open after {:?}", String::from_utf8_lossy(&self.seen));
        String::from_utf8_lossy(&std::mem::take(&mut self.seen)).into_owned()
    }

    /// Ends our half, and waits until the other end has noticed and closed too.
    pub(crate) async fn close(mut self) {
        self.stream.shutdown().await.unwrap();
        assert_eq!(self.rest().await, "");
    }
}

/// An upstream of raw bytes.
pub(crate) struct Listening {
    listener: TcpListener,
    pub(crate) port: u16,
}

impl Listening {
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { listener, port }
    }

    pub(crate) async fn accept(&self) -> Raw {
        Raw::new(self.socket().await)
    }

    pub(crate) async fn socket(&self) -> TcpStream {
        let (stream, _) = soon(self.listener.accept()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A port that nobody listens at.
    pub(crate) async fn nobody() -> u16 {
        Self::open().await.port
    }
}

/// A body that a test sends frame by frame.
pub(crate) struct Frames(mpsc::Receiver<Result<Frame<Bytes>, BodyFault>>);

pub(crate) fn frames() -> (mpsc::Sender<Result<Frame<Bytes>, BodyFault>>, Body) {
    let (sender, receiver) = mpsc::channel(8);
    (sender, Body::stream(Frames(receiver)))
}

pub(crate) fn data(text: &'static str) -> Result<Frame<Bytes>, BodyFault> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

pub(crate) fn trailers(name: &'static str, value: &'static str) -> Result<Frame<Bytes>, BodyFault> {
    let mut fields = http::HeaderMap::new();
    fields.insert(name, http::HeaderValue::from_static(value));
    Ok(Frame::trailers(fields))
}

impl hyper::body::Body for Frames {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        self.0.poll_recv(cx)
    }
}

/// All of a body as text, and its trailers.
pub(crate) async fn whole(body: Body) -> Result<(String, Option<http::HeaderMap>), BodyFault> {
    let stream = match body {
        Body::Empty => return Ok((String::new(), None)),
        Body::Full(bytes) => return Ok((String::from_utf8(bytes.to_vec()).unwrap(), None)),
        Body::Stream(stream) => stream,
    };
    let collected = soon(stream.collect()).await?;
    let trailers = collected.trailers().cloned();
    Ok((String::from_utf8(collected.to_bytes().to_vec()).unwrap(), trailers))
}

/// The next piece of a streamed body.
pub(crate) async fn piece(body: &mut Body) -> String {
    let Body::Stream(stream) = body else { panic!("{body:?} is no stream") };
    let frame = soon(stream.frame()).await.expect("the body has ended").unwrap();
    String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
}
