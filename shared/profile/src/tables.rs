//! Which tables an item goes to: the conditions of a profile and of its sections, and the elements that are rows of their
//! own. What a row of one table is made of is in `plan`.

use std::collections::BTreeMap;

use bumpalo::Bump;
use item::number::Decimal;
use item::{Encoding, Item, Text, Value, decode};
use jaq_json::Val;

use crate::condition::Condition;
use crate::file::Unmatched;
use crate::jq::{self, Filter};
use crate::plan::{Element, Plan, Source, Way};
use crate::row::{Row, RowView};
use crate::schema::Schema;

/// What becomes of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is one row or more, or none where it has no elements.
    Row,
    /// The profile leaves it out.
    Filtered,
}

/// A table of a profile.
#[derive(Debug)]
pub struct Table {
    /// What its rows are.
    pub schema: Schema,
    /// SQL that runs after the table was made by `--create`.
    pub on_create: Vec<String>,
    /// The SQL of columns that are merged by it: an expression of `existing` and `incoming`.
    pub rules: BTreeMap<String, String>,
    pub(crate) when: Vec<Condition>,
    /// For rows of elements: the place of the table whose items it takes, and where the elements are.
    pub(crate) each: Option<(usize, Way)>,
    /// The attributes that its key is made of, those of elements left out.
    pub(crate) key_made_of: Vec<String>,
    /// The attributes that are the same in all items that it takes.
    pub(crate) fixed: Vec<String>,
    pub(crate) plan: Plan,
}

/// Which items a profile takes, and for which tables.
#[derive(Debug)]
pub(crate) struct Gate {
    /// What stands in place of U+0000; without it, a column that would hold it rejects the item.
    pub(crate) nul: Option<String>,
    /// What every item goes through.
    pub(crate) jq: Option<Filter>,
    pub(crate) filter: Vec<Condition>,
    pub(crate) max_id: Option<(Way, i64)>,
    pub(crate) unmatched: Unmatched,
}

/// What an item is before a table looks at it.
pub(crate) enum Mended {
    AsItIs,
    /// A line of its own, to be decoded.
    Line(String, Encoding),
    /// It is left out.
    Nothing,
}

/// The rows of one item, in memory that is used again for the next.
#[derive(Debug, Default)]
pub struct Made {
    pub(crate) rows: Vec<MadeRow>,
    pub(crate) count: usize,
    /// For each table, whether it takes the item; of a profile with one table without conditions it is not noted.
    pub(crate) matched: Vec<bool>,
    /// For texts that are made on the way to a row.
    memory: Bump,
}

/// A row, or the key of one that is to be deleted.
#[derive(Debug, Default)]
pub(crate) struct MadeRow {
    pub(crate) table: usize,
    pub(crate) row: Row,
    pub(crate) deleted: bool,
}

impl Made {
    /// Each row, with the place of its table.
    pub fn rows(&self) -> impl Iterator<Item = (usize, RowView<'_>)> {
        self.of_kind(false)
    }

    /// Each row that is no longer, with the place of its table: the cells of its key and of the version, the others null.
    pub fn deleted(&self) -> impl Iterator<Item = (usize, RowView<'_>)> {
        self.of_kind(true)
    }

    fn of_kind(&self, wanted: bool) -> impl Iterator<Item = (usize, RowView<'_>)> {
        let rows = self.rows[..self.count].iter().filter(move |made| made.deleted == wanted);
        rows.map(|made| (made.table, made.row.view()))
    }

    /// The next row, to be written, and memory for what is made on the way.
    pub(crate) fn next(&mut self, table: usize) -> (&Bump, &mut Row) {
        if self.count == self.rows.len() {
            self.rows.push(MadeRow::default());
        }
        let made = &mut self.rows[self.count];
        (made.table, made.deleted) = (table, false);
        self.count += 1;
        self.memory.reset();
        (&self.memory, &mut made.row)
    }
}

impl Gate {
    /// Makes the rows of an item. Its rows all are made, or none.
    pub(crate) fn rows(&self, tables: &[Table], item: &Item<'_>, made: &mut Made) -> Result<Fate, String> {
        made.count = 0;
        // What nearly all items are.
        if self.jq.is_none() && !(item.has_nul() && self.nul.is_some()) {
            return self.rows_of(tables, Source::of(item), made);
        }
        match self.mended(item)? {
            Mended::AsItIs => self.rows_of(tables, Source::of(item), made),
            Mended::Line(line, encoding) => {
                let memory = Bump::new();
                let item = decode(line.as_bytes(), encoding, &memory).map_err(|error| error.to_string())?;
                self.rows_of(tables, Source::of(&item), made)
            }
            Mended::Nothing => Ok(Fate::Filtered),
        }
    }

    /// The item as a line without U+0000, if it has some.
    pub(crate) fn without_nul(&self, item: &Item<'_>) -> Option<String> {
        let text = self.nul.as_ref().filter(|_| item.has_nul())?;
        Some(item.line_without_nul(text))
    }

    /// The item without U+0000, and as the filter of jq gives it.
    pub(crate) fn mended(&self, item: &Item<'_>) -> Result<Mended, String> {
        let line = self.without_nul(item);
        let Some(filter) = &self.jq else {
            return Ok(line.map_or(Mended::AsItIs, |line| Mended::Line(line, item.encoding())));
        };
        let memory = Bump::new();
        let again = line.as_ref().map(|line| decode(line.as_bytes(), item.encoding(), &memory)).transpose();
        let again = again.map_err(|error| error.to_string())?;
        let Some(made) = filter.one(Source::of(again.as_ref().unwrap_or(item)))? else { return Ok(Mended::Nothing) };
        if !matches!(made, Val::Obj(_)) {
            return Err("the jq filter of the profile has to give an object".to_owned());
        }
        let mut line = String::new();
        jq::write(&made, &mut line).map_err(|problem| format!("what the jq filter of the profile gives {problem}"))?;
        Ok(Mended::Line(line, Encoding::Json))
    }

    /// Whether the profile takes the item at all.
    pub(crate) fn takes(&self, source: Source<'_>) -> Result<bool, String> {
        let filtered = !self.filter.iter().all(|condition| condition.holds(source));
        match &self.max_id {
            Some((way, limit)) if !filtered => Ok(number(source, way)? < *limit),
            _ => Ok(!filtered),
        }
    }

    /// Adds the rows of an item.
    pub(crate) fn rows_of(&self, tables: &[Table], source: Source<'_>, made: &mut Made) -> Result<Fate, String> {
        if !self.takes(source)? {
            return Ok(Fate::Filtered);
        }
        // What most profiles are.
        if let [Table { plan, when, each: None, .. }] = tables
            && when.is_empty()
        {
            let (memory, row) = made.next(0);
            plan.row(source, memory, row)?;
            return Ok(Fate::Row);
        }
        made.matched.clear();
        for (place, table) in tables.iter().enumerate() {
            let takes = match table.each {
                Some((parent, _)) => made.matched[parent],
                None => table.when.iter().all(|condition| condition.holds(source)),
            };
            made.matched.push(takes);
            if takes {
                table
                    .rows(place, source, made)
                    .map_err(|reason| format!("table `{}`: {reason}", table.schema.table))?;
            }
        }
        match self.unmatched {
            _ if made.matched.contains(&true) => Ok(Fate::Row),
            Unmatched::Ignore => Ok(Fate::Filtered),
            Unmatched::Reject => Err("no table of the profile takes the item".to_owned()),
        }
    }
}

impl Table {
    /// Makes its rows of an item that it takes.
    fn rows(&self, place: usize, source: Source<'_>, made: &mut Made) -> Result<(), String> {
        let Some((_, way)) = &self.each else {
            let (memory, row) = made.next(place);
            return Ok(self.plan.row(source, memory, row)?);
        };
        let Some(value) = source.follow(way) else { return Ok(()) };
        let mut position = 0;
        elements(way, value, |value, name| {
            position += 1;
            self.element(place, source, &Element { value, position: position.to_string(), name }, made)
        })
    }

    /// Makes the row of an element.
    fn element(&self, place: usize, source: Source<'_>, element: &Element<'_>, made: &mut Made) -> Result<(), String> {
        let source = Source { element: Some(element), ..source };
        if !self.when.iter().all(|condition| condition.holds(source)) {
            return Ok(());
        }
        let (memory, row) = made.next(place);
        let made = self.plan.row(source, memory, row);
        made.map_err(|reason| format!("element {}: {reason}", element.position))
    }
}

/// Each element of a list, a map or a set, with its name in a map.
pub(crate) fn elements(
    way: &Way,
    value: &Value<'_>,
    mut one: impl FnMut(&Value<'_>, Option<Text<'_>>) -> Result<(), String>,
) -> Result<(), String> {
    match value {
        Value::Null => Ok(()),
        Value::L(values) => values.iter().try_for_each(|value| one(value, None)),
        Value::M(entries) => entries.iter().try_for_each(|(name, value)| one(value, Some(*name))),
        Value::Ss(texts) => texts.iter().try_for_each(|text| one(&Value::S(*text), None)),
        Value::Ns(numbers) => numbers.iter().try_for_each(|number| one(&Value::N(*number), None)),
        Value::Bs(binaries) => binaries.iter().try_for_each(|binary| one(&Value::B(*binary), None)),
        other => {
            let (name, ty) = (way.name(), other.ty().name());
            Err(format!("attribute `{name}` is {ty}, but a list, a map or a set is wanted"))
        }
    }
}

/// The number in an attribute, for `--max-id`.
fn number(source: Source<'_>, way: &Way) -> Result<i64, String> {
    let name = || way.name();
    let digits = match source.follow(way) {
        Some(Value::N(number)) => number.get(),
        Some(Value::S(text)) => text.get(),
        Some(other) => return Err(format!("attribute `{}` is {}, but N or S is wanted", name(), other.ty().name())),
        None => return Err(format!("attribute `{}` is missing", name())),
    };
    Decimal::parse(&digits).and_then(Decimal::to_i64).map_err(|error| format!("attribute `{}` is {error}", name()))
}
