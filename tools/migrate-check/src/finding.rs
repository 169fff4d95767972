//! What a check has found, and how it is written: for people a line, with a hint below it; for machines a JSON object.

use std::io::{self, Write as _};

use fault::{Classify, Exit, Failure, PipeError, explain};
use serde::Serialize;

use crate::source::counted;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// A run works, but slowly or with a risk.
    Warning,
    /// A run would fail.
    Error,
}

/// What one check has found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    level: Level,
    check: &'static str,
    message: String,
    /// What to do.
    hint: Option<String>,
    #[serde(skip)]
    exit: Exit,
}

/// All findings, in the order of the checks.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    /// It is as it should be.
    pub(crate) fn ok(&mut self, check: &'static str, message: impl Into<String>) {
        self.add(Level::Ok, check, message.into(), None, Exit::Done);
    }

    /// A run would be slow, or in danger.
    pub(crate) fn warning(&mut self, check: &'static str, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Level::Warning, check, message.into(), Some(hint.into()), Exit::Done);
    }

    /// A run would fail for want of a setting.
    pub(crate) fn error(&mut self, check: &'static str, message: impl Into<String>, hint: impl Into<String>) {
        self.add(Level::Error, check, message.into(), Some(hint.into()), Exit::Usage);
    }

    /// A run would fail with this error.
    pub(crate) fn failed(&mut self, check: &'static str, error: &dyn Classify) {
        self.add(Level::Error, check, explain(error), error.hint(), error.fault().exit());
    }

    /// The result of a check, or nothing if it failed.
    pub(crate) fn take<T>(&mut self, check: &'static str, result: Result<T, Failure>) -> Option<T> {
        result.map_err(|error| self.failed(check, &*error)).ok()
    }

    fn add(&mut self, level: Level, check: &'static str, message: String, hint: Option<String>, exit: Exit) {
        self.0.push(Finding { level, check, message, hint, exit });
    }

    /// Writes them; the exit code is that of the first error.
    pub(crate) fn write(&self, json: bool) -> Result<Exit, Failure> {
        let mut text = String::new();
        for finding in &self.0 {
            if json {
                text += &serde_json::to_string(finding).map_err(io::Error::from).map_err(PipeError::writing)?;
            } else {
                text += finding.text().trim_end();
            }
            text.push('\n');
        }
        if !json {
            text += &self.summary();
        }
        io::stdout().lock().write_all(text.as_bytes()).map_err(PipeError::writing)?;
        Ok(self.0.iter().find(|finding| finding.level == Level::Error).map_or(Exit::Done, |finding| finding.exit))
    }

    fn count(&self, level: Level) -> u64 {
        self.0.iter().filter(|finding| finding.level == level).count() as u64
    }

    fn summary(&self) -> String {
        let warnings = counted(self.count(Level::Warning), "warning");
        match self.count(Level::Error) {
            0 => format!("A run can begin; {warnings}\n"),
            errors => format!("A run would fail: {}, {warnings}\n", counted(errors, "error")),
        }
    }
}

impl Finding {
    fn text(&self) -> String {
        let level = match self.level {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        // The mistakes of a profile stand on lines of their own.
        let message = self.message.replace('\n', &format!("\n{:21}", ""));
        let hint = self.hint.as_ref().map_or_else(String::new, |hint| format!("\n{:21}hint: {hint}", ""));
        format!("{level:8} {:11} {message}{hint}", self.check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_aligned_and_the_first_error_gives_the_code() {
        let mut findings = Findings::default();
        findings.ok("profile", "`orders`");
        findings.warning("wal", "small", "make it larger");
        assert_eq!(findings.0[0].text(), "ok       profile     `orders`");
        assert_eq!(findings.0[1].text(), "warning  wal         small\n                     hint: make it larger");
        assert_eq!(findings.summary(), "A run can begin; 1 warning\n");
        findings.error("table", "missing", "--create");
        assert_eq!(findings.summary(), "A run would fail: 1 error, 1 warning\n");
    }
}
