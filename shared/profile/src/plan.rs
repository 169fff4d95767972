//! The plan of a table: a flat list of named values, each from attributes and earlier values, then a list of columns. How
//! it is written is in `file`, how one value becomes another in `convert`, which tables an item goes to in `tables`.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicUsize;

use item::number::plain;
use item::{Item, Text, Type, Value};
use jaq_json::Val;

use crate::convert::{NUL, Scalar, epoch, is_integer_below, split_extension, uuid_v5, write_as, write_string, written};
use crate::file::OnFailure;
use crate::jq::{self, Filter};
use crate::policy::Policy;
use crate::readable;
use crate::row::{NULL, Row};
use crate::schema::{ColumnType, Kind};

/// From items to rows of a table.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) values: Vec<Slot>,
    pub(crate) columns: Vec<Slot>,
    pub(crate) lookups: Vec<Lookup>,
    pub(crate) load_time: String,
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
    /// The JSON text of a column that is the same in every row.
    pub(crate) fixed: Option<String>,
}

/// What stands for the element of a row in a profile.
pub(crate) const ELEMENT: &str = "$element";

/// Texts and what they stand for.
pub(crate) type Lookup = HashMap<String, Constant, ahash::RandomState>;

/// Names that lead to an attribute.
#[derive(Debug)]
pub(crate) struct Way {
    names: Vec<String>,
    /// Where the last item had it.
    place: AtomicUsize,
}

impl Way {
    pub(crate) fn of(names: Vec<String>) -> Self {
        Self { names, place: AtomicUsize::new(0) }
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
    /// Field names as JSON strings.
    Object(Vec<(String, Reference)>),
    Array(Vec<Reference>),
    /// Entries by value, and what is filled in where a name is missing.
    Map(Vec<(Reference, Reference)>, Vec<(String, Constant)>),
    LoadTime,
    Null,
    /// Every attribute but these.
    Rest(Taken),
}

/// Names of attributes.
pub(crate) type Taken = HashSet<String, ahash::RandomState>;

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
    UuidV5(uuid::Uuid),
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
            Self::Text(text) => Scalar::Text(Cow::Borrowed(text)),
            Self::Number(text) => Scalar::Number(Cow::Borrowed(text)),
            Self::Bool(truth) => Scalar::Bool(written(*truth)),
            Self::Json(json) => Scalar::Json(Cow::Borrowed(json)),
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

    /// Writes once what is the same in every row. What cannot be written is complained of with the first row.
    pub(crate) fn fix(mut self) -> Self {
        let nothing = Item::default();
        for place in 0..self.columns.len() {
            let column = &self.columns[place];
            let alone = matches!(column.origin, Origin::Constant(_) | Origin::LoadTime | Origin::Null);
            let (mut scalar, mut json) = (Scalar::Null, String::new());
            if let Some(ty) = &column.ty
                && alone
                && column.only_if.is_empty()
                && self.evaluate(column, Source::of(&nothing), &[], &mut scalar).is_ok()
                && write_as(ty, column.accept.as_deref(), &scalar, &mut json).is_ok()
                && column.check(ty, &json).is_ok()
            {
                drop(scalar);
                self.columns[place].fixed = Some(json);
            }
        }
        self
    }

    /// Writes a row.
    ///
    /// # Errors
    /// Why the item is rejected, in one sentence. The row is then of no use.
    pub(crate) fn row<'a>(&'a self, source: Source<'a>, row: &mut Row) -> Result<(), String> {
        row.clear();
        let mut known: Vec<_> = self.values.iter().map(|_| Scalar::Null).collect();
        for (place, value) in self.values.iter().enumerate() {
            let (before, rest) = known.split_at_mut(place);
            let scalar = &mut rest[0];
            if let Err(problem) = self.make(value, source, before, scalar) {
                *scalar = value.instead(problem)?;
            }
        }
        self.columns.iter().try_for_each(|column| self.cell(column, source, &known, row))
    }

    /// Writes the cells of these columns, and null for the others; values that cannot be made are nothing.
    pub(crate) fn cells_of<'a>(&'a self, columns: &[usize], source: Source<'a>, row: &mut Row) -> Result<(), String> {
        row.clear();
        let mut known: Vec<_> = self.values.iter().map(|_| Scalar::Null).collect();
        for (place, value) in self.values.iter().enumerate() {
            let (before, rest) = known.split_at_mut(place);
            if self.make(value, source, before, &mut rest[0]).is_err() {
                rest[0] = Scalar::Null;
            }
        }
        for (place, column) in self.columns.iter().enumerate() {
            if columns.contains(&place) {
                self.cell(column, source, &known, row)?;
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

    /// Writes the cell of a column.
    pub(crate) fn cell<'a>(
        &'a self,
        column: &'a Slot,
        source: Source<'a>,
        known: &[Scalar<'a>],
        row: &mut Row,
    ) -> Result<(), String> {
        if let Some(json) = &column.fixed {
            row.push(json);
            return Ok(());
        }
        // Every column has a type.
        let Some(ty) = &column.ty else { return Ok(()) };
        let into = row.compose();
        let start = into.len();
        if let Err(problem) = self.write(column, ty, source, known, into) {
            into.truncate(start);
            column.write(ty, &column.instead(problem)?, into)?;
        }
        row.end_cell();
        Ok(())
    }

    /// Appends what the cell of a column holds unless there is a problem; after one it is of no use.
    #[inline]
    pub(crate) fn write<'a>(
        &'a self,
        column: &'a Slot,
        ty: &ColumnType,
        source: Source<'a>,
        known: &[Scalar<'a>],
        into: &mut String,
    ) -> Result<(), String> {
        let start = into.len();
        if let Some(found) = column.as_it_stands(source, known) {
            column.write(ty, &found, into)?;
        } else {
            let mut scalar = Scalar::Null;
            self.evaluate(column, source, known, &mut scalar)?;
            column.write(ty, &scalar, into)?;
        }
        if column.is_checked() { column.check(ty, &into[start..]) } else { Ok(()) }
    }

    /// Works out a value and makes it one of its type, if it has one.
    pub(crate) fn make<'a>(
        &'a self,
        value: &'a Slot,
        source: Source<'a>,
        known: &[Scalar<'a>],
        scalar: &mut Scalar<'a>,
    ) -> Result<(), String> {
        match value.as_it_stands(source, known) {
            Some(found) => *scalar = found.into_owned(),
            None => self.evaluate(value, source, known, scalar)?,
        }
        match &value.ty {
            Some(ty) if !scalar.is_null() => make_typed(ty, value, scalar),
            _ => Ok(()),
        }
    }

    /// Works out a value, which is nothing before. (Scalars are large to move: they are made where they stay.)
    fn evaluate<'a>(
        &'a self,
        value: &'a Slot,
        source: Source<'a>,
        known: &[Scalar<'a>],
        scalar: &mut Scalar<'a>,
    ) -> Result<(), String> {
        let find = |reference: &Reference| find(reference, source, known);
        let complain = |problem: String| value.complain(&problem);
        match &value.origin {
            Origin::Reference(reference) => *scalar = find(reference).into_owned(),
            Origin::Constant(constant) => *scalar = constant.scalar(),
            Origin::LoadTime => *scalar = Scalar::Text(Cow::Borrowed(&self.load_time)),
            Origin::Null => {}
            Origin::Template(pieces) => *scalar = fill_template(pieces, find).map_err(complain)?,
            Origin::Jq(filter) => {
                if let Some(found) = filter.one(source).map_err(complain)? {
                    *scalar = of_jq(&found).map_err(complain)?;
                }
            }
            Origin::Object(fields) => {
                let json = compose('{', '}', |into| {
                    for (place, (name, reference)) in fields.iter().enumerate() {
                        into.push_str(if place == 0 { "" } else { "," });
                        into.push_str(name);
                        into.push(':');
                        find(reference).write_json(into)?;
                    }
                    Ok(())
                });
                *scalar = json.map_err(complain)?;
            }
            Origin::Array(references) => {
                let json = compose('[', ']', |into| {
                    for (place, reference) in references.iter().enumerate() {
                        into.push_str(if place == 0 { "" } else { "," });
                        find(reference).write_json(into)?;
                    }
                    Ok(())
                });
                *scalar = json.map_err(complain)?;
            }
            Origin::Rest(taken) => {
                let all = source.attributes();
                let mut left = all.iter().filter(|(name, _)| !taken.contains(&*name.get())).peekable();
                if left.peek().is_some() {
                    *scalar = compose('{', '}', |into| write_attributes(left, into)).map_err(complain)?;
                }
            }
            Origin::Map(entries, fill) => {
                *scalar = compose('{', '}', |into| write_map(entries, fill, find, into)).map_err(complain)?;
            }
        }
        for step in &value.steps {
            if scalar.is_null() {
                break;
            }
            *scalar = self.step(step, scalar).map_err(complain)?;
        }
        if scalar.is_null()
            && let Some(default) = &value.default
        {
            *scalar = default.scalar();
        }
        if value.only_if.iter().any(|reference| find(reference).is_null()) {
            *scalar = Scalar::Null;
        }
        if value.required && scalar.is_null() {
            return Err(value.missing(source));
        }
        Ok(())
    }

    pub(crate) fn step<'a>(&'a self, step: &Action, scalar: &Scalar<'a>) -> Result<Scalar<'a>, String> {
        let Some(text) = scalar.text()? else { return Ok(Scalar::Null) };
        let some = |text: Option<Cow<'a, str>>| text.map_or(Scalar::Null, Scalar::Text);
        Ok(match step {
            Action::Trim => Scalar::Text(Cow::Owned(text.trim().to_owned())),
            Action::Lower if is_lower(&text) => Scalar::Text(text),
            Action::Lower => Scalar::Text(Cow::Owned(text.to_lowercase())),
            Action::Upper => Scalar::Text(Cow::Owned(text.to_uppercase())),
            Action::NullIfEmpty if text.is_empty() => Scalar::Null,
            Action::NullIfEmpty => Scalar::Text(text),
            Action::Extension => some(part(text, |text| split_extension(text).map(|(_, extension)| extension))),
            Action::Stem => some(part(text, |text| split_extension(text).map(|(stem, _)| stem))),
            Action::StripPrefix(prefix) => {
                some(part(text, |text| Some(text.strip_prefix(prefix.as_str()).unwrap_or(text))))
            }
            Action::StripSuffix(suffix) => {
                some(part(text, |text| Some(text.strip_suffix(suffix.as_str()).unwrap_or(text))))
            }
            Action::Lookup(table) => match self.lookups[*table].get(&*plain(&text)) {
                Some(constant) => constant.scalar(),
                None => Scalar::Null,
            },
            Action::Split(by, place) => some(part(text, |text| split_part(text, by, *place))),
            Action::UuidV5(namespace) => Scalar::Text(Cow::Owned(uuid_v5(namespace, &text))),
            Action::Epoch(units) => Scalar::Text(Cow::Owned(epoch(&text, *units)?)),
        })
    }
}

/// Whether the text is in lower case for sure.
fn is_lower(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase())
}

/// A part of a text, borrowed where the text is.
fn part(text: Cow<'_, str>, cut: impl Fn(&str) -> Option<&str>) -> Option<Cow<'_, str>> {
    match text {
        Cow::Borrowed(text) => cut(text).map(Cow::Borrowed),
        Cow::Owned(text) => cut(&text).map(|part| Cow::Owned(part.to_owned())),
    }
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
) -> Result<(), String> {
    for (place, (name, value)) in attributes.enumerate() {
        if name.has_nul() {
            return Err(NUL.to_owned());
        }
        into.push_str(if place == 0 { "" } else { "," });
        into.push_str(name.json());
        into.push(':');
        Scalar::Raw(value).write_json(into)?;
    }
    Ok(())
}

/// Makes a value one of the type.
fn make_typed(ty: &ColumnType, value: &Slot, scalar: &mut Scalar<'_>) -> Result<(), String> {
    // The common cases need no new text.
    match (ty.is_array(), ty.kind(), &*scalar) {
        _ if value.gives_way() => {}
        (false, Kind::Text, Scalar::Raw(Value::S(text))) if !text.has_nul() => {
            *scalar = Scalar::Text(text.get());
            return Ok(());
        }
        (false, Kind::Integer(_, most), Scalar::Raw(Value::N(Cow::Borrowed(digits))))
            if is_integer_below(digits, most) =>
        {
            *scalar = Scalar::Number(Cow::Borrowed(digits));
            return Ok(());
        }
        _ => {}
    }
    let mut json = String::new();
    write_as(ty, value.accept.as_deref(), scalar, &mut json).map_err(|problem| value.complain(&problem))?;
    value.check(ty, &json)?;
    *scalar = match (ty.is_array(), ty.kind()) {
        (true, _) | (_, Kind::Json) => Scalar::Json(Cow::Owned(json)),
        (_, Kind::Integer(..) | Kind::Numeric | Kind::Float) => Scalar::Number(Cow::Owned(json)),
        (_, Kind::Boolean) => Scalar::Bool(written(json == "true")),
        // The checked text itself, without the detour over JSON.
        _ => scalar.text()?.map_or(Scalar::Null, Scalar::Text),
    };
    Ok(())
}

fn compose<'a>(
    open: char,
    close: char,
    write: impl FnOnce(&mut String) -> Result<(), String>,
) -> Result<Scalar<'a>, String> {
    let mut json = String::with_capacity(160);
    json.push(open);
    write(&mut json)?;
    json.push(close);
    Ok(Scalar::Json(Cow::Owned(json)))
}

/// What a filter has made: texts, numbers and booleans as such, the rest as JSON.
fn of_jq<'a>(value: &Val) -> Result<Scalar<'a>, String> {
    let mut json = String::new();
    jq::write(value, &mut json)?;
    Ok(match value {
        Val::Bool(truth) => Scalar::Bool(written(*truth)),
        Val::Num(_) => Scalar::Number(Cow::Owned(json)),
        // It was a text a moment ago.
        Val::TStr(text) => Scalar::Text(Cow::Owned(String::from_utf8_lossy(text).into_owned())),
        _ => Scalar::Json(Cow::Owned(json)),
    })
}

fn write_map<'k, 'a: 'k>(
    entries: &[(Reference, Reference)],
    fill: &[(String, Constant)],
    find: impl Fn(&Reference) -> Cow<'k, Scalar<'a>>,
    into: &mut String,
) -> Result<(), String> {
    let mut names: Vec<Cow<'_, str>> = Vec::with_capacity(entries.len());
    let separate = |into: &mut String, name: &str| {
        into.push_str(if into.len() > 1 { "," } else { "" });
        write_string(name, into).map(|()| into.push(':'))
    };
    for (name, value) in entries {
        let (Some(name), value) = (find(name).text()?, find(value)) else { continue };
        if !value.is_null() && !names.contains(&name) {
            separate(into, &name)?;
            value.write_json(into)?;
            names.push(name);
        }
    }
    for (name, constant) in fill {
        if !names.iter().any(|known| known == name) {
            separate(into, name)?;
            constant.scalar().write_json(into)?;
        }
    }
    Ok(())
}

pub(crate) fn fill_template<'k, 'a: 'k>(
    pieces: &[Piece],
    find: impl Fn(&Reference) -> Cow<'k, Scalar<'a>>,
) -> Result<Scalar<'a>, String> {
    let mut text = String::with_capacity(80);
    for piece in pieces {
        match piece {
            Piece::Text(literal) => text.push_str(literal),
            Piece::Reference(reference) => match find(reference).text()? {
                Some(part) => text.push_str(&part),
                None => return Ok(Scalar::Null),
            },
        }
    }
    Ok(Scalar::Text(Cow::Owned(text)))
}

pub(crate) fn find<'k, 'a>(reference: &Reference, source: Source<'a>, known: &'k [Scalar<'a>]) -> Cow<'k, Scalar<'a>> {
    Cow::Owned(match reference {
        Reference::Value(place) => return Cow::Borrowed(&known[*place]),
        Reference::Position => {
            source.element.map_or(Scalar::Null, |element| Scalar::Number(Cow::Borrowed(&element.position)))
        }
        Reference::Name => {
            let name = source.element.and_then(|element| element.name);
            name.map_or(Scalar::Null, |name| Scalar::Text(name.get()))
        }
        Reference::Written => source.written.map_or(Scalar::Null, |written| Scalar::Number(Cow::Borrowed(written))),
        Reference::Attribute(_) | Reference::Element(_) => match source.find(reference) {
            None | Some(Value::Null) => Scalar::Null,
            Some(value) => Scalar::Raw(value),
        },
    })
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
        follow(self.item.get_near(first, &way.place)?, rest)
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
    /// The earlier value or the attribute that it is, if it is one as it stands, and not null. It need not be evaluated.
    #[inline]
    fn as_it_stands<'k, 'a>(&self, source: Source<'a>, known: &'k [Scalar<'a>]) -> Option<Cow<'k, Scalar<'a>>> {
        let Origin::Reference(reference) = &self.origin else { return None };
        let alone = self.steps.is_empty() && self.only_if.is_empty();
        alone.then(|| find(reference, source, known)).filter(|scalar| !scalar.is_null())
    }

    /// Writes a value as one of the type.
    #[inline]
    fn write(&self, ty: &ColumnType, scalar: &Scalar<'_>, into: &mut String) -> Result<(), String> {
        write_as(ty, self.accept.as_deref(), scalar, into).map_err(|problem| self.complain(&problem))
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
    fn check(&self, ty: &ColumnType, cell: &str) -> Result<(), String> {
        let checked = self.checked.as_ref().map_or(Ok(()), |policy| policy.check(ty, cell));
        let checked = checked.and_then(|()| if self.gives_way() { readable::check(ty, cell) } else { Ok(()) });
        checked.map_err(|problem| self.complain(&problem))
    }

    /// What stands in the place of a value that there is a problem with.
    pub(crate) fn instead(&self, problem: String) -> Result<Scalar<'_>, String> {
        match self.on_failure {
            OnFailure::Reject => Err(problem),
            OnFailure::Null => Ok(Scalar::Null),
            OnFailure::Default => Ok(self.default.as_ref().map_or(Scalar::Null, Constant::scalar)),
        }
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
    fn complain(&self, problem: &str) -> String {
        match self.origin.attribute() {
            Some(name) => format!("attribute `{name}` {problem}"),
            None => format!("`{}` {problem}", self.name),
        }
    }

    fn missing(&self, source: Source<'_>) -> String {
        match (self.origin.attribute(), &self.origin) {
            (Some(name), Origin::Reference(reference)) if source.find(reference).is_none() => {
                format!("attribute `{name}` is missing")
            }
            _ => self.complain("is null, but a value is required"),
        }
    }
}
