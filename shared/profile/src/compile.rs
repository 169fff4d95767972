//! From the profile as it is written (`file`) to the one that is run (`plan`): every name is looked up and every
//! contradiction found here, once.

use std::collections::{BTreeMap, HashMap};
use std::path::Path as FilePath;

use indexmap::IndexMap;
use item::Type;
use sha2::{Digest as _, Sha256};
use toml::Spanned;

use crate::error::Error;
use crate::file::{Condition, Definition, Entry, File, Nul, OnFailure, Path, Split, Step};
use crate::plan::{Action, Constant, Lookup, Origin, Piece, Plan, Reference, Slot, Taken, Test, Way};
use crate::policy::{Group, KeyedArray, Policy};
use crate::schema::{Column, Kind, SCHEMA_VERSION, Schema};

/// A mistake and where it stands: section and name, byte in the file.
struct Mistake {
    place: String,
    at: usize,
    message: String,
}

/// Options of the command line that change which rows there are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Only items whose `max_id` attribute is less than this.
    pub max_id: Option<i64>,
}

pub(crate) fn compile(
    path: &FilePath,
    text: &str,
    name: &str,
    file: &File,
    options: Options,
) -> Result<(Schema, Plan), Error> {
    let meaning = |Mistake { place, at, message }| Error::Meaning {
        path: path.to_owned(),
        line: text[..at.min(text.len())].matches('\n').count() + 1,
        place,
        message,
    };
    let mut compiler = Compiler { file, names: Vec::new(), lookups: Vec::new(), lookup_places: HashMap::new() };
    let plan = compiler.plan(options).map_err(meaning)?;
    let schema = compiler.schema(name, options, &plan.of_load_time()).map_err(meaning)?;
    Ok((schema, plan))
}

struct Compiler<'a> {
    file: &'a File,
    names: Vec<String>,
    lookups: Vec<Lookup>,
    lookup_places: HashMap<String, usize>,
}

impl Compiler<'_> {
    fn plan(&mut self, options: Options) -> Result<Plan, Mistake> {
        let mut values = Vec::new();
        for (name, definition) in &self.file.values {
            if definition.merge.is_some() {
                return Err(mistake("values", name, "only columns are merged: `merge` does not belong here"));
            }
            if definition.rest.is_some() {
                return Err(mistake("values", name, "only a column takes the rest"));
            }
            let value = self.value(name, definition).map_err(|message| mistake("values", name, &message))?;
            if value.required && value.on_failure == OnFailure::Null {
                return Err(mistake("values", name, "a value that must be there cannot give way to null"));
            }
            values.push(value);
            self.names.push(name.get_ref().clone());
        }
        let mut columns = Vec::new();
        for (name, definition) in &self.file.columns {
            let wrong = |message: &str| mistake("columns", name, message);
            name_is_possible(name.get_ref()).map_err(|message| wrong(&message))?;
            if name.get_ref().starts_with('$') {
                return Err(wrong("a column's name cannot begin with `$`"));
            }
            if definition.ty.is_none() {
                return Err(wrong("`type` is missing"));
            }
            let mut column = self.value(name, definition).map_err(|message| wrong(&message))?;
            column.required |= self.file.key.get_ref().contains(name.get_ref());
            if column.required && column.on_failure == OnFailure::Null {
                return Err(wrong("a value that must be there cannot give way to null"));
            }
            if matches!(column.origin, Origin::Rest(_)) {
                if definition.ty.as_ref().is_none_or(|ty| ty.is_array() || ty.kind() != Kind::Json) {
                    return Err(wrong("the rest of an item is `jsonb`"));
                }
                if columns.iter().any(|column: &Slot| matches!(column.origin, Origin::Rest(_))) {
                    return Err(wrong("only one column can take the rest"));
                }
            }
            columns.push(column);
        }
        let max_id = match (options.max_id, &self.file.max_id) {
            (None, _) => None,
            (Some(limit), Some(attribute)) => Some((dotted(attribute), limit)),
            (Some(_), None) => {
                let place = "max_id".to_owned();
                let message = "`--max-id` was given, but the profile does not name the attribute that it compares";
                return Err(Mistake { place, at: 0, message: message.to_owned() });
            }
        };
        let conditions = self.file.filter.iter().map(test).collect::<Result<_, _>>();
        let conditions = conditions.map_err(|message| Mistake { place: "filter".to_owned(), at: 0, message })?;
        let nul = self.file.nul.as_ref().map_or(Ok(None), replacement)?;
        let lookups = std::mem::take(&mut self.lookups);
        let taken = values.iter().chain(&columns).flat_map(Slot::attributes_taken).map(str::to_owned).collect();
        if let Some(rest) = columns.iter_mut().find(|column| matches!(column.origin, Origin::Rest(_))) {
            rest.origin = Origin::Rest(taken);
        }
        let load_time = format!("{:.6}", jiff::Timestamp::now());
        Ok(Plan { nul, conditions, max_id, values, columns, lookups, load_time }.fix())
    }

    fn schema(&self, name: &str, options: Options, of_load_time: &[bool]) -> Result<Schema, Mistake> {
        let file = self.file;
        for (place, name) in [("table", Some(&file.table)), ("schema", file.schema.as_ref())] {
            if let Some(name) = name {
                let mistake = |message| Mistake { place: place.to_owned(), at: name.span().start, message };
                name_is_possible(name.get_ref()).map_err(mistake)?;
            }
        }
        let key_span = file.key.span().start;
        let key_mistake = |message: String| Mistake { place: "key".to_owned(), at: key_span, message };
        let key = file.key.get_ref().clone();
        if key.is_empty() {
            return Err(key_mistake("at least one column must identify a row".to_owned()));
        }
        let columns = file.columns.iter().zip(of_load_time);
        let columns: Vec<_> = columns.map(|((name, given), load_time)| column(name, given, *load_time)).collect();
        let known = |name: &String| columns.iter().flatten().any(|column: &Column| column.name == *name);
        if let Some(missing) = key.iter().find(|name| !known(name)) {
            return Err(key_mistake(format!("there is no column `{missing}`")));
        }
        for group in &file.groups {
            let at = group.span().start;
            let names = group.get_ref().columns.iter().chain([&group.get_ref().preferred_side.column]);
            if let Some(missing) = names.clone().find(|name| !known(name)) {
                let message = format!("there is no column `{missing}`");
                return Err(Mistake { place: "groups".to_owned(), at, message });
            }
            let both = group.get_ref().columns.iter().find(|name| {
                key.contains(name)
                    || file.columns.iter().any(|(at, column)| at.get_ref() == *name && column.merge.is_some())
            });
            if let Some(both) = both {
                let message = format!("`{both}` is part of the key or has a `merge` of its own");
                return Err(Mistake { place: "groups".to_owned(), at, message });
            }
        }
        if let Some((at, message)) = file.groups.iter().find_map(|group| order_shows(group, &columns)) {
            return Err(Mistake { place: "groups".to_owned(), at, message });
        }
        let mut settings = BTreeMap::new();
        if let Some(max_id) = options.max_id {
            settings.insert("max_id".to_owned(), max_id.into());
        }
        Ok(Schema {
            v: SCHEMA_VERSION,
            profile: name.to_owned(),
            hash: hash(file),
            options: settings,
            schema: file.schema.as_ref().map(|name| name.get_ref().clone()),
            table: file.table.get_ref().clone(),
            key,
            columns: columns.into_iter().flatten().collect(),
            groups: file.groups.iter().map(|group| group.get_ref().clone()).collect(),
        })
    }

    fn value(&mut self, name: &Spanned<String>, definition: &Definition) -> Result<Slot, String> {
        let mut steps = Vec::new();
        for step in &definition.convert {
            steps.push(self.step(step)?);
        }
        let on_failure = definition.on_failure.unwrap_or_default();
        if on_failure == OnFailure::Default && definition.default.is_none() {
            return Err("`on_failure = \"default\"` needs a `default`".to_owned());
        }
        let accept = definition.accept.as_ref().map(|names| names.iter().map(|name| accepted(name)).collect());
        Ok(Slot {
            name: name.get_ref().clone(),
            origin: self.origin(name.get_ref(), definition)?,
            steps,
            default: definition.default.as_ref().map(constant).transpose()?,
            on_failure,
            only_if: definition.only_if.iter().map(|name| self.reference(name)).collect(),
            ty: definition.ty.clone(),
            accept: accept.transpose()?,
            required: definition.required,
            fixed: None,
        })
    }

    fn origin(&self, name: &str, definition: &Definition) -> Result<Origin, String> {
        let Definition { from, value, template, object, array, map, fill, load_time, null, rest, .. } = definition;
        let given = [from.is_some(), value.is_some(), template.is_some(), object.is_some(), array.is_some()];
        let given = given
            .into_iter()
            .chain([map.is_some(), load_time.is_some(), null.is_some(), rest.is_some()])
            .filter(|given| *given)
            .count();
        if given > 1 {
            return Err(
                "only one of `from`, `value`, `null`, `template`, `object`, `array`, `map`, `load_time`, `rest` can be"
                    .to_owned(),
            );
        }
        if fill.is_some() && map.is_none() {
            return Err("`fill` belongs to a `map`".to_owned());
        }
        Ok(if let Some(value) = value {
            Origin::Constant(constant(value)?)
        } else if let Some(template) = template {
            Origin::Template(self.template(template)?)
        } else if let Some(fields) = object {
            let field = |(name, from): (&String, &String)| Ok((json_string(name)?, self.reference(from)));
            Origin::Object(fields.iter().map(field).collect::<Result<_, String>>()?)
        } else if let Some(names) = array {
            Origin::Array(names.iter().map(|name| self.reference(name)).collect())
        } else if let Some(entries) = map {
            let entry = |Entry { name, value }: &Entry| (self.reference(name), self.reference(value));
            let filled = fill.iter().flatten().map(|(name, value)| Ok((name.clone(), constant(value)?)));
            Origin::Map(entries.iter().map(entry).collect(), filled.collect::<Result<_, String>>()?)
        } else if let Some(given) = load_time.or(*null).or(*rest) {
            if !given {
                return Err("`load_time`, `null` and `rest` can only be true".to_owned());
            }
            match (null, rest) {
                (Some(_), _) => Origin::Null,
                (_, Some(_)) => Origin::Rest(Taken::default()),
                _ => Origin::LoadTime,
            }
        } else {
            Origin::Reference(match from {
                None => self.reference(name),
                Some(Path::Dotted(path)) => self.reference(path),
                Some(Path::Names(names)) => Reference::Attribute(Way::of(names.clone())),
            })
        })
    }

    /// An earlier value of that name, else an attribute.
    fn reference(&self, name: &str) -> Reference {
        match self.names.iter().position(|known| known == name) {
            Some(place) => Reference::Value(place),
            None => Reference::Attribute(dotted(name)),
        }
    }

    fn template(&self, template: &str) -> Result<Vec<Piece>, String> {
        let mut pieces = Vec::new();
        let mut rest = template;
        while let Some(open) = rest.find('{') {
            let close = rest[open..].find('}').ok_or("a `{` of the template has no `}`")? + open;
            if open > 0 {
                pieces.push(Piece::Text(rest[..open].to_owned()));
            }
            pieces.push(Piece::Reference(self.reference(&rest[open + 1..close])));
            rest = &rest[close + 1..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(pieces)
    }

    fn step(&mut self, step: &Step) -> Result<Action, String> {
        Ok(match step {
            Step::Trim => Action::Trim,
            Step::Lower => Action::Lower,
            Step::Upper => Action::Upper,
            Step::NullIfEmpty => Action::NullIfEmpty,
            Step::Extension => Action::Extension,
            Step::Stem => Action::Stem,
            Step::StripPrefix(text) => Action::StripPrefix(text.clone()),
            Step::StripSuffix(text) => Action::StripSuffix(text.clone()),
            Step::Split(Split { by, part }) => {
                if by.is_empty() || *part == 0 {
                    return Err(
                        "`split` needs a text in `by`, and counts parts from 1, or from -1 backwards".to_owned()
                    );
                }
                Action::Split(by.clone(), *part)
            }
            Step::EpochSeconds => Action::Epoch(1),
            Step::EpochMilliseconds => Action::Epoch(1000),
            Step::UuidV5(namespace) => {
                Action::UuidV5(namespace.parse().map_err(|_| format!("`{namespace}` is no UUID"))?)
            }
            Step::Lookup(table) => Action::Lookup(self.lookup(table)?),
        })
    }

    /// The place of a look-up table, or of one field of its entries (`formats.width`).
    fn lookup(&mut self, table: &str) -> Result<usize, String> {
        if let Some(place) = self.lookup_places.get(table) {
            return Ok(*place);
        }
        let (name, field) = table.split_once('.').map_or((table, None), |(name, field)| (name, Some(field)));
        let Some(entries) = self.file.lookups.get(name) else {
            let known: Vec<_> = self.file.lookups.keys().map(String::as_str).collect();
            return Err(format!("there is no table `{name}` among the lookups ({})", known.join(", ")));
        };
        let mut constants = Lookup::default();
        for (key, value) in entries {
            let value = match (field, value) {
                (None, value) => value,
                (Some(field), toml::Value::Table(fields)) => {
                    fields.get(field).ok_or_else(|| format!("entry `{key}` of `{name}` has no field `{field}`"))?
                }
                (Some(_), _) => return Err(format!("entry `{key}` of `{name}` has no fields")),
            };
            constants.insert(key.clone(), constant(value)?);
        }
        self.lookups.push(constants);
        self.lookup_places.insert(table.to_owned(), self.lookups.len() - 1);
        Ok(self.lookups.len() - 1)
    }
}

/// Whether PostgreSQL can have something of that name ("Identifiers and Key Words": 63 bytes; what is more is cut off).
fn name_is_possible(name: &str) -> Result<(), String> {
    const LONGEST: usize = 63;
    if name.is_empty() {
        return Err("a name cannot be empty".to_owned());
    }
    if name.contains('\0') {
        return Err("a name cannot hold the character U+0000".to_owned());
    }
    if name.len() > LONGEST {
        return Err(format!("the name is longer than {LONGEST} bytes, which is all that PostgreSQL keeps of one"));
    }
    Ok(())
}

/// The text that stands in place of U+0000; nothing if it is not replaced.
fn replacement(nul: &Spanned<Nul>) -> Result<Option<String>, Mistake> {
    match nul.get_ref() {
        Nul::Reject => Ok(None),
        Nul::Strip => Ok(Some(String::new())),
        Nul::Replace(text) if text.contains('\0') => {
            let message = "the text for U+0000 cannot hold U+0000 itself".to_owned();
            Err(Mistake { place: "nul".to_owned(), at: nul.span().start, message })
        }
        Nul::Replace(text) => Ok(Some(text.clone())),
    }
}

/// Why a group's result would depend on where batches end. A side that qualified must still qualify after it was merged
/// with others, so merging the array must never lose the element by which it did.
fn order_shows(group: &Spanned<Group>, columns: &[Option<Column>]) -> Option<(usize, String)> {
    let side = &group.get_ref().preferred_side;
    let column = columns.iter().flatten().find(|column| column.name == side.column)?;
    if let Policy::KeyedArray(KeyedArray { key, prefer }) = &column.merge
        && side.fields.keys().all(|field| key.contains(field))
        && prefer.as_ref() == Some(&side.has)
    {
        return None;
    }
    let message = format!(
        "`{}` must be merged as a keyed_array whose `key` has every field of `where` and whose `prefer` is `{}`; \
         otherwise the order of merging would show in the result",
        side.column, side.has
    );
    Some((group.span().start, message))
}

fn mistake(section: &str, name: &Spanned<String>, message: &str) -> Mistake {
    Mistake { place: format!("{section}.{}", name.get_ref()), at: name.span().start, message: message.to_owned() }
}

/// A column that passed [`Compiler::plan`] has a type.
fn column(name: &Spanned<String>, definition: &Definition, load_time: bool) -> Option<Column> {
    let ty = definition.ty.clone()?;
    let merge = definition.merge.clone().unwrap_or_default();
    Some(Column { name: name.get_ref().clone(), ty, merge, load_time })
}

fn dotted(path: &str) -> Way {
    Way::of(path.split('.').map(str::to_owned).collect())
}

/// The type of that name. NULL is no value of any type, so it need not be accepted.
fn accepted(name: &str) -> Result<Type, String> {
    let types = Type::ALL.into_iter().filter(|ty| *ty != Type::Null);
    types.clone().find(|ty| ty.name() == name).ok_or_else(|| {
        let names: Vec<_> = types.map(Type::name).collect();
        format!("`accept`: `{name}` is not one of {}", names.join(", "))
    })
}

fn json_string(text: &str) -> Result<String, String> {
    serde_json::to_string(text).map_err(|error| error.to_string())
}

fn constant(value: &toml::Value) -> Result<Constant, String> {
    Ok(match value {
        toml::Value::String(text) => Constant::Text(text.clone()),
        toml::Value::Integer(number) => Constant::Number(number.to_string()),
        toml::Value::Float(number) if number.is_finite() => Constant::Number(number.to_string()),
        toml::Value::Boolean(truth) => Constant::Bool(*truth),
        toml::Value::Datetime(time) => Constant::Text(time.to_string()),
        toml::Value::Float(_) => return Err("a number must be finite".to_owned()),
        toml::Value::Array(_) | toml::Value::Table(_) => {
            Constant::Json(serde_json::to_string(value).map_err(|error| error.to_string())?)
        }
    })
}

fn test(condition: &Condition) -> Result<(Way, Test), String> {
    let way = match &condition.attribute {
        Path::Dotted(path) => dotted(path),
        Path::Names(names) => Way::of(names.clone()),
    };
    let text = |value: &toml::Value| match constant(value)? {
        Constant::Text(text) | Constant::Number(text) => Ok(text),
        Constant::Bool(truth) => Ok(truth.to_string()),
        Constant::Json(_) => Err("an attribute is compared with a text, a number or a boolean".to_owned()),
    };
    let Condition { exists, equals, not_equals, one_of, begins_with, .. } = condition;
    let wanted = match (exists, equals, not_equals, one_of, begins_with) {
        (Some(exists), None, None, None, None) => Test::Exists(*exists),
        (None, Some(value), None, None, None) => Test::OneOf(vec![text(value)?]),
        (None, None, Some(value), None, None) => Test::NoneOf(vec![text(value)?]),
        (None, None, None, Some(values), None) => Test::OneOf(values.iter().map(text).collect::<Result<_, _>>()?),
        (None, None, None, None, Some(prefix)) => Test::BeginsWith(prefix.clone()),
        _ => return Err("a condition has one of `exists`, `equals`, `not_equals`, `in`, `begins_with`".to_owned()),
    };
    Ok((way, wanted))
}

/// A hash of what the profile says about rows; comments, order of sections and the SQL for the end do not count.
fn hash(file: &File) -> String {
    let said: IndexMap<String, serde_json::Value> =
        serde_json::to_value(file).and_then(serde_json::from_value).unwrap_or_default();
    let text = serde_json::to_string(&said).unwrap_or_default();
    Sha256::digest(text).iter().take(16).fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}
