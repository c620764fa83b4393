//! What the server writes into its log.

use std::io::Write;
use std::sync::{Mutex, Once};

use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;

/// What the whole program logs, of which a test reads the lines of its own requests. One for all: `tracing` remembers for
/// the whole program whether anybody wants a line, so that subscribers of single threads would miss some.
#[derive(Clone, Copy)]
pub struct Log;

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LINES.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

impl Log {
    /// The log, which is kept from the first call on.
    pub fn start() -> Self {
        static STARTED: Once = Once::new();
        STARTED.call_once(|| {
            let subscriber = tracing_subscriber::fmt().json().with_writer(Self).finish();
            tracing::subscriber::set_global_default(subscriber).unwrap();
        });
        Self
    }

    /// The lines of the request of that id.
    pub fn lines(self, id: &str) -> Vec<Value> {
        let text = String::from_utf8(LINES.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["span"]["id"] == id).collect()
    }
}
