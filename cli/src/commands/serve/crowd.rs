//! How many connections there are, and who makes room when there are too many.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::commands::serve::activity::Activity;

/// A connection that has been idle for less is not sent away: whoever has just connected is about to send a request.
const SETTLED: Duration = Duration::from_secs(1);

/// How often those who wait look for a connection that can go.
const PACE: Duration = Duration::from_millis(100);

/// The connections of all sockets together.
#[derive(Debug)]
pub struct Crowd {
    places: Arc<Semaphore>,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    count: u64,
    connections: BTreeMap<u64, Weak<Activity>>,
}

impl Crowd {
    /// At most `limit` connections.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            places: Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))),
            inside: Mutex::default(),
        })
    }

    /// A place for one more; where there is none, the connection that has been idle for longest is asked to go.
    pub async fn place(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            let place = tokio::time::timeout(PACE, Arc::clone(&self.places).acquire_owned());
            match place.await {
                Ok(place) => return place.ok(),
                Err(_) => self.send_one_away(),
            }
        }
    }

    /// Asks the connection that has been idle for longest to go.
    pub fn send_one_away(&self) {
        let inside = self.lock();
        let activities = inside.connections.values().filter_map(Weak::upgrade);
        let idle = activities.filter_map(|activity| Some((activity.idle_since()?, activity)));
        if let Some((since, activity)) = idle.min_by_key(|(since, _)| *since)
            && since + SETTLED <= Instant::now()
        {
            activity.send_away();
        }
    }

    /// Connections that there are.
    pub fn len(&self) -> usize {
        self.lock().connections.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts a connection in, until the result is dropped.
    pub fn join(self: &Arc<Self>, activity: &Arc<Activity>, place: OwnedSemaphorePermit) -> Member {
        let mut inside = self.lock();
        inside.count += 1;
        let number = inside.count;
        inside.connections.insert(number, Arc::downgrade(activity));
        Member {
            of: Arc::clone(self),
            number,
            _place: place,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        // every change under the lock is an assignment that cannot panic half-way
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is counted.
#[derive(Debug)]
pub struct Member {
    of: Arc<Crowd>,
    number: u64,
    _place: OwnedSemaphorePermit,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.of.lock().connections.remove(&self.number);
    }
}
