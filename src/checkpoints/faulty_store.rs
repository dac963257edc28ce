//! A store, as one run sees it: its calls fail as told, and its listings may be outdated.

use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::layout::Layout;
use super::{Claimant, Generation};
use crate::time::clock::ManualClock;

/// One failure to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Calls that go well before it.
    pub after_calls: usize,
    /// The call that fails has its effect all the same: only the answer is lost.
    pub performed: bool,
    /// The process dies with it: all later calls fail too.
    pub dies: bool,
}

#[derive(Debug, Default)]
struct Mood {
    fault: Option<Fault>,
    dead: bool,
    hide: Option<(Generation, usize)>,
}

/// One run's view of a shared store.
#[derive(Debug)]
pub(super) struct FaultyStore {
    shared: Arc<dyn ObjectStore>,
    mood: Mutex<Mood>,
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

/// This process, at a time that stands still.
pub(super) fn claimant() -> Claimant {
    Claimant::new(Arc::new(ManualClock::default()))
}

fn failure() -> Error {
    Error::Generic { store: "faulty", source: "told to fail".into() }
}

impl FaultyStore {
    pub(super) fn over(shared: Arc<dyn ObjectStore>) -> Arc<FaultyStore> {
        Arc::new(FaultyStore { shared, mood: Mutex::default() })
    }

    /// What happens from now on; `None`: nothing special.
    pub(super) fn set_fault(&self, fault: Option<Fault>) {
        self.mood().fault = fault;
    }

    /// The next `listings` of folders leave out newer generations, as if they had been made before those were claimed.
    pub(super) fn hide_above(&self, generation: Generation, listings: usize) {
        self.mood().hide = Some((generation, listings));
    }

    pub(super) fn is_dead(&self) -> bool {
        self.mood().dead
    }

    fn mood(&self) -> std::sync::MutexGuard<'_, Mood> {
        self.mood.lock().expect("no test panics while it holds this")
    }

    /// Counts one call: whether it has its effect, and whether it answers.
    fn call(&self) -> (bool, bool) {
        let mut mood = self.mood();
        if mood.dead {
            return (false, false);
        }
        match mood.fault {
            Some(fault) if fault.after_calls == 0 => {
                mood.fault = None;
                mood.dead = fault.dies;
                (fault.performed, false)
            }
            Some(fault) => {
                mood.fault = Some(Fault { after_calls: fault.after_calls - 1, ..fault });
                (true, true)
            }
            None => (true, true),
        }
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let (performed, answered) = self.call();
        let result = if performed { self.shared.put_opts(location, payload, opts).await } else { Err(failure()) };
        if answered { result } else { Err(failure()) }
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("checkpoints are put whole")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match self.call() {
            (_, true) => self.shared.get_opts(location, options).await,
            _ => Err(failure()),
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (performed, answered) = self.call();
        if performed && answered {
            return self.shared.delete_stream(locations);
        }
        if performed {
            let done = self.shared.delete_stream(locations);
            return done.map(|_| Err(failure())).boxed();
        }
        futures::stream::once(async { Err(failure()) }).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.call() {
            (_, true) => self.shared.list(prefix),
            _ => futures::stream::once(async { Err(failure()) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let (_, true) = self.call() else { return Err(failure()) };
        let hide = self.mood().hide.take();
        let mut listing = self.shared.list_with_delimiter(prefix).await?;
        if let Some((newest, listings)) = hide {
            self.mood().hide = listings.checked_sub(2).map(|left| (newest, left + 1));
            listing.common_prefixes.retain(|path| Layout::parse_generation(path).is_none_or(|found| found <= newest));
        }
        Ok(listing)
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        unreachable!("checkpoints are never copied")
    }
}
