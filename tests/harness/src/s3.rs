//! An S3 for a test: a server of its own on a port that was free, with one bucket, and a proxy that breaks connections.
//!
//! The server is s3s over a folder: it checks signatures, pages lists and answers to ranges as S3 does. What its folder
//! store leaves out is added here: an `ETag` in lists, and `If-Match` on reads.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use s3s::auth::SimpleAuth;
use s3s::dto::{
    ETag, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output,
    PutObjectInput, PutObjectOutput, Range,
};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;

use crate::export::md5_hex;

/// The bucket of every server.
pub const BUCKET: &str = "exports";

/// The key that opens it.
pub const ACCESS_KEY: &str = "AKIATESTOFDDBPIPE";

/// Its secret.
pub const SECRET_KEY: &str = "secret-key-of-the-tests";

/// A server with an empty bucket, which ends with the test.
#[derive(Debug)]
pub struct S3 {
    folder: tempfile::TempDir,
    port: u16,
    seen: Arc<Seen>,
    runtime: Option<tokio::runtime::Runtime>,
}

/// A read of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Get {
    /// The object.
    pub key: String,
    /// The byte from which it was asked for.
    pub from: u64,
    /// Whether only the object with a certain `ETag` was wanted.
    pub conditional: bool,
}

/// What was asked, and how many requests are still to be refused.
#[derive(Debug, Default)]
struct Seen {
    gets: Mutex<Vec<Get>>,
    busy: AtomicU32,
}

impl S3 {
    /// Starts it.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        fs::create_dir(folder.path().join(BUCKET)).expect("a folder can be made");
        let seen = Arc::new(Seen::default());
        let store = Store {
            files: FileSystem::new(folder.path()).expect("the folder is there"),
            root: folder.path().to_owned(),
            seen: Arc::clone(&seen),
        };
        let mut service = S3ServiceBuilder::new(store);
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("s3")
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.set_nonblocking(true).expect("a socket can be set");
        let port = listener.local_addr().expect("it is bound").port();
        runtime.spawn(serve(listener, service.build()));
        Self { folder, port, seen, runtime: Some(runtime) }
    }

    /// Puts an object into the bucket, in place of one that is there.
    pub fn put(&self, key: &str, content: impl AsRef<[u8]>) {
        let path = self.folder.path().join(BUCKET).join(key);
        fs::create_dir_all(path.parent().expect("below the bucket")).expect("folders can be made");
        // At once, as S3 does it: a reader has the old object or the new one.
        let new = self.folder.path().join("new");
        fs::write(&new, content).expect("a file can be written");
        fs::rename(new, path).expect("a file can be moved");
    }

    /// Removes an object.
    pub fn delete(&self, key: &str) {
        fs::remove_file(self.folder.path().join(BUCKET).join(key)).expect("the object is there");
    }

    /// The address of a key or prefix.
    pub fn url(&self, key: &str) -> String {
        format!("s3://{BUCKET}/{key}")
    }

    /// The environment in which a program finds this server and may read from it.
    pub fn envs(&self) -> Vec<(&'static str, String)> {
        envs(self.port)
    }

    /// The same, by way of a proxy.
    pub fn envs_by(&self, proxy: &Proxy) -> Vec<(&'static str, String)> {
        envs(proxy.port)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Every read of an object so far.
    pub fn gets(&self) -> Vec<Get> {
        lock(&self.seen.gets).clone()
    }

    /// The next so many requests are answered with `SlowDown`.
    pub fn slow_down(&self, requests: u32) {
        self.seen.busy.store(requests, Ordering::Relaxed);
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn envs(port: u16) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}")),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ]
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, service: S3Service) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a runtime takes a socket");
    while let Ok((stream, _)) = listener.accept().await {
        let service = service.clone();
        tokio::spawn(async move {
            // A client that hangs up is no concern of the server's.
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// The folder store with what it leaves out.
struct Store {
    files: FileSystem,
    root: PathBuf,
    seen: Arc<Seen>,
}

impl Store {
    fn etag(&self, bucket: &str, key: &str) -> Option<ETag> {
        let content = fs::read(self.root.join(bucket).join(key)).ok()?;
        Some(ETag::Strong(md5_hex(content)))
    }

    fn busy(&self) -> S3Result<()> {
        let less = |left: u32| left.checked_sub(1);
        match self.seen.busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(_) => Err(s3_error!(SlowDown, "Please reduce your request rate.")),
            Err(_) => Ok(()),
        }
    }
}

#[async_trait::async_trait]
impl s3s::S3 for Store {
    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = &request.input;
        let from = match input.range {
            Some(Range::Int { first, .. }) => first,
            _ => 0,
        };
        let get = Get { key: input.key.clone(), from, conditional: input.if_match.is_some() };
        lock(&self.seen.gets).push(get);
        self.busy()?;
        let wanted = input.if_match.as_ref().and_then(|condition| condition.as_etag());
        if let (Some(wanted), Some(found)) = (wanted, self.etag(&input.bucket, &input.key))
            && !found.strong_cmp(wanted)
        {
            return Err(s3_error!(PreconditionFailed, "At least one of the pre-conditions you specified did not hold"));
        }
        self.files.get_object(request).await
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        self.files.head_object(request).await
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        self.busy()?;
        let bucket = request.input.bucket.clone();
        let mut response = self.files.list_objects_v2(request).await?;
        for object in response.output.contents.iter_mut().flatten() {
            object.e_tag = object.key.as_deref().and_then(|key| self.etag(&bucket, key));
        }
        Ok(response)
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        self.files.put_object(request).await
    }
}

/// What happens to a connection once so many bytes came from the server, HTTP headers included.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// It is closed.
    Cut(u64),
    /// Nothing more comes, but it stays open.
    Stall(u64),
}

/// Stands between a program and a server, and lets connections break.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    clients: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    /// A proxy whose first connections meet with these faults, one each; the later ones are sound.
    pub fn to(s3: &S3, faults: impl IntoIterator<Item = Fault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let server = s3.port;
        let clients = Arc::<Mutex<Vec<TcpStream>>>::default();
        let open = Arc::clone(&clients);
        let mut faults: Vec<_> = faults.into_iter().collect();
        faults.reverse();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                lock(&open).extend(client.try_clone());
                pass(client, server, faults.pop());
            }
        });
        Self { port, clients }
    }

    /// Closes the connections that are open.
    pub fn cut(&self) {
        for client in lock(&self.clients).drain(..) {
            // One that is closed already is as it should be.
            let _ = client.shutdown(Shutdown::Both);
        }
    }
}

fn pass(client: TcpStream, server: TcpStream, fault: Option<Fault>) {
    let (Ok(mut from_client), Ok(mut to_server)) = (client.try_clone(), server.try_clone()) else { return };
    thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    thread::spawn(move || {
        let limit = match fault {
            Some(Fault::Cut(bytes) | Fault::Stall(bytes)) => bytes,
            None => u64::MAX,
        };
        forward(&server, &client, limit);
        if let Some(Fault::Stall(_)) = fault {
            // The other direction keeps it open until the client has had enough.
            return;
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    });
}

fn forward(mut server: &TcpStream, mut client: &TcpStream, limit: u64) {
    let mut left = limit;
    let mut buffer = [0; 16 << 10];
    while left > 0 {
        let Ok(length @ 1..) = server.read(&mut buffer) else { return };
        let passed = length.min(usize::try_from(left).unwrap_or(length));
        if client.write_all(&buffer[..passed]).is_err() {
            return;
        }
        left -= passed as u64;
    }
}
