//! Connections that are kept and, when they break, opened again. What runs over them is the caller's matter, and so is
//! trying again: nothing is repeated here.

use std::time::Duration;

use ::fault::{Classify as _, Fault};
use r2d2::ManageConnection;
use retry::Interrupt;

use crate::settings::Servers;
use crate::{Error, Settings};

/// One connection.
pub type Client = postgres::Client;

/// What an attempt to open a connection may take longer than the limits of its hosts.
const PATIENCE: Duration = Duration::from_secs(2);

/// Connections of one server.
#[derive(Clone)]
pub struct Pool {
    sessions: r2d2::Pool<Sessions>,
    settings: Settings,
}

impl Pool {
    /// A pool of at most `connections`, each opened when it is first needed.
    ///
    /// # Errors
    /// The settings of TLS are wrong. The server is not asked yet.
    pub fn new(settings: &Settings, connections: u32) -> Result<Self, Error> {
        let servers = settings.servers()?;
        let patience = servers.patience() + PATIENCE;
        let sessions = r2d2::Pool::builder()
            .max_size(connections.max(1))
            .min_idle(Some(0))
            .connection_timeout(patience)
            .test_on_check_out(false)
            .error_handler(Box::new(r2d2::NopErrorHandler))
            .build_unchecked(Sessions { servers });
        Ok(Self { sessions, settings: settings.clone() })
    }

    /// Does something over a connection, which is kept for the next time unless this fails for a reason that time may
    /// mend: after a failover, a connection to the old primary would be read-only for ever. A stop that is late cancels it.
    ///
    /// # Errors
    /// What stood in the way of opening a connection, or what `work` says.
    pub fn run<T>(
        &self,
        stop: &(impl Interrupt + Sync),
        work: impl FnOnce(&mut Client) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let settings = &self.settings;
        let mut session = self
            .sessions
            .get()
            .map_err(|_| Error::found(Fault::Transient, format!("{}: no connection in time", settings.connecting())))?;
        let result = match &mut session.client {
            Ok(client) => settings.unless_late(stop, client, work),
            Err(error) => Err(error.clone()),
        };
        session.spent = result.as_ref().is_err_and(|error| error.fault() == Fault::Transient);
        result
    }
}

/// A connection, or why there is none: the pool itself would try again without a word.
struct Session {
    client: Result<Client, Error>,
    /// Not to be used again.
    spent: bool,
}

/// Opens connections.
struct Sessions {
    servers: Servers,
}

impl ManageConnection for Sessions {
    type Connection = Session;
    type Error = postgres::Error;

    fn connect(&self) -> Result<Session, postgres::Error> {
        Ok(Session { client: self.servers.connect(), spent: false })
    }

    fn is_valid(&self, _: &mut Session) -> Result<(), postgres::Error> {
        // Never asked, see `test_on_check_out`: what is broken shows when it is used.
        Ok(())
    }

    fn has_broken(&self, session: &mut Session) -> bool {
        session.spent || session.client.as_ref().map_or(true, Client::is_closed)
    }
}
