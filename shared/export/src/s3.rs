//! S3: listing, and reading objects through broken connections. The only user of the AWS SDK.
//!
//! Credentials, region and endpoint come by the SDK's usual chain. The SDK's own retries are off: a body that breaks in
//! the middle is beyond them, so [`retry`] answers for all attempts in one place, with a line in the log for each.

use std::error::Error as StdError;
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::time::Duration;

use aws_config::meta::region::RegionProviderChain;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3::config::ResponseChecksumValidation;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId as _;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use retry::{Attempts, Limits};
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::error::{Error, Result};
use crate::find::Object;

/// The region when neither the environment nor a profile names one.
const DEFAULT_REGION: &str = "eu-west-1";

/// Bytes of a body that are read ahead.
const READ_AHEAD: u32 = 4 << 20;

/// A body that gives nothing for so long is broken.
const STALLED: Duration = Duration::from_mins(1);

type Cause = Box<dyn StdError + Send + Sync>;

/// A connection to S3, with a runtime of its own.
#[derive(Clone, Debug)]
pub(crate) struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    runtime: Runtime,
    s3: aws_sdk_s3::Client,
    limits: Limits,
}

/// What an attempt came to.
#[derive(Debug)]
enum Failed {
    Transient(Cause),
    Refused(Cause),
    Gone,
    Replaced,
}

impl Client {
    /// The SDK's own variable `AWS_MAX_ATTEMPTS` counts where the limits say no number.
    pub(crate) fn new(limits: Limits) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime =
            runtime.map_err(|source| Error::Refused { key: "the network".to_owned(), source: Box::new(source) })?;
        let s3 = runtime.block_on(connect());
        let attempts = std::env::var("AWS_MAX_ATTEMPTS").ok().and_then(|attempts| attempts.parse::<u32>().ok());
        let limits = limits.or_retries(attempts.map(|attempts| attempts.saturating_sub(1)));
        Ok(Self(Arc::new(Inner { runtime, s3, limits })))
    }

    /// Every object whose key begins with the prefix, sorted by key.
    pub(crate) fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<Object>> {
        let address = format!("s3://{bucket}/{prefix}");
        self.0.runtime.block_on(async {
            let mut objects = Vec::new();
            let mut next = None;
            let mut attempts = self.attempts();
            loop {
                let request = self.0.s3.list_objects_v2().bucket(bucket).prefix(prefix);
                match request.set_continuation_token(next.clone()).send().await {
                    Ok(page) => {
                        attempts = self.attempts();
                        objects.extend(page.contents().iter().map(object));
                        next = page.next_continuation_token;
                        if next.is_none() {
                            break;
                        }
                    }
                    Err(error) => again(&mut attempts, &address, 0, failed(error)).await?,
                }
            }
            // S3 lists by the bytes of keys already; others may not.
            objects.sort_by(|a, b| a.key.cmp(&b.key));
            Ok(objects)
        })
    }

    fn attempts(&self) -> Attempts {
        Attempts::new("S3", self.0.limits)
    }

    /// A small object as a whole.
    pub(crate) fn read(&self, bucket: &str, key: &str) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        let address = format!("s3://{bucket}/{key}");
        let read = self.open(bucket, key, None).read_to_end(&mut content);
        read.map_err(|error| match error.downcast::<Error>() {
            Ok(error) => error,
            Err(source) => Error::Read { key: address, at: content.len() as u64, source },
        })?;
        Ok(content)
    }

    /// The bytes of an object, read ahead. With an `etag` only of the object that has it.
    pub(crate) fn open(&self, bucket: &str, key: &str, etag: Option<&str>) -> Body {
        // The pieces are counted by their bytes, which vary; the channel has room for any number that is likely.
        let (sender, receiver) = mpsc::channel(1024);
        let fetch = Fetch {
            s3: self.0.s3.clone(),
            limits: self.0.limits,
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            etag: etag.map(|etag| format!("\"{etag}\"")),
            at: 0,
            end: None,
            room: Arc::new(Semaphore::new(READ_AHEAD as usize)),
            sender,
        };
        self.0.runtime.spawn(fetch.run());
        Body { receiver, piece: Bytes::new(), room: None, _client: self.clone() }
    }
}

async fn connect() -> aws_sdk_s3::Client {
    let region = RegionProviderChain::default_provider().or_else(DEFAULT_REGION);
    let timeouts =
        TimeoutConfig::builder().connect_timeout(Duration::from_secs(10)).read_timeout(Duration::from_secs(30));
    let config = aws_config::defaults(aws_config::BehaviorVersion::latest())
        .region(region)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts.build())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .load()
        .await;
    // Other implementations of S3 rarely have a name for each bucket.
    let path_style = config.endpoint_url().is_some() || std::env::var_os("AWS_ENDPOINT_URL_S3").is_some();
    let config = aws_sdk_s3::config::Builder::from(&config)
        .force_path_style(path_style)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

fn object(object: &aws_sdk_s3::types::Object) -> Object {
    Object {
        key: object.key().unwrap_or_default().to_owned(),
        bytes: object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
        etag: object.e_tag().map(|etag| etag.trim_matches('"').to_owned()),
    }
}

/// Waits for the next attempt; the error, if there is none or it would be in vain.
async fn again(attempts: &mut Attempts, key: &str, at: u64, failed: Failed) -> Result<()> {
    let key = key.to_owned();
    match failed {
        Failed::Transient(source) => {
            let cause = format!("cannot read `{key}` at byte {at}: {}", fault::explain(&*source));
            let Some(wait) = attempts.next_wait(cause) else {
                return Err(Error::Unavailable { key, at, attempts: attempts.made(), source });
            };
            tokio::time::sleep(wait).await;
            Ok(())
        }
        Failed::Refused(source) => Err(Error::Refused { key, source }),
        Failed::Gone => Err(Error::Gone { key }),
        Failed::Replaced => Err(Error::Replaced { key, at }),
    }
}

/// What an error of the SDK means ("Error responses" of the S3 API reference).
fn failed<E>(error: SdkError<E>) -> Failed
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
    let code = error.code().unwrap_or_default().to_owned();
    let request = match &error {
        SdkError::ServiceError(service) => service.err().meta().request_id().map(str::to_owned),
        _ => None,
    };
    let transient = match &error {
        SdkError::DispatchFailure(failure) => failure.is_io() || failure.is_timeout(),
        SdkError::TimeoutError(_) | SdkError::ResponseError(_) => true,
        _ => matches!(status, Some(429 | 500..=599)) || matches!(code.as_str(), "SlowDown" | "RequestTimeout"),
    };
    match (code.as_str(), status) {
        ("NoSuchKey" | "NotFound", _) => Failed::Gone,
        ("PreconditionFailed" | "InvalidRange", _) | (_, Some(412 | 416)) => Failed::Replaced,
        _ => {
            let cause = describe(error, &code, status, request.as_deref());
            if transient { Failed::Transient(cause) } else { Failed::Refused(cause) }
        }
    }
}

/// The SDK's own texts say "service error" and no more; its chain of causes is long and repeats itself.
fn describe<E>(error: SdkError<E>, code: &str, status: Option<u16>, request: Option<&str>) -> Cause
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
{
    let Some(status) = status else { return Box::new(error) };
    let message = error.message().unwrap_or("no message");
    let request = request.map_or_else(String::new, |id| format!(" (request {id})"));
    format!("{status} {code}: {message}{request}").into()
}

/// One object on its way.
struct Fetch {
    s3: aws_sdk_s3::Client,
    limits: Limits,
    bucket: String,
    key: String,
    /// With quotes, as the headers have it.
    etag: Option<String>,
    /// Bytes that have arrived.
    at: u64,
    end: Option<u64>,
    /// For bytes that are not read yet.
    room: Arc<Semaphore>,
    sender: mpsc::Sender<Result<Piece>>,
}

/// Some bytes of a body, and the room that they take.
type Piece = (Bytes, Option<OwnedSemaphorePermit>);

impl Fetch {
    /// Sends the whole object, whatever breaks in between, or why that cannot be.
    async fn run(mut self) {
        let address = format!("s3://{}/{}", self.bucket, self.key);
        let mut attempts = Attempts::new("S3", self.limits);
        loop {
            let before = self.at;
            let failed = match self.request().await {
                Ok(body) => match self.receive(body).await {
                    Ok(()) => return,
                    Err(failed) => failed,
                },
                Err(failed) => failed,
            };
            if self.at > before {
                attempts = Attempts::new("S3", self.limits);
            }
            if let Err(error) = again(&mut attempts, &address, self.at, failed).await {
                // A receiver that is gone wants nothing.
                let _ = self.sender.send(Err(error)).await;
                return;
            }
        }
    }

    /// Asks for the object from where it broke, and for no other one than that.
    async fn request(&mut self) -> std::result::Result<ByteStream, Failed> {
        let range = (self.at > 0).then(|| format!("bytes={}-", self.at));
        let request = self.s3.get_object().bucket(&self.bucket).key(&self.key).set_range(range);
        let response = request.set_if_match(self.etag.clone()).send().await.map_err(failed)?;
        if self.at > 0 && response.content_range().is_none() {
            return Err(Failed::Refused("the server does not answer to a range".into()));
        }
        self.etag = self.etag.take().or_else(|| response.e_tag().map(str::to_owned));
        if let Some(length) = response.content_length().and_then(|length| u64::try_from(length).ok()) {
            self.end = Some(self.at + length);
        }
        Ok(response.body)
    }

    async fn receive(&mut self, mut body: ByteStream) -> std::result::Result<(), Failed> {
        loop {
            let piece = match tokio::time::timeout(STALLED, body.next()).await {
                Ok(Some(Ok(piece))) => piece,
                Ok(Some(Err(error))) => return Err(Failed::Transient(Box::new(error))),
                Ok(None) => break,
                Err(_) => return Err(Failed::Transient(format!("nothing came for {} s", STALLED.as_secs()).into())),
            };
            self.at += piece.len() as u64;
            let wanted = u32::try_from(piece.len()).unwrap_or(READ_AHEAD).min(READ_AHEAD);
            let room = tokio::select! {
                room = Arc::clone(&self.room).acquire_many_owned(wanted) => room.ok(),
                // Nobody reads any more.
                () = self.sender.closed() => return Ok(()),
            };
            if self.sender.send(Ok((piece, room))).await.is_err() {
                return Ok(());
            }
        }
        match self.end {
            Some(end) if self.at < end => {
                Err(Failed::Transient(format!("the body ended at byte {} of {end}", self.at).into()))
            }
            _ => Ok(()),
        }
    }
}

/// The bytes of an object. Its errors are of this crate's type, wrapped.
#[derive(Debug)]
pub(crate) struct Body {
    receiver: mpsc::Receiver<Result<Piece>>,
    piece: Bytes,
    /// What `piece` takes of the room for reading ahead.
    room: Option<OwnedSemaphorePermit>,
    /// Keeps the runtime alive.
    _client: Client,
}

impl BufRead for Body {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.piece.is_empty() {
            self.room = None;
            match self.receiver.blocking_recv() {
                Some(piece) => (self.piece, self.room) = piece.map_err(io::Error::other)?,
                None => break,
            }
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, length: usize) {
        bytes::Buf::advance(&mut self.piece, length);
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        self.consume(length);
        Ok(length)
    }
}
