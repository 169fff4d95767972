//! Sequences of the run's tables, at its end: those that lag behind are named, or advanced if that is wanted. What a lag is,
//! `pg::sequences` says.

use cli::Retry;
use fault::{Failure, explain};
use pg::catalogue::Table;
use pg::sequences::{Lag, Sequence};
use pg::{Client, Settings};
use profile::Schema;
use tracing::{info, warn};

/// Looks at the sequences of the columns that were written. That one lags behind changes no exit code.
pub(crate) fn at_end(settings: &Settings, retry: &Retry, schemas: &[&Schema], advance: bool) -> Result<(), Failure> {
    let once = || {
        let mut client = settings.connect()?;
        settings.unless_late(retry.stop(), &mut client, |client| {
            schemas.iter().try_for_each(|schema| table(settings, client, schema, advance))
        })
    };
    if advance {
        retry.run(once)?;
    } else if let Err(error) = once() {
        warn!("Cannot say whether sequences lag behind: {}", explain(&error));
    }
    Ok(())
}

fn table(settings: &Settings, client: &mut Client, schema: &Schema, advance: bool) -> Result<(), pg::Error> {
    let failed = || pg::Error::on(format!("cannot look at the sequences of `{}`", schema.table));
    let mut transaction = settings.begin(client).map_err(failed())?;
    let Some(table) = Table::find(&mut transaction, schema.schema.as_deref(), &schema.table)? else { return Ok(()) };
    let columns: Vec<_> = schema.columns.iter().map(|column| column.name.as_str()).collect();
    for sequence in Sequence::owned(&mut transaction, &table, &columns)? {
        let Sequence { name, fills, .. } = &sequence;
        if !sequence.may_read {
            warn!("Cannot say whether the sequence {name} lags behind `{fills}`; {}", sequence.grant());
            continue;
        }
        let Some(Lag { next, reached, free }) = sequence.lag(&mut transaction)? else { continue };
        match free {
            Some(free) if advance && sequence.may_advance => {
                sequence.advance(&mut transaction, free)?;
                info!("Advanced the sequence {name} from {next} to {free}: `{fills}` has reached {reached}");
            }
            _ => {
                let way = match free {
                    None => "it ends before; give it a larger range with `alter sequence`".to_owned(),
                    Some(_) if advance => sequence.grant(),
                    Some(_) => {
                        "`advance_sequences = true` in the profile or --advance-sequences advances it".to_owned()
                    }
                };
                warn!(
                    "The sequence {name} lags behind: its next value is {next}, `{fills}` has reached {reached}; {way}"
                );
            }
        }
    }
    transaction.commit().map_err(failed())
}
