//! Which errors of PostgreSQL reject a record, which are retried, and which stop the run.
//!
//! A retry is not a skip: only an error caused by the data of one record may reject it. The classes are those of
//! PostgreSQL's manual, appendix A, "PostgreSQL Error Codes". A code that is not listed here stops the run, unless the rest of its
//! batch passes without the record: types of extensions, triggers and policies raise whatever code they like. `isolate`
//! finds that out.

use ::fault::Fault;

/// Classes that are retried: connection exception, transaction rollback, insufficient resources, operator intervention (a
/// cancelled statement and a timeout too), system error.
pub(crate) const TRANSIENT_CLASSES: [&str; 5] = ["08", "40", "53", "57", "58"];

/// Codes that are retried. The server is not a primary yet or no longer; an idle transaction, a transaction or a lock timed
/// out. The other codes of class 25 are mistakes of the program. A prepared statement exists already, or no longer: a
/// transaction pooler handed over a session in which another client left its own.
pub(crate) const TRANSIENT_CODES: [&str; 6] = ["25006", "25P03", "25P04", "55P03", "42P05", "26000"];

/// Codes that only a transaction pooler can cause: a prepared statement exists already, or no longer.
pub(crate) const FOREIGN_SESSION: [&str; 2] = ["42P05", "26000"];

/// Classes that reject a record: data exception, integrity constraint violation.
pub(crate) const RECORD_CLASSES: [&str; 2] = ["22", "23"];

/// Codes that reject a record: a key or a value too large for an index or for jsonb, or nested too deep for the server's
/// stack. The other codes of class 54 are about the statement.
pub(crate) const RECORD_CODES: [&str; 2] = ["54000", "54001"];

/// What an error code of the server (an SQLSTATE) means.
pub fn of(code: &str) -> Fault {
    let class = code.get(..2).unwrap_or_default();
    if TRANSIENT_CODES.contains(&code) || TRANSIENT_CLASSES.contains(&class) {
        Fault::Transient
    } else if RECORD_CODES.contains(&code) || RECORD_CLASSES.contains(&class) {
        Fault::Record
    } else {
        Fault::Setup
    }
}

/// What a pooler says of a mode in which nothing can be loaded. Its error has the code of a protocol violation, which would be
/// retried.
pub(crate) const STATEMENT_MODE: &str = "statement pooling mode";

/// What to do about an error that stops the run, where that is known.
pub fn hint(code: &str) -> Option<&'static str> {
    Some(match code {
        "28P01" | "28000" => "check PG_USER and PASSWORD, and the server's pg_hba.conf",
        "3D000" => "check DATABASE",
        "42501" => {
            "the role needs INSERT, SELECT and UPDATE on the table (for increments also DELETE) and TEMPORARY on the \
             database; if the table has row-level security, its policies must admit the rows"
        }
        "42703" | "42P01" => {
            "a table or column is not there, or no longer: mend the table or the profile, then run again"
        }
        "3F000" => "make the schema, or name another one in the profile",
        "25006" => "the server cannot be written to: SERVER has to be the primary",
        "53100" => "make room on the server's disk, then run again",
        "53300" => "end other connections or raise max_connections, then run again",
        "53200" => "the server needs more memory: lower its work_mem or the batch size",
        "57014" => "raise statement_timeout of the role, unless somebody cancelled the statement",
        "42P05" | "26000" => {
            "a transaction pooler hands out sessions in which other clients leave prepared statements; run again, or use \
             the server's direct port"
        }
        "42P07" => "another program made the same table; run again",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_has_to_mend_has_a_hint() {
        for code in [
            "25006", "28000", "28P01", "3D000", "3F000", "42501", "42703", "42P01", "42P07", "53100", "53200", "53300",
            "57014", "42P05", "26000",
        ] {
            assert!(hint(code).is_some(), "SQLSTATE {code}");
        }
    }

    #[test]
    fn only_the_record_s_own_data_rejects_it() {
        for (code, fault) in [
            ("22003", Fault::Record),    // numeric_value_out_of_range
            ("22021", Fault::Record),    // character_not_in_repertoire
            ("22P02", Fault::Record),    // invalid_text_representation
            ("23502", Fault::Record),    // not_null_violation
            ("23505", Fault::Record),    // unique_violation
            ("54000", Fault::Record),    // program_limit_exceeded: index row size
            ("54001", Fault::Record),    // statement_too_complex: the stack depth limit
            ("08006", Fault::Transient), // connection_failure
            ("40001", Fault::Transient), // serialization_failure
            ("40P01", Fault::Transient), // deadlock_detected
            ("53100", Fault::Transient), // disk_full
            ("53300", Fault::Transient), // too_many_connections
            ("57014", Fault::Transient), // query_canceled
            ("57P01", Fault::Transient), // admin_shutdown
            ("57P03", Fault::Transient), // cannot_connect_now
            ("58030", Fault::Transient), // io_error
            ("25006", Fault::Transient), // read_only_sql_transaction: a failover is under way
            ("25P03", Fault::Transient), // idle_in_transaction_session_timeout
            ("25P04", Fault::Transient), // transaction_timeout
            ("55P03", Fault::Transient), // lock_not_available
            ("42P05", Fault::Transient), // duplicate_prepared_statement: left by another client of a pooler
            ("26000", Fault::Transient), // invalid_sql_statement_name: the pooler handed over another session
            ("0A000", Fault::Setup),     // feature_not_supported
            ("25P02", Fault::Setup),     // in_failed_sql_transaction
            ("28P01", Fault::Setup),     // invalid_password
            ("3D000", Fault::Setup),     // undefined database
            ("42703", Fault::Setup),     // undefined_column
            ("42P01", Fault::Setup),     // undefined_table
            ("54011", Fault::Setup),     // too_many_columns
            ("P0001", Fault::Setup),     // raise_exception: a trigger's own opinion
            ("XX000", Fault::Setup),     // internal_error
            ("", Fault::Setup),
        ] {
            assert_eq!(of(code), fault, "SQLSTATE {code}");
        }
    }
}
