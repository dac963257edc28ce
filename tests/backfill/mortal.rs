//! A bucket in memory, as one process sees it that dies at a call which is given. Others see the same objects by views of
//! their own. What the dead process had on its way never comes back to it, so nothing of it goes on.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::Notify;

/// The call at which a process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// Its number, from 1.
    pub call: u64,
    /// Whether it has its effect all the same: only its answer is lost.
    pub performed: bool,
}

/// One process's view of a bucket.
#[derive(Clone, Debug)]
pub struct View {
    bucket: Arc<InMemory>,
    life: Arc<Life>,
}

#[derive(Debug)]
struct Life {
    death: Option<Death>,
    calls: AtomicU64,
    over: Notify,
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a view of a bucket in memory")
    }
}

impl View {
    /// A view of `bucket` by a process that dies at some call, or at none.
    pub fn new(bucket: &Arc<InMemory>, death: Option<Death>) -> View {
        let life = Life { death, calls: AtomicU64::new(0), over: Notify::new() };
        View { bucket: bucket.clone(), life: Arc::new(life) }
    }

    /// What the process of this view gives; `None`: it has died.
    pub async fn lives<T>(&self, process: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.life.over.notified() => None,
            done = process => Some(done),
        }
    }
}

impl Life {
    /// Makes a call with this effect. Never comes back to the dead.
    async fn call<T>(&self, effect: impl Future<Output = T>) -> T {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        match self.death {
            Some(death) if number > death.call => std::future::pending().await,
            Some(death) if number == death.call => {
                if death.performed {
                    effect.await;
                }
                self.over.notify_one();
                std::future::pending().await
            }
            _ => effect.await,
        }
    }

    /// As [`Life::call`], of a call whose effect is a stream.
    fn stream<T: Send + 'static>(
        self: &Arc<Life>,
        effect: impl FnOnce() -> BoxStream<'static, T> + Send + 'static,
    ) -> BoxStream<'static, T> {
        let life = self.clone();
        futures::stream::once(async move { life.call(async { effect() }).await }).flatten().boxed()
    }
}

#[async_trait]
impl ObjectStore for View {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.life.call(self.bucket.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.life.call(self.bucket.put_multipart_opts(location, options)).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.life.call(self.bucket.get_opts(location, options)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let bucket = self.bucket.clone();
        self.life.stream(move || bucket.delete_stream(locations))
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (bucket, prefix) = (self.bucket.clone(), prefix.cloned());
        self.life.stream(move || bucket.list(prefix.as_ref()))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.life.call(self.bucket.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.life.call(self.bucket.copy_opts(from, to, options)).await
    }
}
