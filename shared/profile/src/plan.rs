//! The plan of a table: a flat list of named values, each from attributes and earlier values, then a list of columns. How
//! it is written is in `file`, how one value becomes another in `convert`, which tables an item goes to in `tables`.

#![expect(clippy::inline_always, reason = "without it one in twelve instructions is spent on calls: it was measured")]

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU64;

use bumpalo::{Bump, collections as memory};
use item::number::plain;
use item::{Item, Text, Type, Value};
use jaq_json::Val;
use smallvec::SmallVec;
use uuid::Uuid;

use crate::convert::{
    NUL, Problem, Scalar, as_value, as_written, epoch, keep, split_extension, uuid_v5, write_as, write_string, written,
};
use crate::file::OnFailure;
use crate::jq::{self, Filter};
use crate::policy::Policy;
use crate::readable;
use crate::row::{NULL, Row, opening};
use crate::schema::{ColumnType, Kind};

/// From items to rows of a table.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) values: Vec<Slot>,
    pub(crate) columns: Vec<Slot>,
    pub(crate) parts: Vec<Part>,
    pub(crate) lookups: Vec<Lookup>,
    pub(crate) load_time: String,
}

/// A part of every row.
#[derive(Debug)]
pub(crate) enum Part {
    /// The cells of columns beside each other that are the same in all.
    Fixed(Row),
    /// The cell of the column in that place.
    Column(usize),
}

/// What a row is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) item: &'a Item<'a>,
    /// Of a row of an element.
    pub(crate) element: Option<&'a Element<'a>>,
    /// Of a change, when it was written: microseconds since 1970.
    pub(crate) written: Option<&'a str>,
}

/// An element of an attribute that is a list, a set or a map.
#[derive(Debug)]
pub(crate) struct Element<'a> {
    pub(crate) value: &'a Value<'a>,
    /// From 1, as it is written.
    pub(crate) position: String,
    /// Its name in a map.
    pub(crate) name: Option<Text<'a>>,
}

/// A named value or a column, ready to be worked out.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) name: String,
    /// Of a column, what stands in front of its cell; set when everything else is known.
    pub(crate) opening: String,
    pub(crate) origin: Origin,
    pub(crate) steps: Vec<Action>,
    pub(crate) default: Option<Constant>,
    pub(crate) on_failure: OnFailure,
    pub(crate) only_if: Vec<Reference>,
    pub(crate) ty: Option<ColumnType>,
    pub(crate) accept: Option<Vec<Type>>,
    pub(crate) required: bool,
    /// The merge policy of a column, if it cannot merge all that the type would take.
    pub(crate) checked: Option<Policy>,
    /// The kind of what is nothing but an attribute; set when everything else is known.
    pub(crate) plain: Option<Kind>,
}

/// What stands for the element of a row in a profile.
pub(crate) const ELEMENT: &str = "$element";

/// Texts and what they stand for.
pub(crate) type Lookup = HashMap<String, Constant, ahash::RandomState>;

/// Names that lead to an attribute.
#[derive(Debug)]
pub(crate) struct Way {
    names: Vec<String>,
    /// Where items have it, see [`Item::get_at`].
    place: AtomicU64,
}

impl Way {
    pub(crate) fn of(names: Vec<String>) -> Self {
        Self { names, place: AtomicU64::new(0) }
    }

    /// The first name.
    pub(crate) fn first(&self) -> Option<&str> {
        self.names.first().map(String::as_str)
    }

    /// The name, if there is only one.
    pub(crate) fn only(&self) -> Option<&str> {
        if let [name] = self.names.as_slice() { Some(name) } else { None }
    }

    /// The names as in a message.
    pub(crate) fn name(&self) -> String {
        self.names.join(".")
    }
}

/// What a value is taken from.
#[derive(Debug)]
pub(crate) enum Reference {
    /// An earlier value by its place.
    Value(usize),
    Attribute(Way),
    /// The element of the row, or what is in it.
    Element(Way),
    /// The element's place, from 1.
    Position,
    /// The element's name in a map.
    Name,
    /// When a change was written.
    Written,
}

#[derive(Debug)]
pub(crate) enum Origin {
    Reference(Reference),
    Constant(Constant),
    Template(Vec<Piece>),
    Jq(Box<Filter>),
    /// Each field's name as it is written, `"name":`.
    Object(Vec<(String, Reference)>),
    Array(Vec<Reference>),
    /// Entries by value, and what is filled in where a name is missing.
    Map(Vec<(Reference, Reference)>, Vec<(String, Constant)>),
    LoadTime,
    Null,
    /// Everything but that.
    Rest(Taken),
}

/// What a rest leaves out, because other columns or tables take it.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Attributes of the item, or names in the element.
    pub(crate) names: HashSet<String, ahash::RandomState>,
    /// The element as a whole, which is nothing but a value where it is no map.
    pub(crate) element: bool,
}

impl Origin {
    /// The attributes and earlier values that it is made of.
    pub(crate) fn references(&self) -> Vec<&Reference> {
        match self {
            Self::Reference(reference) => vec![reference],
            Self::Template(pieces) => {
                let references = pieces.iter().map(|piece| match piece {
                    Piece::Text(_) => None,
                    Piece::Reference(reference) => Some(reference),
                });
                references.flatten().collect()
            }
            Self::Object(fields) => fields.iter().map(|(_, reference)| reference).collect(),
            Self::Array(references) => references.iter().collect(),
            Self::Map(entries, _) => entries.iter().flat_map(|(name, value)| [name, value]).collect(),
            Self::Constant(_) | Self::Jq(_) | Self::LoadTime | Self::Null | Self::Rest(_) => Vec::new(),
        }
    }

    /// The name of the attribute that it is.
    fn attribute(&self) -> Option<String> {
        match self {
            Self::Reference(Reference::Attribute(way)) => Some(way.name()),
            Self::Reference(Reference::Element(way)) => {
                let dot = if way.names.is_empty() { "" } else { "." };
                Some(format!("{ELEMENT}{dot}{}", way.name()))
            }
            _ => None,
        }
    }

    /// The earlier values that it is made of.
    fn values(&self) -> Vec<usize> {
        let values = self.references().into_iter().map(|reference| match reference {
            Reference::Value(place) => Some(*place),
            _ => None,
        });
        values.flatten().collect()
    }
}

#[derive(Debug)]
pub(crate) enum Piece {
    Text(String),
    Reference(Reference),
}

#[derive(Debug)]
pub(crate) enum Action {
    Trim,
    Lower,
    Upper,
    NullIfEmpty,
    Extension,
    Stem,
    StripPrefix(String),
    StripSuffix(String),
    Lookup(usize),
    UuidV5(Uuid),
    Split(String, i32),
    Epoch(i128),
}

/// A value that stands in the profile.
#[derive(Clone, Debug)]
pub(crate) enum Constant {
    Text(String),
    Number(String),
    Bool(bool),
    Json(String),
}

impl Constant {
    pub(crate) fn scalar(&self) -> Scalar<'_> {
        match self {
            Self::Text(text) => Scalar::Text(text),
            Self::Number(text) => Scalar::Number(text),
            Self::Bool(truth) => Scalar::Bool(written(*truth)),
            Self::Json(json) => Scalar::Json(json),
        }
    }
}

impl Plan {
    /// For each column, whether the time of the load is in it, which a second load does not have.
    pub(crate) fn of_load_time(&self) -> Vec<bool> {
        let mut values = Vec::with_capacity(self.values.len());
        // A plan of which values are wrong lacks them, and is asked before it is refused.
        let known = |slot: &Slot, values: &[bool]| {
            let of_load_time = |place: usize| values.get(place).copied().unwrap_or_default();
            matches!(slot.origin, Origin::LoadTime) || slot.origin.values().into_iter().any(of_load_time)
        };
        for slot in &self.values {
            values.push(known(slot, &values));
        }
        self.columns.iter().map(|slot| known(slot, &values)).collect()
    }

    /// Makes ready what is the same in every row. What cannot be written is complained of with the first row.
    pub(crate) fn fix(mut self) -> Self {
        for slot in self.values.iter_mut().chain(&mut self.columns) {
            slot.plain = slot.plain();
        }
        for (place, column) in self.columns.iter_mut().enumerate() {
            column.opening = opening(&column.name, place);
        }
        let (nothing, memory) = (Item::default(), Bump::new());
        let known = Known::of(Source::of(&nothing), &memory, 0);
        let mut parts = Vec::new();
        for (place, column) in self.columns.iter().enumerate() {
            let alone = matches!(column.origin, Origin::Constant(_) | Origin::LoadTime | Origin::Null);
            let mut cell = Row::default();
            if !alone || !column.only_if.is_empty() || self.cell(column, &known, &mut cell).is_err() {
                parts.push(Part::Column(place));
            } else if let Some(Part::Fixed(before)) = parts.last_mut() {
                before.append(cell.view());
            } else {
                parts.push(Part::Fixed(cell));
            }
        }
        drop(known);
        self.parts = parts;
        self
    }

    /// Writes a row; what is made on the way lies in `memory`.
    ///
    /// # Errors
    /// Why the item is rejected, in one sentence. The row is then of no use.
    pub(crate) fn row<'a>(&'a self, source: Source<'a>, memory: &'a Bump, row: &mut Row) -> Result<(), Problem> {
        row.clear();
        let mut known = Known::of(source, memory, self.values.len());
        for value in &self.values {
            let made = match self.make(value, &known, row.compose()) {
                Ok(made) => made,
                Err(problem) => value.instead(problem)?,
            };
            known.values.push(made);
        }
        for part in &self.parts {
            match part {
                Part::Fixed(cells) => row.append(cells.view()),
                Part::Column(place) => self.cell(&self.columns[*place], &known, row)?,
            }
        }
        Ok(())
    }

    /// Writes the cells of these columns, and null for the others; values that cannot be made are nothing.
    pub(crate) fn cells_of<'a>(
        &'a self,
        columns: &[usize],
        source: Source<'a>,
        memory: &'a Bump,
        row: &mut Row,
    ) -> Result<(), Problem> {
        row.clear();
        let mut known = Known::of(source, memory, self.values.len());
        for value in &self.values {
            let made = self.make(value, &known, row.compose()).unwrap_or(Scalar::Null);
            known.values.push(made);
        }
        for (place, column) in self.columns.iter().enumerate() {
            if columns.contains(&place) {
                self.cell(column, &known, row)?;
            } else {
                row.push(NULL);
            }
        }
        Ok(())
    }

    /// The attributes of which a column is made, by way of values or not; the first name of each.
    pub(crate) fn attributes_of(&self, column: usize) -> Vec<String> {
        let mut names = Vec::new();
        let mut slots = vec![&self.columns[column]];
        while let Some(slot) = slots.pop() {
            // No attribute has this name: what a filter looks at is not known.
            if matches!(slot.origin, Origin::Jq(_)) {
                names.push(format!("the jq filter of {}", slot.name));
            }
            for reference in slot.origin.references().into_iter().chain(&slot.only_if) {
                match reference {
                    Reference::Value(place) => slots.push(&self.values[*place]),
                    Reference::Attribute(way) => names.extend(way.first().map(str::to_owned)),
                    Reference::Element(_) | Reference::Position | Reference::Name | Reference::Written => {}
                }
            }
        }
        names
    }

    /// Writes the cell of a column, with its name.
    #[inline(always)]
    pub(crate) fn cell<'a>(&'a self, column: &'a Slot, known: &Known<'a>, row: &mut Row) -> Result<(), Problem> {
        // Every column has a type.
        let Some(ty) = &column.ty else { return Ok(()) };
        row.open(&column.opening);
        let into = row.compose();
        if let Some(json) = column.attribute(known).and_then(|(kind, value)| as_written(kind, value)) {
            into.push_str(json);
            row.end_cell();
            return Ok(());
        }
        let start = into.len();
        if let Err(problem) = self.write(column, ty, known, into) {
            into.truncate(start);
            column.write(ty, column.instead(problem)?, into)?;
        }
        row.end_cell();
        Ok(())
    }

    /// Appends what the cell of a column holds unless there is a problem; after one it is of no use.
    #[inline(always)]
    pub(crate) fn write<'a>(
        &'a self,
        column: &'a Slot,
        ty: &ColumnType,
        known: &Known<'a>,
        into: &mut String,
    ) -> Result<(), Problem> {
        let start = into.len();
        if column.composes_its_cell(ty) {
            compose(&column.origin, known, into).map_err(|problem| column.complain(&problem))?;
        } else {
            let scalar = match column.as_it_stands(known) {
                Some(found) => found,
                None => self.evaluate(column, known, into)?,
            };
            column.write(ty, scalar, into)?;
        }
        if column.is_checked() { column.check(ty, &into[start..]) } else { Ok(()) }
    }

    /// Works out a value and makes it one of its type, if it has one. What is written behind the `scratch` on the way is
    /// gone afterwards.
    #[inline(always)]
    pub(crate) fn make<'a>(
        &'a self,
        value: &'a Slot,
        known: &Known<'a>,
        scratch: &mut String,
    ) -> Result<Scalar<'a>, Problem> {
        if let Some(scalar) = value.attribute(known).and_then(|(kind, value)| as_value(kind, value)) {
            return Ok(scalar);
        }
        let scalar = match value.as_it_stands(known) {
            Some(found) => found,
            None => self.evaluate(value, known, scratch)?,
        };
        match &value.ty {
            Some(ty) if !scalar.is_null() => make_typed(ty, value, scalar, known.memory),
            _ => Ok(scalar),
        }
    }

    /// Works out a value, see [`Plan::make`].
    fn evaluate<'a>(&'a self, value: &'a Slot, known: &Known<'a>, scratch: &mut String) -> Result<Scalar<'a>, Problem> {
        let mut scalar = match &value.origin {
            Origin::Reference(reference) => known.find(reference),
            Origin::Constant(constant) => constant.scalar(),
            Origin::LoadTime => Scalar::Text(&self.load_time),
            Origin::Null => Scalar::Null,
            Origin::Template(pieces) => fill_template(pieces, known).map_err(|problem| value.complain(&problem))?,
            origin => make_several(origin, known, scratch).map_err(|problem| value.complain(&problem))?,
        };
        for step in &value.steps {
            if scalar.is_null() {
                break;
            }
            scalar = self.step(step, scalar, known.memory).map_err(|problem| value.complain(&problem))?;
        }
        if scalar.is_null()
            && let Some(default) = &value.default
        {
            scalar = default.scalar();
        }
        if value.only_if.iter().any(|reference| known.find(reference).is_null()) {
            scalar = Scalar::Null;
        }
        if value.required && scalar.is_null() {
            return Err(value.missing(known.source));
        }
        Ok(scalar)
    }

    #[inline(always)]
    pub(crate) fn step<'a>(
        &'a self,
        step: &Action,
        scalar: Scalar<'a>,
        memory: &'a Bump,
    ) -> Result<Scalar<'a>, Problem> {
        let Some(text) = scalar.text(memory)? else { return Ok(Scalar::Null) };
        let made = match step {
            Action::Trim => Some(text.trim()),
            Action::Lower if is_lower(text) => Some(text),
            Action::Lower => Some(keep(text.to_lowercase().into(), memory)),
            Action::Upper => Some(keep(text.to_uppercase().into(), memory)),
            Action::NullIfEmpty => Some(text).filter(|text| !text.is_empty()),
            Action::Extension => split_extension(text).map(|(_, extension)| extension),
            Action::Stem => split_extension(text).map(|(stem, _)| stem),
            Action::StripPrefix(prefix) => Some(text.strip_prefix(prefix.as_str()).unwrap_or(text)),
            Action::StripSuffix(suffix) => Some(text.strip_suffix(suffix.as_str()).unwrap_or(text)),
            Action::Lookup(table) => {
                let table = &self.lookups[*table];
                // A number may be written in many ways, a text in one.
                let number = matches!(scalar, Scalar::Number(_) | Scalar::Raw(Value::N(_)));
                let found = table.get(text).or_else(|| table.get(shortest(&plain(text))).filter(|_| number));
                return Ok(found.map_or(Scalar::Null, Constant::scalar));
            }
            Action::Split(by, place) => split_part(text, by, *place),
            Action::UuidV5(namespace) => {
                Some(&*memory.alloc_str(uuid_v5(namespace, text).encode_lower(&mut Uuid::encode_buffer())))
            }
            Action::Epoch(units) => Some(keep(epoch(text, *units)?.into(), memory)),
        };
        Ok(made.map_or(Scalar::Null, Scalar::Text))
    }
}

/// A number that is written out, without zeros at its end.
fn shortest(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

/// Whether the text is in lower case for sure.
fn is_lower(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase())
}

/// One of the parts of a text: the first is 1, the last -1.
fn split_part<'a>(text: &'a str, by: &str, place: i32) -> Option<&'a str> {
    let before = usize::try_from(place.unsigned_abs()).ok()?.checked_sub(1)?;
    if place > 0 { text.split(by).nth(before) } else { text.rsplit(by).nth(before) }
}

/// Writes attributes as the inside of an object.
fn write_attributes<'a>(
    attributes: impl Iterator<Item = &'a (Text<'a>, Value<'a>)>,
    into: &mut String,
) -> Result<(), Problem> {
    for (place, (name, value)) in attributes.enumerate() {
        if name.has_nul() {
            return Err(NUL.into());
        }
        into.push_str(if place == 0 { "" } else { "," });
        into.push_str(name.json());
        into.push(':');
        Scalar::Raw(value).write_json(into)?;
    }
    Ok(())
}

/// Makes a value one of the type.
fn make_typed<'a>(ty: &ColumnType, value: &Slot, scalar: Scalar<'a>, memory: &'a Bump) -> Result<Scalar<'a>, Problem> {
    // The common case needs no new text.
    if let (Kind::Text, Scalar::Raw(Value::S(text))) = (ty.kind(), scalar)
        && value.accept.is_none()
        && !value.gives_way()
        && !ty.is_array()
        && !text.has_nul()
    {
        return Ok(Scalar::Text(keep(text.get(), memory)));
    }
    let mut json = String::new();
    write_as(ty, value.accept.as_deref(), scalar, &mut json).map_err(|problem| value.complain(&problem))?;
    value.check(ty, &json)?;
    let kept = |json: String| keep(json.into(), memory);
    Ok(match (ty.is_array(), ty.kind()) {
        (true, _) | (_, Kind::Json) => Scalar::Json(kept(json)),
        (_, Kind::Integer(..) | Kind::Numeric | Kind::Float) => Scalar::Number(kept(json)),
        (_, Kind::Boolean) => Scalar::Bool(written(json == "true")),
        // The checked text itself, without the detour over JSON.
        _ => scalar.text(memory)?.map_or(Scalar::Null, Scalar::Text),
    })
}

/// Makes a value of several, or by a filter.
#[inline(never)]
fn make_several<'a>(origin: &Origin, known: &Known<'a>, scratch: &mut String) -> Result<Scalar<'a>, Problem> {
    match origin {
        Origin::Jq(filter) => {
            let found = filter.one(known.source)?;
            found.map_or(Ok(Scalar::Null), |found| of_jq(&found, known.memory))
        }
        Origin::Rest(taken) if left(taken, known.source).next().is_none() => {
            let value = known.source.element.map(|element| element.value);
            Ok(of_attribute(value.filter(|value| !taken.element && !matches!(value, Value::M(_)))))
        }
        _ => {
            let start = scratch.len();
            let composed = compose(origin, known, scratch);
            let json = &*known.memory.alloc_str(&scratch[start..]);
            scratch.truncate(start);
            composed.map(|()| Scalar::Json(json))
        }
    }
}

/// The attributes that no other column takes.
fn left<'a>(taken: &Taken, source: Source<'a>) -> impl Iterator<Item = &'a (Text<'a>, Value<'a>)> {
    source.attributes().iter().filter(|(name, _)| !taken.names.contains(&*name.get()))
}

/// Writes an object or an array of several values.
fn compose(origin: &Origin, known: &Known<'_>, into: &mut String) -> Result<(), Problem> {
    match origin {
        Origin::Object(fields) => {
            into.push('{');
            for (place, (name, reference)) in fields.iter().enumerate() {
                into.push_str(if place == 0 { "" } else { "," });
                into.push_str(name);
                known.find(reference).write_json(into)?;
            }
            into.push('}');
        }
        Origin::Array(references) => {
            into.push('[');
            for (place, reference) in references.iter().enumerate() {
                into.push_str(if place == 0 { "" } else { "," });
                known.find(reference).write_json(into)?;
            }
            into.push(']');
        }
        Origin::Map(entries, fill) => write_map(entries, fill, known, into)?,
        Origin::Rest(taken) => {
            into.push('{');
            write_attributes(left(taken, known.source), into)?;
            into.push('}');
        }
        Origin::Reference(_)
        | Origin::Constant(_)
        | Origin::Template(_)
        | Origin::Jq(_)
        | Origin::LoadTime
        | Origin::Null => {}
    }
    Ok(())
}

/// What a filter has made: texts, numbers and booleans as such, the rest as JSON.
fn of_jq<'a>(value: &Val, memory: &'a Bump) -> Result<Scalar<'a>, Problem> {
    let mut json = String::new();
    jq::write(value, &mut json)?;
    Ok(match value {
        Val::Bool(truth) => Scalar::Bool(written(*truth)),
        Val::Num(_) => Scalar::Number(memory.alloc_str(&json)),
        // It was a text a moment ago.
        Val::TStr(text) => Scalar::Text(memory.alloc_str(&String::from_utf8_lossy(text))),
        _ => Scalar::Json(memory.alloc_str(&json)),
    })
}

/// Writes an object of the entries that have a name and a value, the first of each name.
fn write_map(
    entries: &[(Reference, Reference)],
    fill: &[(String, Constant)],
    known: &Known<'_>,
    into: &mut String,
) -> Result<(), Problem> {
    let mut names: SmallVec<[&str; 8]> = SmallVec::new();
    into.push('{');
    let begin = into.len();
    let separate = |into: &mut String, name: &str| {
        into.push_str(if into.len() > begin { "," } else { "" });
        write_string(name, into).map(|()| into.push(':'))
    };
    for (name, value) in entries {
        let (Some(name), value) = (known.find(name).text(known.memory)?, known.find(value)) else { continue };
        if !value.is_null() && !names.contains(&name) {
            separate(into, name)?;
            value.write_json(into)?;
            names.push(name);
        }
    }
    for (name, constant) in fill {
        if !names.contains(&name.as_str()) {
            separate(into, name)?;
            constant.scalar().write_json(into)?;
        }
    }
    into.push('}');
    Ok(())
}

/// The text of a template; nothing where one of its pieces is nothing.
pub(crate) fn fill_template<'a>(pieces: &[Piece], known: &Known<'a>) -> Result<Scalar<'a>, Problem> {
    let mut text = memory::String::with_capacity_in(80, known.memory);
    for piece in pieces {
        match piece {
            Piece::Text(literal) => text.push_str(literal),
            Piece::Reference(reference) => match known.find(reference).text(known.memory)? {
                Some(part) => text.push_str(part),
                None => return Ok(Scalar::Null),
            },
        }
    }
    Ok(Scalar::Text(text.into_bump_str()))
}

/// What is known when a value is made.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    pub(crate) source: Source<'a>,
    /// Those that were made before.
    pub(crate) values: memory::Vec<'a, Scalar<'a>>,
    /// For texts that are made; they are gone with the row.
    pub(crate) memory: &'a Bump,
}

impl<'a> Known<'a> {
    /// With no value yet, but room for so many.
    pub(crate) fn of(source: Source<'a>, memory: &'a Bump, values: usize) -> Self {
        Self { source, values: memory::Vec::with_capacity_in(values, memory), memory }
    }

    /// What a value is taken from.
    #[inline(always)]
    pub(crate) fn find(&self, reference: &Reference) -> Scalar<'a> {
        if let Reference::Value(place) = reference { self.values[*place] } else { self.find_other(reference) }
    }

    #[inline(never)]
    fn find_other(&self, reference: &Reference) -> Scalar<'a> {
        let Source { element, written, .. } = self.source;
        match reference {
            Reference::Position => element.map_or(Scalar::Null, |element| Scalar::Number(&element.position)),
            Reference::Name => {
                let name = element.and_then(|element| element.name);
                name.map_or(Scalar::Null, |name| Scalar::Text(keep(name.get(), self.memory)))
            }
            Reference::Written => written.map_or(Scalar::Null, Scalar::Number),
            Reference::Value(_) | Reference::Attribute(_) | Reference::Element(_) => {
                of_attribute(self.source.find(reference))
            }
        }
    }
}

#[inline]
fn of_attribute<'a>(value: Option<&'a Value<'a>>) -> Scalar<'a> {
    match value {
        None | Some(Value::Null) => Scalar::Null,
        Some(value) => Scalar::Raw(value),
    }
}

impl<'a> Source<'a> {
    /// An item as it is.
    pub(crate) fn of(item: &'a Item<'a>) -> Self {
        Self { item, element: None, written: None }
    }

    /// The attribute or the part of the element.
    pub(crate) fn find(self, reference: &Reference) -> Option<&'a Value<'a>> {
        match reference {
            Reference::Attribute(way) => self.follow(way),
            Reference::Element(way) => follow(self.element?.value, &way.names),
            Reference::Value(_) | Reference::Position | Reference::Name | Reference::Written => None,
        }
    }

    /// The attribute to which the names lead.
    #[inline]
    pub(crate) fn follow(self, way: &Way) -> Option<&'a Value<'a>> {
        let (first, rest) = way.names.split_first()?;
        let value = self.item.get_at(first, &way.place)?;
        if rest.is_empty() { Some(value) } else { follow(value, rest) }
    }

    /// The attributes of the item, or of the element if it is a map.
    fn attributes(self) -> &'a [(Text<'a>, Value<'a>)] {
        match self.element.map(|element| element.value) {
            None => self.item.attributes(),
            Some(Value::M(entries)) => entries,
            Some(_) => &[],
        }
    }
}

/// What the names lead to: into maps, and by number into lists.
fn follow<'a>(mut value: &'a Value<'a>, names: &[String]) -> Option<&'a Value<'a>> {
    for name in names {
        value = match value {
            Value::M(entries) => {
                entries.iter().find(|(text, _)| text.get() == name.as_str()).map(|(_, value)| value)?
            }
            Value::L(values) => values.get(name.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(value)
}

impl Slot {
    /// The kind of what is nothing but an attribute, of which nothing is asked but that it is of that kind.
    fn plain(&self) -> Option<Kind> {
        let attribute = matches!(self.origin, Origin::Reference(Reference::Attribute(_)));
        let asks = self.accept.is_some() || self.is_checked() || !self.steps.is_empty() || !self.only_if.is_empty();
        let ty = self.ty.as_ref().filter(|ty| attribute && !asks && !ty.is_array())?;
        Some(ty.kind())
    }

    /// The attribute that it is nothing but, and the kind that this should be of.
    #[inline]
    fn attribute<'a>(&self, known: &Known<'a>) -> Option<(Kind, &'a Value<'a>)> {
        match (self.plain, &self.origin) {
            (Some(kind), Origin::Reference(Reference::Attribute(way))) => Some((kind, known.source.follow(way)?)),
            _ => None,
        }
    }

    /// The earlier value or the attribute that it is, if it is one as it stands, and not null. It need not be evaluated.
    #[inline]
    fn as_it_stands<'a>(&self, known: &Known<'a>) -> Option<Scalar<'a>> {
        let Origin::Reference(reference) = &self.origin else { return None };
        let alone = self.steps.is_empty() && self.only_if.is_empty();
        alone.then(|| known.find(reference)).filter(|scalar| !scalar.is_null())
    }

    /// Writes a value as one of the type.
    #[inline(always)]
    fn write(&self, ty: &ColumnType, scalar: Scalar<'_>, into: &mut String) -> Result<(), Problem> {
        write_as(ty, self.accept.as_deref(), scalar, into).map_err(|problem| self.complain(&problem))
    }

    /// Whether what it is composed of can be written as its cell at once.
    fn composes_its_cell(&self, ty: &ColumnType) -> bool {
        let composed = matches!(self.origin, Origin::Object(_) | Origin::Array(_) | Origin::Map(..));
        composed && ty.kind() == Kind::Json && !ty.is_array() && self.steps.is_empty() && self.only_if.is_empty()
    }

    /// Whether there is more to ask of a cell than that it could be written.
    fn is_checked(&self) -> bool {
        self.checked.is_some() || self.gives_way()
    }

    /// Whether something stands in the place of a value that cannot be one of the type.
    pub(crate) fn gives_way(&self) -> bool {
        self.on_failure != OnFailure::Reject
    }

    /// Checks that rows with this cell can be merged, and that PostgreSQL can read it, if something else would do.
    fn check(&self, ty: &ColumnType, cell: &str) -> Result<(), Problem> {
        let checked = self.checked.as_ref().map_or(Ok(()), |policy| policy.check(ty, cell));
        let checked = checked.and_then(|()| if self.gives_way() { readable::check(ty, cell) } else { Ok(()) });
        checked.map_err(|problem| self.complain(&problem))
    }

    /// What stands in the place of a value that there is a problem with.
    pub(crate) fn instead(&self, problem: Problem) -> Result<Scalar<'_>, Problem> {
        match self.on_failure {
            OnFailure::Reject => Err(problem),
            OnFailure::Null => Ok(Scalar::Null),
            OnFailure::Default => Ok(self.default.as_ref().map_or(Scalar::Null, Constant::scalar)),
        }
    }

    /// Whether it is made of the element as a whole.
    pub(crate) fn takes_element(&self) -> bool {
        let whole = |reference: &&Reference| matches!(reference, Reference::Element(way) if way.names.is_empty());
        self.origin.references().iter().any(whole)
    }

    /// What is taken as a whole: attributes, or the names of an element. Of one that is only looked into, the rest keeps
    /// everything.
    pub(crate) fn taken(&self, of_element: bool) -> Vec<&str> {
        let names = self.origin.references().into_iter().map(|reference| match reference {
            Reference::Attribute(way) if !of_element => way.only(),
            Reference::Element(way) if of_element => way.only(),
            _ => None,
        });
        names.flatten().collect()
    }

    /// `attribute `url` is N, but S is wanted`.
    #[cold]
    fn complain(&self, problem: &str) -> Problem {
        match self.origin.attribute() {
            Some(name) => format!("attribute `{name}` {problem}").into(),
            None => format!("`{}` {problem}", self.name).into(),
        }
    }

    #[cold]
    fn missing(&self, source: Source<'_>) -> Problem {
        match (self.origin.attribute(), &self.origin) {
            (Some(name), Origin::Reference(reference)) if source.find(reference).is_none() => {
                format!("attribute `{name}` is missing").into()
            }
            _ => self.complain("is null, but a value is required"),
        }
    }
}
