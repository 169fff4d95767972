//! From the profile as it is written (`file`) to the one that is run (`plan`): every name is looked up and every
//! contradiction found here, once.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use indexmap::IndexMap;
use item::Type;
use sha2::{Digest as _, Sha256};
use toml::Spanned;

use crate::condition::{Bound, Condition, Test, Wanted};
use crate::convert::write_as;
use crate::error::{Mistake, similar};
use crate::file::{self, Definition, Entry, File, Nul, OnFailure, Path, Split, Step};
use crate::jq;
use crate::layout::{Layout, layouts, names_in};
use crate::plan::{Action, Constant, ELEMENT, Lookup, Origin, Piece, Plan, Reference, Slot, Taken, Way};
use crate::policy::{self, Group, KeyedArray, Newest, Policy};
use crate::readable;
use crate::schema::{Column, Kind, SCHEMA_VERSION, Schema};
use crate::tables::{Gate, Table};

/// What stands for the place and, in a map, the name of the element of a row in a profile.
const POSITION: &str = "$position";
const NAME: &str = "$name";

/// What stands for the time at which a change was written, in microseconds since 1970.
const WRITTEN: &str = "$written";

/// Options of the command line that change which rows there are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Only items whose `max_id` attribute is less than this.
    pub max_id: Option<i64>,
}

/// What a profile says, ready to be run; or all that is wrong with it.
pub(crate) fn compile(name: &str, file: &File, options: Options) -> Result<(Gate, Vec<Table>), Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let layouts = layouts(file, &mut mistakes);
    let gate = gate(file, options, &mut mistakes);
    let said = Said { name, hash: hash(file), options };
    let mut tables = Vec::new();
    for layout in &layouts {
        let mut compiler = Compiler { file, layout, names: Vec::new(), lookups: Vec::new(), places: HashMap::new() };
        if let Some(table) = compiler.table(&said, &layouts, &mut mistakes) {
            tables.push(table);
        }
    }
    match gate {
        Some(gate) if mistakes.is_empty() => Ok((gate, tables)),
        _ => Err(mistakes),
    }
}

/// What every table's schema says of the profile.
struct Said<'a> {
    name: &'a str,
    hash: String,
    options: Options,
}

/// Which items the profile takes.
fn gate(file: &File, options: Options, mistakes: &mut Vec<Mistake>) -> Option<Gate> {
    let max_id = match (options.max_id, &file.max_id) {
        (None, _) => None,
        (Some(limit), Some(attribute)) => Some((dotted(attribute), limit)),
        (Some(_), None) => {
            let message = "`--max-id` was given, but the profile does not name the attribute that it compares";
            mistakes.push(Mistake::new("max_id", 0..0, message));
            None
        }
    };
    let nul = file.nul.as_ref().map_or(Ok(None), replacement).map_err(|mistake| mistakes.push(mistake)).ok()?;
    let filter = conditions(&file.filter, false)
        .map_err(|(at, message)| mistakes.push(Mistake::new("filter", at, message)))
        .ok()?;
    let jq = file.jq.as_ref().map(|code| {
        let wrong = |message| Mistake::new("jq", code.span(), message);
        jq::Filter::of(code.get_ref()).map_err(wrong)
    });
    let jq = jq.transpose().map_err(|mistake| mistakes.push(mistake)).ok()?;
    Some(Gate {
        nul,
        jq,
        filter,
        max_id,
        unmatched: file.unmatched.as_ref().map(|given| *given.get_ref()).unwrap_or_default(),
    })
}

struct Compiler<'a> {
    file: &'a File,
    layout: &'a Layout<'a>,
    names: Vec<String>,
    lookups: Vec<Lookup>,
    places: HashMap<String, usize>,
}

impl Compiler<'_> {
    fn table(&mut self, said: &Said<'_>, layouts: &[Layout<'_>], mistakes: &mut Vec<Mistake>) -> Option<Table> {
        let before = mistakes.len();
        let layout = self.layout;
        let mut plan = self.plan(mistakes);
        if let Some(rest) = plan.columns.iter().position(|column| matches!(column.origin, Origin::Rest(_))) {
            let of_element = layout.each.is_some();
            let slots = || plan.values.iter().chain(&plan.columns);
            let names = slots().flat_map(|slot| slot.taken(of_element)).map(str::to_owned);
            let names = names.chain(self.taken_by_children(layouts)).collect();
            let element = slots().any(Slot::takes_element);
            plan.columns[rest].origin = Origin::Rest(Taken { names, element });
        }
        let schema = self.schema(said, &plan.of_load_time(), mistakes);
        let when = conditions(layout.when, layout.each.is_some())
            .map_err(|(at, message)| mistakes.push(layout.mistake("when", at, message)));
        let each = layout.each.as_ref().map(|(parent, path)| (*parent, way(path)));
        if mistakes.len() > before {
            return None;
        }
        let key = schema.key_indexes().unwrap_or_default();
        let mut key_made_of: Vec<_> = key.into_iter().flat_map(|column| plan.attributes_of(column)).collect();
        if self.file.jq.is_some() {
            // No attribute has this name: what the filter looks at is not known.
            key_made_of.push("the jq filter of the profile".to_owned());
        }
        let taking = layout.each.as_ref().map_or(layout.when, |(parent, _)| layouts[*parent].when);
        let taking =
            [self.file.filter.as_slice(), taking].into_iter().filter_map(|given| conditions(given, false).ok());
        let fixed =
            taking.flatten().flat_map(|condition| condition.fixed().into_iter().map(str::to_owned).collect::<Vec<_>>());
        let fixed = fixed.collect();
        if schema.by_sql() && schema.collects() {
            let message = "rows that are merged by `sql` are written one after the other, and those of `union`, \
                           `jsonb_merge`, `keyed_array` or a group are gathered: they do not go together";
            mistakes.push(layout.mistake("key", layout.key.span(), message));
            return None;
        }
        let rule =
            |(name, column): (&Spanned<String>, &Definition)| Some((name.get_ref().clone(), column.sql.clone()?));
        let rules = layout.columns.iter().filter_map(rule).collect();
        let (on_create, plan) = (layout.on_create.to_vec(), plan.fix());
        Some(Table { schema, on_create, rules, when: when.ok()?, each, key_made_of, fixed, plan })
    }

    /// The attributes of which other tables take all elements, and all that is in them.
    fn taken_by_children(&self, layouts: &[Layout<'_>]) -> Vec<String> {
        let children = layouts.iter().filter_map(|child| {
            let (parent, path) = child.each.as_ref()?;
            let whole = child.columns.values().any(|column| {
                column.rest == Some(true) || matches!(&column.from, Some(Path::Dotted(path)) if path == ELEMENT)
            });
            let ours = std::ptr::eq(&raw const layouts[*parent], self.layout);
            (ours && whole && child.when.is_empty()).then(|| way(path).only().map(str::to_owned)).flatten()
        });
        children.collect()
    }

    fn plan(&mut self, mistakes: &mut Vec<Mistake>) -> Plan {
        let layout = self.layout;
        let (mut values, mut columns) = (Vec::new(), Vec::<Slot>::new());
        for (section, name, definition) in &layout.values {
            match self.named_value(name, definition) {
                Ok(value) => values.push(value),
                Err(message) => {
                    let place = format!("{section}.{}", name.get_ref());
                    mistakes.push(Mistake::new(place, name.span(), message));
                }
            }
            self.names.push(name.get_ref().clone());
        }
        if layout.columns.is_empty() {
            mistakes.push(layout.mistake("columns", layout.name.1.clone(), "there are no columns"));
        }
        for (name, definition) in layout.columns {
            let column = self.column(name, definition).and_then(|column| {
                let both = matches!(column.origin, Origin::Rest(_))
                    && columns.iter().any(|column| matches!(column.origin, Origin::Rest(_)));
                if both { Err("only one column can take the rest".to_owned()) } else { Ok(column) }
            });
            match column {
                Ok(column) => columns.push(column),
                Err(message) => {
                    mistakes.push(layout.mistake(&format!("columns.{}", name.get_ref()), name.span(), message));
                }
            }
        }
        order_fields(&mut values, &mut columns);
        let lookups = std::mem::take(&mut self.lookups);
        Plan { values, columns, parts: Vec::new(), lookups, load_time: format!("{:.6}", jiff::Timestamp::now()) }
    }

    fn named_value(&mut self, name: &Spanned<String>, definition: &Definition) -> Result<Slot, String> {
        if definition.merge.is_some() || definition.sql.is_some() {
            return Err("only columns are merged: `merge` and `sql` do not belong here".to_owned());
        }
        if definition.rest.is_some() {
            return Err("only a column takes the rest".to_owned());
        }
        let value = self.value(name, definition)?;
        if value.required && value.on_failure == OnFailure::Null {
            return Err(NO_WAY.to_owned());
        }
        Ok(value)
    }

    fn column(&mut self, name: &Spanned<String>, definition: &Definition) -> Result<Slot, String> {
        name_is_possible(name.get_ref())?;
        if name.get_ref().starts_with('$') {
            return Err("a column's name cannot begin with `$`".to_owned());
        }
        let Some(ty) = &definition.ty else { return Err("`type` is missing".to_owned()) };
        if matches!(definition.merge, Some(Policy::Newest(_))) {
            return Err("`version` of the table says by which column the newest row is found".to_owned());
        }
        let merge = merge_of(self.layout, name.get_ref(), definition);
        merge.check_type(ty)?;
        if (merge == Policy::Sql) != definition.sql.is_some() {
            return Err(
                "`merge = \"sql\"` and `sql = \"an expression of existing and incoming\"` go together".to_owned()
            );
        }
        if merge == Policy::Sql && self.layout.key.get_ref().contains(name.get_ref()) {
            return Err("a column of the key is not merged".to_owned());
        }
        let mut column = self.value(name, definition)?;
        column.checked = Some(merge).filter(Policy::checks);
        column.required |= self.layout.key.get_ref().contains(name.get_ref());
        if column.required && column.on_failure == OnFailure::Null {
            return Err(NO_WAY.to_owned());
        }
        if matches!(column.origin, Origin::Rest(_)) && (ty.is_array() || ty.kind() != Kind::Json) {
            return Err("the rest of an item is `jsonb`".to_owned());
        }
        Ok(column)
    }

    fn schema(&self, said: &Said<'_>, of_load_time: &[bool], mistakes: &mut Vec<Mistake>) -> Schema {
        let layout = self.layout;
        let (table, at) = (layout.name.0, layout.name.1.clone());
        let schema = layout.schema.map(|name| ("schema", name.get_ref().as_str(), name.span()));
        for (what, name, at) in [("name", table, at)].into_iter().chain(schema) {
            if let Err(message) = name_is_possible(name) {
                mistakes.push(layout.mistake(
                    if layout.section.is_none() && what == "name" { "table" } else { what },
                    at,
                    message,
                ));
            }
        }
        let key = layout.key.get_ref().clone();
        if key.is_empty() {
            mistakes.push(layout.mistake("key", layout.key.span(), "at least one column must identify a row"));
        }
        let columns = layout.columns.iter().zip(of_load_time.iter().chain(std::iter::repeat(&false)));
        let columns: Vec<_> =
            columns.map(|((name, given), load_time)| column(layout, name, given, *load_time)).collect();
        let known = |name: &String| layout.columns.keys().any(|column| column.get_ref() == name);
        let no_column = |what: &str, at, missing: &str| {
            let names = layout.columns.keys().map(|name| name.get_ref().as_str());
            layout.mistake(what, at, format!("there is no column `{missing}`")).similar(similar(missing, names))
        };
        for missing in key.iter().filter(|name| !known(name)) {
            mistakes.push(no_column("key", layout.key.span(), missing));
        }
        if let Some(version) = layout.version {
            let version_name = version.get_ref();
            if !known(version_name) {
                mistakes.push(no_column("version", version.span(), version_name));
            } else if let Err(message) = check_version(layout, version_name, columns.iter().flatten()) {
                mistakes.push(layout.mistake("version", version.span(), message));
            }
        }
        for group in layout.groups {
            let names = group.get_ref().columns.iter().chain([&group.get_ref().preferred_side.column]);
            for missing in names.filter(|name| !known(name)) {
                mistakes.push(no_column("groups", group.span(), missing));
            }
            let both = group.get_ref().columns.iter().find(|name| {
                key.contains(name)
                    || layout.columns.iter().any(|(at, column)| at.get_ref() == *name && column.merge.is_some())
            });
            if let Some(both) = both {
                let message = format!("`{both}` is part of the key or has a `merge` of its own");
                mistakes.push(layout.mistake("groups", group.span(), message));
            }
            if let Some(message) = order_shows(group.get_ref(), &columns) {
                mistakes.push(layout.mistake("groups", group.span(), message));
            }
        }
        let mut settings = BTreeMap::new();
        if let Some(max_id) = said.options.max_id {
            settings.insert("max_id".to_owned(), max_id.into());
        }
        Schema {
            v: SCHEMA_VERSION,
            profile: said.name.to_owned(),
            hash: said.hash.clone(),
            options: settings,
            schema: layout.schema.map(|name| name.get_ref().clone()),
            table: table.to_owned(),
            key,
            version: layout.version.map(|version| version.get_ref().clone()),
            columns: columns.into_iter().flatten().collect(),
            groups: layout.groups.iter().map(|group| group.get_ref().clone()).collect(),
            on_create: layout.on_create.len(),
            overriding_system_value: self.file.overriding_system_value,
        }
    }

    fn value(&mut self, name: &Spanned<String>, definition: &Definition) -> Result<Slot, String> {
        let mut steps = Vec::new();
        for step in &definition.convert {
            steps.push(self.step(step)?);
        }
        let of_element = self.layout.each.is_some();
        names_in(name.get_ref(), definition).iter().try_for_each(|name| stands_for_something(name, of_element))?;
        check_constants(definition)?;
        let on_failure = definition.on_failure.unwrap_or_default();
        if on_failure == OnFailure::Default && definition.default.is_none() {
            return Err("`on_failure = \"default\"` needs a `default`".to_owned());
        }
        let accept = definition.accept.as_ref().map(|names| names.iter().map(|name| accepted(name)).collect());
        Ok(Slot {
            name: name.get_ref().clone(),
            opening: String::new(),
            origin: self.origin(name.get_ref(), definition)?,
            steps,
            default: definition.default.as_ref().map(constant).transpose()?,
            on_failure,
            only_if: definition.only_if.iter().map(|name| self.reference(name)).collect(),
            ty: definition.ty.clone(),
            accept: accept.transpose()?,
            required: definition.required,
            checked: None,
            plain: None,
        })
    }

    fn origin(&self, name: &str, definition: &Definition) -> Result<Origin, String> {
        let Definition { from, value, template, jq, object, array, map, fill, load_time, null, rest, .. } = definition;
        let given = [from.is_some(), value.is_some(), template.is_some(), object.is_some(), array.is_some()];
        let given = given
            .into_iter()
            .chain([jq.is_some(), map.is_some(), load_time.is_some(), null.is_some(), rest.is_some()])
            .filter(|given| *given)
            .count();
        if given > 1 {
            return Err(
                "only one of `from`, `value`, `null`, `template`, `jq`, `object`, `array`, `map`, `load_time`, `rest` can be"
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
        } else if let Some(code) = jq {
            Origin::Jq(Box::new(jq::Filter::of(code)?))
        } else if let Some(fields) = object {
            let field = |(name, from): (&String, &String)| Ok((json_string(name)? + ":", self.reference(from)));
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

    /// An earlier value of that name, the element or a part of it, else an attribute.
    fn reference(&self, name: &str) -> Reference {
        match self.names.iter().position(|known| known == name) {
            Some(place) => Reference::Value(place),
            None => reference(name, self.layout.each.is_some()),
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
            Step::EpochMicroseconds => Action::Epoch(1_000_000),
            Step::UuidV5(namespace) => {
                Action::UuidV5(namespace.parse().map_err(|_| format!("`{namespace}` is no UUID"))?)
            }
            Step::Lookup(table) => Action::Lookup(self.lookup(table)?),
        })
    }

    /// The place of a look-up table, or of one field of its entries (`formats.width`).
    fn lookup(&mut self, table: &str) -> Result<usize, String> {
        if let Some(place) = self.places.get(table) {
            return Ok(*place);
        }
        let (name, field) = table.split_once('.').map_or((table, None), |(name, field)| (name, Some(field)));
        let Some(entries) = self.file.lookups.get(name) else {
            let known: Vec<_> = self.file.lookups.keys().map(String::as_str).collect();
            let all = known.join(", ");
            let meant = similar(name, known.into_iter());
            let meant = meant.map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
            return Err(format!("there is no table `{name}` among the lookups ({all}){meant}"));
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
        self.places.insert(table.to_owned(), self.lookups.len() - 1);
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
        let kept = &name[..name.floor_char_boundary(LONGEST)];
        return Err(format!(
            "the name is longer than {LONGEST} bytes, which is all that PostgreSQL keeps of one: write `{kept}`"
        ));
    }
    Ok(())
}

/// The text that stands in place of U+0000; nothing if it is not replaced.
fn replacement(nul: &Spanned<Nul>) -> Result<Option<String>, Mistake> {
    match nul.get_ref() {
        Nul::Reject => Ok(None),
        Nul::Strip => Ok(Some(String::new())),
        Nul::Replace(text) if text.contains('\0') => {
            let message = "the text for U+0000 cannot hold U+0000 itself";
            Err(Mistake::new("nul", nul.span(), message))
        }
        Nul::Replace(text) => Ok(Some(text.clone())),
    }
}

/// Why a group's result would depend on where batches end. A side that qualified must still qualify after it was merged
/// with others, so merging the array must never lose the element by which it did.
fn order_shows(group: &Group, columns: &[Option<Column>]) -> Option<String> {
    let side = &group.preferred_side;
    let column = columns.iter().flatten().find(|column| column.name == side.column)?;
    if let Policy::KeyedArray(KeyedArray { key, prefer }) = &column.merge
        && side.fields.keys().all(|field| key.contains(field))
        && prefer.as_ref() == Some(&side.has)
    {
        return None;
    }
    Some(format!(
        "`{}` must be merged as a keyed_array whose `key` has every field of `where` and whose `prefer` is `{}`; \
         otherwise the order of merging would show in the result",
        side.column, side.has
    ))
}

/// Said where both `required` and `on_failure = "null"` are.
const NO_WAY: &str = "a value that must be there cannot give way to null";

/// Why the column cannot say which of two rows is the newer one.
fn check_version<'a>(layout: &Layout<'_>, name: &str, columns: impl Iterator<Item = &'a Column>) -> Result<(), String> {
    let mut columns = columns.filter(|column| column.name == name);
    let Some(Column { ty, merge, load_time, .. }) = columns.next() else {
        return Err(format!("there is no column `{name}`"));
    };
    if layout.key.get_ref().iter().any(|key| key == name) {
        return Err(format!("`{name}` is part of the key, so all rows of one key have the same"));
    }
    if *load_time {
        return Err(format!("`{name}` has the time of the load in it, so what is loaded again would be newer"));
    }
    if *merge != Policy::Greatest {
        return Err(format!("`{name}` is merged as the `greatest`, and not otherwise or in a group"));
    }
    policy::check_version(ty).map_err(|message| format!("`{name}` cannot be a version: {message}"))
}

/// How a column is merged. With a version, rows replace each other as a whole.
fn merge_of(layout: &Layout<'_>, name: &str, definition: &Definition) -> Policy {
    let grouped = || layout.groups.iter().any(|group| group.get_ref().columns.iter().any(|column| column == name));
    let in_key = || layout.key.get_ref().iter().any(|key| key == name);
    match (&definition.merge, layout.version) {
        (Some(merge), _) => merge.clone(),
        (None, Some(version)) if !grouped() && !in_key() => match version.get_ref() {
            version if version == name => Policy::Greatest,
            version => Policy::Newest(Newest { by: version.clone() }),
        },
        (None, _) => Policy::default(),
    }
}

/// A column that passed [`Compiler::plan`] has a type.
fn column(layout: &Layout<'_>, name: &Spanned<String>, definition: &Definition, load_time: bool) -> Option<Column> {
    let ty = definition.ty.clone()?;
    let merge = merge_of(layout, name.get_ref(), definition);
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

fn way(path: &Path) -> Way {
    match path {
        Path::Dotted(path) => dotted(path),
        Path::Names(names) => Way::of(names.clone()),
    }
}

/// Puts the fields of objects into the order in which `jsonb` keeps them (the shorter name first, then by bytes), which
/// spares PostgreSQL sorting them for every row. `json` keeps them as they come.
fn order_fields(values: &mut [Slot], columns: &mut [Slot]) {
    if columns.iter().filter_map(|column| column.ty.as_ref()).any(|ty| ty.base() == "json") {
        return;
    }
    for slot in values.iter_mut().chain(columns) {
        if let Origin::Object(fields) = &mut slot.origin {
            fields.sort_by(|(one, _), (other, _)| one.len().cmp(&other.len()).then(one.cmp(other)));
        }
    }
}

/// Checks that what stands in the profile can be of the type, before every item is rejected for it.
fn check_constants(definition: &Definition) -> Result<(), String> {
    let Some(ty) = &definition.ty else { return Ok(()) };
    let value = definition.value.as_ref().filter(|_| definition.convert.is_empty());
    for (what, given) in [("value", value), ("default", definition.default.as_ref())] {
        let Some(given) = given else { continue };
        let mut cell = String::new();
        let written = write_as(ty, None, constant(given)?.scalar(), &mut cell);
        // PostgreSQL reads more times than are known here, `infinity` and `now` among them.
        let is_time = matches!(ty.kind(), Kind::Timestamptz | Kind::Timestamp | Kind::Date);
        let read =
            written.map_err(String::from).and_then(|()| if is_time { Ok(()) } else { readable::check(ty, &cell) });
        read.map_err(|problem| format!("the `{what}` {problem}"))?;
    }
    Ok(())
}

/// Checks that a name that begins with `$` is one of those that this project gives a meaning, and has it here. An
/// attribute of such a name is written as a list.
fn stands_for_something(name: &str, of_element: bool) -> Result<(), String> {
    let first = name.split('.').next().unwrap_or_default();
    if !first.starts_with('$') || first == WRITTEN {
        return Ok(());
    }
    match [ELEMENT, POSITION, NAME].contains(&first) {
        true if of_element => Ok(()),
        true => Err(format!("`{first}` is there in tables of elements only, which have `parent` and `each`")),
        false => {
            let meant = similar(first, [ELEMENT, POSITION, NAME, WRITTEN].into_iter());
            let meant = meant.map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
            Err(format!("`{first}` stands for nothing, and an attribute of that name is written [\"{first}\"]{meant}"))
        }
    }
}

/// What a name that is no value stands for.
fn reference(name: &str, of_element: bool) -> Reference {
    if name == WRITTEN {
        return Reference::Written;
    }
    if of_element {
        match (name, name.strip_prefix(ELEMENT)) {
            (POSITION, _) => return Reference::Position,
            (NAME, _) => return Reference::Name,
            (_, Some("")) => return Reference::Element(Way::of(Vec::new())),
            (_, Some(path)) if path.starts_with('.') => return Reference::Element(dotted(&path[1..])),
            _ => {}
        }
    }
    Reference::Attribute(dotted(name))
}

/// The conditions, or where one is wrong and why.
fn conditions(given: &[Spanned<file::Condition>], of_element: bool) -> Result<Vec<Condition>, (Range<usize>, String)> {
    let compiled = |condition: &Spanned<file::Condition>| {
        self::condition(condition.get_ref(), of_element).map_err(|message| (condition.span(), message))
    };
    given.iter().map(compiled).collect()
}

fn condition(given: &file::Condition, of_element: bool) -> Result<Condition, String> {
    const ONE: &str = "a condition has an `attribute` and one of `exists`, `equals`, `not_equals`, `in`, `begins_with`, \
                       `less_than`, `at_most`, `greater_than`, `at_least`; or it is one of `all`, `any`, `not`, `jq`";
    let text = |value: &toml::Value| match constant(value)? {
        Constant::Text(text) | Constant::Number(text) => Ok(text),
        Constant::Bool(truth) => Ok(truth.to_string()),
        Constant::Json(_) => Err("an attribute is compared with a text, a number or a boolean".to_owned()),
    };
    let bound = |value: &toml::Value| match constant(value)? {
        Constant::Text(text) => Ok(Bound::Text(text)),
        Constant::Number(digits) => Bound::number(&digits).ok_or_else(|| format!("`{digits}` is no number")),
        Constant::Bool(_) | Constant::Json(_) => Err("only texts and numbers have an order".to_owned()),
    };
    let several = |given: &[file::Condition]| -> Result<Vec<_>, String> {
        given.iter().map(|given| condition(given, of_element)).collect()
    };
    let file::Condition { attribute, exists, equals, not_equals, one_of, begins_with, .. } = given;
    let file::Condition { less_than, at_most, greater_than, at_least, all, any, not, jq, .. } = given;
    let compares = |value: &Option<toml::Value>, wanted| {
        value.as_ref().map(|value| bound(value).map(|bound| Test::Compares(wanted, bound)))
    };
    let tests = [
        exists.map(|exists| Ok(Test::Exists(exists))),
        equals.as_ref().map(|value| Ok(Test::OneOf(vec![text(value)?]))),
        not_equals.as_ref().map(|value| Ok(Test::NoneOf(vec![text(value)?]))),
        one_of.as_ref().map(|values| Ok(Test::OneOf(values.iter().map(text).collect::<Result<_, _>>()?))),
        begins_with.clone().map(|prefix| Ok(Test::BeginsWith(prefix))),
        compares(less_than, Wanted::Less),
        compares(at_most, Wanted::AtMost),
        compares(greater_than, Wanted::Greater),
        compares(at_least, Wanted::AtLeast),
    ];
    let mut tests: Vec<Test> = tests.into_iter().flatten().collect::<Result<_, String>>()?;
    let composed =
        [all.is_some(), any.is_some(), not.is_some(), jq.is_some()].into_iter().filter(|given| *given).count();
    match (attribute, tests.pop(), composed) {
        (Some(path), Some(asked), 0) if tests.is_empty() => {
            let reference = match path {
                Path::Dotted(name) => {
                    stands_for_something(name, of_element)?;
                    reference(name, of_element)
                }
                Path::Names(names) => Reference::Attribute(Way::of(names.clone())),
            };
            if matches!(reference, Reference::Position | Reference::Name | Reference::Written) {
                return Err("a condition asks for an attribute or an element".to_owned());
            }
            Ok(Condition::Test(reference, asked))
        }
        (None, None, 1) => match (all, any, not) {
            (Some(given), ..) => Ok(Condition::All(several(given)?)),
            (_, Some(given), _) => Ok(Condition::Any(several(given)?)),
            (.., Some(given)) => Ok(Condition::Not(Box::new(condition(given, of_element)?))),
            (None, None, None) => match jq {
                Some(code) => Ok(Condition::Jq(Box::new(jq::Filter::of(code)?))),
                None => Err(ONE.to_owned()),
            },
        },
        _ => Err(ONE.to_owned()),
    }
}

/// A hash of what the profile says about rows; comments, order of sections and the SQL for the end do not count.
fn hash(file: &File) -> String {
    let said: IndexMap<String, serde_json::Value> =
        serde_json::to_value(file).and_then(serde_json::from_value).unwrap_or_default();
    let text = serde_json::to_string(&said).unwrap_or_default();
    Sha256::digest(text).iter().take(16).fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}
