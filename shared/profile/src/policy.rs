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
use item::scan::end_of_value;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use crate::order;
use crate::row::{NULL, Row, RowView};
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
}

#[derive(Clone, Debug)]
enum Rule {
    Own(Policy, ColumnType),
    Group(usize),
    Newest(usize),
}

#[derive(Clone, Debug)]
struct Side {
    column: usize,
    fields: Vec<(String, String)>,
    has: String,
}

impl Merger {
    /// The merger of a schema.
    ///
    /// # Errors
    /// The first name that is meant to be a column's and is not.
    pub fn new(schema: &Schema) -> Result<Self, String> {
        let index = |name: &String| schema.index(name).ok_or_else(|| name.clone());
        let own = |column: &Column| Rule::Own(column.merge.clone(), column.ty.clone());
        let mut columns: Vec<_> = schema.columns.iter().map(own).collect();
        let mut versions = Vec::new();
        for (place, column) in schema.columns.iter().enumerate() {
            if let Policy::Newest(Newest { by }) = &column.merge {
                let by = index(by)?;
                let known = versions.iter().position(|(version, _)| *version == by);
                columns[place] = Rule::Newest(known.unwrap_or(versions.len()));
                if known.is_none() {
                    versions.push((by, schema.columns[by].ty.kind()));
                }
            }
        }
        for key in &schema.key {
            // Equal by definition; the first spelling stays.
            let place = index(key)?;
            columns[place] = Rule::Own(Policy::Keep, schema.columns[place].ty.clone());
        }
        let mut groups = Vec::new();
        for group in &schema.groups {
            for name in &group.columns {
                columns[index(name)?] = Rule::Group(groups.len());
            }
            let PreferredSide { column, fields, has } = &group.preferred_side;
            let fields = fields.iter().map(|(name, text)| (name.clone(), text.clone())).collect();
            groups.push(Side { column: index(column)?, fields, has: has.clone() });
        }
        Ok(Self { columns, groups, versions })
    }

    /// The row that two rows of one key become: `a` came earlier, `b` later.
    pub fn merge(&self, a: &Row, b: &Row) -> Row {
        self.fold(&[a.view(), b.view()])
    }

    /// The row that rows of one key become, which are in the order in which they came. It is what merging the first two,
    /// then the result with the third and so on gives, in one step.
    pub fn fold(&self, rows: &[RowView<'_>]) -> Row {
        let mut row = Row::default();
        self.fold_into(rows, &mut row);
        row
    }

    /// The same, written into a row that is there.
    pub fn fold_into(&self, rows: &[RowView<'_>], row: &mut Row) {
        let chosen: SmallVec<[_; 4]> = self.groups.iter().map(|side| side.choose(rows)).collect();
        let newest: SmallVec<[_; 4]> = self.versions.iter().map(|version| newest(*version, rows)).collect();
        row.clear();
        let mut cells: SmallVec<[_; 16]> = SmallVec::new();
        for (index, rule) in self.columns.iter().enumerate() {
            cells.clear();
            cells.extend(rows.iter().map(|row| row.cell(index)));
            match rule {
                Rule::Own(policy, ty) => fold_cells(policy, ty, &cells, row.compose()),
                Rule::Newest(version) => row.compose().push_str(cells[newest[*version]]),
                Rule::Group(group) => row.compose().push_str(match chosen[*group] {
                    Some(side) => cells[side],
                    None => coalesce(&cells),
                }),
            }
            row.end_cell();
        }
    }

    /// The row as merging would leave it if it met an empty one: arrays with a key, and those that are sets, are put in
    /// their order, each key or element once. So a row that comes alone looks like one that was merged.
    pub fn normalize(&self, row: Row) -> Row {
        let lone = |rule: &Rule| matches!(rule, Rule::Own(Policy::KeyedArray(_) | Policy::Union, _));
        if !self.columns.iter().any(lone) {
            return row;
        }
        let mut normal = Row::with_capacity(self.columns.len(), row.size());
        for (index, rule) in self.columns.iter().enumerate() {
            match rule {
                Rule::Own(policy @ (Policy::KeyedArray(_) | Policy::Union), ty) => {
                    fold_cells(policy, ty, &[row.cell(index)], normal.compose());
                }
                _ => normal.compose().push_str(row.cell(index)),
            }
            normal.end_cell();
        }
        normal
    }
}

impl Side {
    /// The last row that qualifies. Merged with others it still does, so whatever came before has no say.
    fn choose(&self, rows: &[RowView<'_>]) -> Option<usize> {
        rows.iter().rposition(|row| self.qualifies(*row))
    }

    fn qualifies(&self, row: RowView<'_>) -> bool {
        let names = self.fields.iter().map(|(name, _)| name.as_str()).chain([self.has.as_str()]);
        elements_with(row.cell(self.column), &names).into_iter().flatten().any(|(_, found)| {
            let Some(found) = found else { return false };
            let texts = found.iter().map(|value| value.and_then(field_text));
            // That which only must not be null comes last.
            let wanted = self.fields.iter().map(|(_, text)| Some(text.as_str())).chain([None]);
            texts.zip(wanted).all(|(text, wanted)| text.is_some_and(|text| wanted.is_none_or(|wanted| text == wanted)))
        })
    }
}

/// An object's fields in their order. Objects that are merged are small, so looking through them beats hashing.
struct Object<'a>(SmallVec<[(Cow<'a, str>, &'a str); 6]>);

impl<'a> Object<'a> {
    /// The fields of a JSON object; nothing if it is another value.
    fn of(json: &'a str) -> Option<Self> {
        let mut fields = SmallVec::new();
        let end = plain_fields(json, 0, |name, value| fields.push((Cow::Borrowed(name), value)));
        if end == Some(json.len()) { Some(Self(fields)) } else { serde_json::from_str(json).ok() }
    }
}

/// The values of an object's fields with these names, in the order of the names; nothing if it is another value. Of a name
/// that comes twice the last one holds, as in jsonb.
fn look_up<'a, 'n>(json: &'a str, names: impl Iterator<Item = &'n str> + Clone) -> Option<Found<'a>> {
    if let Some((found, end)) = look_up_at(json, 0, &names)
        && end == json.len()
    {
        return Some(found);
    }
    let Object(fields) = serde_json::from_str(json).ok()?;
    let last = |wanted| fields.iter().rev().find(|(name, _)| name == wanted).map(|(_, value)| *value);
    Some(names.map(last).collect())
}

/// The same of an object that begins at a place, if it is a plain one, and where it ends.
fn look_up_at<'a, 'n>(
    json: &'a str,
    at: usize,
    names: &(impl Iterator<Item = &'n str> + Clone),
) -> Option<(Found<'a>, usize)> {
    let mut found: Found<'a> = names.clone().map(|_| None).collect();
    let end = plain_fields(json, at, |name, value| {
        // One name may be asked for twice.
        for (found, wanted) in found.iter_mut().zip(names.clone()) {
            if wanted == name {
                *found = Some(value);
            }
        }
    });
    end.map(|end| (found, end))
}

/// What [`look_up`] has found.
type Found<'a> = SmallVec<[Option<&'a str>; 4]>;

/// Hands over each field of the object that begins at a place, if it is one as this project writes nearly all of them:
/// without white space, and without escapes in names. Of another value some may have been handed over already. It says
/// where the object ends.
fn plain_fields<'a>(json: &'a str, at: usize, mut field: impl FnMut(&'a str, &'a str)) -> Option<usize> {
    split(json, at, b'{', b'}', |at| {
        let colon = end_of_value(json.as_bytes(), at)?;
        let name = json[at..colon].strip_prefix('"')?.strip_suffix('"')?;
        let end = end_of_value(json.as_bytes(), colon + 1)?;
        (json[colon..].starts_with(':') && !name.contains('\\')).then_some(())?;
        field(name, &json[colon + 1..end]);
        Some(end)
    })
}

/// The elements of a JSON array; nothing if it is another value.
fn elements(json: &str) -> Option<SmallVec<[&str; 4]>> {
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

/// An element of an array, and what was found in it if it is an object.
type ElementWith<'a> = (&'a str, Option<Found<'a>>);

/// The elements of a JSON array, each with what [`look_up`] finds in it. Most are gone through but once.
fn elements_with<'a, 'n>(
    json: &'a str,
    names: &(impl Iterator<Item = &'n str> + Clone),
) -> Option<SmallVec<[ElementWith<'a>; 2]>> {
    let mut elements = SmallVec::new();
    let end = split(json, 0, b'[', b']', |at| {
        let (found, end) = look_up_at(json, at, names)?;
        elements.push((&json[at..end], Some(found)));
        Some(end)
    });
    if end == Some(json.len()) {
        return Some(elements);
    }
    let all = self::elements(json)?.into_iter();
    Some(all.map(|element| (element, look_up(element, names.clone()))).collect())
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
fn coalesce<'a>(cells: &[&'a str]) -> &'a str {
    cells.iter().rev().find(|cell| **cell != NULL).copied().unwrap_or(NULL)
}

/// The place of the last of the rows with the greatest version.
fn newest((column, kind): (usize, Kind), rows: &[RowView<'_>]) -> usize {
    // What cannot be compared is refused before rows are merged.
    let versions = rows.iter().map(|row| order::of(kind, row.cell(column)).ok().flatten()).enumerate();
    versions.max_by(|(_, one), (_, other)| one.cmp(other)).map_or(0, |(place, _)| place)
}

/// The cell that stands furthest in this direction, of equal ones the first.
fn furthest<'a>(direction: Ordering, kind: Kind, cells: &[&'a str]) -> &'a str {
    // What cannot be compared is refused before rows are merged.
    let keyed = cells.iter().filter_map(|cell| order::of(kind, cell).ok().flatten().map(|key| (key, *cell)));
    let furthest = keyed.reduce(|first, next| if next.0.cmp(&first.0) == direction { next } else { first });
    furthest.map_or(NULL, |(_, cell)| cell)
}

fn fold_cells(policy: &Policy, ty: &ColumnType, cells: &[&str], into: &mut String) {
    match policy {
        Policy::Greatest => into.push_str(furthest(Ordering::Greater, ty.kind(), cells)),
        Policy::Least => into.push_str(furthest(Ordering::Less, ty.kind(), cells)),
        Policy::Union => fold_sets(ty, cells, into),
        Policy::Keep => into.push_str(cells.first().unwrap_or(&NULL)),
        // The newest is found by another column, which is a rule of its own.
        // Rows that SQL merges never meet here, but where somebody only wants to see the last one.
        Policy::Replace | Policy::Newest(_) | Policy::Sql => into.push_str(cells.last().unwrap_or(&NULL)),
        Policy::Coalesce => into.push_str(coalesce(cells)),
        Policy::JsonbMerge => fold_objects(cells, false, into),
        Policy::JsonbMergeText => fold_objects(cells, true, into),
        Policy::KeyedArray(keyed) => keyed.fold(cells, into),
    }
}

fn fold_objects(cells: &[&str], keep_text: bool, into: &mut String) {
    let mut objects = cells.iter().filter_map(|cell| Object::of(cell));
    let Some(Object(mut all)) = objects.next() else { return into.push_str(coalesce(cells)) };
    for (key, value) in objects.flat_map(|Object(later)| later) {
        match all.iter_mut().find(|(known, _)| *known == key) {
            None => all.push((key, value)),
            Some(_) if keep_text && value == "\"\"" => {}
            Some((_, earlier)) => *earlier = value,
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

fn fold_sets(ty: &ColumnType, cells: &[&str], into: &mut String) {
    let mut arrays = cells.iter().filter_map(|cell| elements(cell)).peekable();
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

impl KeyedArray {
    fn fold(&self, cells: &[&str], into: &mut String) {
        let names = self.key.iter().chain(&self.prefer).map(String::as_str);
        let mut arrays = cells.iter().filter_map(|cell| elements_with(cell, &names)).peekable();
        if arrays.peek().is_none() {
            return into.push_str(coalesce(cells));
        }
        let elements = arrays.flatten().map(|(json, found)| Element::of(json, &found.unwrap_or_default(), self));
        let mut elements: SmallVec<[Element<'_>; 4]> = elements.collect();
        // Stable: of equal keys the later element stands last.
        elements.sort_by(|a, b| a.key.cmp(&b.key).then(a.preferred.cmp(&b.preferred)));
        into.push('[');
        let mut begun = false;
        for (place, element) in elements.iter().enumerate() {
            let last_of_key = elements.get(place + 1).is_none_or(|next| next.key != element.key);
            if last_of_key {
                if std::mem::replace(&mut begun, true) {
                    into.push(',');
                }
                into.push_str(element.json);
            }
        }
        into.push(']');
    }
}

struct Element<'a> {
    key: SmallVec<[Cow<'a, str>; 2]>,
    preferred: bool,
    json: &'a str,
}

impl<'a> Element<'a> {
    /// The element in which these values of the key, and of what is preferred, were found.
    fn of(json: &'a str, found: &[Option<&'a str>], keyed: &KeyedArray) -> Self {
        let text = |place: usize| found.get(place).copied().flatten().and_then(field_text);
        let key = (0..keyed.key.len()).map(|place| text(place).unwrap_or(Cow::Borrowed(NULL))).collect();
        // Its name is the last one.
        let preferred = keyed.prefer.is_some() && text(keyed.key.len()).is_some();
        Self { key, preferred, json }
    }
}

/// The text of a JSON value as `->>` gives it; nothing for null.
fn field_text(json: &str) -> Option<Cow<'_, str>> {
    match json.as_bytes().first() {
        Some(b'n') => None,
        Some(b'"') if !json.contains('\\') => json.strip_prefix('"')?.strip_suffix('"').map(Cow::Borrowed),
        Some(b'"') => serde_json::from_str(json).ok().map(|Key(text)| text),
        Some(b'-' | b'0'..=b'9') => Some(item::number::plain(json)),
        _ => Some(Cow::Borrowed(json)),
    }
}
