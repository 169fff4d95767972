//! What a record of an incremental export does to rows: those of the new image are written, and those that the item had
//! before and has no longer are deleted. Which rows an image has is in `tables`.
//!
//! An export has one record for an item, so within one export a row that is written wins over one that is deleted. Where
//! it is not known for sure which row an item had, the record is rejected: nothing is deleted on a guess.

use std::borrow::Cow;

use bumpalo::Bump;
use item::{Change, Encoding, Item, decode};

use crate::plan::Source;
use crate::row::{NULL, Row};
use crate::tables::{Fate, Gate, Made, Mended, Table};
use crate::text::comparable;

/// What to do about it where the old image would tell.
const OLD_IMAGES: &str = "an export of the view NEW_AND_OLD_IMAGES can tell";

/// What is known of items as they were before they changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// Whether records have old images, where there was an item.
    pub images: bool,
    /// Every row that an item had was written by then, in microseconds since 1970: a row that is newer is another item's.
    pub until: Option<i64>,
}

impl Gate {
    /// Makes the rows of an item that has changed, and the keys of those that it no longer has.
    pub(crate) fn changes(
        &self,
        tables: &[Table],
        change: &Change<'_>,
        before: Before,
        made: &mut Made,
    ) -> Result<Fate, String> {
        let (keys_line, memory) = (self.without_nul(&change.keys), Bump::new());
        let keys = keys_line.as_ref().map(|line| decode(line.as_bytes(), Encoding::DynamodbJson, &memory)).transpose();
        let keys = keys.map_err(|error| error.to_string())?;
        let keys = keys.as_ref().unwrap_or(&change.keys);
        let new = change.new.as_ref().map(|image| self.mended(image)).transpose()?;
        // What could not be made into rows then is in no table.
        let old = change.old.as_ref().map(|image| self.mended(image).unwrap_or(Mended::Nothing));
        let (old_again, new_again) = (again(old.as_ref(), &memory)?, again(new.as_ref(), &memory)?);
        let old = Image::of(change.old.as_ref(), old.as_ref(), old_again.as_ref());
        let new = Image::of(change.new.as_ref(), new.as_ref(), new_again.as_ref());
        let times = Times {
            written: &change.written.to_string(),
            gone: &before.until.map_or(change.written, |until| until.min(change.written)).to_string(),
        };
        match self.changes_of(tables, times, keys, (old, new), before.images, made) {
            // It came and went within the period, and is in no table unless an export that overlaps has brought it.
            Err(_) if before.images && matches!((old, new), (Image::Missing, Image::Missing)) => {
                made.count = 0;
                Ok(Fate::Filtered)
            }
            fate => fate,
        }
    }

    fn changes_of(
        &self,
        tables: &[Table],
        times: Times<'_>,
        keys: &Item<'_>,
        (old, new): (Image<'_>, Image<'_>),
        old_images: bool,
        made: &mut Made,
    ) -> Result<Fate, String> {
        made.count = 0;
        let now = match new {
            Image::Item(new) => {
                self.rows_of(tables, Source { written: Some(times.written), ..Source::of(new) }, made)?
            }
            Image::LeftOut | Image::Missing => Fate::Filtered,
        };
        let rows = made.count;
        match old {
            Image::Item(old) => {
                // What could not be made into rows then is in no table.
                if self.rows_of(tables, Source { written: Some(times.gone), ..Source::of(old) }, made).is_err() {
                    made.count = rows;
                }
                retire(tables, keys, rows, made)?;
            }
            Image::LeftOut => {}
            Image::Missing if old_images && !matches!(new, Image::Missing) => {}
            Image::Missing if now == Fate::Row => {
                for made in &made.rows[..rows] {
                    tables[made.table].same_row_as_before(keys)?;
                }
                leave(tables, Source { written: Some(times.gone), ..Source::of(keys) }, made)?;
            }
            Image::Missing => {
                self.delete_by_keys(tables, Source { written: Some(times.gone), ..Source::of(keys) }, made)?;
            }
        }
        Ok(if made.count > 0 { Fate::Row } else { now })
    }

    /// Deletes the rows of an item of which only the key is known.
    fn delete_by_keys(&self, tables: &[Table], source: Source<'_>, made: &mut Made) -> Result<(), String> {
        let keys = source.item;
        if self.jq.is_some() {
            return Err(format!("which row the item was is decided by the jq filter of the profile: {OLD_IMAGES}"));
        }
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
                table.delete(place, source, made)?;
            }
        }
        Ok(())
    }
}

/// Microseconds since 1970.
#[derive(Clone, Copy)]
struct Times<'a> {
    /// Of the write.
    written: &'a str,
    /// By which the rows were written that it takes away.
    gone: &'a str,
}

/// What an item was or is.
#[derive(Clone, Copy)]
enum Image<'a> {
    /// It is not said.
    Missing,
    /// It is nothing to the profile.
    LeftOut,
    Item(&'a Item<'a>),
}

impl<'a> Image<'a> {
    fn of(given: Option<&'a Item<'a>>, mended: Option<&Mended>, again: Option<&'a Item<'a>>) -> Self {
        match (given, mended) {
            (None, _) => Self::Missing,
            (Some(_), Some(Mended::Nothing)) => Self::LeftOut,
            (Some(given), _) => Self::Item(again.unwrap_or(given)),
        }
    }
}

/// The item in a line.
fn again<'a>(mended: Option<&'a Mended>, memory: &'a Bump) -> Result<Option<Item<'a>>, String> {
    let Some(Mended::Line(line, encoding)) = mended else { return Ok(None) };
    decode(line.as_bytes(), *encoding, memory).map(Some).map_err(|error| error.to_string())
}

/// Makes of the rows of the old image, which stand after the first `rows`, deletions, unless the new image has them too.
fn retire(tables: &[Table], keys: &Item<'_>, rows: usize, made: &mut Made) -> Result<(), String> {
    let mut kept = rows;
    for place in rows..made.count {
        let table = &tables[made.rows[place].table];
        let key = table.schema.key_indexes().unwrap_or_default();
        let (old, new) = (&made.rows[place], &made.rows[..rows]);
        let part = |row: &Row, column: usize| {
            comparable(row.cell(column), table.schema.columns[column].ty.kind()).into_owned()
        };
        let same = |row: &Row| key.iter().all(|&column| part(row, column) == part(&old.row, column));
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

/// Of an item with rows of which the old image is not known: deletes those that it may have had in tables which do not take
/// it now. What they were made of, only the item's key can tell.
fn leave(tables: &[Table], source: Source<'_>, made: &mut Made) -> Result<(), String> {
    let keys = source.item;
    for (place, table) in tables.iter().enumerate() {
        let parent = table.each.as_ref().map(|(parent, _)| *parent);
        let when = &tables[parent.unwrap_or(place)].when;
        let by_key = when.iter().all(|condition| condition.attributes().iter().all(|name| keys.get(name).is_some()));
        // Without conditions nobody has noted which table takes the item.
        let takes = when.is_empty() || made.matched[place];
        match parent {
            Some(_) if takes || !by_key => table.same_row_as_before(keys)?,
            None if !takes && !by_key => table.delete(place, source, made)?,
            _ => {}
        }
    }
    Ok(())
}

impl Table {
    /// Deletes the row of an item of which only the key is known.
    fn delete(&self, place: usize, source: Source<'_>, made: &mut Made) -> Result<(), String> {
        self.same_row_as_before(source.item)?;
        self.may_delete(source.item)?;
        let mut columns = self.schema.key_indexes().unwrap_or_default();
        columns.extend(self.schema.version());
        let (memory, row) = made.next(place);
        self.plan.cells_of(&columns, source, memory, row)?;
        made.rows[made.count - 1].deleted = true;
        Ok(())
    }

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

    /// An attribute of the item's key that the row's key lacks, so that several items may have one row.
    fn shared_over<'k>(&self, keys: &'k Item<'_>) -> Option<Cow<'k, str>> {
        let mut names = keys.attributes().iter().map(|(name, _)| name.get());
        names.find(|name| ![&self.key_made_of, &self.fixed].into_iter().flatten().any(|known| **known == **name))
    }

    /// Whether a row that an item had is gone with it.
    fn may_delete(&self, keys: &Item<'_>) -> Result<(), String> {
        let name = &self.schema.table;
        let shared = self.shared_over(keys);
        if self.schema.collects() || (shared.is_some() && self.schema.mixes()) {
            return Err(format!(
                "rows of `{name}` are merged from several items: what this one has added to its row cannot be taken away"
            ));
        }
        if self.schema.version().is_some() {
            return Ok(());
        }
        let why = match (self.beyond_the_key(keys), shared) {
            (Some(attribute), _) => format!("the key of `{name}` is made of `{attribute}`"),
            (None, Some(attribute)) => format!("the key of `{name}` is made without `{attribute}`"),
            (None, None) => return Ok(()),
        };
        Err(format!("{why}, so another item may have the row now: a `version` in the profile would tell"))
    }
}
