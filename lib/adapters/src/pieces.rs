//! Writing a message that lies in pieces. Small ones go out as one copy, since `send` of one piece costs the kernel
//! less than `writev`, and a copy of so little next to nothing.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// Messages up to this size are copied together.
const SMALL: usize = 2048;

/// Writes `pieces` as `poll_write_vectored` does; `copy` is kept with the socket for its memory alone.
pub(crate) fn poll_write<W: AsyncWrite + Unpin>(
    socket: &mut W,
    cx: &mut Context<'_>,
    pieces: &[IoSlice<'_>],
    copy: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    if let [piece] = pieces {
        return Pin::new(socket).poll_write(cx, piece);
    }
    if pieces.iter().map(|piece| piece.len()).sum::<usize>() > SMALL {
        return Pin::new(socket).poll_write_vectored(cx, pieces);
    }
    copy.clear();
    pieces.iter().for_each(|piece| copy.extend_from_slice(piece));
    Pin::new(socket).poll_write(cx, copy)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    #[tokio::test]
    async fn pieces_arrive_in_order_whatever_their_number_and_size() {
        for lengths in [vec![], vec![3], vec![5, 7], vec![0, 4, 0], vec![SMALL, 1], vec![10, SMALL * 2, 10]] {
            let all: Vec<Vec<u8>> = (0_u8..).zip(&lengths).map(|(place, length)| vec![place; *length]).collect();
            let (mut near, mut far) = duplex(SMALL * 8);
            let mut copy = Vec::new();
            let mut left = all.concat().len();
            let mut pieces: Vec<_> = all.iter().map(|piece| IoSlice::new(piece)).collect();
            let mut pieces = pieces.as_mut_slice();
            while left > 0 {
                let written = poll_fn(|cx| poll_write(&mut near, cx, pieces, &mut copy)).await.unwrap();
                IoSlice::advance_slices(&mut pieces, written);
                left -= written;
            }
            drop(near);
            let mut arrived = Vec::new();
            far.read_to_end(&mut arrived).await.unwrap();
            assert_eq!(arrived, all.concat());
        }
    }
}
