//! The bytes of one connection, shared between hyper and whoever watches over it: hyper alone does not tell how a write
//! stands still, notices a client that has gone only while it has nothing unread of it, and takes the stream with it when it
//! gives a request up, so that nobody could say why.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// The longest that saying goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// What a client gets whose request did not come to the end of its head in time.
const TIMED_OUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// A stream with a TCP connection below.
pub trait OverTcp: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// The connection below.
    fn tcp(&self) -> &TcpStream;
}

impl OverTcp for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl OverTcp for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// A stream that two can hold.
#[derive(Debug)]
pub struct Wire<S>(Arc<Mutex<Inner<S>>>);

#[derive(Debug)]
struct Inner<S> {
    stream: S,
    /// Since when nothing could be written.
    blocked_since: Option<Instant>,
    /// Whether bytes have come since the last that were written.
    unanswered: bool,
}

impl<S> Clone for Wire<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: OverTcp> Wire<S> {
    /// The bytes of `stream`.
    pub fn new(stream: S) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            stream,
            blocked_since: None,
            unanswered: false,
        })))
    }

    /// Since when the client has not taken what there is for it; None: nothing waits.
    pub fn blocked_since(&self) -> Option<Instant> {
        self.lock().blocked_since
    }

    /// Whether the client has closed the connection, or it is broken, also where bytes of it were not read yet.
    pub fn is_gone(&self) -> bool {
        let inner = self.lock();
        let ready = inner.stream.tcp().ready(Interest::READABLE).now_or_never();
        ready.is_some_and(|ready| ready.map_or(true, |ready| ready.is_read_closed()))
    }

    /// Says that the request took too long, if one was begun and nobody has answered it.
    pub async fn say_timed_out(&mut self) {
        let (unanswered, blocked) = {
            let inner = self.lock();
            (inner.unanswered, inner.blocked_since.is_some())
        };
        if unanswered && !blocked {
            // the client may have gone
            let _ = tokio::time::timeout(GOODBYE, self.write_all(TIMED_OUT)).await;
        }
    }

    /// Ends the connection, in TLS with the notice that it is the end. What the client still sends is taken from the system
    /// for a moment: closing on top of it would make the client's system throw away an answer that was not read yet.
    pub async fn close(&mut self) {
        let goodbye = async {
            self.shutdown().await?;
            let mut rest = vec![0; 16 << 10];
            while self.read(&mut rest).await? > 0 {}
            Ok::<_, io::Error>(())
        };
        // either way it is closed when this is dropped
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    }

    fn lock(&self) -> MutexGuard<'_, Inner<S>> {
        // nothing that panics runs under the lock but the stream, whose connection then ends
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Inner<S> {
    fn note<T>(&mut self, written: Poll<T>) -> Poll<T> {
        match written {
            Poll::Pending => {
                self.blocked_since.get_or_insert_with(Instant::now);
            }
            Poll::Ready(_) => {
                self.blocked_since = None;
                self.unanswered = false;
            }
        }
        written
    }
}

impl<S: OverTcp> AsyncRead for Wire<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.lock();
        let before = buffer.filled().len();
        let read = Pin::new(&mut inner.stream).poll_read(cx, buffer);
        inner.unanswered |= buffer.filled().len() > before;
        read
    }
}

impl<S: OverTcp> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut inner = self.lock();
        let written = Pin::new(&mut inner.stream).poll_write(cx, bytes);
        inner.note(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.lock();
        let written = Pin::new(&mut inner.stream).poll_write_vectored(cx, parts);
        inner.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.lock().stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().stream).poll_shutdown(cx)
    }
}
