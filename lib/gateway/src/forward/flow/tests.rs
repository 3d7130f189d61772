//! Bodies under way: their timeouts, their limits, and where they are cut.

use http::HeaderMap;
use tokio::sync::mpsc;

use super::*;

/// A body fed by hand.
struct Fed(mpsc::UnboundedReceiver<Frame<Bytes>>);

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

struct Feed(mpsc::UnboundedSender<Frame<Bytes>>);

impl Feed {
    fn data(&self, data: &'static str) {
        self.0.send(Frame::data(Bytes::from_static(data.as_bytes()))).expect("open");
    }

    fn trailers(&self) {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
        self.0.send(Frame::trailers(trailers)).expect("open");
    }
}

fn fed() -> (Feed, Body) {
    let (feed, fed) = mpsc::unbounded_channel();
    (Feed(feed), Body::stream(Fed(fed)))
}

fn stream(body: Body) -> BodyStream {
    match body {
        Body::Stream(stream) => stream,
        other @ (Body::Empty | Body::Full(_)) => panic!("expected a stream, got {other:?}"),
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_watched_stream_passes_whole_and_tells_once_it_passed_the_limit() {
    let (feed, body) = fed();
    let (body, watch) = watched(body, 5);
    let (mut body, watch) = (stream(body), watch.expect("its length is not known"));
    for (data, passed) in [("12345", None), ("6", Some(5)), ("7", Some(5))] {
        feed.data(data);
        let frame = body.frame().await.expect("a frame").expect("no fault");
        assert_eq!(frame.into_data().expect("data"), data);
        assert_eq!(watch.passed(), passed, "{data}");
    }
    feed.trailers();
    assert!(body.frame().await.expect("a frame").expect("no fault").is_trailers());
    assert!(watched(Body::Full(Bytes::from_static(b"123456")), 5).1.is_none(), "that was judged before");
}

#[tokio::test]
async fn a_stream_that_passes_the_limit_ends_with_a_fault_and_nothing_more() {
    let (feed, body) = fed();
    let mut body = stream(limited(body, 5));
    feed.data("12345");
    feed.data("6");
    feed.data("7");
    assert!(body.frame().await.expect("a frame").is_ok());
    assert!(matches!(body.frame().await, Some(Err(BodyFault::TooLarge { limit: 5 }))));
    assert!(body.frame().await.is_none());
    assert!(body.is_end_stream());
}

#[tokio::test]
async fn a_stream_within_the_limit_passes_with_its_trailers() {
    let (feed, body) = fed();
    let mut body = stream(limited(body, 5));
    feed.data("12345");
    feed.trailers();
    drop(feed);
    assert!(body.frame().await.expect("a frame").expect("data").is_data());
    assert!(body.frame().await.expect("a frame").expect("trailers").is_trailers());
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn what_is_known_to_fit_stays_as_it_is_and_what_is_known_not_to_is_cut() {
    assert!(matches!(limited(Body::Full(Bytes::from_static(b"12345")), 5), Body::Full(_)));
    assert!(matches!(limited(Body::Empty, 0), Body::Empty));
    let refused = limited(Body::Full(Bytes::from_static(b"123456")), 5).collect(u64::MAX).await;
    assert!(matches!(refused, Err(BodyFault::TooLarge { limit: 5 })));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stalls_between_two_chunks_is_cut() {
    let (feed, body) = fed();
    let mut body = stream(timed(body, Some(5 * SECOND), None));
    feed.data("1");
    assert!(body.frame().await.expect("a frame").is_ok());
    let before = Instant::now();
    assert!(matches!(body.frame().await, Some(Err(BodyFault::Stalled(waited))) if waited.as_secs() == 5));
    assert_eq!(before.elapsed().as_secs(), 5);
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn every_chunk_gives_the_sender_its_idle_time_anew() {
    let (feed, body) = fed();
    let mut body = stream(timed(body, Some(5 * SECOND), None));
    let sender = async {
        for _ in 0..5 {
            tokio::time::advance(4 * SECOND).await;
            feed.data("1");
            tokio::task::yield_now().await;
        }
        drop(feed);
    };
    let reader = async {
        let mut got = 0;
        while let Some(frame) = body.frame().await {
            frame.expect("no fault");
            got += 1;
        }
        got
    };
    assert_eq!(tokio::join!(sender, reader).1, 5);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_trickles_past_its_total_time_is_cut() {
    let (feed, body) = fed();
    let mut body = stream(timed(body, Some(5 * SECOND), Some(Instant::now() + 10 * SECOND)));
    let mut got = 0;
    loop {
        feed.data("1");
        match body.frame().await.expect("a frame") {
            Ok(_) => got += 1,
            Err(_) => break,
        }
        tokio::time::advance(3 * SECOND).await;
    }
    assert_eq!(got, 4);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_silent_until_its_total_time_is_cut_then() {
    let (_feed, body) = fed();
    let before = Instant::now();
    let mut body = stream(timed(body, None, Some(before + 10 * SECOND)));
    assert!(matches!(body.frame().await, Some(Err(BodyFault::Stalled(_)))));
    assert_eq!(before.elapsed().as_secs(), 10);
}

#[test]
fn nothing_configured_wraps_nothing() {
    let (_feed, body) = fed();
    let plain = stream(body);
    let at: *const () = std::ptr::from_ref(&*plain).cast();
    let same = stream(timed(Body::Stream(plain), Some(Duration::ZERO), None));
    assert_eq!(at, std::ptr::from_ref(&*same).cast());
}

#[test]
fn a_body_that_is_there_at_once_arms_no_timer() {
    let (feed, body) = fed();
    feed.data("1");
    let mut timed = Timed { inner: Some(stream(body)), idle: Some(SECOND), until: None, waiting: None, timer: None };
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let polled = http_body::Body::poll_frame(Pin::new(&mut timed), &mut cx);
    assert!(matches!(polled, Poll::Ready(Some(Ok(_)))));
    assert!(timed.timer.is_none());
}
