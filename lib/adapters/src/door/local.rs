//! The local door: plain HTTP/1.1, and HTTP/2 by prior knowledge, on a socket.
//!
//! It serves `tollgate dev`, and the gateway function's binary on any host that hands a process a port. hyper reads and
//! writes the messages; what hyper lets pass and a gateway must not (two framings at once, bare line feeds, a client that
//! never finishes its head) is refused on the bytes by [`gate`]. A request that is no request gets 400 and its connection
//! is closed.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tollgate::exchange::{Request, Served};
use tollgate::forward::BoxFuture;
use tollgate::gateway::{Current, Gateway};

use self::answer::{Door, Keeper, Peer};
use self::gate::{Gate, Load, sniff};
use self::streams::Streams;
use super::health;
use crate::LogSink;
use crate::settings::WebSettings;
use crate::telemetry::say;

mod answer;
mod gate;
mod ids;
mod request;
mod streams;
mod strict;

/// Bounds of the local door.
#[derive(Debug, Clone)]
pub struct LocalSettings {
    /// From the first byte of a request's head to its last; 10 s.
    pub header_timeout: Duration,
    /// How long a connection may stay without a request; 60 s.
    pub keep_alive: Duration,
    /// How long a request may take whose client has ended its half of an HTTP/1 connection: it may have gone, or still
    /// read; 5 s.
    pub half_closed: Duration,
    /// How long a body may stand still, in or out; 30 s.
    pub body_stall: Duration,
    /// Connections at once; more wait in the listener's queue; 1024.
    pub max_connections: usize,
    /// Size of a request's head in bytes, 431 above; 64 KiB. It may have 100 fields.
    pub max_head: usize,
    /// Length of path and query in bytes, 414 above; 16 KiB.
    pub max_uri: usize,
    /// How long requests under way may take once the door is told to stop; 5 s.
    pub drain: Duration,
    /// The path that says whether the process serves, where there is one; none.
    pub health: Option<Arc<str>>,
}

impl Default for LocalSettings {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(60),
            half_closed: Duration::from_secs(5),
            body_stall: Duration::from_secs(30),
            max_connections: 1024,
            max_head: 64 * 1024,
            max_uri: 16 * 1024,
            drain: Duration::from_secs(5),
            health: None,
        }
    }
}

/// Serves `gateway`, whichever it is when a request comes, until `stop`; then finishes what is under way.
pub async fn serve(
    listener: TcpListener,
    gateway: Arc<Current>,
    settings: LocalSettings,
    log: LogSink,
    stop: impl Future<Output = ()>,
) {
    let health = settings.health.clone();
    let handle = move |request: Request| -> BoxFuture<'static, Served> {
        if health.as_deref() == Some(&*request.path) {
            return Box::pin(async move { health::serving(&request) });
        }
        let gateway = gateway.load();
        Box::pin(async move { gateway.handle(request).await })
    };
    serve_with(listener, handle, settings, log, stop).await;
}

/// Serves a gateway as a plain web server, for containers and for any host that hands a process a port, until SIGINT or
/// SIGTERM.
///
/// # Errors
/// Where it cannot listen.
pub async fn run(gateway: Gateway, web: WebSettings, log: LogSink) -> std::io::Result<()> {
    let listener = TcpListener::bind(web.listen).await?;
    say(&format!("listening on http://{}", listener.local_addr()?));
    let settings = LocalSettings { health: Some(web.health.into()), ..LocalSettings::default() };
    serve(listener, Arc::new(Current::new(gateway)), settings, log, stop_signal()?).await;
    Ok(())
}

/// Ends at the first SIGINT or SIGTERM.
///
/// # Errors
/// Where the system does not let the process see them.
pub fn stop_signal() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// As [`serve`], with whatever answers requests.
pub async fn serve_with<H>(
    listener: TcpListener,
    handle: H,
    settings: LocalSettings,
    log: LogSink,
    stop: impl Future<Output = ()>,
) where
    H: Fn(Request) -> BoxFuture<'static, Served> + Clone + Send + Sync + 'static,
{
    let keeper = Arc::new(Keeper::new(log));
    let slots = Arc::new(Semaphore::new(settings.max_connections));
    let drain = settings.drain;
    let door = Arc::new(Door::new(handle, settings, Arc::clone(&keeper)));
    let (closing, closed) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            biased;
            () = &mut stop => break,
            Some(_) = connections.join_next() => continue,
            next = next => next,
        };
        match accepted {
            Ok((socket, address)) => {
                let served = connection(Arc::clone(&door), socket, address, closed.clone());
                connections.spawn(async move {
                    served.await;
                    drop(slot);
                });
            }
            // Out of descriptors, most likely: asking again at once would only spin.
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
    drop(listener);
    closing.send_replace(true);
    let rest = async {
        while connections.join_next().await.is_some() {}
        keeper.finish().await;
    };
    if timeout(drain, rest).await.is_err() {
        connections.shutdown().await;
    }
}

/// One connection, from its first byte to its last. Its faults end it and concern nobody else.
async fn connection<H>(
    door: Arc<Door<H>>,
    mut socket: TcpStream,
    address: SocketAddr,
    mut closed: watch::Receiver<bool>,
) where
    H: Fn(Request) -> BoxFuture<'static, Served> + Clone + Send + Sync + 'static,
{
    if socket.set_nodelay(true).is_err() {
        return;
    }
    let Ok(local) = socket.local_addr() else { return };
    let settings = door.settings();
    let sniffed = tokio::select! {
        sniffed = timeout(settings.header_timeout, sniff(&mut socket)) => sniffed,
        _ = closed.wait_for(|closed| *closed) => return,
    };
    let Ok(Ok((ahead, h2))) = sniffed else { return };

    let load = Arc::new(Load::default());
    let gate = Gate::new(socket, ahead, h2, Arc::clone(&load), settings);
    let peer = Peer { ip: canonical(address.ip()), local, load };
    let (max_head, max_list) = (settings.max_head.max(8192), u32::try_from(settings.max_head).unwrap_or(u32::MAX));
    let stall = settings.body_stall;
    // Counted before anything is polled: hyper may read on in between.
    let service = service_fn(move |request| door.answer(request, &peer, peer.load.enter()));
    if h2 {
        let served = http2::Builder::new(Streams { stall })
            .max_header_list_size(max_list)
            .max_concurrent_streams(128)
            .serve_connection(TokioIo::new(gate), service);
        drive(served, closed).await;
    } else {
        let served = http1::Builder::new()
            .max_buf_size(max_head)
            .max_header_size(max_head)
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(gate), service);
        drive(served, closed).await;
    }
}

async fn drive(connection: impl GracefulConnection, mut closed: watch::Receiver<bool>) {
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        _ = closed.wait_for(|closed| *closed) => connection.as_mut().graceful_shutdown(),
    }
    // A fault of one connection has nobody to be told to.
    let _ = connection.await;
}

/// An IPv4 client of a socket that takes both is told as IPv4, so that address lists match it.
fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}
