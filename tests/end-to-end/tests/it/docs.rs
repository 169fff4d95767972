//! The pages in `docs`: what they quote is really there, and what they leave out is not. Their commands run in `readme`.

use std::fs;
use std::path::Path;

use harness::{Dir, Program, workspace_program};
use serde_json::Value;

use crate::root;

/// The text of a page.
fn page(name: &str) -> String {
    fs::read_to_string(Path::new(&root("docs")).join(name)).unwrap()
}

/// The blocks of a page in that language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let begin = format!("```{language}\n");
    page.split(&begin).skip(1).map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

/// Every source file below a folder of the project.
fn sources(folder: &str) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(root(folder)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            texts.extend(sources(&format!("{folder}/{name}")));
        } else if name == "migrate" || (path.extension().is_some_and(|ending| ending == "rs") && folder.contains("src"))
        {
            texts.push(fs::read_to_string(path).unwrap());
        }
    }
    texts
}

/// Fields that stand after `visibility` in a source file, as `serde` writes them.
fn fields(file: &str, visibility: &str) -> Vec<String> {
    let text = fs::read_to_string(root(file)).unwrap();
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let mut names = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = line.strip_prefix(visibility).and_then(|rest| rest.split_once(": ")) else { continue };
        if name.0.contains(' ') {
            continue;
        }
        let renamed = lines[at - 1].split_once("rename = \"").and_then(|(_, rest)| rest.split_once('"'));
        names.push(renamed.map_or(name.0, |(renamed, _)| renamed).trim_start_matches("r#").to_owned());
    }
    names
}

#[test]
fn each_message_that_is_explained_is_one_that_a_program_says() {
    // A message is often parted over two lines of the source, and has other quotes around names.
    let plain = |text: &str| {
        let joined: String = text.split("\\\n").map(str::trim_start).collect();
        joined.replace(['`', '\\'], "")
    };
    let sources: Vec<_> =
        ["shared", "tools", "scripts"].into_iter().flat_map(sources).map(|text| plain(&text)).collect();
    let page = page("troubleshooting.md");
    let messages: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).collect();
    for message in &messages {
        let parts: Vec<_> = message.split("...").map(str::trim).filter(|part| part.len() > 1).collect();
        assert!(!parts.is_empty(), "{message}");
        let said = sources.iter().any(|source| parts.iter().all(|part| source.contains(part)));
        assert!(said, "no program says `{message}`");
    }
    assert!(messages.len() > 20, "{messages:?}");
}

#[test]
fn the_readme_asks_for_the_rust_that_the_workspace_needs() {
    let manifest = fs::read_to_string(root("Cargo.toml")).unwrap();
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = \"")?.strip_suffix('"')).unwrap();
    let readme = fs::read_to_string(root("README.md")).unwrap();
    let words: Vec<_> = readme.split_whitespace().collect();
    assert!(words.windows(2).any(|pair| pair == ["Rust", version]), "{version}");
}

#[test]
fn every_link_between_pages_leads_to_one() {
    let mut links = 0;
    let docs = fs::read_dir(root("docs")).unwrap().map(|entry| entry.unwrap().path());
    for page in
        docs.chain([root("README.md").into()]).filter(|path| path.extension().is_some_and(|ending| ending == "md"))
    {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("https://") {
                continue;
            }
            assert!(page.with_file_name(link).is_file(), "{}: {link}", page.display());
            links += 1;
        }
    }
    assert!(links > 10, "{links}");
}

#[test]
fn every_profile_that_is_shown_is_one_and_no_key_is_missing() {
    let (dir, page) = (Dir::new(), page("profiles.md"));
    let profiles = blocks(&page, "toml");
    assert!(profiles.len() > 5);
    for profile in &profiles {
        dir.write("shown.toml", profile);
        let parse = Program::at(workspace_program("ddb-parse")).in_dir(&dir).args(["-p", "./shown.toml"]);
        parse.stdin("").run().exits(0).stderr("");
    }
    let shown = profiles.concat();
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let has = |name: &str| {
        shown.match_indices(name).any(|(at, _)| {
            let (before, after) = (&shown.as_bytes()[..at], &shown.as_bytes()[at + name.len()..]);
            !before.last().is_some_and(|byte| word(*byte)) && !after.first().is_some_and(|byte| word(*byte))
        })
    };
    for name in fields("shared/profile/src/file.rs", "pub(crate) ") {
        assert!(has(&name), "the key `{name}` is not shown");
    }
    for policy in ["keep", "coalesce", "greatest", "least", "union", "jsonb_merge", "jsonb_merge_text", "keyed_array"] {
        assert!(has(policy), "the policy `{policy}` is not shown");
    }
}

#[test]
fn every_marker_that_is_shown_is_one_and_no_field_is_missing() {
    let page = page("stream.md");
    let blocks = blocks(&page, "json");
    let shown: Vec<Value> =
        blocks.iter().flat_map(|block| block.lines()).map(|line| serde_json::from_str(line).unwrap()).collect();
    for name in ["$source", "$file", "$schema", "$table", "$delete", "$reject", "$stop"] {
        assert!(shown.iter().any(|marker| marker.get(name).is_some()), "{name}");
    }
    for name in fields("shared/stream/src/marker.rs", "pub ") {
        assert!(
            page.contains(&format!("`{name}`")) || page.contains(&format!("\"{name}\"")),
            "`{name}` is not explained"
        );
    }
}

#[test]
fn every_event_field_and_metric_is_explained() {
    let page = page("monitoring.md");
    let source = fs::read_to_string(root("shared/events/src/event.rs")).unwrap();
    let mut named = 0;
    for line in source.lines().map(str::trim) {
        let Some((name, _)) = line.strip_prefix("pub ").and_then(|rest| rest.split_once(": ")) else { continue };
        if name.contains(' ') || ["counts", "event"].contains(&name) {
            continue;
        }
        // As serde writes it.
        let mut words = name.split('_');
        let camel: String = words
            .next()
            .into_iter()
            .map(str::to_owned)
            .chain(words.map(|word| word[..1].to_uppercase() + &word[1..]))
            .collect();
        assert!(page.contains(&format!("`{camel}`")), "`{camel}` is not explained");
        named += 1;
    }
    assert!(named > 40, "{named}");
    // What Prometheus reads in that test is all there is.
    let read = fs::read_to_string(root("tools/migrate-monitor/tests/follow.rs")).unwrap();
    for name in read.split(['"', '{', ' ', ',']).filter(|word| word.starts_with("ddb_pipe_")) {
        assert!(page.contains(&format!("`{name}`")), "the metric {name} is not explained");
    }
    let metrics = fs::read_to_string(root("tools/migrate-monitor/src/metrics.rs")).unwrap();
    for (at, _) in metrics.match_indices("counts(\"") {
        let name = metrics[at + "counts(\"".len()..].split('"').next().unwrap();
        assert!(page.contains(&format!("`{name}`")), "{name} of `CloudWatch` is not explained");
    }
}
