//! A front of S3 that answers, cuts, stalls or lies as it is told, one request a connection.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use socket2::SockRef;

use crate::instant::{Fate, Instant, Instants};

/// Bytes of a body between two instants.
const PIECE: usize = 2048;

/// What is done to a request for a data file.
#[derive(Clone, Copy, Debug)]
pub enum Treatment {
    /// After so many bytes of the body the connection is closed as if all were well.
    Close(usize),
    /// After so many bytes of the body the connection is reset.
    Reset(usize),
    /// After so many bytes of the body nothing more comes.
    Stall(usize),
    /// The object seems to have so many bytes only.
    Shorten(usize),
    /// This answer, and a code of S3 in it.
    Answer(&'static str, &'static str),
}

/// Treats these requests for data files so, after some that are served.
#[derive(Debug)]
struct Rule {
    after: u64,
    times: u64,
    treatment: Treatment,
}

/// A way to an S3 server.
pub struct Front {
    port: u16,
    rules: Arc<Mutex<Vec<Rule>>>,
    treated: Arc<AtomicU64>,
}

impl Front {
    /// A way to the server on that port of 127.0.0.1.
    pub fn to(server: u16, instants: &Arc<Instants>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let (rules, treated) = (Arc::<Mutex<Vec<Rule>>>::default(), Arc::<AtomicU64>::default());
        let (instants, known, count) = (Arc::clone(instants), Arc::clone(&rules), Arc::clone(&treated));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (instants, known, count) = (Arc::clone(&instants), Arc::clone(&known), Arc::clone(&count));
                // Closed when it is dropped, or reset. Whoever closes first, the other side sees it.
                thread::spawn(move || serve(&client, server, &instants, || treatment(&known, &count)));
            }
        });
        Self { port, rules, treated }
    }

    /// The environment in which a program finds it, made from that of the server.
    pub fn envs(&self, server: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
        let here = format!("http://127.0.0.1:{}", self.port);
        server
            .into_iter()
            .map(|(name, value)| (name, if name == "AWS_ENDPOINT_URL" { here.clone() } else { value }))
            .collect()
    }

    /// After so many requests for data files that are served, treats so many of them so.
    pub fn treat(&self, after: u64, times: u64, treatment: Treatment) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).push(Rule { after, times, treatment });
    }

    /// Serves everything again.
    pub fn mend(&self) {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// How many requests have been treated so far.
    pub fn treated(&self) -> u64 {
        self.treated.load(Ordering::Relaxed)
    }
}

fn treatment(rules: &Mutex<Vec<Rule>>, treated: &AtomicU64) -> Option<Treatment> {
    let mut rules = rules.lock().unwrap_or_else(PoisonError::into_inner);
    let rule = rules.first_mut()?;
    if rule.after > 0 {
        rule.after -= 1;
        return None;
    }
    let treatment = rule.treatment;
    treated.fetch_add(1, Ordering::Relaxed);
    rule.times -= 1;
    if rule.times == 0 {
        rules.remove(0);
    }
    Some(treatment)
}

fn serve(
    mut client: &TcpStream,
    server: u16,
    instants: &Instants,
    treatment: impl FnOnce() -> Option<Treatment>,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    let request = head(client)?;
    let of_data = request.starts_with("GET ") && request.lines().next().is_some_and(|line| line.contains(".json.gz"));
    let treatment = if of_data { treatment() } else { None };
    if let Some(Treatment::Answer(status, code)) = treatment {
        let body = format!("<Error><Code>{code}</Code><Message>injected</Message></Error>");
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/xml\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        return client.write_all(answer.as_bytes());
    }
    let mut server = TcpStream::connect(("127.0.0.1", server))?;
    server.write_all(replaced(&request, "connection", "close").as_bytes())?;
    let answer = head(&server)?;
    if !of_data || !answer.contains(" 20") {
        client.write_all(replaced(&answer, "connection", "close").as_bytes())?;
        return io::copy(&mut server, &mut client).map(drop);
    }
    let mut body = Vec::new();
    server.read_to_end(&mut body)?;
    let mut answer = replaced(&answer, "connection", "close");
    let end = match treatment {
        Some(Treatment::Close(at) | Treatment::Reset(at) | Treatment::Stall(at)) => at.min(body.len()),
        Some(Treatment::Shorten(at)) => {
            let at = at.min(body.len().saturating_sub(1));
            answer = replaced(&answer, "content-length", &at.to_string());
            at
        }
        Some(Treatment::Answer(..)) | None => body.len(),
    };
    client.write_all(answer.as_bytes())?;
    for piece in body[..end].chunks(PIECE) {
        if instants.meet(Instant::Body) == Fate::Cut {
            return Ok(());
        }
        client.write_all(piece)?;
    }
    match treatment {
        Some(Treatment::Reset(_)) => SockRef::from(client).set_linger(Some(std::time::Duration::ZERO)),
        // Until the client has had enough.
        Some(Treatment::Stall(_)) => client.read(&mut [0]).map(drop),
        _ => Ok(()),
    }
}

/// The lines of a request or an answer up to the empty one, with it.
fn head(mut from: &TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        from.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    String::from_utf8(head).map_err(io::Error::other)
}

/// With another value of a header.
fn replaced(head: &str, name: &str, value: &str) -> String {
    let is_it = |line: &&str| line.split(':').next().is_some_and(|found| found.eq_ignore_ascii_case(name));
    let lines: Vec<_> = head.trim_end().split("\r\n").filter(|line| !is_it(line)).collect();
    format!("{}\r\n{name}: {value}\r\n\r\n", lines.join("\r\n"))
}
