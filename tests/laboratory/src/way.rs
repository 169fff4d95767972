//! The way from the programs to PostgreSQL: direct, or through `pgbouncer`. Where on that way the wire is that notices the
//! instants is decided here; what it notices is in `wire`.

use std::fmt;
use std::sync::Arc;

use clap::ValueEnum;
use fastrand::Rng;
use harness::pgbouncer::{PoolMode, Pooler};
use harness::postgres::Server;

use crate::instant::Instants;
use crate::wire::Wire;

/// What the pooler of an experiment has set otherwise than by default. After a failed login `pgbouncer` does not try again
/// for 15 seconds, which every crash of the server would cost. The wire does not understand TLS.
const OPTIONS: &[(&str, &str)] = &[("server_login_retry", "1"), ("server_tls_sslmode", "disable")];

/// What is between the programs and PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Via {
    /// Nothing.
    Direct,
    /// `pgbouncer` that pools transactions.
    Transaction,
    /// `pgbouncer` that pools sessions.
    Session,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Transaction => "transaction",
            Self::Session => "session",
        })
    }
}

/// The way of one experiment, and on which side of the pooler connections are cut and instants noticed.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// What is between the programs and PostgreSQL.
    pub via: Via,
    /// The wire is between the pooler and PostgreSQL, and not between the programs and the pooler.
    behind_pooler: bool,
}

impl Route {
    /// Nothing between the programs and PostgreSQL but the wire.
    pub const DIRECT: Self = Self { via: Via::Direct, behind_pooler: false };

    /// What the seed says. The other decisions of the seed are the same on every way.
    pub fn of(seed: u64, via: Option<Via>) -> Self {
        let mut rng = Rng::with_seed(!seed);
        let behind_pooler = rng.bool();
        let chosen = Via::value_variants()[rng.usize(0..Via::value_variants().len())];
        Self { via: via.unwrap_or(chosen), behind_pooler }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.via, self.behind_pooler) {
            (Via::Direct, _) => f.write_str("direct"),
            (via, false) => write!(f, "wire, pgbouncer {via}"),
            (via, true) => write!(f, "pgbouncer {via}, wire"),
        }
    }
}

/// A way to a server, which is there as long as this.
pub struct Way {
    port: u16,
    pooler: Option<Pooler>,
}

impl Way {
    /// A way to the server on which a pooler logs in as that role.
    pub fn to(server: &Server, role: &str, route: Route, instants: &Arc<Instants>) -> Self {
        let mode = match route.via {
            Via::Direct => {
                return Self { port: Wire::to(server.port(), instants).port(), pooler: None };
            }
            Via::Transaction => PoolMode::Transaction,
            Via::Session => PoolMode::Session,
        };
        let pooler = |port| Pooler::start_at(port, role, mode, OPTIONS);
        if route.behind_pooler {
            let pooler = pooler(Wire::to(server.port(), instants).port());
            Self { port: pooler.port(), pooler: Some(pooler) }
        } else {
            let pooler = pooler(server.port());
            Self { port: Wire::to(pooler.port(), instants).port(), pooler: Some(pooler) }
        }
    }

    /// The port of 127.0.0.1 at which the programs enter it.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the pooler has logged, if there is one.
    pub fn log(&self) -> String {
        self.pooler.as_ref().map(Pooler::log).unwrap_or_default()
    }
}
