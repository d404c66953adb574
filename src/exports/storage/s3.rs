//! Files in a store that speaks S3, by the crate `object_store`, whose wire is in wire.rs. Signatures are ring's, as
//! everywhere in the service.
//! Used by storage.rs. A request takes half a minute at most, with its repetitions a minute and a half; what fails then
//! is one more try of the export.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, RetryConfig};
use tokio::time::timeout;

use super::wire::Connector;
use crate::exports::Pieces;
use crate::settings::Exports as Settings;

/// Bytes of a piece on the way there: the least that S3 takes. It takes 10,000 at most, which are 48 GiB.
const UPLOAD_BYTES: usize = 5 * 1024 * 1024;
/// Bytes of a piece on the way back; each is one request, so that a slow reader keeps none open.
const PIECE_BYTES: u64 = 2 * 1024 * 1024;
/// One of those does not take longer, with all its repetitions.
const PIECE_MAX: Duration = Duration::from_secs(120);
const RETRIES: usize = 4;
const RETRY_MAX: Duration = Duration::from_secs(60);

/// A bucket, and our place in it.
pub struct S3 {
    bucket: Arc<AmazonS3>,
    prefix: Key,
}

impl S3 {
    /// The place that the settings name; nobody is asked yet.
    pub fn open(settings: &Settings, url: &str, identity: &str) -> anyhow::Result<Self> {
        let place = url.strip_prefix("s3://").unwrap_or(url);
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let mut builder = AmazonS3Builder::from_env()
            .with_http_connector(Connector::new()?)
            .with_region(&settings.s3_region)
            .with_bucket_name(bucket)
            // One at a time: not every server knows how to delete many.
            .with_disable_bulk_delete(true)
            .with_retry(RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_MAX, ..RetryConfig::default() });
        if let Some(endpoint) = &settings.s3_endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }
        if let Some(key) = &settings.s3_access_key {
            builder = builder.with_access_key_id(key).with_secret_access_key(settings.s3_secret_key.expose());
        }
        let bucket = builder.build().context("exports.s3_url and its neighbours cannot be used")?;
        Ok(Self { bucket: Arc::new(bucket), prefix: Key::from(format!("{prefix}/{identity}")) })
    }

    fn key(&self, name: &str) -> Key {
        self.prefix.clone().join(name)
    }

    /// Sends a file there, in pieces where it is long. Until the last piece is there, nobody sees it.
    pub async fn upload(&self, path: &Path, name: &str, goes_on: impl Fn() -> bool) -> anyhow::Result<()> {
        let (mut file, key) = (File::open(path)?, self.key(name));
        let first = read_piece(&mut file)?;
        if first.len() < UPLOAD_BYTES {
            self.bucket.put(&key, first.into()).await?;
            return Ok(());
        }
        let mut upload = self.bucket.put_multipart(&key).await?;
        let pieces = async {
            let mut piece = first;
            while !piece.is_empty() {
                anyhow::ensure!(goes_on(), "was told to stop");
                upload.put_part(piece.into()).await?;
                piece = read_piece(&mut file)?;
            }
            upload.complete().await?;
            Ok(())
        };
        let outcome = pieces.await;
        if outcome.is_err() {
            // What cannot be taken back stays until the bucket's own rule for unfinished uploads takes it.
            let _ = upload.abort().await;
        }
        outcome
    }

    /// Takes a file away.
    pub async fn remove(&self, name: &str) -> anyhow::Result<()> {
        match self.bucket.delete(&self.key(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Every file in our place.
    pub async fn names(&self) -> anyhow::Result<Vec<String>> {
        let names = self.bucket.list(Some(&self.prefix)).map_ok(|object| object.location.filename().map(str::to_owned));
        Ok(names.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
    }

    /// A part of a file; none when there is no such file.
    pub async fn read(&self, name: &str, range: Range<u64>) -> anyhow::Result<Option<Pieces>> {
        let (bucket, key) = (Arc::clone(&self.bucket), self.key(name));
        match bucket.head(&key).await {
            Ok(_) => {}
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        Ok(Some(Box::pin(stream::try_unfold((bucket, key, range), next_piece))))
    }
}

type Left = (Arc<AmazonS3>, Key, Range<u64>);

/// The next piece of what is left of a file, and what is left then.
async fn next_piece((bucket, key, left): Left) -> anyhow::Result<Option<(Bytes, Left)>> {
    if left.is_empty() {
        return Ok(None);
    }
    let end = (left.start + PIECE_BYTES).min(left.end);
    let piece = timeout(PIECE_MAX, bucket.get_range(&key, left.start..end)).await??;
    Ok(Some((piece, (bucket, key, end..left.end))))
}

/// The next piece; shorter at the end, and empty behind it.
fn read_piece(file: &mut File) -> anyhow::Result<Vec<u8>> {
    let mut piece = Vec::with_capacity(UPLOAD_BYTES);
    file.by_ref().take(UPLOAD_BYTES as u64).read_to_end(&mut piece)?;
    Ok(piece)
}
