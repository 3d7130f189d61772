//! One look-up of a key at a time: whoever asks for the same meanwhile gets the same answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use super::key::Hash;

/// The look-ups under way; never more than there are requests.
#[derive(Debug)]
pub(super) struct Flights<V>(Mutex<HashMap<Hash, Arc<OnceCell<V>>>>);

impl<V> Default for Flights<V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<V: Clone> Flights<V> {
    /// The answer of the look-up under way, or of `work` where there is none. Where whoever began it went away, the
    /// next in line begins anew.
    pub(super) async fn share<F: Future<Output = V>>(&self, hash: Hash, work: impl FnOnce() -> F) -> V {
        let cell = Arc::clone(self.lock().entry(hash).or_default());
        let aboard = Aboard { flights: self, hash, cell };
        aboard.cell.get_or_init(work).await.clone()
    }
}

impl<V> Flights<V> {
    fn lock(&self) -> MutexGuard<'_, HashMap<Hash, Arc<OnceCell<V>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request that waits for a look-up; it takes the entry away once it is of no more use.
struct Aboard<'f, V> {
    flights: &'f Flights<V>,
    hash: Hash,
    cell: Arc<OnceCell<V>>,
}

impl<V> Drop for Aboard<'_, V> {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        let own = flights.get(&self.hash).is_some_and(|cell| Arc::ptr_eq(cell, &self.cell));
        // Two hold it when this is the last request aboard: the map, and this one.
        if own && (self.cell.initialized() || Arc::strong_count(&self.cell) == 2) {
            flights.remove(&self.hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn those_who_ask_together_share_one_answer_and_those_who_ask_later_ask_anew() {
        let (flights, asked) = (Flights::default(), AtomicUsize::new(0));
        let ask = || {
            flights.share([1; 32], || async {
                tokio::time::sleep(Duration::from_millis(5)).await;
                asked.fetch_add(1, Ordering::Relaxed)
            })
        };
        assert_eq!(tokio::join!(ask(), ask(), ask()), (0, 0, 0));
        assert_eq!(ask().await, 1);
        assert!(flights.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_leaves_nothing_and_the_next_in_line_asks() {
        let flights = Flights::default();
        let patient = flights.share([1; 32], || async { 7 });
        let hasty = tokio::time::timeout(
            Duration::from_millis(1),
            flights.share([1; 32], || async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                8
            }),
        );
        let (hasty, patient) = tokio::join!(hasty, patient);
        assert_eq!((hasty.is_err(), patient), (true, 7));
        assert!(flights.lock().is_empty());
    }
}
