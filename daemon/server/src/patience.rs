//! A body that may pause, but not for ever: a client that announces bytes and does not send them would hold its connection.

use std::error::Error;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::HttpBody;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

/// A body that fails when its next part takes longer than it may.
pub(crate) struct Patient<B> {
    body: B,
    limit: Duration,
    /// When patience ends; set anew by every part.
    end: Pin<Box<Sleep>>,
}

impl<B> Patient<B> {
    /// `body` with at most `limit` between two parts.
    pub(crate) fn new(body: B, limit: Duration) -> Self {
        Self { body, limit, end: Box::pin(sleep(limit)) }
    }
}

impl<B> HttpBody for Patient<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(part) = Pin::new(&mut self.body).poll_frame(context) {
            let next = Instant::now() + self.limit;
            self.end.as_mut().reset(next);
            return Poll::Ready(part.map(|part| part.map_err(Into::into)));
        }
        ready!(self.end.as_mut().poll(context));
        Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, "the rest of the request did not come").into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
