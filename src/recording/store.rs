//! Where recordings go: a folder, or a bucket of an S3-compatible store.

use std::error::Error;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientConfigKey, ObjectMeta, ObjectStore, ObjectStoreExt, RetryConfig};
use tokio::time::timeout;
use url::Url;

use super::Failure;
use crate::metrics::METRICS;

/// How long one object may take to be stored, however often it is tried.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one try may take.
const ONE_TRY: &str = "5s";
/// The environment variables in which AWS's own tools look for another endpoint than AWS's, too.
const ENDPOINTS: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];

/// What is wrong with `--recording-url`.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// It is of no known kind.
    #[error(
        "{0:?} is neither file:// with the absolute path of a folder, such as file:///var/lib/bastion/recordings, nor \
         s3://BUCKET/PREFIX; credentials, region and endpoint of a bucket come from the environment (AWS_ACCESS_KEY_ID, \
         AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL)"
    )]
    Kind(String),
    /// There is no such folder.
    #[error("the folder {0} cannot be used: {1}; make it, and let the gateway write into it")]
    Folder(String, std::io::Error),
    /// The endpoint is one without TLS.
    #[error("{0} is {1}, which has no TLS; if that is what you want, set AWS_ALLOW_HTTP=true")]
    PlainHttp(&'static str, String),
    /// The bucket cannot be used.
    #[error("the bucket cannot be used: {0}")]
    Bucket(object_store::Error),
}

/// A place for recordings.
#[derive(Clone, Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    url: Arc<str>,
}

impl Store {
    /// The place at a URL. A bucket is not asked yet.
    ///
    /// # Errors
    /// When it is no such URL, or there is no such folder.
    pub fn open(text: &str) -> Result<Self, UrlError> {
        let kind = || UrlError::Kind(without_credentials(text));
        let url = Url::parse(text).map_err(|_| kind())?;
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
            return Err(kind());
        }
        let (objects, prefix): (Arc<dyn ObjectStore>, _) = match url.scheme() {
            "file" => (folder(&url.to_file_path().map_err(|()| kind())?)?, Path::default()),
            "s3" if url.host_str().is_some() => (bucket(&url)?, Path::parse(url.path()).map_err(|_| kind())?),
            _ => return Err(kind()),
        };
        Ok(Self { objects, prefix, url: text.trim_end_matches('/').into() })
    }

    /// The URL of something in it.
    pub fn location(&self, path: &str) -> String {
        format!("{}/{path}", self.url)
    }

    /// Stores an object. When it returns, the object is whole and survives a loss of power.
    ///
    /// # Errors
    /// When the store did not take it in time.
    pub async fn put(&self, path: &str, bytes: Vec<u8>) -> Result<(), Failure> {
        let begun = Instant::now();
        let path = self.whole(path);
        let put = in_time(self.objects.put(&path, bytes.into())).await;
        METRICS.recording_put_seconds.observe(begun.elapsed().as_secs_f64());
        put.map(drop)
    }
}

/// An object that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its path in the folder that was asked about.
    pub path: String,
    /// How long it is.
    pub bytes: u64,
}

impl Store {
    /// What is in a folder, and in those below it.
    ///
    /// # Errors
    /// When the store does not say in time.
    pub async fn list(&self, folder: &str) -> Result<Vec<Stored>, Failure> {
        let folder = self.whole(folder);
        let listing = self.objects.list(Some(&folder)).try_collect::<Vec<_>>();
        let found = in_time(listing).await?;
        Ok(found.into_iter().filter_map(|object| stored(&folder, &object)).collect())
    }

    /// The bytes of an object.
    ///
    /// # Errors
    /// When the store does not give it in time.
    pub async fn get(&self, path: &str) -> Result<Bytes, Failure> {
        let path = self.whole(path);
        in_time(async { self.objects.get(&path).await?.bytes().await }).await
    }

    fn whole(&self, path: &str) -> Path {
        self.prefix.parts().chain(Path::from(path).parts()).collect()
    }
}

fn stored(folder: &Path, object: &ObjectMeta) -> Option<Stored> {
    let parts = object.location.prefix_match(folder)?;
    let parts: Vec<_> = parts.map(|part| part.as_ref().to_owned()).collect();
    Some(Stored { path: parts.join("/"), bytes: object.size })
}

async fn in_time<T>(request: impl Future<Output = object_store::Result<T>>) -> Result<T, Failure> {
    match timeout(PATIENCE, request).await {
        Ok(answer) => answer.map_err(|error| failure(&error)),
        Err(_) => Err(Failure::new("timeout", format!("the store did not answer within {PATIENCE:?}"))),
    }
}

fn folder(path: &FilePath) -> Result<Arc<dyn ObjectStore>, UrlError> {
    let unusable = |error| UrlError::Folder(path.display().to_string(), error);
    let metadata = std::fs::metadata(path).map_err(unusable)?;
    if !metadata.is_dir() {
        return Err(unusable(std::io::ErrorKind::NotADirectory.into()));
    }
    let folder = LocalFileSystem::new_with_prefix(path).map_err(|error| unusable(std::io::Error::other(error)))?;
    Ok(Arc::new(folder.with_fsync(true)))
}

fn bucket(url: &Url) -> Result<Arc<dyn ObjectStore>, UrlError> {
    let allowed = std::env::var("AWS_ALLOW_HTTP").is_ok_and(|it| it.eq_ignore_ascii_case("true") || it == "1");
    let plain = ENDPOINTS.into_iter().find_map(|name| {
        let endpoint = std::env::var(name).ok()?;
        endpoint.to_ascii_lowercase().starts_with("http://").then_some((name, endpoint))
    });
    if let (Some((name, endpoint)), false) = (plain, allowed) {
        return Err(UrlError::PlainHttp(name, without_credentials(&endpoint)));
    }
    let retry = RetryConfig { retry_timeout: PATIENCE, ..RetryConfig::default() };
    let bucket = AmazonS3Builder::from_env()
        .with_url(url.as_str())
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), ONE_TRY)
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::ConnectTimeout), ONE_TRY)
        .with_retry(retry);
    Ok(Arc::new(bucket.build().map_err(UrlError::Bucket)?))
}

/// Why it failed, in a word for the metrics and in a sentence.
fn failure(error: &object_store::Error) -> Failure {
    let mut sources = std::iter::successors(Some(error as &(dyn Error + 'static)), |error| Error::source(*error));
    if let Some(io) = sources.find_map(|error| error.downcast_ref::<std::io::Error>()) {
        return Failure::new(kind_of(io), io.to_string());
    }
    let label = match error {
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => "denied",
        object_store::Error::NotFound { .. } => "not_found",
        _ => "error",
    };
    Failure::new(label, error.to_string().split_whitespace().collect::<Vec<_>>().join(" "))
}

fn kind_of(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => "full",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "denied",
        ErrorKind::NotFound => "not_found",
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset | ErrorKind::TimedOut => "unreachable",
        _ => "error",
    }
}

/// A URL as it may be shown.
fn without_credentials(url: &str) -> String {
    let url = url.split_once('?').map_or(url, |(url, _)| url);
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, rest)| rest)),
        None => url.rsplit_once('@').map_or(url, |(_, rest)| rest).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/var/lib/recordings")]
    #[case("http://example.com/recordings")]
    #[case("file://relative/folder")]
    #[case("s3:///no-bucket")]
    #[case("s3://key:geheim@bucket/prefix")]
    #[case("s3://bucket/prefix?token=geheim")]
    fn what_is_no_such_url_is_told_what_is(#[case] url: &str) {
        let error = Store::open(url).unwrap_err().to_string();
        assert!(error.contains("s3://BUCKET/PREFIX") && !error.contains("geheim"), "{error}");
    }

    #[test]
    fn a_folder_must_be_there() {
        let error = Store::open("file:///nowhere/at/all").unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all") && error.contains("make it"), "{error}");
    }

    #[tokio::test]
    async fn what_is_stored_is_a_file_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("file://{}/", folder.path().display())).unwrap();
        store.put("ns/session/1/0.cast", b"text".to_vec()).await.unwrap();
        assert_eq!(std::fs::read(folder.path().join("ns/session/1/0.cast")).unwrap(), b"text");
        assert_eq!(store.location("ns/session"), format!("file://{}/ns/session", folder.path().display()));
    }

    #[test]
    fn a_failure_says_what_the_system_said() {
        let full = std::io::Error::from_raw_os_error(28);
        let error = object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(full) };
        let failure = failure(&error);
        assert_eq!(failure.label, "full");
        assert!(failure.why.contains("No space left on device"), "{}", failure.why);
    }
}
