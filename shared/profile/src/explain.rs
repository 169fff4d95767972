//! What a profile makes of one item, and why: for those who write profiles. It is worked out by the plan itself; here it is
//! only said in words.

use std::fmt::Write as _;

use bumpalo::Bump;
use item::{Item, Value, decode};

use crate::condition::{Bound, Condition, Test, Wanted};
use crate::convert::{Problem, Scalar};
use crate::file::OnFailure;
use crate::plan::{Action, Element, Known, Origin, Piece, Plan, Reference, Slot, Source, fill_template};
use crate::row::Row;
use crate::tables::{Gate, Made, Mended, Table, elements};

/// Longer values are cut.
const LONGEST: usize = 60;

/// How many rows there are, and a line for each that is gone.
pub(crate) fn rows(tables: &[Table], made: &Made) -> String {
    let mut text = format!("rows: {}, deleted: {}\n", made.rows().count(), made.deleted().count());
    for (place, row) in made.deleted() {
        let schema = &tables[place].schema;
        let key = schema.key_indexes().unwrap_or_default();
        let key: Vec<_> = key.into_iter().map(|at| format!("{} {}", schema.columns[at].name, row.cell(at))).collect();
        // Writing into a string cannot fail.
        let _ = writeln!(text, "table `{}`: no longer the row of {}", schema.name(), key.join(", "));
    }
    text
}

/// A line for each table, and for each value and column of those that take the item, which was written then.
pub(crate) fn explain(gate: &Gate, tables: &[Table], item: &Item<'_>, written: Option<&str>) -> String {
    match gate.mended(item) {
        Ok(Mended::AsItIs) => of_item(gate, tables, Source { written, ..Source::of(item) }),
        Ok(Mended::Line(line, encoding)) => match decode(line.as_bytes(), encoding, &Bump::new()) {
            Ok(item) => format!(
                "it is now {}\n{}",
                shorten(&line),
                of_item(gate, tables, Source { written, ..Source::of(&item) })
            ),
            Err(error) => format!("{error}\n"),
        },
        Ok(Mended::Nothing) => "the jq filter of the profile makes nothing of it\n".to_owned(),
        Err(reason) => format!("{reason}\n"),
    }
}

fn of_item(gate: &Gate, tables: &[Table], source: Source<'_>) -> String {
    let mut text = String::new();
    if let Some(failed) = gate.filter.iter().find(|condition| !condition.holds(source)) {
        return format!("it does not hold that {}\n", said(failed, tables.first()));
    }
    let mut matched = Vec::new();
    for table in tables {
        let takes = match table.each {
            Some((parent, _)) => matched[parent],
            None => table.when.iter().all(|condition| condition.holds(source)),
        };
        matched.push(takes);
        of_table(&mut text, table, takes, source);
    }
    text
}

fn of_table(text: &mut String, table: &Table, takes: bool, source: Source<'_>) {
    let name = table.schema.name();
    let conditions = |holds| {
        let these = table.when.iter().filter(|condition| condition.holds(source) == holds);
        these.map(|condition| said(condition, Some(table))).collect::<Vec<_>>().join(" and ")
    };
    // Writing into a string cannot fail.
    let _ = match &table.each {
        None if !takes => writeln!(text, "table `{name}`: no, it does not hold that {}", conditions(false)),
        Some(_) if !takes => writeln!(text, "table `{name}`: no, its parent does not take the item"),
        None if table.when.is_empty() => writeln!(text, "table `{name}`: yes"),
        None => writeln!(text, "table `{name}`: yes, {}", conditions(true)),
        Some((_, way)) => {
            let found = source.follow(way);
            let count = found.map_or(Ok(0), |value| {
                let mut count = 0;
                elements(way, value, |_, _| {
                    count += 1;
                    Ok(())
                })
                .map(|()| count)
            });
            match count {
                Ok(count) => writeln!(text, "table `{name}`: elements in `{}`: {count}", way.name()),
                Err(reason) => writeln!(text, "table `{name}`: {reason}"),
            }
        }
    };
    if !takes {
        return;
    }
    let Some((_, way)) = &table.each else { return table.plan.explain(text, source) };
    let Some(value) = source.follow(way) else { return };
    let mut position = 0;
    // What is wrong with it was said.
    let _ = elements(way, value, |value, name| {
        position += 1;
        let element = Element { value, position: position.to_string(), name };
        let source = Source { element: Some(&element), ..source };
        let failed = table.when.iter().find(|condition| !condition.holds(source));
        let not = failed.map(|failed| format!(": no, it does not hold that {}", said(failed, Some(table))));
        let _ = writeln!(text, "  element {position}{}", not.as_deref().unwrap_or_default());
        if not.is_none() {
            table.plan.explain(text, source);
        }
        Ok(())
    });
}

impl Plan {
    /// A line for each value and column.
    fn explain(&self, text: &mut String, source: Source<'_>) {
        let memory = &Bump::new();
        let mut known = Known::of(source, memory, self.values.len());
        let mut lines = Vec::new();
        for value in &self.values {
            let why = self.why(value, &known);
            let made = self.make(value, &known, &mut String::new());
            let why = because(value, why, made.as_ref().err());
            let made = made.or_else(|problem| value.instead(problem));
            let outcome = match &made {
                Ok(made) => json(*made),
                Err(reason) => format!("rejected: {reason}"),
            };
            known.values.push(made.unwrap_or(Scalar::Null));
            lines.push((format!("({})", value.name), String::new(), outcome, why));
        }
        for column in &self.columns {
            let mut row = Row::default();
            // Every column has a type.
            let tried = column.ty.as_ref().map(|ty| self.write(column, ty, &known, &mut String::new()));
            let why = because(column, self.why(column, &known), tried.and_then(Result::err).as_ref());
            let outcome = match self.cell(column, &known, &mut row) {
                Ok(()) => shorten(row.view().cell(0)),
                Err(reason) => format!("rejected: {reason}"),
            };
            let ty = column.ty.as_ref().map_or_else(String::new, ToString::to_string);
            lines.push((column.name.clone(), ty, outcome, why));
        }
        let width = |of: fn(&(String, String, String, String)) -> &String| {
            lines.iter().map(|line| of(line).chars().count()).filter(|width| *width <= LONGEST).max().unwrap_or(0)
        };
        let (name, ty, outcome) = (width(|line| &line.0), width(|line| &line.1), width(|line| &line.2));
        for (of, its, comes, why) in &lines {
            let _ = writeln!(text, "  {of:name$}  {its:ty$}  {comes:outcome$}  {why}");
        }
    }

    /// Where a value comes from, and by which steps.
    fn why<'a>(&'a self, slot: &'a Slot, known: &Known<'a>) -> String {
        let mut why = self.origin(&slot.origin, known);
        let begin = match &slot.origin {
            Origin::Reference(reference) => Some(known.find(reference)),
            Origin::Constant(constant) => Some(constant.scalar()),
            Origin::Template(pieces) => fill_template(pieces, known).ok(),
            _ => None,
        };
        let mut scalar = begin.unwrap_or(Scalar::Null);
        for step in &slot.steps {
            if scalar.is_null() {
                break;
            }
            let _ = write!(why, ", {} ", self.action(step));
            match self.step(step, scalar, known.memory) {
                Ok(next) => {
                    let _ = write!(why, "-> {}", json(next));
                    scalar = next;
                }
                Err(problem) => {
                    let _ = write!(why, "fails: {problem}");
                    break;
                }
            }
        }
        if let Some(default) = &slot.default
            && scalar.is_null()
            && !matches!(
                slot.origin,
                Origin::Object(_) | Origin::Array(_) | Origin::Map(..) | Origin::Rest(_) | Origin::Jq(_)
            )
        {
            let _ = write!(why, ", so the default {}", json(default.scalar()));
        }
        let absent = slot.only_if.iter().find(|reference| known.find(reference).is_null());
        if let Some(reference) = absent {
            let _ = write!(why, ", but nothing without {}", self.reference(reference));
        }
        match slot.on_failure {
            OnFailure::Reject => {}
            OnFailure::Null => why.push_str(" (on failure null)"),
            OnFailure::Default => why.push_str(" (on failure the default)"),
        }
        why
    }

    fn origin<'a>(&'a self, origin: &'a Origin, known: &Known<'a>) -> String {
        let all = |references: Vec<&Reference>| {
            references.into_iter().map(|reference| self.reference(reference)).collect::<Vec<_>>().join(", ")
        };
        match origin {
            Origin::Reference(reference) => {
                let state = match reference {
                    Reference::Attribute(_) | Reference::Element(_) => match known.source.find(reference) {
                        None => " is missing".to_owned(),
                        Some(value) => format!(" {} {}", value.ty().name(), shorten(&value_json(value))),
                    },
                    _ => format!(" {}", json(known.find(reference))),
                };
                format!("{}{state}", self.reference(reference))
            }
            Origin::Constant(_) => "a constant".to_owned(),
            Origin::LoadTime => "the time of the load".to_owned(),
            Origin::Null => "always null".to_owned(),
            Origin::Template(pieces) => {
                let references = pieces.iter().filter_map(|piece| match piece {
                    Piece::Reference(reference) => Some(reference),
                    Piece::Text(_) => None,
                });
                format!("a template of {}", all(references.collect()))
            }
            Origin::Jq(_) => "a jq filter".to_owned(),
            Origin::Rest(_) => "what no other column takes".to_owned(),
            Origin::Object(_) | Origin::Array(_) | Origin::Map(..) => {
                format!("composed of {}", all(origin.references()))
            }
        }
    }

    fn reference(&self, reference: &Reference) -> String {
        match reference {
            Reference::Value(place) => format!("value `{}`", self.values[*place].name),
            other => place(other),
        }
    }

    fn action(&self, action: &Action) -> String {
        match action {
            Action::Trim => "trim".to_owned(),
            Action::Lower => "lower".to_owned(),
            Action::Upper => "upper".to_owned(),
            Action::NullIfEmpty => "null_if_empty".to_owned(),
            Action::Extension => "extension".to_owned(),
            Action::Stem => "stem".to_owned(),
            Action::StripPrefix(prefix) => format!("strip_prefix `{prefix}`"),
            Action::StripSuffix(suffix) => format!("strip_suffix `{suffix}`"),
            Action::Lookup(table) => format!("lookup among {}", self.lookups[*table].len()),
            Action::UuidV5(namespace) => format!("uuid_v5 in {namespace}"),
            Action::Split(by, part) => format!("part {part} by `{by}`"),
            Action::Epoch(1) => "epoch_seconds".to_owned(),
            Action::Epoch(1_000) => "epoch_milliseconds".to_owned(),
            Action::Epoch(_) => "epoch_microseconds".to_owned(),
        }
    }
}

/// Why a value is what it is, with the problem for which it gave way.
fn because(slot: &Slot, why: String, problem: Option<&Problem>) -> String {
    match problem.filter(|_| slot.gives_way()) {
        Some(problem) => format!("{why}: {problem}"),
        None => why,
    }
}

/// What a reference that is no value stands for.
fn place(reference: &Reference) -> String {
    match reference {
        Reference::Attribute(way) => format!("attribute `{}`", way.name()),
        Reference::Element(way) if way.first().is_none() => "the element".to_owned(),
        Reference::Element(way) => format!("`{}` of the element", way.name()),
        Reference::Position => "the element's position".to_owned(),
        Reference::Name => "the element's name".to_owned(),
        Reference::Written => "the time of the write".to_owned(),
        Reference::Value(_) => "a value".to_owned(),
    }
}

/// A condition in words.
fn said(condition: &Condition, table: Option<&Table>) -> String {
    let several = |conditions: &[Condition], between: &str| {
        let said = conditions.iter().map(|condition| said(condition, table)).collect::<Vec<_>>().join(between);
        if conditions.len() > 1 { format!("({said})") } else { said }
    };
    let test = |reference: &Reference, test: &Test| {
        let of = match (reference, table) {
            (Reference::Value(_), Some(table)) => table.plan.reference(reference),
            _ => place(reference),
        };
        let texts = |texts: &[String]| texts.iter().map(|text| format!("`{text}`")).collect::<Vec<_>>().join(" or ");
        match test {
            Test::Exists(true) => format!("{of} is there"),
            Test::Exists(false) => format!("{of} is not there"),
            Test::OneOf(wanted) => format!("{of} is {}", texts(wanted)),
            Test::NoneOf(unwanted) => format!("{of} is not {}", texts(unwanted)),
            Test::BeginsWith(prefix) => format!("{of} begins with `{prefix}`"),
            Test::Compares(wanted, bound) => {
                let than = match wanted {
                    Wanted::Less => "less than",
                    Wanted::AtMost => "at most",
                    Wanted::Greater => "greater than",
                    Wanted::AtLeast => "at least",
                };
                match bound {
                    Bound::Number { digits, .. } => format!("{of} is {than} {digits}"),
                    Bound::Text(text) => format!("{of} is {than} `{text}`"),
                }
            }
        }
    };
    match condition {
        Condition::Test(reference, asked) => test(reference, asked),
        Condition::All(conditions) => several(conditions, " and "),
        Condition::Any(conditions) => several(conditions, " or "),
        Condition::Not(condition) => format!("not {}", said(condition, table)),
        Condition::Jq(_) => "its jq filter is true".to_owned(),
    }
}

fn json(scalar: Scalar<'_>) -> String {
    let mut text = String::new();
    match scalar.write_json(&mut text) {
        Ok(()) => shorten(&text),
        Err(problem) => format!("what {problem}"),
    }
}

fn value_json(value: &Value<'_>) -> String {
    let mut text = String::new();
    value.write_json(&mut text);
    text
}

fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
