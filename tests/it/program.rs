//! Real binaries under a Runtime API, and an upstream whose connections a test can close.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::runtime_api::{Journal, RuntimeApi, soon};

/// The binary `name`: the one that `variable` names, else the one that was built last, for Lambda or in debug.
#[expect(clippy::disallowed_methods, reason = "the test command says which binary is to be tested")]
pub(crate) fn binary(name: &str, variable: &str) -> PathBuf {
    if let Ok(path) = std::env::var(variable) {
        return path.into();
    }
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(3).unwrap();
    [target.join("lambda").join(name).join("bootstrap"), target.join("debug").join(name)]
        .into_iter()
        .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
        .max()
        .map(|(_, path)| path)
        .unwrap_or_else(|| {
            panic!("there is no binary `{name}` to test: run tests/run, which builds it, or set {variable}")
        })
}

pub(crate) fn gateway() -> PathBuf {
    binary("gateway", "TOLLGATE_GATEWAY_BIN")
}

pub(crate) fn bare() -> PathBuf {
    binary("bare", "TOLLGATE_BARE_BIN")
}

pub(crate) fn echo() -> PathBuf {
    binary("echo", "TOLLGATE_ECHO_BIN")
}

/// A process that serves events.
pub(crate) struct Program {
    child: Child,
    pub(crate) pid: u32,
    out: mpsc::UnboundedReceiver<String>,
    errors: mpsc::UnboundedReceiver<String>,
}

impl Program {
    pub(crate) fn start(binary: &Path, api: &RuntimeApi, settings: &[(&str, &str)]) -> Self {
        let mut child = Command::new(binary)
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", api.address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "gateway")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|fault| panic!("{}: {fault}", binary.display()));
        let (out, errors) = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
        Self { pid: child.id().unwrap(), child, out, errors }
    }

    /// The next line on standard output.
    pub(crate) async fn line(&mut self) -> String {
        soon("a line on standard output", self.out.recv()).await.expect("the process has ended")
    }

    /// The next line on standard error.
    pub(crate) async fn complaint(&mut self) -> String {
        soon("a line on standard error", self.errors.recv()).await.expect("the process has ended")
    }

    /// Waits for its end; its exit code, and what it wrote on standard error that was not read yet.
    pub(crate) async fn end(mut self) -> (Option<i32>, Vec<String>) {
        let status = soon("the end of the process", self.child.wait()).await.unwrap();
        let mut rest = Vec::new();
        while let Some(line) = self.errors.recv().await {
            rest.push(line);
        }
        (status.code(), rest)
    }

    /// Stops it as a frozen environment is stopped, and waits until it stands still.
    pub(crate) async fn freeze(&self) {
        self.signal("-STOP").await;
        soon("the stop", async {
            loop {
                let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap();
                if stat.rsplit(") ").next().unwrap().starts_with('T') {
                    return;
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    pub(crate) async fn thaw(&self) {
        self.signal("-CONT").await;
    }

    async fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.pid.to_string()]).status().await.unwrap().success());
    }

    /// Waits until bytes from `from` lie unread in a socket of the process.
    pub(crate) async fn has_unread(&self, from: SocketAddr) {
        soon("bytes in the socket", self.sockets(from, |sockets| sockets.iter().any(|socket| socket.unread))).await;
    }

    /// Waits until every connection of the process to `to` has seen that the other side closed it.
    pub(crate) async fn has_seen_the_end(&self, to: SocketAddr) {
        soon("the connections' end", self.sockets(to, |sockets| sockets.iter().all(|socket| socket.ended))).await;
    }

    async fn sockets(&self, peer: SocketAddr, wanted: impl Fn(&[Socket]) -> bool) {
        let port = format!(":{:04X}", peer.port());
        loop {
            let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", self.pid)).unwrap();
            let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
            let sockets: Vec<Socket> = rows
                .filter(|columns| columns[2].ends_with(&port))
                .map(|columns| Socket { ended: columns[3] != ESTABLISHED, unread: !columns[4].ends_with(":00000000") })
                .collect();
            if wanted(&sockets) {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// What its threads have run so far, in nanoseconds.
    pub(crate) fn cpu(&self) -> u64 {
        std::fs::read_dir(format!("/proc/{}/task", self.pid))
            .unwrap()
            .map(|task| std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap())
            .map(|stat| stat.split(' ').next().unwrap().parse::<u64>().unwrap())
            .sum()
    }
}

/// A row of the system's table of sockets.
struct Socket {
    ended: bool,
    unread: bool,
}

const ESTABLISHED: &str = "01";

fn lines(from: impl AsyncRead + Send + Unpin + 'static) -> mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut lines = BufReader::new(from).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            drop(sender.send(line));
        }
    });
    receiver
}

type Part = Result<Frame<Bytes>, std::io::Error>;

/// Content that comes by a channel.
struct Parts(mpsc::UnboundedReceiver<Part>);

impl http_body::Body for Parts {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Part>> {
        self.0.poll_recv(cx)
    }
}

/// A service behind the gateway. `/by-hand` answers with what the test sends; every other path with what it
/// was asked, as JSON, without a date.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    pub(crate) journal: Journal,
    /// The senders of the answers to `/by-hand`, in order; dropping one ends its answer.
    pub(crate) by_hand: mpsc::UnboundedReceiver<mpsc::UnboundedSender<Part>>,
    hang_up: mpsc::UnboundedSender<oneshot::Sender<usize>>,
}

impl Upstream {
    pub(crate) async fn start(journal: Journal) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (hang_up, orders) = mpsc::unbounded_channel();
        let (senders, by_hand) = mpsc::unbounded_channel();
        tokio::spawn(serve(listener, orders, Arc::new(senders), journal.clone()));
        Self { address, journal, by_hand, hang_up }
    }

    /// Closes every connection, and says how many there were.
    pub(crate) async fn hang_up(&self) -> usize {
        let (done, closed) = oneshot::channel();
        self.hang_up.send(done).unwrap();
        soon("the connections' end", closed).await.unwrap()
    }
}

type Senders = Arc<mpsc::UnboundedSender<mpsc::UnboundedSender<Part>>>;

async fn serve(
    listener: TcpListener,
    mut orders: mpsc::UnboundedReceiver<oneshot::Sender<usize>>,
    senders: Senders,
    journal: Journal,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.unwrap();
                stream.set_nodelay(true).unwrap();
                let (senders, journal) = (Arc::clone(&senders), journal.clone());
                let service = service_fn(move |request| answer(request, Arc::clone(&senders), journal.clone()));
                connections.spawn(async move {
                    drop(Builder::new().auto_date_header(false).serve_connection(TokioIo::new(stream), service).await);
                });
            }
            order = orders.recv() => {
                let Some(done) = order else { return };
                while connections.try_join_next().is_some() {}
                let open = connections.len();
                connections.shutdown().await;
                let _gone = done.send(open);
            }
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    senders: Senders,
    journal: Journal,
) -> Result<Response<Parts>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    journal.note(format!("upstream {}", head.uri.path()));
    let (sender, parts) = mpsc::unbounded_channel::<Part>();
    if head.uri.path() == "/by-hand" {
        senders.send(sender).unwrap();
        return Ok(Response::builder().header("content-type", "text/plain").body(Parts(parts)).unwrap());
    }
    // Its own address is another one in every run.
    let names = head.headers.keys().filter(|name| *name != "host");
    let joined = |name| head.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let told = serde_json::json!({
        "method": head.method.as_str(),
        "target": head.uri.to_string(),
        "headers": names
            .map(|name| (name.as_str(), joined(name).collect::<Vec<_>>().join(" | ")))
            .collect::<BTreeMap<_, _>>(),
        "body": std::str::from_utf8(&body).map_or_else(|_| STANDARD.encode(&body), str::to_owned),
    });
    sender.send(Ok(Frame::data(told.to_string().into()))).unwrap();
    Ok(Response::builder().header("content-type", "application/json").body(Parts(parts)).unwrap())
}
