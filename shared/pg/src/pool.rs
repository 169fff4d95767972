//! Connections that are kept and, when they break, opened again. What runs over them is the caller's matter.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::fault::Fault;
use r2d2::ManageConnection;
use r2d2_postgres::PostgresConnectionManager;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{Error, Settings};

/// One connection.
pub type Client = postgres::Client;

/// How long [`Pool::get`] waits. A caller that wants to wait longer tries again, and says so.
const PATIENCE: Duration = Duration::from_secs(12);

/// Connections that have all run the same statements when they were opened.
#[derive(Clone)]
pub struct Pool {
    sessions: r2d2::Pool<Sessions>,
    last: Arc<Mutex<Option<Error>>>,
    connecting: String,
}

/// A connection of the pool, given back when dropped.
pub struct Session(r2d2::PooledConnection<Sessions>);

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.0
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.0
    }
}

impl Pool {
    /// A pool of at most `connections`, each opened when it is first needed and prepared with the statements of
    /// `prologue`.
    ///
    /// # Errors
    /// The settings of TLS are wrong. The server is not asked yet.
    pub fn new(settings: &Settings, connections: u32, prologue: String) -> Result<Self, Error> {
        let last = Arc::new(Mutex::new(None));
        let manager = Sessions { manager: settings.manager()?, prologue, last: Arc::clone(&last) };
        let sessions = r2d2::Pool::builder()
            .max_size(connections.max(1))
            .min_idle(Some(0))
            .connection_timeout(PATIENCE)
            .test_on_check_out(false)
            .error_handler(Box::new(r2d2::NopErrorHandler))
            .build_unchecked(manager);
        Ok(Self { sessions, last, connecting: settings.connecting() })
    }

    /// A connection that was not known to be broken when it came back last.
    ///
    /// # Errors
    /// What stood in the way of the last attempt to open one.
    pub fn get(&self) -> Result<Session, Error> {
        self.sessions.get().map(Session).map_err(|_| {
            let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).take();
            last.unwrap_or_else(|| {
                Error::found(Fault::Transient, format!("{}: no connection in time", self.connecting))
            })
        })
    }
}

/// Opens and prepares connections.
struct Sessions {
    manager: PostgresConnectionManager<MakeRustlsConnect>,
    prologue: String,
    last: Arc<Mutex<Option<Error>>>,
}

impl Sessions {
    fn open(&self) -> Result<Client, postgres::Error> {
        let mut client = self.manager.connect()?;
        client.batch_execute(&self.prologue)?;
        Ok(client)
    }
}

impl ManageConnection for Sessions {
    type Connection = Client;
    type Error = postgres::Error;

    fn connect(&self) -> Result<Client, postgres::Error> {
        self.open().inspect_err(|error| {
            let error = Error::of("cannot open a connection to PostgreSQL", error);
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        })
    }

    fn is_valid(&self, client: &mut Client) -> Result<(), postgres::Error> {
        self.manager.is_valid(client)
    }

    fn has_broken(&self, client: &mut Client) -> bool {
        self.manager.has_broken(client)
    }
}
