//! The text of a profile, and the file that it goes to. What is in it is decided in `tables`.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use fault::FileError;
use item::Type;

use crate::NUL_BECOMES;
use crate::columns::Column;
use crate::kinds::Class;
use crate::tables::{Condition, KeyColumn, Table};

/// What is said at the top.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) comments: Vec<String>,
    pub(crate) description: String,
    /// Some text holds U+0000.
    pub(crate) nul: bool,
}

/// Replaces a file as a whole, so that it never holds a part of the text.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), FileError> {
    let failed = || FileError::on("write", path);
    // A device or a pipe cannot be replaced, and a link stays one.
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return fs::write(path, text).map_err(failed());
    }
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let new = tempfile::Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(folder);
    let mut new = new.map_err(failed())?;
    new.write_all(text.as_bytes()).and_then(|()| new.as_file().sync_all()).map_err(failed())?;
    new.persist(&target).map(drop).map_err(|error| failed()(error.error))
}

/// The profile.
pub(crate) fn profile(head: &Head, tables: &[Table]) -> String {
    let mut text = String::new();
    for comment in &head.comments {
        line(&mut text, &format!("# {comment}"));
    }
    line(&mut text, "");
    line(&mut text, &format!("description = {}", quote(&head.description)));
    if head.nul {
        line(&mut text, "# Some texts hold the character U+0000, which PostgreSQL cannot store.");
        line(&mut text, &format!("nul = {{ replace = {} }}", quote(NUL_BECOMES)));
    }
    let several = tables.len() > 1;
    for table in tables {
        line(&mut text, "");
        for comment in &table.comments {
            line(&mut text, &format!("# {comment}"));
        }
        if several {
            line(&mut text, "[[table]]");
            line(&mut text, &format!("name = {}", quote(&table.name)));
        } else {
            line(&mut text, &format!("table = {}", quote(&table.name)));
        }
        if !table.when.is_empty() {
            let conditions: Vec<_> = table.when.iter().map(condition).collect();
            line(&mut text, &format!("when = [{}]", conditions.join(", ")));
        }
        if let Some((parent, list)) = &table.each {
            line(&mut text, &format!("parent = {}", quote(parent)));
            line(&mut text, &format!("each = {}", path(list)));
        }
        let key: Vec<_> = table.key.iter().map(|part| quote(&part.name)).collect();
        line(&mut text, &format!("key = [{}]", key.join(", ")));
        if !table.indexes.is_empty() {
            let indexes: Vec<_> = table.indexes.iter().map(|columns| quote(&index(&table.name, columns))).collect();
            line(&mut text, &format!("on_create = [{}]", indexes.join(", ")));
        }
        line(&mut text, if several { "[table.columns]" } else { "[columns]" });
        let key = table.key.iter().map(|part| (key_column(part), part.comment.clone()));
        let of_element = table.each.is_some();
        let columns = table.columns.iter().map(|made| (column(made, of_element), made.comment.clone()));
        let rest = (
            format!("{} = {{ type = \"jsonb\", rest = true }}", table.rest),
            "whatever no other column takes".to_owned(),
        );
        let lines: Vec<_> = key.chain(columns).chain([rest]).collect();
        let width = lines.iter().map(|(code, _)| code.chars().count()).filter(|width| *width <= 90).max().unwrap_or(0);
        for (code, comment) in lines {
            let comment = if comment.is_empty() { String::new() } else { format!("  # {comment}") };
            line(&mut text, format!("{code:width$}{comment}").trim_end());
        }
        for left in &table.left {
            line(&mut text, &format!("# in the rest: {left}"));
        }
    }
    text
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// A TOML string.
fn quote(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A name as the way to an attribute.
fn path(name: &str) -> String {
    let plain =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if plain { quote(name) } else { format!("[{}]", quote(name)) }
}

fn key_column(part: &KeyColumn) -> String {
    let Some(attribute) = &part.attribute else {
        return format!("{} = {{ type = {}, from = \"$position\" }}", part.name, quote(part.ty));
    };
    let convert = part.prefix.as_ref().map(|prefix| format!("{{ strip_prefix = {} }}", quote(prefix)));
    definition(&part.name, part.ty, Some(path(attribute)), &part.accept, convert)
}

fn column(column: &Column, of_element: bool) -> String {
    let from = if of_element { quote(&format!("$element.{}", column.attribute)) } else { path(&column.attribute) };
    let from = Some(from).filter(|from| *from != quote(&column.name));
    let accept = column.accept.as_deref().unwrap_or_default();
    definition(&column.name, column.ty, from, accept, column.convert.map(quote))
}

fn definition(name: &str, ty: &str, from: Option<String>, accept: &[Type], convert: Option<String>) -> String {
    let mut text = format!("{name} = {{ type = {}", quote(ty));
    // Writing into a string cannot fail.
    if let Some(from) = from {
        let _ = write!(text, ", from = {from}");
    }
    if !accept.is_empty() {
        let types: Vec<_> = accept.iter().map(|ty| quote(ty.name())).collect();
        let _ = write!(text, ", accept = [{}]", types.join(", "));
    }
    if let Some(convert) = convert {
        let _ = write!(text, ", convert = [{convert}]");
    }
    text.push_str(" }");
    text
}

fn condition(condition: &Condition) -> String {
    match condition {
        Condition::Is(name, class) => test(name, class),
        Condition::IsNone(name, classes) => {
            let tests: Vec<_> = classes.iter().map(|class| test(name, class)).collect();
            format!("{{ not = {{ any = [{}] }} }}", tests.join(", "))
        }
        Condition::Other(kinds) => {
            let all = |conditions: &Vec<Condition>| {
                let tests: Vec<_> = conditions.iter().map(self::condition).collect();
                format!("{{ all = [{}] }}", tests.join(", "))
            };
            format!("{{ not = {{ any = [{}] }} }}", kinds.iter().map(all).collect::<Vec<_>>().join(", "))
        }
    }
}

fn test(name: &str, class: &Class) -> String {
    let (how, text) = match class {
        Class::Prefix(prefix) => ("begins_with", prefix.as_str()),
        Class::Exact(text) => ("equals", text.as_str()),
        // Not asked for: a kind has no condition where it is free.
        Class::Free => ("begins_with", ""),
    };
    format!("{{ attribute = {}, {how} = {} }}", path(name), quote(text))
}

fn index(table: &str, columns: &[String]) -> String {
    let names: Vec<_> = columns.iter().map(|name| pg::quote_name(name)).collect();
    format!("create index on {} ({})", pg::quote_name(table), names.join(", "))
}
