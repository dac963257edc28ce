//! A bucket whose errors say what they mean: every call goes through to the store, every error through
//! [`Bucket::explain`]; a listing that breaks off goes on ([`listing`]).

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use super::failure::Bucket;
use super::listing;

/// A bucket with errors that can be shown.
#[derive(Debug)]
pub(super) struct Explained<S> {
    pub(super) store: S,
    pub(super) bucket: Bucket,
}

impl<S: fmt::Display> fmt::Display for Explained<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(f)
    }
}

impl<S> Explained<S> {
    fn errors_of(&self, key: Option<&Path>) -> impl Fn(object_store::Error) -> object_store::Error + Send + use<S> {
        let (bucket, key) = (self.bucket.clone(), key.cloned().unwrap_or_default());
        move |error| bucket.explain(&key, error)
    }
}

#[async_trait]
impl<S: ObjectStore + Clone> ObjectStore for Explained<S> {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.store.put_opts(location, payload, opts).await.map_err(self.errors_of(Some(location)))
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.store.put_multipart_opts(location, opts).await.map_err(self.errors_of(Some(location)))?;
        Ok(Box::new(ExplainedUpload { upload, bucket: self.bucket.clone(), key: location.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let mut found = self.store.get_opts(location, options).await.map_err(self.errors_of(Some(location)))?;
        found.payload = match found.payload {
            GetResultPayload::Stream(stream) => {
                GetResultPayload::Stream(stream.map_err(self.errors_of(Some(location))).boxed())
            }
            file => file,
        };
        Ok(found)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.store.get_ranges(location, ranges).await.map_err(self.errors_of(Some(location)))
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations).map_err(self.errors_of(None)).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        listing::list(&self.store, prefix, None).map_err(self.errors_of(prefix)).boxed()
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        listing::list(&self.store, prefix, Some(offset)).map_err(self.errors_of(prefix)).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        listing::list_folder(&self.store, prefix).await.map_err(self.errors_of(prefix))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await.map_err(self.errors_of(Some(to)))
    }
}

#[derive(Debug)]
struct ExplainedUpload {
    upload: Box<dyn MultipartUpload>,
    bucket: Bucket,
    key: Path,
}

#[async_trait]
impl MultipartUpload for ExplainedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (part, bucket, key) = (self.upload.put_part(data), self.bucket.clone(), self.key.clone());
        Box::pin(async move { part.await.map_err(|error| bucket.explain(&key, error)) })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.upload.complete().await.map_err(|error| self.bucket.explain(&self.key, error))
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await.map_err(|error| self.bucket.explain(&self.key, error))
    }
}
