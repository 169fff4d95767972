//! The metrics over HTTP, for Prometheus to scrape.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use fault::{Failure, Fault, Problem};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tracing::info;

use crate::metrics;
use crate::view::View;

/// What is served.
pub(crate) type Shared = Arc<Mutex<View>>;

/// Begins to serve `GET /metrics` at an address, on a thread that ends with the process.
pub(crate) fn start(address: SocketAddr, view: Shared) -> Result<(), Failure> {
    let failed = |what: &str, error: std::io::Error| {
        Problem::new(Fault::Setup, format!("cannot serve metrics at {address}: {what}: {error}"))
            .with_hint("give --metrics-listen an address that is free, say 127.0.0.1:9460")
    };
    let listener = TcpListener::bind(address).map_err(|error| failed("bind", error))?;
    listener.set_nonblocking(true).map_err(|error| failed("listen", error))?;
    let bound = listener.local_addr().map_err(|error| failed("listen", error))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed("start", error))?;
    let serve = async move {
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
        loop {
            // A connection that breaks, or too many open files: the next one may work.
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let view = Arc::clone(&view);
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let response = answer(&request, &view);
                    async move { Ok::<_, Infallible>(response) }
                });
                // The reader went away.
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    };
    let started = thread::Builder::new().name("metrics".to_owned()).spawn(move || runtime.block_on(serve));
    started.map_err(|error| failed("start", error))?;
    info!("Metrics are at http://{bound}/metrics");
    Ok(())
}

fn answer(request: &Request<Incoming>, view: &Shared) -> Response<Full<Bytes>> {
    let (status, kind, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            let view = view.lock().unwrap_or_else(PoisonError::into_inner).clone();
            (StatusCode::OK, metrics::OPEN_METRICS, metrics::open_metrics(&view))
        }
        _ => (StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "the metrics are at /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}
