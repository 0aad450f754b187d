//! The store of recordings: a folder, or a bucket of an S3-compatible object store.

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

use super::error::RecordingError;
use crate::metrics::METRICS;

/// How long a request may take, with all retries.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one attempt may take.
const ATTEMPT_TIMEOUT: &str = "5s";
/// The environment variables of AWS tools that set another endpoint.
const ENDPOINT_VARIABLES: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];

/// Why a `--recording-url` cannot be used. Each message contains the cause, which is no `#[source]`, so that a chain of causes
/// does not repeat it.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    /// The URL has an unknown form.
    #[error(
        "{0:?} is neither file:// with the absolute path of a folder, such as file:///var/lib/bastion/recordings, nor \
         s3://BUCKET/PREFIX; credentials, region and endpoint of a bucket come from the environment (AWS_ACCESS_KEY_ID, \
         AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL)"
    )]
    UnknownKind(String),
    /// The folder does not exist, or is not accessible.
    #[error("the folder {0} cannot be used: {1}; create it, and let the gateway write to it")]
    Folder(String, std::io::Error),
    /// The endpoint has no TLS, and `AWS_ALLOW_HTTP` is not set.
    #[error("{0} is {1}, which has no TLS; if that is what you want, set AWS_ALLOW_HTTP=true")]
    PlainHttp(&'static str, String),
    /// The configuration of the bucket is invalid.
    #[error("the bucket cannot be used: {0}")]
    Bucket(object_store::Error),
}

/// An object in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// The path within the listed folder.
    pub path: String,
    /// The length in bytes.
    pub bytes: u64,
}

/// A store of recordings.
#[derive(Clone, Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    url: Arc<str>,
}

impl Store {
    /// Opens the store at a URL. Sends no request to a bucket yet.
    ///
    /// # Errors
    /// The URL has an unknown form, or its folder does not exist.
    pub fn open(text: &str) -> Result<Self, UrlError> {
        let unknown = || UrlError::UnknownKind(without_credentials(text));
        let url = Url::parse(text).map_err(|_| unknown())?;
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
            return Err(unknown());
        }
        let (objects, prefix): (Arc<dyn ObjectStore>, _) = match url.scheme() {
            "file" => (open_folder(&url.to_file_path().map_err(|()| unknown())?)?, Path::default()),
            "s3" if url.host_str().is_some() => (open_bucket(&url)?, Path::parse(url.path()).map_err(|_| unknown())?),
            _ => return Err(unknown()),
        };
        Ok(Self { objects, prefix, url: text.trim_end_matches('/').into() })
    }

    /// Returns the URL of an object or folder.
    pub fn location(&self, path: &str) -> String {
        format!("{}/{path}", self.url)
    }

    /// Stores an object. When this returns, the object is complete and survives a loss of power.
    ///
    /// # Errors
    /// The store failed or did not answer within 10 s.
    pub async fn put(&self, path: &str, bytes: Vec<u8>) -> Result<(), RecordingError> {
        let started = Instant::now();
        let path = self.full_path(path);
        let put = with_timeout(self.objects.put(&path, bytes.into())).await;
        METRICS.recording_put_seconds.observe(started.elapsed().as_secs_f64());
        put.map(drop)
    }

    /// Returns the objects in a folder and its subfolders.
    ///
    /// # Errors
    /// The store failed or did not answer within 10 s.
    pub async fn list(&self, folder: &str) -> Result<Vec<StoredObject>, RecordingError> {
        let folder = self.full_path(folder);
        let listing = self.objects.list(Some(&folder)).try_collect::<Vec<_>>();
        let found = with_timeout(listing).await?;
        Ok(found.into_iter().filter_map(|object| stored_object(&folder, &object)).collect())
    }

    /// Returns the content of an object.
    ///
    /// # Errors
    /// The store failed or did not answer within 10 s.
    pub async fn get(&self, path: &str) -> Result<Bytes, RecordingError> {
        let path = self.full_path(path);
        with_timeout(async { self.objects.get(&path).await?.bytes().await }).await
    }

    fn full_path(&self, path: &str) -> Path {
        self.prefix.parts().chain(Path::from(path).parts()).collect()
    }
}

fn stored_object(folder: &Path, object: &ObjectMeta) -> Option<StoredObject> {
    let parts = object.location.prefix_match(folder)?;
    let parts: Vec<_> = parts.map(|part| part.as_ref().to_owned()).collect();
    Some(StoredObject { path: parts.join("/"), bytes: object.size })
}

async fn with_timeout<T>(request: impl Future<Output = object_store::Result<T>>) -> Result<T, RecordingError> {
    match timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(|error| recording_error(&error)),
        Err(_) => Err(RecordingError::new("timeout", format!("the store did not answer within {REQUEST_TIMEOUT:?}"))),
    }
}

fn open_folder(path: &FilePath) -> Result<Arc<dyn ObjectStore>, UrlError> {
    let unusable = |error| UrlError::Folder(path.display().to_string(), error);
    let metadata = std::fs::metadata(path).map_err(unusable)?;
    if !metadata.is_dir() {
        return Err(unusable(std::io::ErrorKind::NotADirectory.into()));
    }
    let folder = LocalFileSystem::new_with_prefix(path).map_err(|error| unusable(std::io::Error::other(error)))?;
    Ok(Arc::new(folder.with_fsync(true)))
}

fn open_bucket(url: &Url) -> Result<Arc<dyn ObjectStore>, UrlError> {
    let allowed = std::env::var("AWS_ALLOW_HTTP").is_ok_and(|it| it.eq_ignore_ascii_case("true") || it == "1");
    let plain = ENDPOINT_VARIABLES.into_iter().find_map(|name| {
        let endpoint = std::env::var(name).ok()?;
        endpoint.to_ascii_lowercase().starts_with("http://").then_some((name, endpoint))
    });
    if let (Some((name, endpoint)), false) = (plain, allowed) {
        return Err(UrlError::PlainHttp(name, without_credentials(&endpoint)));
    }
    let retry = RetryConfig { retry_timeout: REQUEST_TIMEOUT, ..RetryConfig::default() };
    let bucket = AmazonS3Builder::from_env()
        .with_url(url.as_str())
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), ATTEMPT_TIMEOUT)
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::ConnectTimeout), ATTEMPT_TIMEOUT)
        .with_retry(retry);
    Ok(Arc::new(bucket.build().map_err(UrlError::Bucket)?))
}

/// Converts an error of the store. If an I/O error is among its sources, the label and the message come from the I/O error.
fn recording_error(error: &object_store::Error) -> RecordingError {
    let mut sources = std::iter::successors(Some(error as &(dyn Error + 'static)), |error| Error::source(*error));
    if let Some(io) = sources.find_map(|error| error.downcast_ref::<std::io::Error>()) {
        return RecordingError::new(io_label(io), io.to_string());
    }
    let label = match error {
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => "denied",
        object_store::Error::NotFound { .. } => "not_found",
        _ => "error",
    };
    RecordingError::new(label, error.to_string().split_whitespace().collect::<Vec<_>>().join(" "))
}

fn io_label(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => "full",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "denied",
        ErrorKind::NotFound => "not_found",
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset | ErrorKind::TimedOut => "unreachable",
        _ => "error",
    }
}

/// Removes user info and query from a URL, for error messages.
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
    fn an_unknown_url_is_refused_with_the_known_forms(#[case] url: &str) {
        let error = Store::open(url).unwrap_err().to_string();
        assert!(error.contains("s3://BUCKET/PREFIX") && !error.contains("geheim"), "{error}");
    }

    #[test]
    fn a_missing_folder_is_refused() {
        let error = Store::open("file:///nowhere/at/all").unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all") && error.contains("create it"), "{error}");
    }

    #[tokio::test]
    async fn an_object_is_a_file_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("file://{}/", folder.path().display())).unwrap();
        store.put("ns/session/1/0.cast", b"text".to_vec()).await.unwrap();
        assert_eq!(std::fs::read(folder.path().join("ns/session/1/0.cast")).unwrap(), b"text");
        assert_eq!(store.location("ns/session"), format!("file://{}/ns/session", folder.path().display()));
    }

    /// No name of a session or namespace can have such parts, unless an object is older than the API server's rules.
    #[rstest]
    #[case("../outside/1/0.cast")]
    #[case("ns/../../outside/1/0.cast")]
    #[case("/outside/1/0.cast")]
    #[case("ns/..%2f..%2foutside/1/0.cast")]
    #[case("ns/%2e%2e/%2e%2e/outside/1/0.cast")]
    #[case("ns/./.././outside\0/1\n/0.cast")]
    #[case("ns/\\..\\..\\outside/1/0.cast")]
    #[tokio::test]
    async fn no_path_leaves_the_folder(#[case] path: &str) {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("recordings");
        std::fs::create_dir(&folder).unwrap();
        let store = Store::open(&format!("file://{}/", folder.display())).unwrap();
        // The store may refuse the path.
        if store.put(path, b"text".to_vec()).await.is_ok() {
            assert_eq!(store.get(path).await.unwrap().as_ref(), b"text");
        }
        let outside: Vec<_> = std::fs::read_dir(outer.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(outside, ["recordings"]);
    }

    #[test]
    fn an_error_contains_the_message_of_the_system() {
        let full = std::io::Error::from_raw_os_error(28);
        let error = object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(full) };
        let error = recording_error(&error);
        assert_eq!(error.label, "full");
        assert!(error.message.contains("No space left on device"), "{}", error.message);
    }
}
