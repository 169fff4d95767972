//! Whole runs: the real programs, a real PostgreSQL, a real S3 implementation. What one program does alone is tested
//! beside it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod changes;
mod damage;
mod docs;
mod events;
mod hostile;
mod increments;
mod infer;
mod ion;
mod migrate;
mod orders;
mod pictures;
mod predecessor;
mod readme;
mod rejects;
mod shop;
mod sql_rules;
mod stream;
mod trust;
mod verify;
mod version;

use std::fmt::Write as _;
use std::path::Path;

use harness::postgres::Postgres;
use harness::{Dir, Program, workspace_program};

/// A line of bash that runs with the programs on PATH, in a folder, with a database to write to.
fn bash(dir: &Dir, postgres: &Postgres, line: &str) -> Program {
    let programs = workspace_program("pg-upsert");
    let programs = programs.parent().unwrap().display().to_string();
    Program::at("/bin/bash")
        .in_dir(dir)
        .args(["-o", "pipefail", "-c", line])
        .env("PATH", format!("{programs}:{}:/usr/local/bin:/usr/bin:/bin", root("scripts")))
        .env("DDB_PIPE_BIN", &programs)
        .env("DDB_PIPE_PROFILES", root("profiles"))
        .envs(postgres.envs())
}

/// A folder of the project.
fn root(folder: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder).canonicalize().unwrap().display().to_string()
}

/// The table, row by row, without the times of the load.
fn pictures_table(postgres: &Postgres) -> String {
    postgres.query("select (to_jsonb(p) - 'createdAt' - 'updatedAt')::text from pictures p order by id")
}

/// An item of the pictures collection: picture, language, format, and the rest as the picture's own.
fn picture(id: u32, language: u32, format: u32) -> String {
    let mut line = format!(r#"{{"Item":{{"id":{{"S":"{id}-{language}-{format}"}},"pictureId":{{"N":"{id}"}}"#);
    // Writing into a string cannot fail.
    let _ = write!(line, r#","languageId":{{"N":"{language}"}},"url":{{"S":"/img/2013/{id}.jpg"}}"#);
    let _ = write!(line, r#","caption":{{"S":"picture {id} in {language}"}},"agencyId":{{"N":"{}"}}"#, id % 7);
    let _ = write!(line, r#","formatId":{{"N":"{format}"}},"formatPictureId":{{"N":"{}"}}"#, id * 100 + format);
    let _ = write!(line, r#","originalWidth":{{"N":"{}"}},"originalHeight":{{"N":"3"}}}}}}"#, 1000 + id);
    line
}

/// Many items of few pictures in an order that mixes them, the same every time.
fn pictures(count: u32) -> Vec<String> {
    let languages = [0, 1, 3, 4];
    let formats = [85, 72, 68];
    let items = (0..count).map(|n| {
        let mixed = n.wrapping_mul(2_654_435_761) >> 7;
        picture(1 + mixed % (count / 6 + 1), languages[(mixed / 3) as usize % 4], formats[(mixed / 11) as usize % 3])
    });
    items.collect()
}
