//! Filters of jq (<https://jqlang.org/manual/>), for what a profile has no words of its own for. The library `jaq` runs
//! them; here is what goes in and what has to come out.
//!
//! The input is the item as plain JSON, as `ddb-parse` without a profile writes it: sets are arrays, binary is base64. Numbers
//! that a filter only hands on keep every digit; what it computes is a 64-bit float, as in jq.

use std::fmt;

use item::Value;
use jaq_core::data::JustLut;
use jaq_core::load::{Arena, File, Loader, lex, parse};
use jaq_core::{Compiler, Ctx, Vars, compile, load, unwrap_valr};
use jaq_json::{Num, Val, read};

use crate::plan::Source;

/// What a filter of an element can ask for besides its item.
const VARIABLES: [&str; 3] = ["$element", "$position", "$name"];

/// Errors of the code, each with the part of the code where it is.
type CodeErrors<'a> = Vec<(String, &'a str)>;

/// A filter, ready to be run.
pub(crate) struct Filter(jaq_core::Filter<JustLut<Val>>);

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filter")
    }
}

impl Filter {
    /// The filter of that code.
    ///
    /// # Errors
    /// What is wrong with it, with line and column.
    pub(crate) fn of(code: &str) -> Result<Self, String> {
        // A filter makes rows: it does not end the program, and sees nothing of where it runs.
        let kept = |name: &str| !matches!(name, "halt" | "halt_error" | "env");
        let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let definitions = definitions.filter(|definition| kept(definition.name));
        let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
        let functions = functions.filter(|(name, ..)| kept(name));
        let arena = Arena::default();
        let said = |errors: CodeErrors<'_>| {
            let told = errors.iter().map(|(message, part)| format!("{message}, at {}", place(code, part)));
            format!("the jq filter is wrong: {}", told.collect::<Vec<_>>().join("; "))
        };
        let modules =
            Loader::new(definitions).load(&arena, File { code, path: () }).map_err(|errors| said(of_load(errors)))?;
        let compiler = Compiler::default().with_funs(functions).with_global_vars(VARIABLES);
        compiler.compile(modules).map(Self).map_err(|errors| said(of_compile(errors)))
    }

    /// What the filter makes of a row's item, and of its element if it is one of an element; nothing if there is nothing.
    ///
    /// # Errors
    /// Why there is no one value.
    #[cold]
    #[inline(never)]
    pub(crate) fn one(&self, source: Source<'_>) -> Result<Option<Val>, String> {
        let mut text = String::new();
        source.item.write_json(&mut text);
        let input = read_json(&text)?;
        let element = source.element.map(|element| -> Result<_, String> {
            let name = element.name.map_or(Val::Null, |name| Val::from(name.get().into_owned()));
            Ok([of_value(element.value)?, read_json(&element.position)?, name])
        });
        let variables = element.transpose()?.unwrap_or_default();
        let context = Ctx::<JustLut<Val>>::new(&self.0.lut, Vars::new(variables));
        let mut outputs = self.0.id.run((context, input)).map(unwrap_valr);
        let first = outputs.next().transpose().map_err(|error| format!("jq: {error}"))?;
        match outputs.next() {
            None => Ok(first.filter(|value| !matches!(value, Val::Null))),
            Some(Ok(_)) => Err("jq gives several values where one is wanted".to_owned()),
            Some(Err(error)) => Err(format!("jq: {error}")),
        }
    }

    /// Whether what comes out is neither false nor null: jq's idea of true. An error is not.
    pub(crate) fn holds(&self, source: Source<'_>) -> bool {
        matches!(self.one(source), Ok(Some(value)) if !matches!(value, Val::Bool(false)))
    }
}

fn read_json(json: &str) -> Result<Val, String> {
    // It is what this project has written.
    read::parse_single(json.as_bytes()).map_err(|error| format!("jq cannot read the item: {error}"))
}

fn of_value(value: &Value<'_>) -> Result<Val, String> {
    let mut text = String::new();
    value.write_json(&mut text);
    read_json(&text)
}

/// Writes a value as JSON.
///
/// # Errors
/// It has none: jaq knows bytes, numbers that are none, and names that are no texts.
pub(crate) fn write(value: &Val, into: &mut String) -> Result<(), String> {
    let text = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).map_err(|_| "is a text of jq that is not UTF-8".to_owned())?;
        Ok::<_, String>(serde_json::Value::from(text).to_string())
    };
    match value {
        Val::Null => into.push_str("null"),
        Val::Bool(truth) => into.push_str(crate::convert::written(*truth)),
        Val::Num(Num::Float(float)) => {
            let number = serde_json::Number::from_f64(*float).ok_or("is a number of jq that is infinite or none")?;
            into.push_str(&number.to_string());
        }
        Val::Num(number) => into.push_str(&number.to_string()),
        Val::TStr(bytes) => into.push_str(&text(bytes)?),
        Val::Arr(values) => {
            into.push('[');
            for (place, value) in values.iter().enumerate() {
                into.push_str(if place == 0 { "" } else { "," });
                write(value, into)?;
            }
            into.push(']');
        }
        Val::Obj(fields) => {
            into.push('{');
            for (place, (name, value)) in fields.iter().enumerate() {
                let Val::TStr(name) = name else {
                    return Err("is an object of jq with a name that is no text".to_owned());
                };
                into.push_str(if place == 0 { "" } else { "," });
                into.push_str(&text(name)?);
                into.push(':');
                write(value, into)?;
            }
            into.push('}');
        }
        Val::BStr(_) => return Err("is bytes of jq, which have no JSON".to_owned()),
    }
    Ok(())
}

fn of_load(errors: load::Errors<&str, ()>) -> CodeErrors<'_> {
    let mut all = Vec::new();
    for (_, error) in errors {
        match error {
            load::Error::Io(errors) => {
                all.extend(errors.into_iter().map(|(part, error)| (format!("no module can be read: {error}"), part)));
            }
            load::Error::Lex(errors) => all.extend(errors.into_iter().map(of_lex)),
            load::Error::Parse(errors) => all.extend(errors.into_iter().map(of_parse)),
        }
    }
    all
}

fn of_lex((expected, part): lex::Error<&str>) -> (String, &str) {
    (format!("{} was expected", expected.as_str()), part)
}

fn of_parse((expected, part): parse::Error<&str>) -> (String, &str) {
    (format!("{} was expected", expected.as_str()), part)
}

fn of_compile(errors: compile::Errors<&str, ()>) -> CodeErrors<'_> {
    let all = errors.into_iter().flat_map(|(_, errors)| errors);
    all.map(|(part, undefined)| (format!("there is no {} `{part}`", undefined.as_str()), part)).collect()
}

/// Line and column of a part of the code; its end, if it is none.
fn place(code: &str, part: &str) -> String {
    let offset = (part.as_ptr() as usize).wrapping_sub(code.as_ptr() as usize);
    let before = code.get(..offset).unwrap_or(code);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column} of the filter")
}
