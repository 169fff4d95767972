//! How two rows of one key become one, in the stream. `pg` has the SQL of the same rules, and a test that compares them.
//!
//! Every policy is a fold step over an earlier value `a` and a later one `b` (in SQL: what the table has, and what
//! comes). All of them are associative, and folding a stretch of rows twice gives what folding it once gives; so the
//! places where a window, a batch or a run ended do not show in the result. [`Policy::commutes`] tells for which of
//! them the order of rows does not show either.
//!
//! NULL is the neutral element of every policy but `keep`, `replace` and `newest`: the other value wins.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;

use indexmap::IndexMap;
use item::scan::{end_of_plain_string, end_of_value};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use crate::cells::Cells;
use crate::order;
use crate::row::{NULL, Row};
use crate::schema::{Column, ColumnType, Kind, Schema};
use crate::text::element_text;

/// How two values of one column become one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// `a`: the first value stays, NULL too.
    Keep,
    /// `b`: the last value wins, NULL too.
    #[default]
    Replace,
    /// `b` unless it is NULL.
    Coalesce,
    /// Objects: the keys of both, `b`'s value where both have one (`a || b`). Of an object and something else the object
    /// stays; of two other values `b`.
    JsonbMerge,
    /// As `jsonb_merge`, but `""` in `b` only fills a key that `a` does not have: an empty text never replaces a value.
    JsonbMergeText,
    /// Arrays of objects: the elements of both, one for each key; see [`KeyedArray`]. Of an array and something else the
    /// array stays; of two other values `b`.
    KeyedArray(KeyedArray),
    /// The greater one, as PostgreSQL compares them; texts by their bytes (`COLLATE "C"`).
    Greatest,
    /// The lesser one.
    Least,
    /// Arrays, in `jsonb` of scalars: each element of both once, in ascending order (booleans, numbers, texts by their
    /// bytes, null), numbers without zeros at their end.
    Union,
    /// `b`, NULL too, unless `b`'s row has the lesser version; without a version a row is the oldest.
    Newest(Newest),
    /// What SQL of the profile makes of both, in the table alone: rows of one key are written one after the other. No law
    /// holds for it but those that its author gives it, and the SQL itself is never here.
    Sql,
}

/// The column that says which of two rows is the newer one. It is merged as the `greatest`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Newest {
    /// Its name.
    pub by: String,
}

impl Policy {
    /// Whether the order of rows does not matter, whatever their values.
    pub fn commutes(&self) -> bool {
        match self {
            Self::Keep
            | Self::Replace
            | Self::Coalesce
            | Self::JsonbMerge
            | Self::JsonbMergeText
            | Self::KeyedArray(_)
            | Self::Newest(_)
            | Self::Sql => false,
            Self::Greatest | Self::Least | Self::Union => true,
        }
    }

    /// Checks that values of a type can be merged by it, with the same result in the stream and in SQL.
    ///
    /// # Errors
    /// What the type cannot do, in one sentence.
    pub fn check_type(&self, ty: &ColumnType) -> Result<(), String> {
        match self {
            // For the last three the table is asked, which may have jsonb where the rows have json.
            Self::Keep
            | Self::Replace
            | Self::Coalesce
            | Self::Newest(_)
            | Self::Sql
            | Self::JsonbMerge
            | Self::JsonbMergeText
            | Self::KeyedArray(_) => Ok(()),
            Self::Greatest | Self::Least => order::can_compare(ty),
            Self::Union if ty.base() == "jsonb" => Ok(()),
            Self::Union if ty.is_array() => order::can_equal(&ty.element()),
            Self::Union => Err(format!("`union` merges arrays such as text[] and jsonb, not {ty}")),
        }
    }

    /// Whether it cannot merge all that PostgreSQL would take for a value, so that [`Policy::check`] has to be asked.
    pub fn checks(&self) -> bool {
        matches!(self, Self::Greatest | Self::Least | Self::Union)
    }

    /// Checks that a value can be merged by it.
    ///
    /// # Errors
    /// Why not, as the end of a sentence that begins with what the value is.
    pub fn check(&self, ty: &ColumnType, cell: &str) -> Result<(), String> {
        match self {
            Self::Greatest | Self::Least => order::of(ty.kind(), cell).map(|_| ()),
            Self::Union if cell != NULL => {
                let elements = elements(cell).ok_or("is no array, and cannot be merged with one")?;
                elements.into_iter().try_for_each(|element| Member::of(element, ty).map(|_| ()))
            }
            _ => Ok(()),
        }
    }
}

/// Checks that a column of this type can say which row is the newer one.
///
/// # Errors
/// What the type cannot do, in one sentence.
pub fn check_version(ty: &ColumnType) -> Result<(), String> {
    order::can_equal(ty)
}

/// The elements of two arrays, one for each key.
///
/// The key of an element is the text of its fields, as `->>` gives it, `null` for a field that is null or not there. Of
/// two elements with one key, one whose `prefer` field is not null wins over one without, then the later one. The result
/// is ordered by the key's texts (by bytes, `COLLATE "C"`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyedArray {
    /// The fields that identify an element.
    pub key: Vec<String>,
    /// The field without which an element gives way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefer: Option<String>,
}

/// Columns that are taken from one side together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The columns.
    pub columns: Vec<String>,
    /// Which side is taken.
    pub preferred_side: PreferredSide,
}

/// All columns of the group from `b` if `b` qualifies, else all from `a` if `a` qualifies, else each as by `coalesce`.
///
/// A side qualifies if its own array in the column `in` has an element whose fields have the texts of `where` and whose
/// field `has` is not null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreferredSide {
    /// The jsonb column with the array.
    #[serde(rename = "in")]
    pub column: String,
    /// Fields and the texts that they must have, as `->>` gives them.
    #[serde(rename = "where", deserialize_with = "texts")]
    pub fields: IndexMap<String, String>,
    /// The field that must not be null.
    pub has: String,
}

/// Numbers and booleans may be written as such: `{ formatId = 85 }`.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IndexMap<String, String>, D::Error> {
    let values = IndexMap::<String, serde_json::Value>::deserialize(deserializer)?;
    let texts = values.into_iter().map(|(name, value)| match value {
        serde_json::Value::String(text) => Ok((name, text)),
        serde_json::Value::Number(number) => Ok((name, number.to_string())),
        serde_json::Value::Bool(truth) => Ok((name, truth.to_string())),
        _ => Err(serde::de::Error::custom(format!("the value for `{name}` must be a text, a number or a boolean"))),
    });
    texts.collect()
}

/// The policies of a schema, ready to merge rows whose cells are in its order.
#[derive(Clone, Debug)]
pub struct Merger {
    columns: Vec<Rule>,
    groups: Vec<Side>,
    /// Columns that say which row is the newer one.
    versions: Vec<(usize, Kind)>,
    /// Columns whose arrays are looked through, once for all that is asked of them.
    lookups: Vec<Lookup>,
}

/// How the cells of one column become one.
#[derive(Clone, Debug)]
enum Rule {
    First,
    Last,
    Coalesce,
    Objects {
        keep_text: bool,
    },
    Keyed(Keyed),
    Furthest(Ordering, Kind),
    Set(ColumnType),
    /// As the side of this place says.
    Group(usize),
    /// As the version of this place says.
    Newest(usize),
}

/// What is looked up in the elements of a column's arrays.
#[derive(Clone, Debug)]
struct Lookup {
    column: usize,
    names: Vec<String>,
}

/// A [`KeyedArray`] whose fields are places among the names of a [`Lookup`].
#[derive(Clone, Debug)]
struct Keyed {
    lookup: usize,
    key: Vec<usize>,
    prefer: Option<usize>,
}

/// A [`PreferredSide`], in the same way.
#[derive(Clone, Debug)]
struct Side {
    lookup: usize,
    fields: Vec<(usize, String)>,
    has: usize,
}

impl Lookup {
    /// The place of the one for a column, which is added if it is not there.
    fn among(lookups: &mut Vec<Self>, column: usize) -> usize {
        lookups.iter().position(|known| known.column == column).unwrap_or_else(|| {
            lookups.push(Self { column, names: Vec::new() });
            lookups.len() - 1
        })
    }

    /// The place of a name, which is added if it is not there.
    fn place(&mut self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }
}

impl Merger {
    /// The merger of a schema.
    ///
    /// # Errors
    /// The first name that is meant to be a column's and is not.
    pub fn new(schema: &Schema) -> Result<Self, String> {
        let index = |name: &String| schema.index(name).ok_or_else(|| name.clone());
        let (mut columns, mut versions, mut lookups) = (Vec::new(), Vec::new(), Vec::new());
        for (place, Column { merge, ty, .. }) in schema.columns.iter().enumerate() {
            columns.push(match merge {
                Policy::Keep => Rule::First,
                // Rows that SQL merges never meet here, but where somebody only wants to see the last one.
                Policy::Replace | Policy::Sql => Rule::Last,
                Policy::Coalesce => Rule::Coalesce,
                Policy::JsonbMerge => Rule::Objects { keep_text: false },
                Policy::JsonbMergeText => Rule::Objects { keep_text: true },
                Policy::KeyedArray(KeyedArray { key, prefer }) => {
                    let number = Lookup::among(&mut lookups, place);
                    let lookup = &mut lookups[number];
                    let key = key.iter().map(|name| lookup.place(name)).collect();
                    let prefer = prefer.as_ref().map(|name| lookup.place(name));
                    Rule::Keyed(Keyed { lookup: number, key, prefer })
                }
                Policy::Greatest => Rule::Furthest(Ordering::Greater, ty.kind()),
                Policy::Least => Rule::Furthest(Ordering::Less, ty.kind()),
                Policy::Union => Rule::Set(ty.clone()),
                Policy::Newest(Newest { by }) => {
                    let by = index(by)?;
                    let known = versions.iter().position(|(version, _)| *version == by);
                    if known.is_none() {
                        versions.push((by, schema.columns[by].ty.kind()));
                    }
                    Rule::Newest(known.unwrap_or(versions.len() - 1))
                }
            });
        }
        for key in &schema.key {
            // Equal by definition; the first spelling stays.
            columns[index(key)?] = Rule::First;
        }
        let mut groups = Vec::new();
        for group in &schema.groups {
            for name in &group.columns {
                columns[index(name)?] = Rule::Group(groups.len());
            }
            let PreferredSide { column, fields, has } = &group.preferred_side;
            let number = Lookup::among(&mut lookups, index(column)?);
            let lookup = &mut lookups[number];
            let fields = fields.iter().map(|(name, text)| (lookup.place(name), text.clone())).collect();
            groups.push(Side { lookup: number, fields, has: lookup.place(has) });
        }
        Ok(Self { columns, groups, versions, lookups })
    }

    /// The row that two rows of one key become: `a` came earlier, `b` later.
    pub fn merge(&self, a: &Row, b: &Row) -> Row {
        self.fold(&[a.view(), b.view()])
    }

    /// The row that rows of one key become, which are in the order in which they came. It is what merging the first two,
    /// then the result with the third and so on gives, in one step. It has the names of columns if the first one has.
    pub fn fold(&self, rows: &[impl Cells]) -> Row {
        let mut row = Row::default();
        self.fold_into(rows, &mut row);
        row
    }

    /// The same, written into a row that is there.
    pub fn fold_into(&self, rows: &[impl Cells], row: &mut Row) {
        let arrays: SmallVec<[_; 1]> = self.lookups.iter().map(|lookup| Elements::of(rows, lookup)).collect();
        let chosen: SmallVec<[_; 4]> = self.groups.iter().map(|side| side.choose(&arrays[side.lookup])).collect();
        let newest: SmallVec<[_; 4]> = self.versions.iter().map(|version| newest(*version, rows)).collect();
        row.clear();
        for (index, rule) in self.columns.iter().enumerate() {
            if let Some(opening) = rows.first().and_then(|row| row.opening(index)) {
                row.open(opening);
            }
            let mut cells = rows.iter().map(|row| row.cell(index));
            let into = row.compose();
            match rule {
                Rule::First => into.push_str(cells.next().unwrap_or(NULL)),
                Rule::Last => into.push_str(cells.next_back().unwrap_or(NULL)),
                Rule::Coalesce => into.push_str(coalesce(cells)),
                Rule::Objects { keep_text } => fold_objects(cells, *keep_text, into),
                Rule::Keyed(keyed) => keyed.fold(&arrays[keyed.lookup], cells, into),
                Rule::Furthest(direction, kind) => into.push_str(furthest(*direction, *kind, cells)),
                Rule::Set(ty) => fold_sets(ty, cells, into),
                Rule::Group(group) => into.push_str(match chosen[*group] {
                    Some(side) => rows[side].cell(index),
                    None => coalesce(cells),
                }),
                Rule::Newest(version) => into.push_str(rows[newest[*version]].cell(index)),
            }
            row.end_cell();
        }
    }

    /// The row as merging would leave it if it met an empty one: arrays with a key, and those that are sets, are put in
    /// their order, each key or element once. So a row that comes alone looks like one that was merged. Names are left out.
    pub fn normalize(&self, row: impl Cells) -> Row {
        let rows = [row];
        let mut normal = Row::default();
        for (index, rule) in self.columns.iter().enumerate() {
            let (cell, into) = (row.cell(index), normal.compose());
            match rule {
                Rule::Keyed(keyed) => {
                    let elements = Elements::of(&rows, &self.lookups[keyed.lookup]);
                    keyed.fold(&elements, std::iter::once(cell), into);
                }
                Rule::Set(ty) => fold_sets(ty, std::iter::once(cell), into),
                _ => into.push_str(cell),
            }
            normal.end_cell();
        }
        normal
    }
}

impl Side {
    /// The last row that qualifies. Merged with others it still does, so whatever came before has no say.
    fn choose(&self, elements: &Elements<'_>) -> Option<usize> {
        let qualifies = |element: &usize| {
            let has = |(place, text): &(usize, String)| {
                elements.text(*element, *place).is_some_and(|found| found == text.as_str())
            };
            self.fields.iter().all(has) && elements.text(*element, self.has).is_some()
        };
        (0..elements.count()).rev().find(qualifies).map(|element| elements.all[element].0)
    }
}

/// The elements of the arrays that a column of several rows has, one after the other.
struct Elements<'a> {
    /// The place of the row, and the element's JSON text.
    all: SmallVec<[(usize, &'a str); 8]>,
    /// The values of each element's fields with the names of the [`Lookup`]; of what is no object there are none.
    found: SmallVec<[Option<&'a str>; 24]>,
    /// How many names there are.
    names: usize,
    /// Whether a row has an array at all.
    any: bool,
}

impl<'a> Elements<'a> {
    fn of(rows: &'a [impl Cells], Lookup { column, names }: &Lookup) -> Self {
        let mut elements = Self { all: SmallVec::new(), found: SmallVec::new(), names: names.len(), any: false };
        for (row, cells) in rows.iter().enumerate() {
            elements.any |= elements.add(row, cells.cell(*column), names);
        }
        elements
    }

    /// Adds those of a row's cell. False for a cell that is no array.
    fn add(&mut self, row: usize, json: &'a str, names: &[String]) -> bool {
        let (before, found_before) = (self.all.len(), self.found.len());
        // Most are gone through but once.
        let end = split(json, 0, b'[', b']', |at| {
            let fields = self.found.len();
            self.found.resize(fields + names.len(), None);
            let end = plain_fields(json, at, |name, value| {
                if let Some(place) = names.iter().position(|wanted| wanted == name) {
                    // Of a name that comes twice the last one holds, as in jsonb.
                    self.found[fields + place] = Some(value);
                }
            })?;
            self.all.push((row, &json[at..end]));
            Some(end)
        });
        if end == Some(json.len()) {
            return true;
        }
        self.all.truncate(before);
        self.found.truncate(found_before);
        let Some(elements) = elements(json) else { return false };
        for element in elements {
            let fields = Object::of(element).map(|Object(fields)| fields).unwrap_or_default();
            let last = |wanted| fields.iter().rev().find(|(name, _)| name == wanted).map(|(_, value)| *value);
            self.found.extend(names.iter().map(last));
            self.all.push((row, element));
        }
        true
    }

    fn count(&self) -> usize {
        self.all.len()
    }

    /// The text of an element's field; nothing if it is null or not there.
    fn text(&self, element: usize, place: usize) -> Option<Cow<'a, str>> {
        self.found[element * self.names + place].and_then(field_text)
    }
}

/// An object's fields in their order. Objects that are merged are small, so looking through them beats hashing.
struct Object<'a>(SmallVec<[(Cow<'a, str>, &'a str); 6]>);

impl<'a> Object<'a> {
    /// The fields of a JSON object; nothing if it is another value.
    fn of(json: &'a str) -> Option<Self> {
        json.starts_with('{').then_some(())?;
        let mut fields = SmallVec::new();
        let end = plain_fields(json, 0, |name, value| fields.push((Cow::Borrowed(name), value)));
        if end == Some(json.len()) { Some(Self(fields)) } else { serde_json::from_str(json).ok() }
    }
}

/// Hands over each field of the object that begins at a place, if it is one as this project writes nearly all of them:
/// without white space, and without escapes in names. Of another value some may have been handed over already. It says
/// where the object ends.
fn plain_fields<'a>(json: &'a str, at: usize, mut field: impl FnMut(&'a str, &'a str)) -> Option<usize> {
    let bytes = json.as_bytes();
    split(json, at, b'{', b'}', |at| {
        let colon = end_of_plain_string(bytes, at)?;
        (bytes.get(colon) == Some(&b':')).then_some(())?;
        let end = end_of_value(bytes, colon + 1)?;
        field(&json[at + 1..colon - 1], &json[colon + 1..end]);
        Some(end)
    })
}

/// The elements of a JSON array; nothing if it is another value.
pub(crate) fn elements(json: &str) -> Option<SmallVec<[&str; 4]>> {
    json.starts_with('[').then_some(())?;
    let mut elements = SmallVec::new();
    let end = split(json, 0, b'[', b']', |at| {
        let end = end_of_value(json.as_bytes(), at)?;
        elements.push(&json[at..end]);
        Some(end)
    });
    if end == Some(json.len()) {
        return Some(elements);
    }
    let elements: Vec<&RawValue> = serde_json::from_str(json).ok()?;
    Some(elements.into_iter().map(RawValue::get).collect())
}

/// Goes through the object or array without white space that begins at a place: `element` passes one that begins at a
/// place, and says where it ends. It says where the whole ends.
fn split(
    json: &str,
    mut at: usize,
    begin: u8,
    end: u8,
    mut element: impl FnMut(usize) -> Option<usize>,
) -> Option<usize> {
    let bytes = json.as_bytes();
    if bytes.get(at..at + 2) == Some(&[begin, end]) {
        return Some(at + 2);
    }
    let mut separator = begin;
    loop {
        (bytes.get(at) == Some(&separator)).then_some(())?;
        at = element(at + 1)?;
        if bytes.get(at) == Some(&end) {
            return Some(at + 1);
        }
        separator = b',';
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for Fields<'a> {
            type Value = Object<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Object<'a>, M::Error> {
                let mut fields = SmallVec::new();
                while let Some(Key(name)) = map.next_key()? {
                    fields.push((name, map.next_value::<&RawValue>()?.get()));
                }
                Ok(Object(fields))
            }
        }

        deserializer.deserialize_map(Fields(PhantomData))
    }
}

/// An object's key: borrowed where it has no escape.
#[derive(Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// The last value that is not null.
fn coalesce<'a>(cells: impl DoubleEndedIterator<Item = &'a str>) -> &'a str {
    cells.rev().find(|cell| *cell != NULL).unwrap_or(NULL)
}

/// The place of the last of the rows with the greatest version.
fn newest((column, kind): (usize, Kind), rows: &[impl Cells]) -> usize {
    // What cannot be compared is refused before rows are merged.
    let versions = rows.iter().map(|row| order::of(kind, row.cell(column)).ok().flatten()).enumerate();
    versions.max_by(|(_, one), (_, other)| one.cmp(other)).map_or(0, |(place, _)| place)
}

/// The cell that stands furthest in this direction, of equal ones the first.
fn furthest<'a>(direction: Ordering, kind: Kind, cells: impl Iterator<Item = &'a str>) -> &'a str {
    // What cannot be compared is refused before rows are merged.
    let keyed = cells.filter_map(|cell| order::of(kind, cell).ok().flatten().map(|key| (key, cell)));
    let furthest = keyed.reduce(|first, next| if next.0.cmp(&first.0) == direction { next } else { first });
    furthest.map_or(NULL, |(_, cell)| cell)
}

fn fold_objects<'a>(cells: impl DoubleEndedIterator<Item = &'a str> + Clone, keep_text: bool, into: &mut String) {
    let mut objects = cells.clone().filter_map(Object::of);
    let Some(Object(mut all)) = objects.next() else { return into.push_str(coalesce(cells)) };
    for Object(later) in objects {
        for (key, value) in later {
            match all.iter_mut().find(|(known, _)| *known == key) {
                None => all.push((key, value)),
                Some(_) if keep_text && value == "\"\"" => {}
                Some((_, earlier)) => *earlier = value,
            }
        }
    }
    into.push('{');
    for (place, (key, value)) in all.iter().enumerate() {
        if place > 0 {
            into.push(',');
        }
        write_json_string(key, into);
        into.push(':');
        into.push_str(value);
    }
    into.push('}');
}

/// A JSON string of a text.
fn write_json_string(text: &str, into: &mut String) {
    if item::scan::special(text.as_bytes()).is_none() {
        into.push('"');
        into.push_str(text);
        into.push('"');
        return;
    }
    // A string always has a JSON form.
    into.push_str(&serde_json::to_string(text).unwrap_or_default());
}

fn fold_sets<'a>(ty: &ColumnType, cells: impl DoubleEndedIterator<Item = &'a str> + Clone, into: &mut String) {
    let mut arrays = cells.clone().filter_map(elements).peekable();
    if arrays.peek().is_none() {
        return into.push_str(coalesce(cells));
    }
    // What cannot be compared is refused before rows are merged.
    let mut all: Vec<_> = arrays.flatten().filter_map(|element| Member::of(element, ty).ok()).collect();
    all.sort_by(|one, other| one.order.cmp(&other.order));
    all.dedup_by(|next, first| next.order == first.order);
    into.push('[');
    for (place, member) in all.iter().enumerate() {
        if place > 0 {
            into.push(',');
        }
        into.push_str(&member.json);
    }
    into.push(']');
}

/// An element of an array that is a set.
struct Member<'a> {
    order: Vec<u8>,
    json: Cow<'a, str>,
}

impl<'a> Member<'a> {
    fn of(json: &'a str, ty: &ColumnType) -> Result<Self, String> {
        let order = if ty.is_array() {
            let (nothing, key) = order::of(ty.kind(), json)?.map_or((1, Cow::default()), |key| (0, key));
            [&[nothing], &key[..]].concat()
        } else {
            order::of_json(json)?
        };
        let number = match ty.kind() {
            Kind::Numeric | Kind::Integer(..) => json != NULL,
            _ => !ty.is_array() && json.starts_with(['-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']),
        };
        if !number {
            return Ok(Self { order, json: Cow::Borrowed(json) });
        }
        let text = element_text(json, Kind::Numeric)?;
        let plain = item::number::plain(&text);
        let short = if plain.contains('.') { plain.trim_end_matches('0').trim_end_matches('.') } else { &*plain };
        let json = if short == json { Cow::Borrowed(json) } else { Cow::Owned(short.to_owned()) };
        Ok(Self { order, json })
    }
}

impl Keyed {
    /// Writes what the elements of these cells become.
    fn fold<'a>(&self, elements: &Elements<'a>, cells: impl DoubleEndedIterator<Item = &'a str>, into: &mut String) {
        if !elements.any {
            return into.push_str(coalesce(cells));
        }
        let text = |element, place: &usize| elements.text(element, *place).unwrap_or(Cow::Borrowed(NULL));
        let texts = (0..elements.count()).flat_map(|element| self.key.iter().map(move |place| text(element, place)));
        let texts: SmallVec<[_; 16]> = texts.collect();
        let key = |element: usize| &texts[element * self.key.len()..][..self.key.len()];
        let preferred = |element: usize| self.prefer.is_some_and(|place| elements.text(element, place).is_some());
        let mut order: SmallVec<[_; 8]> = (0..elements.count()).map(|element| (preferred(element), element)).collect();
        // Of equal keys the later element stands last.
        order.sort_unstable_by(|a, b| key(a.1).cmp(key(b.1)).then(a.cmp(b)));
        into.push('[');
        let mut begun = false;
        for (place, (_, element)) in order.iter().enumerate() {
            let last_of_key = order.get(place + 1).is_none_or(|(_, next)| key(*next) != key(*element));
            if last_of_key {
                if std::mem::replace(&mut begun, true) {
                    into.push(',');
                }
                into.push_str(elements.all[*element].1);
            }
        }
        into.push(']');
    }
}

/// The text of a JSON value as `->>` gives it; nothing for null.
fn field_text(json: &str) -> Option<Cow<'_, str>> {
    match json.as_bytes().first() {
        Some(b'n') => None,
        Some(b'"') if !json.as_bytes().contains(&b'\\') => json.strip_prefix('"')?.strip_suffix('"').map(Cow::Borrowed),
        Some(b'"') => serde_json::from_str(json).ok().map(|Key(text)| text),
        Some(b'-' | b'0'..=b'9') => Some(item::number::plain(json)),
        _ => Some(Cow::Borrowed(json)),
    }
}
