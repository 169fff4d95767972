//! A way to PostgreSQL that understands the messages on it (PostgreSQL, "Message Formats"), so that something can happen
//! between any two of them.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use crate::instant::{Fate, Instant, Instants};

/// A way to a server.
pub struct Wire {
    port: u16,
}

impl Wire {
    /// A way to the server on that port of 127.0.0.1.
    pub fn to(server: u16, instants: &Arc<Instants>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let instants = Arc::clone(instants);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let instants = Arc::clone(&instants);
                thread::spawn(move || join(&client, server, &instants));
            }
        });
        Self { port }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn join(client: &TcpStream, server: u16, instants: &Arc<Instants>) {
    if instants.meet(Instant::Connect) == Fate::Cut {
        return;
    }
    // A server that is down refuses its clients.
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { return };
    for socket in [client, &server] {
        // Small messages that wait for each other would take forever.
        let _ = socket.set_nodelay(true);
    }
    let (Ok(answers_to), Ok(answers_from)) = (client.try_clone(), server.try_clone()) else { return };
    let (of_client, of_server) = (Arc::clone(instants), Arc::clone(instants));
    let back = thread::spawn(move || {
        // It ends when either side has closed or was cut.
        let _ = answers(&answers_from, &answers_to, &of_server);
        close(&answers_from, &answers_to);
    });
    let _ = requests(client, &server, &of_client);
    close(client, &server);
    // Nothing is left to be done if it has panicked.
    let _ = back.join();
}

fn close(one: &TcpStream, other: &TcpStream) {
    let _ = one.shutdown(Shutdown::Both);
    let _ = other.shutdown(Shutdown::Both);
}

fn requests(mut from: &TcpStream, mut to: &TcpStream, instants: &Instants) -> io::Result<()> {
    // The first message has no type.
    let mut message = vec![0; 4];
    from.read_exact(&mut message)?;
    rest(from, &mut message, 0)?;
    to.write_all(&message)?;
    let mut in_copy = false;
    loop {
        let message = next(from)?;
        let instant = match message[0] {
            b'd' if !in_copy => {
                in_copy = true;
                Some(Instant::Copy)
            }
            b'c' | b'f' => {
                in_copy = false;
                None
            }
            b'Q' if message[5..].starts_with(b"COMMIT") => Some(Instant::Commit),
            b'Q' if message[5..].starts_with(b"insert") => Some(Instant::Merge),
            _ => None,
        };
        if instant.is_some_and(|instant| instants.meet(instant) == Fate::Cut) {
            return Ok(());
        }
        to.write_all(&message)?;
    }
}

fn answers(from: &TcpStream, mut to: &TcpStream, instants: &Instants) -> io::Result<()> {
    loop {
        let message = next(from)?;
        let tag = &message[5..];
        let instant = match message[0] {
            b'C' if tag.starts_with(b"COPY") => Some(Instant::Copied),
            b'C' if tag.starts_with(b"INSERT") => Some(Instant::Merged),
            b'C' if tag.starts_with(b"COMMIT") => Some(Instant::Committed),
            // A field `C` has the SQLSTATE; bad data, classes 22 and 23, is refused in every run.
            b'E' if !tag
                .split(|&byte| byte == 0)
                .any(|field| field.starts_with(b"C22") || field.starts_with(b"C23")) =>
            {
                Some(Instant::Refused)
            }
            _ => None,
        };
        if instant.is_some_and(|instant| instants.meet(instant) == Fate::Cut) {
            return Ok(());
        }
        to.write_all(&message)?;
    }
}

/// A message: its type, its length, its content.
fn next(mut from: &TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; 5];
    from.read_exact(&mut message)?;
    rest(from, &mut message, 1)?;
    Ok(message)
}

/// Reads what a message's length, at that place and counting itself, says is still to come.
fn rest(mut from: &TcpStream, message: &mut Vec<u8>, place: usize) -> io::Result<()> {
    let length = message[place..].try_into().map(u32::from_be_bytes).map_err(io::Error::other)?;
    let begun = message.len();
    message.resize(begun + length as usize - 4, 0);
    from.read_exact(&mut message[begun..])
}
