//! A profile as it is run: a flat list of named values, each from attributes and earlier values, then a list of columns.
//! How it is written is in `file`, how one value becomes another in `convert`.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicUsize;

use item::number::{Decimal, plain};
use item::{Item, Text, Type, Value, decode};

use crate::convert::{NUL, Scalar, epoch, is_integer_below, split_extension, write_as, write_string, written};
use crate::file::OnFailure;
use crate::row::Row;
use crate::schema::{ColumnType, Kind};

/// What becomes of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is a row.
    Row,
    /// The profile leaves it out.
    Filtered,
}

/// The plan of a profile: from items to rows.
#[derive(Debug)]
pub struct Plan {
    /// What stands in place of U+0000; without it, a column that would hold it rejects the item.
    pub(crate) nul: Option<String>,
    pub(crate) conditions: Vec<(Way, Test)>,
    pub(crate) max_id: Option<(Way, i64)>,
    pub(crate) values: Vec<Slot>,
    pub(crate) columns: Vec<Slot>,
    pub(crate) lookups: Vec<Lookup>,
    pub(crate) load_time: String,
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
    /// The JSON text of a column that is the same in every row.
    pub(crate) fixed: Option<String>,
}

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

    /// The names as in a message.
    fn name(&self) -> String {
        self.names.join(".")
    }
}

/// An earlier value by its place, or an attribute.
#[derive(Debug)]
pub(crate) enum Reference {
    Value(usize),
    Attribute(Way),
}

#[derive(Debug)]
pub(crate) enum Origin {
    Reference(Reference),
    Constant(Constant),
    Template(Vec<Piece>),
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
    fn references(&self) -> Vec<&Reference> {
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
            Self::Constant(_) | Self::LoadTime | Self::Null | Self::Rest(_) => Vec::new(),
        }
    }

    /// The earlier values that it is made of.
    fn values(&self) -> Vec<usize> {
        let values = self.references().into_iter().map(|reference| match reference {
            Reference::Value(place) => Some(*place),
            Reference::Attribute(_) => None,
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
    fn scalar(&self) -> Scalar<'_> {
        match self {
            Self::Text(text) => Scalar::Text(Cow::Borrowed(text)),
            Self::Number(text) => Scalar::Number(Cow::Borrowed(text)),
            Self::Bool(truth) => Scalar::Bool(written(*truth)),
            Self::Json(json) => Scalar::Json(Cow::Borrowed(json)),
        }
    }
}

#[derive(Debug)]
pub(crate) enum Test {
    Exists(bool),
    OneOf(Vec<String>),
    NoneOf(Vec<String>),
    BeginsWith(String),
}

impl Plan {
    /// For each column, whether the time of the load is in it, which a second load does not have.
    pub(crate) fn of_load_time(&self) -> Vec<bool> {
        let mut values = Vec::with_capacity(self.values.len());
        let known = |slot: &Slot, values: &[bool]| {
            matches!(slot.origin, Origin::LoadTime) || slot.origin.values().into_iter().any(|place| values[place])
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
                && self.evaluate(column, &nothing, &[], &mut scalar).is_ok()
                && write_as(ty, column.accept.as_deref(), &scalar, &mut json).is_ok()
            {
                drop(scalar);
                self.columns[place].fixed = Some(json);
            }
        }
        self
    }

    /// Writes an item's row, or says that the item is left out.
    ///
    /// # Errors
    /// Why the item is rejected, in one sentence. The row is then of no use.
    pub fn row(&self, item: &Item<'_>, row: &mut Row) -> Result<Fate, String> {
        if let Some(text) = &self.nul
            && item.has_nul()
        {
            let line = item.line_without_nul(text);
            let item = decode(line.as_bytes(), item.encoding()).map_err(|error| error.to_string())?;
            return self.row_of(&item, row);
        }
        self.row_of(item, row)
    }

    fn row_of(&self, item: &Item<'_>, row: &mut Row) -> Result<Fate, String> {
        row.clear();
        if !self.conditions.iter().all(|(way, test)| test.holds(follow(item, way))) {
            return Ok(Fate::Filtered);
        }
        if let Some((way, limit)) = &self.max_id
            && number(item, way)? >= *limit
        {
            return Ok(Fate::Filtered);
        }
        let mut known: Vec<_> = self.values.iter().map(|_| Scalar::Null).collect();
        for (place, value) in self.values.iter().enumerate() {
            let (before, rest) = known.split_at_mut(place);
            let scalar = &mut rest[0];
            if let Err(problem) = self.make(value, item, before, scalar) {
                *scalar = value.instead(problem)?;
            }
        }
        for column in &self.columns {
            if let Some(json) = &column.fixed {
                row.push(json);
                continue;
            }
            // Every column has a type.
            let Some(ty) = &column.ty else { continue };
            let into = row.compose();
            let start = into.len();
            let write = |scalar: &Scalar<'_>, into: &mut String| {
                write_as(ty, column.accept.as_deref(), scalar, into).map_err(|problem| column.complain(&problem))
            };
            let written = if let Some(found) = column.as_it_stands(item, &known) {
                write(&found, into)
            } else {
                let mut scalar = Scalar::Null;
                self.evaluate(column, item, &known, &mut scalar).and_then(|()| write(&scalar, into))
            };
            if let Err(problem) = written {
                into.truncate(start);
                write(&column.instead(problem)?, into)?;
            }
            row.end_cell();
        }
        Ok(Fate::Row)
    }

    /// Works out a value and makes it one of its type, if it has one.
    fn make<'a>(
        &'a self,
        value: &'a Slot,
        item: &'a Item<'a>,
        known: &[Scalar<'a>],
        scalar: &mut Scalar<'a>,
    ) -> Result<(), String> {
        match value.as_it_stands(item, known) {
            Some(found) => *scalar = found.into_owned(),
            None => self.evaluate(value, item, known, scalar)?,
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
        item: &'a Item<'a>,
        known: &[Scalar<'a>],
        scalar: &mut Scalar<'a>,
    ) -> Result<(), String> {
        let find = |reference: &Reference| find(reference, item, known);
        let complain = |problem: String| value.complain(&problem);
        match &value.origin {
            Origin::Reference(reference) => *scalar = find(reference).into_owned(),
            Origin::Constant(constant) => *scalar = constant.scalar(),
            Origin::LoadTime => *scalar = Scalar::Text(Cow::Borrowed(&self.load_time)),
            Origin::Null => {}
            Origin::Template(pieces) => *scalar = fill_template(pieces, find).map_err(complain)?,
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
                let mut left = item.attributes().iter().filter(|(name, _)| !taken.contains(&*name.get())).peekable();
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
            return Err(value.missing(item));
        }
        Ok(())
    }

    fn step<'a>(&'a self, step: &Action, scalar: &Scalar<'a>) -> Result<Scalar<'a>, String> {
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
            Action::UuidV5(namespace) => {
                Scalar::Text(Cow::Owned(uuid::Uuid::new_v5(namespace, text.as_bytes()).to_string()))
            }
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

fn fill_template<'k, 'a: 'k>(
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

fn find<'k, 'a>(reference: &Reference, item: &'a Item<'a>, known: &'k [Scalar<'a>]) -> Cow<'k, Scalar<'a>> {
    match reference {
        Reference::Value(place) => Cow::Borrowed(&known[*place]),
        Reference::Attribute(way) => Cow::Owned(match follow(item, way) {
            None | Some(Value::Null) => Scalar::Null,
            Some(value) => Scalar::Raw(value),
        }),
    }
}

/// The attribute to which the names lead; the parts after the first go into maps, and by number into lists.
fn follow<'a>(item: &'a Item<'a>, way: &Way) -> Option<&'a Value<'a>> {
    let (first, rest) = way.names.split_first()?;
    let mut value = item.get_near(first, &way.place)?;
    for name in rest {
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

/// The number in an attribute, for `--max-id`.
fn number(item: &Item<'_>, way: &Way) -> Result<i64, String> {
    let name = || way.name();
    let digits = match follow(item, way) {
        Some(Value::N(digits)) => digits.clone(),
        Some(Value::S(text)) => text.get(),
        Some(other) => return Err(format!("attribute `{}` is {}, but N or S is wanted", name(), other.ty().name())),
        None => return Err(format!("attribute `{}` is missing", name())),
    };
    Decimal::parse(&digits).and_then(Decimal::to_i64).map_err(|error| format!("attribute `{}` is {error}", name()))
}

impl Test {
    fn holds(&self, value: Option<&Value<'_>>) -> bool {
        let value = value.filter(|value| !matches!(value, Value::Null));
        // A number is compared as it is written out, so that 1E2 equals 100.
        let text = value.and_then(|value| match value {
            Value::S(text) => Some(text.get()),
            Value::N(digits) => Some(Cow::Owned(plain(digits).into_owned())),
            Value::True => Some(Cow::Borrowed(written(true))),
            Value::False => Some(Cow::Borrowed(written(false))),
            _ => None,
        });
        let is = |wanted: &String| text.as_deref() == Some(wanted.as_str());
        match self {
            Self::Exists(wanted) => value.is_some() == *wanted,
            Self::OneOf(texts) => texts.iter().any(is),
            Self::NoneOf(texts) => !texts.iter().any(is),
            Self::BeginsWith(prefix) => text.is_some_and(|text| text.starts_with(prefix.as_str())),
        }
    }
}

impl Slot {
    /// The earlier value or the attribute that it is, if it is one as it stands, and not null. It need not be evaluated.
    #[inline]
    fn as_it_stands<'k, 'a>(&self, item: &'a Item<'a>, known: &'k [Scalar<'a>]) -> Option<Cow<'k, Scalar<'a>>> {
        let Origin::Reference(reference) = &self.origin else { return None };
        let alone = self.steps.is_empty() && self.only_if.is_empty();
        alone.then(|| find(reference, item, known)).filter(|scalar| !scalar.is_null())
    }

    /// What stands in the place of a value that there is a problem with.
    fn instead(&self, problem: String) -> Result<Scalar<'_>, String> {
        match self.on_failure {
            OnFailure::Reject => Err(problem),
            OnFailure::Null => Ok(Scalar::Null),
            OnFailure::Default => Ok(self.default.as_ref().map_or(Scalar::Null, Constant::scalar)),
        }
    }

    /// The attributes that are taken as a whole. Of one that is only looked into, the rest of the item keeps everything.
    pub(crate) fn attributes_taken(&self) -> Vec<&str> {
        let names = self.origin.references().into_iter().map(|reference| match reference {
            Reference::Attribute(Way { names, .. }) => match names.as_slice() {
                [name] => Some(name.as_str()),
                _ => None,
            },
            Reference::Value(_) => None,
        });
        names.flatten().collect()
    }

    /// `attribute `url` is N, but S is wanted`.
    fn complain(&self, problem: &str) -> String {
        match &self.origin {
            Origin::Reference(Reference::Attribute(way)) => format!("attribute `{}` {problem}", way.name()),
            _ => format!("`{}` {problem}", self.name),
        }
    }

    fn missing(&self, item: &Item<'_>) -> String {
        match &self.origin {
            Origin::Reference(Reference::Attribute(way)) if follow(item, way).is_none() => {
                format!("attribute `{}` is missing", way.name())
            }
            _ => self.complain("is null, but a value is required"),
        }
    }
}
