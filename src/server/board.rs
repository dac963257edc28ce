//! Where the drivers of a process leave how they stand, for whoever asks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::standing::Standing;
use crate::time::clock::Clock;

/// The newest numbers of every driver of a process.
#[derive(Debug)]
pub struct Board {
    clock: Arc<dyn Clock>,
    places: Mutex<Vec<Place>>,
}

/// The newest numbers of one driver.
#[derive(Clone, Debug)]
pub struct Place {
    /// How it stands.
    pub standing: Standing,
    /// How long ago it said so.
    pub age: Duration,
    /// It has ended as it should, and says no more.
    pub ended: bool,
}

impl Board {
    /// With a place for each of these drivers, which have just begun.
    pub fn new(clock: &Arc<dyn Clock>, owners: impl IntoIterator<Item = String>) -> Board {
        let now = clock.elapsed();
        let place = |owner: String| Place { standing: Standing::of(&owner), age: now, ended: false };
        Board { clock: clock.clone(), places: Mutex::new(owners.into_iter().map(place).collect()) }
    }

    // Inside, an age is the moment of the last word.
    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        // Replaced whole: a thread that died while it held them has left them whole.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A driver says how it stands.
    pub fn put(&self, driver: usize, standing: &Standing) {
        let now = self.clock.elapsed();
        let place = &mut self.places()[driver];
        place.standing.clone_from(standing);
        place.age = now;
    }

    /// A driver has ended as it should.
    pub fn end(&self, driver: usize) {
        self.places()[driver].ended = true;
    }

    /// What all have said, and how long ago.
    pub fn look(&self) -> Vec<Place> {
        let now = self.clock.elapsed();
        let mut places = self.places().clone();
        for place in &mut places {
            place.age = now.saturating_sub(place.age);
        }
        places
    }
}
