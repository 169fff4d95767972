//! Errors of PostgreSQL for the person who has to mend them: what was tried, what the server said, with its SQLSTATE.

use std::error::Error as _;
use std::fmt;
use std::io;

use ::fault::{Classify, Fault};
use rustls::CertificateError;

/// Something that PostgreSQL refused or could not be asked.
///
/// The cause is in the text: what the driver has as `source` is without the server's words or has them twice.
#[derive(Clone, Debug)]
pub struct Error {
    action: String,
    cause: String,
    sqlstate: Option<Box<str>>,
    fault: Fault,
    hint: Option<Box<str>>,
    /// The name of the constraint that was violated.
    constraint: Option<Box<str>>,
    /// It came before or after the rows of a transaction, so no record is to blame.
    of_no_record: bool,
    /// A transaction with several rows took longer than the server allows.
    too_slow: bool,
    /// The index of a row of the batch that shows it.
    example: Option<usize>,
}

impl Error {
    fn new(action: String, cause: String, fault: Fault) -> Self {
        let (sqlstate, hint, constraint, example) = Default::default();
        Self { action, cause, sqlstate, fault, hint, constraint, of_no_record: false, too_slow: false, example }
    }

    /// What the server or the connection to it said while `action` was tried; for `map_err`.
    pub fn on(action: impl Into<String>) -> impl FnOnce(postgres::Error) -> Self {
        let action = action.into();
        move |error| Self::of(action, &error)
    }

    /// The same of an error at hand.
    pub fn of(action: impl Into<String>, error: &postgres::Error) -> Self {
        let sqlstate = error.code().map(|code| Box::from(code.code()));
        let server = error.as_db_error();
        let (fault, hint) = match &sqlstate {
            _ if server.is_some_and(|server| server.message().contains(crate::fault::STATEMENT_MODE)) => {
                (Fault::Setup, Some("use the pooler in transaction or session mode, or the server's direct port"))
            }
            Some(code) => (crate::fault::of(code), crate::fault::hint(code)),
            None => without_code(error),
        };
        let constraint = server.and_then(|server| server.constraint()).map(Box::from);
        let mut cause = cause(error);
        // Without this, nobody would think of the pooler.
        if sqlstate.as_deref().is_some_and(|code| crate::fault::FOREIGN_SESSION.contains(&code)) {
            cause =
                format!("a transaction pooler gave us a session of the server that other clients use, too: {cause}");
        }
        Self { sqlstate, hint: hint.map(Box::from), constraint, ..Self::new(action.into(), cause, fault) }
    }

    /// What came out of a COPY's writer, which wraps the driver's error.
    pub fn of_copy(action: impl Into<String>, error: io::Error) -> Self {
        let action = action.into();
        match error.downcast::<postgres::Error>() {
            Ok(error) => Self::of(action, &error),
            Err(error) => Self::new(action, error.to_string(), Fault::Transient),
        }
    }

    /// A problem that was found before the server was asked.
    pub fn found(fault: Fault, message: impl Into<String>) -> Self {
        Self::new(message.into(), String::new(), fault)
    }

    /// The same with a sentence that says what to do.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into().into_boxed_str());
        self
    }

    /// The same of what was done without a record: none is to blame, whatever the server says.
    #[must_use]
    pub fn of_no_record(mut self) -> Self {
        if self.fault == Fault::Record {
            self.fault = Fault::Setup;
        }
        self.of_no_record = true;
        self
    }

    /// An error that the server recorded for one row: its code, its text, the violated constraint.
    pub fn of_row(action: impl Into<String>, sqlstate: &str, cause: &str, constraint: Option<String>) -> Self {
        let hint = crate::fault::hint(sqlstate).map(Box::from);
        let error = Self::new(action.into(), shortened(cause), crate::fault::of(sqlstate));
        Self { sqlstate: Some(sqlstate.into()), hint, constraint: constraint.map(Into::into), ..error }
    }

    /// Whether a record may be to blame: the server refused rows, with a code that is not retried.
    pub fn may_be_of_a_record(&self) -> bool {
        !self.of_no_record && self.sqlstate.is_some() && matches!(self.fault, Fault::Record | Fault::Setup)
    }

    /// Marks the error of a transaction that took longer than `statement_timeout` allows; fewer rows may be in time.
    #[must_use]
    pub fn as_too_slow(self) -> Self {
        Self { too_slow: true, ..self }
    }

    /// Whether the same transaction with fewer rows may be in time.
    pub fn is_too_slow(&self) -> bool {
        self.too_slow
    }

    /// Marks an error that every row of a batch gives, with the index of one of them.
    #[must_use]
    pub fn with_example(self, row: usize) -> Self {
        Self { example: Some(row), ..self }
    }

    /// The index of a row that shows what every row of the batch gives.
    pub fn example(&self) -> Option<usize> {
        self.example
    }

    /// The name of the constraint that was violated.
    pub fn constraint(&self) -> Option<&str> {
        self.constraint.as_deref()
    }

    /// The server's error code.
    pub fn sqlstate(&self) -> Option<&str> {
        self.sqlstate.as_deref()
    }

    /// What the server said, without what was tried.
    pub fn cause(&self) -> &str {
        if self.cause.is_empty() { &self.action } else { &self.cause }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.action)?;
        if !self.cause.is_empty() {
            write!(f, ": {}", self.cause)?;
        }
        match &self.sqlstate {
            Some(code) => write!(f, " (SQLSTATE {code})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

impl Classify for Error {
    fn fault(&self) -> Fault {
        self.fault
    }

    fn hint(&self) -> Option<String> {
        self.hint.as_deref().map(str::to_owned)
    }
}

impl From<retry::Stopped> for Error {
    fn from(stopped: retry::Stopped) -> Self {
        Self::found(Fault::Stopped, stopped.0)
    }
}

/// The longest text of the server that goes into a message; it may quote a value.
const LONGEST: usize = 500;

/// The server's message, detail and hint; without an answer of the server, every cause once.
fn cause(error: &postgres::Error) -> String {
    if let Some(server) = error.as_db_error() {
        let mut text = server.message().to_owned();
        for more in [server.detail(), server.hint()].into_iter().flatten() {
            text.push_str("; ");
            text.push_str(more);
        }
        return shortened(&text);
    }
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        if !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
        source = error.source();
    }
    texts.join(": ")
}

/// A text of the server on one line, cut at [`LONGEST`].
fn shortened(text: &str) -> String {
    let mut text = text.replace('\n', " ");
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// What to do about a handshake that failed.
fn tls_hint(error: &rustls::Error) -> Option<&'static str> {
    let rustls::Error::InvalidCertificate(wrong) = error else { return None };
    Some(match wrong {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            "the server needs a new certificate, unless the clock of this machine is wrong"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "SERVER has to be a name that the server's certificate is for"
        }
        _ => {
            "no authority that is trusted here signed the server's certificate; DB_SSL_ROOT_CERT names the file of the \
             one that did"
        }
    })
}

/// What to do about a server that does not answer.
const UNREACHABLE: &str =
    "check SERVER and PORT, that the server runs, and that its firewall (security group) lets us in";

/// What to do about a connection that the other side closed without a word that reached us.
const CLOSED: &str = "look at the server's log; a pooler in statement mode closes each connection that begins a transaction: \
                      use the pooler in transaction or session mode, or the server's direct port";

/// An error that did not come from the server.
fn without_code(error: &postgres::Error) -> (Fault, Option<&'static str>) {
    if error.is_closed() {
        return (Fault::Transient, Some(CLOSED));
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            // A certificate that does not hold today will not hold in a minute.
            let tls = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            return tls.map_or((Fault::Transient, Some(UNREACHABLE)), |error| (Fault::Setup, tls_hint(error)));
        }
        source = cause.source();
    }
    // The driver tells these apart by their texts only.
    match error.to_string() {
        text if text.starts_with("timeout") => (Fault::Transient, Some(UNREACHABLE)),
        text if text.contains("TLS") => (
            Fault::Setup,
            Some(
                "switch TLS on at the server (`ssl = on`), or set DB_SSL=false, with which others can read what is sent",
            ),
        ),
        text if text.contains("invalid configuration") => {
            (Fault::Setup, Some("set PASSWORD (or PGPASSWORD, or a line in ~/.pgpass)"))
        }
        _ => (Fault::Setup, None),
    }
}
