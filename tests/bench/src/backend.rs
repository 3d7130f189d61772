//! The service behind the proxies of a bench: answers every request on a kept connection with the same 104 bytes of
//! JSON, as cheaply as can be, so that what is measured is the proxy.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nserver: backend\r\ncontent-length: 104\r\n\r\n\
{\"id\":7,\"item\":\"lamp\",\"total\":40,\"currency\":\"EUR\",\"state\":\"shipped\",\"lines\":[{\"sku\":\"lamp1\",\"count\":1}]}";

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(9301);
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(serve(stream));
    }
}

/// Requests of a bench have no body: a head ends with an empty line.
async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::with_capacity(4096);
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        while let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            head.drain(..end + 4);
            stream.write_all(ANSWER).await?;
        }
    }
}
