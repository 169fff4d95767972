//! A server of recorded answers, for products that cannot run here. It takes every client and answers simple queries.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// What it answers to a query.
pub(crate) enum Answer {
    /// One row of texts.
    Row(Vec<&'static str>),
}

/// A part of a query, and the answer.
type Answers = Vec<(&'static str, Answer)>;

/// It listens as long as the test's process lives.
pub(crate) struct Mock {
    port: u16,
}

impl Mock {
    /// Starts one with these answers. Any other query is refused.
    pub(crate) fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answers = Arc::new(answers);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let answers = Arc::clone(&answers);
                // The client may leave at any time.
                thread::spawn(move || serve(client, &answers));
            }
        });
        Self { port }
    }

    /// Its port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

/// PostgreSQL, "Frontend/Backend Protocol": the startup, then one answer for each query.
fn serve(mut client: TcpStream, answers: &Answers) -> io::Result<()> {
    body(&mut client)?;
    send(&mut client, b'R', &0_i32.to_be_bytes())?;
    send(&mut client, b'Z', b"I")?;
    loop {
        let mut kind = [0];
        client.read_exact(&mut kind)?;
        let body = body(&mut client)?;
        if kind != *b"Q" {
            return Ok(());
        }
        let query = String::from_utf8_lossy(&body).into_owned();
        match answers.iter().find(|(part, _)| query.contains(part)) {
            Some((_, Answer::Row(values))) => {
                let count = i16::try_from(values.len()).unwrap().to_be_bytes();
                // Of each column: its name, no table, the type text, its size, no modifier, the format text.
                let column = [b"c\0".as_slice(), &[0; 6], &25_i32.to_be_bytes(), &[255; 6], &[0; 2]].concat();
                send(&mut client, b'T', &[count.as_slice(), &column.repeat(values.len())].concat())?;
                let value =
                    |value: &&str| [&i32::try_from(value.len()).unwrap().to_be_bytes(), value.as_bytes()].concat();
                let row = values.iter().flat_map(value).collect::<Vec<_>>();
                send(&mut client, b'D', &[count.as_slice(), &row].concat())?;
                send(&mut client, b'C', b"SELECT 1\0")?;
            }
            None => send(&mut client, b'E', b"SERROR\0C0A000\0Mnot supported\0\0")?,
        }
        send(&mut client, b'Z', b"I")?;
    }
}

fn send(client: &mut TcpStream, kind: u8, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    client.write_all(&[&[kind], length.as_slice(), body].concat())
}

/// A message after its kind.
fn body(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    client.read_exact(&mut length)?;
    let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
    client.read_exact(&mut body)?;
    Ok(body)
}
