//! What a record of an incremental export does to rows: those of the new image are written, and those that the item had
//! before and has no longer are deleted. Which rows an image has is in `tables`.
//!
//! An export has one record for an item, so within one export a row that is written wins over one that is deleted. Where
//! it is not known for sure which row an item had, the record is rejected: nothing is deleted on a guess.

use item::{Change, Encoding, Item, decode};

use crate::plan::Source;
use crate::row::{NULL, Row};
use crate::tables::{Fate, Gate, Made, Table};

/// What to do about it where the old image would tell.
const OLD_IMAGES: &str = "an export of the view NEW_AND_OLD_IMAGES can tell";

impl Gate {
    /// Makes the rows of an item that has changed, and the keys of those that it no longer has.
    pub(crate) fn changes(
        &self,
        tables: &[Table],
        change: &Change<'_>,
        old_images: bool,
        made: &mut Made,
    ) -> Result<Fate, String> {
        let lines = [Some(&change.keys), change.old.as_ref(), change.new.as_ref()].map(|image| self.mended(image?));
        let [keys, old, new] = &lines;
        let keys = again(keys.as_ref())?;
        let (old, new) = (again(old.as_ref())?, again(new.as_ref())?);
        let keys = keys.as_ref().unwrap_or(&change.keys);
        let (old, new) = (old.as_ref().or(change.old.as_ref()), new.as_ref().or(change.new.as_ref()));
        let written = change.written.to_string();
        match self.changes_of(tables, &written, keys, (old, new), old_images, made) {
            // It came and went within the period, and is in no table unless an export that overlaps has brought it.
            Err(_) if old_images && old.is_none() && new.is_none() => {
                made.count = 0;
                Ok(Fate::Filtered)
            }
            fate => fate,
        }
    }

    /// The image as a line without U+0000, if it has some.
    fn mended(&self, image: &Item<'_>) -> Option<String> {
        let text = self.nul.as_ref().filter(|_| image.has_nul())?;
        Some(image.line_without_nul(text))
    }

    fn changes_of(
        &self,
        tables: &[Table],
        written: &str,
        keys: &Item<'_>,
        (old, new): (Option<&Item<'_>>, Option<&Item<'_>>),
        old_images: bool,
        made: &mut Made,
    ) -> Result<Fate, String> {
        made.count = 0;
        let now = match new {
            Some(new) => self.rows_of(tables, Source { written: Some(written), ..Source::of(new) }, made)?,
            None => Fate::Filtered,
        };
        let rows = made.count;
        match old {
            Some(old) => {
                // What could not be made into rows then is in no table.
                if self.rows_of(tables, Source { written: Some(written), ..Source::of(old) }, made).is_err() {
                    made.count = rows;
                }
                retire(tables, keys, rows, made)?;
            }
            None if old_images && new.is_some() => {}
            None if now == Fate::Row => {
                for made in &made.rows[..rows] {
                    tables[made.table].same_row_as_before(keys)?;
                }
            }
            None => self.delete_by_keys(tables, Source { written: Some(written), ..Source::of(keys) }, made)?,
        }
        Ok(if made.count > 0 { Fate::Row } else { now })
    }

    /// Deletes the rows of an item of which only the key is known.
    fn delete_by_keys(&self, tables: &[Table], source: Source<'_>, made: &mut Made) -> Result<(), String> {
        let keys = source.item;
        let asked = |names: Vec<&str>| names.into_iter().find(|name| keys.get(name).is_none()).map(str::to_owned);
        let mut matched = Vec::new();
        let of_filter = self.filter.iter().find_map(|condition| asked(condition.attributes()));
        let of_max_id = self.max_id.as_ref().and_then(|(way, _)| asked(way.first().into_iter().collect()));
        if let Some(name) = of_filter.or(of_max_id) {
            return Err(format!(
                "whether the item was a row is decided by `{name}`, which a deletion lacks: {OLD_IMAGES}"
            ));
        }
        if !self.takes(source)? {
            return Ok(());
        }
        for (place, table) in tables.iter().enumerate() {
            let name = &table.schema.table;
            if let Some(asked) = table.when.iter().find_map(|condition| asked(condition.attributes())) {
                return Err(format!(
                    "whether the item was a row of `{name}` is decided by `{asked}`, which a deletion lacks: {OLD_IMAGES}"
                ));
            }
            let takes = match table.each {
                Some((parent, _)) => matched[parent],
                None => table.when.iter().all(|condition| condition.holds(source)),
            };
            matched.push(takes);
            if takes {
                table.same_row_as_before(keys)?;
                table.may_delete(keys)?;
                let mut columns = table.schema.key_indexes().unwrap_or_default();
                columns.extend(table.schema.version());
                table.plan.cells_of(&columns, source, made.next(place))?;
                made.rows[made.count - 1].deleted = true;
            }
        }
        Ok(())
    }
}

/// The item in a line.
fn again(line: Option<&String>) -> Result<Option<Item<'_>>, String> {
    let item = line.map(|line| decode(line.as_bytes(), Encoding::DynamodbJson)).transpose();
    item.map_err(|error| error.to_string())
}

/// Makes of the rows of the old image, which stand after the first `rows`, deletions, unless the new image has them too.
fn retire(tables: &[Table], keys: &Item<'_>, rows: usize, made: &mut Made) -> Result<(), String> {
    let mut kept = rows;
    for place in rows..made.count {
        let table = &tables[made.rows[place].table];
        let key = table.schema.key_indexes().unwrap_or_default();
        let (old, new) = (&made.rows[place], &made.rows[..rows]);
        let same = |row: &Row| key.iter().all(|&column| row.cell(column) == old.row.cell(column));
        if new.iter().any(|made| made.table == old.table && same(&made.row)) {
            continue;
        }
        table.may_delete(keys)?;
        let columns = table.schema.columns.len();
        let stays = |column: &usize| key.contains(column) || table.schema.version() == Some(*column);
        let cells = (0..columns).map(|column| if stays(&column) { old.row.cell(column) } else { NULL });
        let row = Row::of(cells);
        made.rows[place].row = row;
        made.rows[place].deleted = true;
        made.rows.swap(kept, place);
        kept += 1;
    }
    made.count = kept;
    Ok(())
}

impl Table {
    /// An attribute of the row's key that is none of the item's key.
    fn beyond_the_key(&self, keys: &Item<'_>) -> Option<&String> {
        self.key_made_of.iter().find(|name| keys.get(name).is_none())
    }

    /// Without an old image: the row that the item had is the one that it has.
    fn same_row_as_before(&self, keys: &Item<'_>) -> Result<(), String> {
        let name = &self.schema.table;
        if self.each.is_some() {
            return Err(format!("which elements the item had in `{name}` before is not known: {OLD_IMAGES}"));
        }
        match self.beyond_the_key(keys) {
            Some(attribute) => Err(format!(
                "which row of `{name}` the item was before is not known, since its key is made of `{attribute}`: {OLD_IMAGES}"
            )),
            None => Ok(()),
        }
    }

    /// Whether a row that an item had is gone with it.
    fn may_delete(&self, keys: &Item<'_>) -> Result<(), String> {
        let name = &self.schema.table;
        if self.schema.collects() {
            return Err(format!(
                "rows of `{name}` are merged from several items: what this one has added to its row cannot be taken away"
            ));
        }
        match self.beyond_the_key(keys) {
            Some(attribute) if self.schema.version().is_none() => Err(format!(
                "the key of `{name}` is made of `{attribute}`, so another item may have the row now: \
                 a `version` in the profile would tell"
            )),
            _ => Ok(()),
        }
    }
}
