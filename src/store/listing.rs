//! Listings whose answers break off. The store's client repeats a request that isn't answered, and goes on with an object that
//! breaks off, but gives up on a listing that does.

use futures::stream::{self, BoxStream, StreamExt};
use object_store::client::HttpError;
use object_store::path::Path;
use object_store::{Error, ListResult, ObjectMeta, ObjectStore, Result};

/// Answers of one listing that may break off.
const BROKEN_MAX: usize = 5;

/// The objects below a prefix, in order.
pub(super) fn list<S: ObjectStore + Clone>(
    store: &S,
    prefix: Option<&Path>,
    offset: Option<&Path>,
) -> BoxStream<'static, Result<ObjectMeta>> {
    let listing = Listing { store: store.clone(), prefix: prefix.cloned(), last: offset.cloned(), broken: 0 };
    let first = listing.begin();
    let steps = stream::unfold((listing, first), |(mut listing, mut objects)| async move {
        loop {
            match objects.next().await {
                Some(Err(error)) if listing.broken < BROKEN_MAX && broke_off(&error) => {
                    tracing::debug!(%error, "a listing broke off; the rest is asked for again");
                    listing.broken += 1;
                    objects = listing.begin();
                }
                Some(object) => {
                    listing.last = object.as_ref().ok().map(|object| object.location.clone()).or(listing.last);
                    return Some((object, (listing, objects)));
                }
                None => return None,
            }
        }
    });
    steps.boxed()
}

/// The objects and folders directly below a prefix.
pub(super) async fn list_folder<S: ObjectStore>(store: &S, prefix: Option<&Path>) -> Result<ListResult> {
    let mut broken = 0;
    loop {
        match store.list_with_delimiter(prefix).await {
            Err(error) if broken < BROKEN_MAX && broke_off(&error) => broken += 1,
            listed => return listed,
        }
    }
}

struct Listing<S> {
    store: S,
    prefix: Option<Path>,
    /// What has come already ends with it.
    last: Option<Path>,
    broken: usize,
}

impl<S: ObjectStore> Listing<S> {
    fn begin(&self) -> BoxStream<'static, Result<ObjectMeta>> {
        match &self.last {
            Some(last) => self.store.list_with_offset(self.prefix.as_ref(), last),
            None => self.store.list(self.prefix.as_ref()),
        }
    }
}

/// Whether the error is of reading an answer. One of asking has been tried again already: it stands deeper.
fn broke_off(error: &Error) -> bool {
    let Error::Generic { source, .. } = error else { return false };
    source.source().is_some_and(|cause| cause.is::<HttpError>())
}
