//! How long a server may take to answer, and how one that is gone is noticed.

use std::time::Duration;

use ::fault::Fault;

use crate::Error;

/// How long the system tries to open a connection, if nobody sets a limit.
const SYSTEM: Duration = Duration::from_secs(140);

/// Limits of TCP. None is the system's own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Waits {
    /// For each address of a host.
    connect: Option<Duration>,
    user_timeout: Option<Duration>,
    keepalives: bool,
    idle: Option<Duration>,
    interval: Option<Duration>,
    count: Option<u32>,
}

impl Waits {
    /// Without settings, a server that is gone without a word (a failover, a pulled cable) is noticed within a minute.
    pub(super) fn of(libpq: &impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        // As in libpq, zero and less is the system's own limit.
        let seconds = |name, default| -> Result<_, Error> {
            Ok(number(libpq, name, default)?.map(|seconds| Duration::from_secs(seconds.into())))
        };
        Ok(Self {
            connect: seconds("connect_timeout", 10)?,
            user_timeout: number(libpq, "tcp_user_timeout", 60_000)?.map(|millis| Duration::from_millis(millis.into())),
            keepalives: number(libpq, "keepalives", 1)?.is_some(),
            idle: seconds("keepalives_idle", 30)?,
            interval: seconds("keepalives_interval", 10)?,
            count: number(libpq, "keepalives_count", 3)?,
        })
    }

    /// How long it may take to find that none of so many hosts answers.
    pub(super) fn for_hosts(&self, hosts: usize) -> Duration {
        let hosts = u32::try_from(hosts).unwrap_or(u32::MAX);
        self.connect.unwrap_or(SYSTEM).saturating_mul(hosts)
    }

    pub(super) fn configure(&self, config: &mut postgres::Config) {
        if let Some(limit) = self.connect {
            config.connect_timeout(limit);
        }
        if let Some(limit) = self.user_timeout {
            config.tcp_user_timeout(limit);
        }
        config.keepalives(self.keepalives);
        if let Some(idle) = self.idle {
            config.keepalives_idle(idle);
        }
        if let Some(interval) = self.interval {
            config.keepalives_interval(interval);
        }
        if let Some(count) = self.count {
            config.keepalives_retries(count);
        }
    }
}

/// The value of a parameter, or none for the system's own limit: as in libpq, that is zero and less.
fn number(libpq: &impl Fn(&str) -> Option<String>, name: &str, default: u32) -> Result<Option<u32>, Error> {
    let Some(text) = libpq(name) else { return Ok(Some(default)) };
    let number = text.trim().parse::<i32>().map_err(|_| {
        Error::found(Fault::Setup, format!("`{name}` is not a whole number")).with_hint(
            "it is a number of seconds (of milliseconds for `tcp_user_timeout`), or 0 for the system's limit",
        )
    })?;
    Ok(u32::try_from(number).ok().filter(|number| *number > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(values: &[(&str, &str)]) -> Result<Waits, String> {
        let libpq = |name: &str| values.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Waits::of(&libpq).map_err(|error| error.to_string())
    }

    #[test]
    fn limits_have_the_units_of_libpq() {
        let ours = waits(&[]).unwrap();
        assert_eq!((ours.connect, ours.user_timeout), (Some(Duration::from_secs(10)), Some(Duration::from_mins(1))));
        assert!(ours.keepalives);

        let theirs =
            waits(&[("connect_timeout", "3"), ("tcp_user_timeout", "1500"), ("keepalives_count", "7")]).unwrap();
        assert_eq!(theirs.connect, Some(Duration::from_secs(3)));
        assert_eq!(theirs.user_timeout, Some(Duration::from_millis(1500)));
        assert_eq!(theirs.count, Some(7));
        assert_eq!(theirs.for_hosts(2), Duration::from_secs(6));

        let system = waits(&[("connect_timeout", "0"), ("keepalives_idle", "-1"), ("keepalives", "0")]).unwrap();
        assert_eq!((system.connect, system.idle, system.keepalives), (None, None, false));
        assert_eq!(system.for_hosts(1), SYSTEM);

        assert_eq!(
            waits(&[("connect_timeout", "1s")]).err().as_deref(),
            Some("`connect_timeout` is not a whole number")
        );
    }
}
