//! What a file says of each of its tables: the file as a whole of its only one, or each section of its own. What that means
//! is worked out in `compile`.

use std::ops::Range;

use toml::Spanned;

use crate::error::{Mistake, similar};
use crate::file::{self, Definition, Definitions, Entry, File, Path, Section, Tables};
use crate::policy::Group;

/// What the file says of one table.
pub(crate) struct Layout<'a> {
    /// The name of the section, if there are several.
    pub(crate) section: Option<&'a str>,
    pub(crate) name: (&'a str, Range<usize>),
    pub(crate) schema: Option<&'a Spanned<String>>,
    pub(crate) key: &'a Spanned<Vec<String>>,
    pub(crate) version: Option<&'a Spanned<String>>,
    pub(crate) when: &'a [Spanned<file::Condition>],
    /// The place of the parent, and where the elements are.
    pub(crate) each: Option<(usize, &'a Path)>,
    pub(crate) values: Vec<Value<'a>>,
    pub(crate) columns: &'a Definitions,
    pub(crate) groups: &'a [Spanned<Group>],
    pub(crate) on_create: &'a [String],
}

/// A value, with the section that it stands in, and its name.
type Value<'a> = (String, &'a Spanned<String>, &'a Definition);

impl<'a> Layout<'a> {
    /// The place of something in the file, as `columns.path` or `table.orders.columns.path`.
    fn place(&self, what: &str) -> String {
        self.section.map_or_else(|| what.to_owned(), |section| format!("table.{section}.{what}"))
    }

    /// A mistake in something of this table.
    pub(crate) fn mistake(&self, what: &str, at: Range<usize>, message: impl Into<String>) -> Mistake {
        Mistake::new(self.place(what), at, message)
    }

    /// That of the only table.
    fn of_file(file: &'a File, name: &'a str, mistakes: &mut Vec<Mistake>) -> Option<Self> {
        let at = file.table.span();
        if let Some(unmatched) = &file.unmatched {
            let message = "`unmatched` goes with sections `[[table]]`; `filter` says which items are rows of one table";
            mistakes.push(Mistake::new("unmatched", unmatched.span(), message));
        }
        let Some(key) = &file.key else {
            mistakes.push(Mistake::new("key", at, "`key` is missing: the columns that identify a row"));
            return None;
        };
        Some(Self {
            section: None,
            name: (name, at),
            schema: file.schema.as_ref(),
            key,
            version: file.version.as_ref(),
            when: &[],
            each: None,
            values: shared(file).collect(),
            columns: &file.columns,
            groups: &file.groups,
            on_create: &file.on_create,
        })
    }

    /// That of a section, after those of the sections before.
    fn of_section(file: &'a File, section: &'a Section, before: &[Self], mistakes: &mut Vec<Mistake>) -> Self {
        let Section { name, schema, key, version, when, values, columns, groups, on_create, .. } = section;
        let schema_name = |schema: Option<&'a Spanned<String>>| schema.map(|name| name.get_ref().as_str());
        let same = |layout: &Self| {
            layout.name.0 == name.get_ref() && schema_name(layout.schema) == schema_name(schema.as_ref())
        };
        if before.iter().any(same) {
            let place = format!("table.{}", name.get_ref());
            mistakes.push(Mistake::new(place, name.span(), "two sections cannot fill one table"));
        }
        let each = parent(section, before, mistakes);
        let inherited = each.map(|(parent, _)| own_values(before, parent)).unwrap_or_default();
        let place = values_of(name.get_ref());
        let own = values.iter().map(|(name, definition)| (place.clone(), name, definition));
        let all: Vec<_> = shared(file).chain(inherited).chain(own).collect();
        for (place, (section, name, _)) in all.iter().enumerate() {
            if all[..place].iter().any(|(_, known, _)| known.get_ref() == name.get_ref()) {
                let message = "there is a value of that name already";
                mistakes.push(Mistake::new(format!("{section}.{}", name.get_ref()), name.span(), message));
            }
        }
        Self {
            section: Some(name.get_ref()),
            name: (name.get_ref(), name.span()),
            schema: schema.as_ref(),
            key,
            version: version.as_ref(),
            when,
            each,
            values: used(all, columns),
            columns,
            groups,
            on_create,
        }
    }
}

/// The tables of a file.
pub(crate) fn layouts<'a>(file: &'a File, mistakes: &mut Vec<Mistake>) -> Vec<Layout<'a>> {
    let sections = match file.table.get_ref() {
        Tables::One(name) => return Layout::of_file(file, name, mistakes).into_iter().collect(),
        Tables::Several(sections) => sections,
    };
    if sections.is_empty() {
        mistakes.push(Mistake::new("table", file.table.span(), "there is no table"));
    }
    for (what, given) in [
        ("key", file.key.as_ref().map(Spanned::span)),
        ("schema", file.schema.as_ref().map(Spanned::span)),
        ("version", file.version.as_ref().map(Spanned::span)),
        ("columns", file.columns.keys().next().map(Spanned::span)),
        ("groups", file.groups.first().map(Spanned::span)),
    ] {
        if let Some(at) = given {
            mistakes.push(Mistake::new(what, at, format!("`{what}` belongs into the sections `[[table]]`")));
        }
    }
    let mut layouts = Vec::new();
    for section in sections {
        let layout = Layout::of_section(file, section.get_ref(), &layouts, mistakes);
        layouts.push(layout);
    }
    layouts
}

/// The values of all tables.
fn shared(file: &File) -> impl Iterator<Item = Value<'_>> {
    file.values.iter().map(|(name, definition)| ("values".to_owned(), name, definition))
}

/// Where the values of a section stand.
fn values_of(section: &str) -> String {
    format!("table.{section}.values")
}

/// The values that a section has of its own, for those of its elements.
fn own_values<'a>(layouts: &[Layout<'a>], place: usize) -> Vec<Value<'a>> {
    let own = layouts[place].section.map(values_of);
    layouts[place].values.iter().filter(|(place, ..)| Some(place) == own.as_ref()).cloned().collect()
}

/// The place of the parent, and where the elements are.
fn parent<'a>(section: &'a Section, before: &[Layout<'a>], mistakes: &mut Vec<Mistake>) -> Option<(usize, &'a Path)> {
    let name = section.name.get_ref();
    let mistake = |what: &str, at, message: &str| Mistake::new(format!("table.{name}.{what}"), at, message);
    let (parent, each) = match (&section.parent, &section.each) {
        (None, None) => return None,
        (Some(parent), Some(each)) => (parent, each),
        (Some(given), None) => {
            let message = "`each` is missing: the list or map of which each element is a row";
            mistakes.push(mistake("parent", given.span(), message));
            return None;
        }
        (None, Some(given)) => {
            let message = "`parent` is missing: the table whose items are taken";
            mistakes.push(mistake("each", given.span(), message));
            return None;
        }
    };
    let Some(place) = before.iter().position(|layout| layout.section == Some(parent.get_ref())) else {
        let known = before.iter().filter_map(|layout| layout.section);
        let message = format!("there is no table `{}` before this one", parent.get_ref());
        let mistake = mistake("parent", parent.span(), &message);
        mistakes.push(mistake.similar(similar(parent.get_ref(), known)));
        return None;
    };
    if before[place].each.is_some() {
        mistakes.push(mistake("parent", parent.span(), "the parent is itself made of elements"));
    }
    Some((place, each.get_ref()))
}

/// The values of which the columns are made, other values in between.
fn used<'a>(mut values: Vec<Value<'a>>, columns: &Definitions) -> Vec<Value<'a>> {
    let mut names: Vec<String> = columns.iter().flat_map(|(name, column)| names_in(name.get_ref(), column)).collect();
    let mut kept = Vec::new();
    while let Some(value) = values.pop() {
        if names.iter().any(|name| name == value.1.get_ref()) {
            names.extend(names_in("", value.2));
            kept.push(value);
        }
    }
    kept.reverse();
    kept
}

/// Names that a definition may take a value by.
pub(crate) fn names_in(name: &str, definition: &Definition) -> Vec<String> {
    let Definition { from, template, object, array, map, only_if, .. } = definition;
    let mut names = only_if.clone();
    match from {
        Some(Path::Dotted(path)) => names.push(path.clone()),
        Some(Path::Names(_)) => {}
        None => names.push(name.to_owned()),
    }
    names.extend(object.iter().flat_map(|fields| fields.values().cloned()));
    names.extend(array.iter().flatten().cloned());
    names.extend(map.iter().flatten().flat_map(|Entry { name, value }| [name.clone(), value.clone()]));
    let pieces = template.iter().flat_map(|template| template.split('{').skip(1));
    names.extend(pieces.filter_map(|piece| piece.split_once('}')).map(|(name, _)| name.to_owned()));
    names
}
