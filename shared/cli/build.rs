//! The version that every program says: that of the workspace, and of which commit it was built, if that is known.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=DDB_PIPE_COMMIT");
    // Who packages an archive without its history says what it is of, say `6552fbc 2026-11-24`.
    let given = std::env::var("DDB_PIPE_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = given.or_else(commit).map_or_else(String::new, |commit| format!(" ({commit})"));
    println!("cargo::rustc-env=DDB_PIPE_VERSION={}{commit}", env!("CARGO_PKG_VERSION"));
}

/// The commit that is checked out, and its day; none outside a clone of this repository.
fn commit() -> Option<String> {
    // A source tree that was unpacked inside another repository is not of that one's commit.
    if git(&["rev-parse", "--show-prefix"])? != "shared/cli/" {
        return None;
    }
    // The log of HEAD grows with each commit and each checkout, wherever the branch itself is kept.
    for file in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", file])?;
        // What is not there would be taken for changed at every build.
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["log", "-1", "--abbrev=7", "--date=short-local", "--format=%h %cd"])
}

/// What git prints, in this folder and in UTC; nothing without git.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).env("TZ", "UTC").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned()).filter(|text| !text.is_empty())
}
