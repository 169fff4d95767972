//! How far a run is, as everybody sees it who looks: the terminal, the log, `migrate status`, metrics, systemd.

use std::collections::BTreeMap;

use cli::progress::{grouped, time};
use events::{Counts, Phase};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A run at an instant. As JSON it is the file `migrate-NAME.status.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct View {
    /// The profile.
    pub(crate) profile_name: String,
    /// `run` or `verify`.
    pub(crate) command: String,
    /// Where the files are.
    pub(crate) source: String,
    /// The id of the export, if there is one.
    pub(crate) export: Option<String>,
    /// Whether an earlier process began the run.
    pub(crate) resuming: bool,
    /// When this process of the run began, in UTC; nothing before the first event.
    pub(crate) started: Option<String>,
    /// When this was true, in UTC.
    pub(crate) updated: String,
    /// Files that are done.
    pub(crate) files_processed: u64,
    /// Files in all.
    pub(crate) files_total: u64,
    /// Files that failed in this process.
    pub(crate) files_failed: u64,
    /// Items in all, if that is known.
    pub(crate) items_total: Option<u64>,
    /// Compressed bytes of the files that are done.
    pub(crate) bytes_processed: u64,
    /// Compressed bytes in all, if that is known.
    pub(crate) bytes_total: Option<u64>,
    /// What became of the records that are durable.
    #[serde(flatten)]
    pub(crate) counts: Counts,
    /// Records that were read besides.
    pub(crate) pending: u64,
    /// What the target program does.
    pub(crate) phase: Phase,
    /// Retries of this process for each service.
    pub(crate) retries: BTreeMap<String, u64>,
    /// Items that are read in a second, smoothed.
    pub(crate) items_per_second: u64,
    /// How much of it is done, if that is known.
    pub(crate) percent: Option<f64>,
    /// How long it may take from now, if that can be said.
    pub(crate) seconds_left: Option<u64>,
    /// Files that have begun and are not done.
    pub(crate) files: Vec<InFlight>,
    /// Whether everything is done; nothing as long as it runs.
    pub(crate) completed: Option<bool>,
    /// How it ended.
    pub(crate) message: String,
    /// The exit code of `migrate`, once it has ended.
    pub(crate) exit_code: Option<u8>,
}

/// A file that has begun and is not done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct InFlight {
    /// Its address.
    pub(crate) file_name: String,
    /// Its items, if that is known.
    pub(crate) item_count: Option<u64>,
    /// Items of it that are read.
    pub(crate) items_read: u64,
}

impl View {
    /// Records that were read, by this and by earlier processes.
    pub(crate) fn read(&self) -> u64 {
        self.counts.scanned + self.pending
    }

    /// How many retries there were.
    pub(crate) fn retries(&self) -> u64 {
        self.retries.values().sum()
    }

    /// Everything in one line: `30%, 1,200,000 of 4,000,000 items, 12 of 42 files, 1.2 of 4.0 GB, 98,000 items/s, 29s left;
    /// 300,000 rows written, 2 rejected`.
    pub(crate) fn line(&self) -> String {
        let percent = self.percent.map_or_else(String::new, |percent| format!("{percent:.0}%, "));
        let left = self.left().map_or_else(String::new, |left| format!(", {left}"));
        format!("{percent}{}{left}; {}", self.done().join(", "), self.became().join(", "))
    }

    /// How much was read of what.
    pub(crate) fn done(&self) -> Vec<String> {
        let mut parts = vec![match self.items_total {
            Some(items) => format!("{} of {} items", grouped(self.read()), grouped(items)),
            None => format!("{} items", grouped(self.read())),
        }];
        if self.files_total > 0 {
            parts.push(format!("{} of {} files", grouped(self.files_processed), grouped(self.files_total)));
        }
        if let Some(total) = self.bytes_total {
            parts.push(bytes(self.bytes_processed, total));
        }
        if self.completed.is_none() {
            parts.push(format!("{} items/s", grouped(self.items_per_second)));
        }
        parts
    }

    /// How long it may take.
    pub(crate) fn left(&self) -> Option<String> {
        let seconds = self.seconds_left.filter(|_| self.completed.is_none())?;
        Some(format!("{} left", time(Duration::from_secs(seconds))))
    }

    /// What became of it.
    pub(crate) fn became(&self) -> Vec<String> {
        let Counts { inserted, merged, skipped, errors, suppressed, waiting, .. } = self.counts;
        let mut parts = vec![format!("{} rows {}", grouped(inserted), self.verb())];
        let mut some = |count: u64, what: &str| {
            if count > 0 {
                parts.push(format!("{} {what}", grouped(count)));
            }
        };
        some(merged, "merged");
        some(skipped, "filtered out");
        some(errors, "rejected");
        some(suppressed, "suppressed");
        some(waiting, "waiting");
        some(self.files_failed, if self.files_failed == 1 { "file failed" } else { "files failed" });
        some(self.retries(), if self.retries() == 1 { "retry" } else { "retries" });
        if self.phase == Phase::Completing && self.completed.is_none() {
            parts.push(self.finishing().to_owned());
        }
        parts
    }

    fn verb(&self) -> &'static str {
        if self.command == "verify" { "compared" } else { "written" }
    }

    /// What is done after the last row.
    pub(crate) fn finishing(&self) -> &'static str {
        if self.command == "verify" { "looking again at what differed" } else { "on completion: SQL of the profile" }
    }
}

/// `1.2 of 4.0 GB`
fn bytes(done: u64, total: u64) -> String {
    let (unit, name) = match total {
        1_000_000_000.. => (1e9, "GB"),
        1_000_000.. => (1e6, "MB"),
        _ => (1e3, "kB"),
    };
    // Only for a person to read.
    #[expect(clippy::cast_precision_loss, reason = "for a person to read")]
    let of = |bytes: u64| bytes as f64 / unit;
    format!("{:.1} of {:.1} {name}", of(done), of(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_everything() {
        let view = View {
            command: "run".to_owned(),
            files_processed: 12,
            files_total: 42,
            items_total: Some(4_000_000),
            bytes_processed: 1_200_000_000,
            bytes_total: Some(4_000_000_000),
            counts: Counts {
                scanned: 1_000_009,
                inserted: 300_000,
                merged: 690_000,
                skipped: 9_998,
                errors: 2,
                suppressed: 4,
                waiting: 5,
            },
            pending: 199_991,
            items_per_second: 98_000,
            percent: Some(30.0),
            seconds_left: Some(29),
            retries: [("S3".to_owned(), 1)].into(),
            ..View::default()
        };
        assert_eq!(
            view.line(),
            "30%, 1,200,000 of 4,000,000 items, 12 of 42 files, 1.2 of 4.0 GB, 98,000 items/s, 29s left; \
             300,000 rows written, 690,000 merged, 9,998 filtered out, 2 rejected, 4 suppressed, \
             5 waiting, 1 retry"
        );
        let counts = Counts { inserted: 300_009, suppressed: 0, waiting: 0, ..view.counts };
        let ended = View { completed: Some(true), retries: BTreeMap::new(), counts, ..view };
        assert_eq!(
            ended.line(),
            "30%, 1,200,000 of 4,000,000 items, 12 of 42 files, 1.2 of 4.0 GB; \
             300,009 rows written, 690,000 merged, 9,998 filtered out, 2 rejected"
        );
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let view = View { command: "verify".to_owned(), pending: 7, phase: Phase::Completing, ..View::default() };
        assert_eq!(view.line(), "7 items, 0 items/s; 0 rows compared, looking again at what differed");
    }

    #[test]
    fn the_file_is_read_as_it_was_written() {
        let counts = Counts { scanned: 5, inserted: 5, ..Counts::default() };
        let view = View { counts, percent: Some(12.5), items_total: Some(40), ..View::default() };
        let json: serde_json::Value = serde_json::from_str(&serde_json::to_string(&view).unwrap()).unwrap();
        assert_eq!(serde_json::from_value::<View>(json).unwrap(), view);
    }
}
