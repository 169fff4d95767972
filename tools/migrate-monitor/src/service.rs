//! What systemd is told: that the run is on its way, how far it is, and that it is alive (`sd_notify(3)`).

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use sd_notify::NotifyState;

use crate::standing::Standing;

/// So long it is waited for a service manager that has a lot to do.
const HEARD: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// The service manager.
#[derive(Debug)]
pub(crate) struct Service {
    /// How often it wants to hear that the run is alive.
    watchdog: Option<Duration>,
    alive: Option<Instant>,
    status: String,
}

impl Service {
    /// Says that the run is on its way; nothing without a service manager.
    pub(crate) fn ready() -> Option<Self> {
        std::env::var_os("NOTIFY_SOCKET")?;
        // The service's main process is `migrate`, so that the library would not think this one meant.
        let watchdog = std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
        let watchdog = watchdog.filter(|microseconds| *microseconds > 0).map(Duration::from_micros);
        tell(&[NotifyState::Ready]);
        barrier();
        Some(Self { watchdog, alive: None, status: String::new() })
    }

    /// Says how far the run is, if that is news, and that it is alive, if it is.
    ///
    /// A run that waits for rows and gets none is stuck. One that waits for PostgreSQL is not: that may take its time.
    pub(crate) fn tell(&mut self, standing: &Standing) {
        let view = standing.view();
        let status = match (&view.started, &view.completed) {
            (None, _) => "Looking for what there is to do".to_owned(),
            (_, Some(_)) => view.message.clone(),
            _ => view.line(),
        };
        if status != self.status {
            tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
        if let Some(watchdog) = self.watchdog {
            let pace = watchdog / 3;
            if standing.still() < pace && self.alive.is_none_or(|alive| alive.elapsed() >= pace) {
                tell(&[NotifyState::Watchdog]);
                self.alive = Some(Instant::now());
            }
        }
    }

    /// Says that nothing more will be done.
    pub(crate) fn stopping() {
        tell(&[NotifyState::Stopping]);
        barrier();
    }
}

/// Waits until what was told is heard: of a process that has ended meanwhile it would not be believed
/// (`sd_notify_barrier(3)`).
fn barrier() {
    let Ok((reader, writer)) = rustix::pipe::pipe() else { return };
    if sd_notify::notify_with_fds(&[NotifyState::Custom("BARRIER=1")], &[writer.as_fd()]).is_ok() {
        drop(writer);
        // It closes its end when it has come to it. Who does not know barriers does so at once.
        let ready = &mut [PollFd::new(&reader, PollFlags::IN)];
        let _ = rustix::event::poll(ready, Some(&HEARD));
    }
}

fn tell(states: &[NotifyState<'_>]) {
    // Whoever does not listen does not want to know.
    let _ = sd_notify::notify(states);
}
