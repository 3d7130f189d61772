//! Connections: name, TCP, TLS, and a meter on what comes back.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tollgate::forward::{Protocol, Target, UpstreamFault};

use super::fault::{chain, unreachable};
use super::tls::Trust;
use crate::pieces;

/// Dials one target, whatever authority a request carries.
pub(super) struct Connector {
    host: String,
    port: u16,
    protocol: Protocol,
    timeout: Duration,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Connector {
    pub(super) fn new(target: &Target, trust: &Trust) -> Result<Self, UpstreamFault> {
        Ok(Self {
            host: target.host.clone(),
            port: target.port,
            protocol: target.protocol,
            // `0s` is no limit of its own: an hour outlasts every request.
            timeout: if target.connect_timeout.is_zero() { Duration::from_secs(3600) } else { target.connect_timeout },
            tls: trust.connector(target).map_err(unreachable)?,
        })
    }

    /// Whether a connection of this target may turn out to speak HTTP/2.
    pub(super) fn may_share(&self) -> bool {
        match self.protocol {
            Protocol::Http1 => false,
            Protocol::Http2 => true,
            Protocol::Auto => self.tls.is_some(),
        }
    }

    /// A new connection, and whether it speaks HTTP/2. The name is resolved anew each time.
    pub(super) async fn dial(&self) -> Result<(Wire, bool), UpstreamFault> {
        match timeout(self.timeout, self.open()).await {
            Ok(opened) => opened.map_err(|error| unreachable(chain(&error))),
            Err(_) => Err(unreachable(format!("no connection within {:?}", self.timeout))),
        }
    }

    async fn open(&self) -> io::Result<(Wire, bool)> {
        let tcp = self.tcp().await?;
        tcp.set_nodelay(true)?;
        let Some((connector, name)) = &self.tls else {
            return Ok((Wire::new(Stream::Plain(tcp)), self.protocol == Protocol::Http2));
        };
        let tls = connector.connect(name.clone(), tcp).await?;
        let h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
        if self.protocol == Protocol::Http2 && !h2 {
            return Err(io::Error::other("the upstream did not agree to speak h2"));
        }
        Ok((Wire::new(Stream::Tls(Box::new(tls))), h2))
    }

    /// Tries each address of the name in the resolver's order; none may use up the time of those after it.
    async fn tcp(&self) -> io::Result<TcpStream> {
        let until = Instant::now() + self.timeout;
        let addresses: Vec<SocketAddr> = lookup_host((self.host.as_str(), self.port)).await?.collect();
        let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            let share = until.saturating_duration_since(Instant::now()) / left.max(1);
            left = left.saturating_sub(1);
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(tcp)) => return Ok(tcp),
                Ok(Err(error)) => last = error,
                Err(_) => {
                    last = io::Error::new(io::ErrorKind::TimedOut, format!("{address} did not take a connection"))
                }
            }
        }
        Err(last)
    }
}

/// What a connection has done so far.
#[derive(Debug, Default)]
pub(super) struct Meter {
    read: AtomicU64,
    served: AtomicU64,
}

impl Meter {
    /// Bytes read.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Requests answered.
    pub(super) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    pub(super) fn serve(&self) {
        self.served.fetch_add(1, Ordering::Relaxed);
    }
}

/// A connection with a meter.
pub(super) struct Wire {
    stream: Stream,
    meter: Arc<Meter>,
    copy: Vec<u8>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    fn new(stream: Stream) -> Self {
        Self { stream, meter: Arc::default(), copy: Vec::new() }
    }

    pub(super) fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Stream::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        })?;
        let read = buf.filled().len() - before;
        self.meter.read.fetch_add(read as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Stream::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        match &mut this.stream {
            Stream::Plain(tcp) => pieces::poll_write(tcp, cx, bufs, &mut this.copy),
            Stream::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(tcp) => tcp.is_write_vectored(),
            Stream::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
