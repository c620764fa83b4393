//! One job, seen from its client's side.

use std::sync::Arc;
use std::time::Instant;

use crate::commands::serve::backend::Event;
use crate::commands::serve::observe::{Meter, RequestTally};

/// Measures a job by its events, from the moment it is handed to the engine. A watch that is dropped before the job's last
/// event counts it as cancelled.
#[derive(Debug)]
pub struct JobWatch {
    meter: Arc<Meter>,
    request: Option<Arc<RequestTally>>,
    begun: Instant,
    last_piece: Option<Instant>,
    ended: bool,
}

impl JobWatch {
    /// The job starts now. Within a request its tokens also go to the request's line in the access log.
    pub fn begin(meter: &Arc<Meter>, request: Option<Arc<RequestTally>>) -> Self {
        Self {
            meter: Arc::clone(meter),
            request,
            begun: Instant::now(),
            last_piece: None,
            ended: false,
        }
    }

    /// An event that is on its way to the client. Takes well below a microsecond: it is on the path of every token.
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::Started { .. } => self.meter.queued(self.begun.elapsed()),
            Event::Accepted | Event::Progress(_) => {}
            Event::Text(_) | Event::Reasoning(_) | Event::ToolCallArguments { .. } => self.piece(),
            // Its arguments come with it: a gap of no length would be no token's.
            Event::ToolCallStart { .. } if self.last_piece.is_some() => {}
            Event::ToolCallStart { .. } => self.piece(),
            Event::Done(done) => {
                self.ended = true;
                self.meter.done(done);
                if let Some(request) = &self.request {
                    request.add(done.usage.prompt, done.usage.completion);
                }
            }
            Event::Failed(_) => {
                self.ended = true;
                self.meter.ended("failed");
            }
        }
    }

    /// The engine did not take the job, and will be asked again: nothing to count.
    pub fn forget(mut self) {
        self.ended = true;
    }

    /// The engine did not take the job.
    pub fn refused(mut self) {
        self.ended = true;
        self.meter.ended("refused");
    }

    /// The events ended without a last one.
    pub fn broke_off(&mut self) {
        self.ended = true;
        self.meter.ended("failed");
    }

    fn piece(&mut self) {
        let now = Instant::now();
        match self.last_piece.replace(now) {
            None => self.meter.first_token(now - self.begun),
            Some(last) => self.meter.next_token(now - last),
        }
    }
}

impl Drop for JobWatch {
    fn drop(&mut self) {
        if !self.ended {
            self.meter.ended("cancelled");
        }
    }
}
