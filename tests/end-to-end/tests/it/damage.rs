//! Data files that were cut off or changed on their way, at every byte and bit: never a silent loss. What the unzipping
//! does with each case alone is tested in `export`.

use std::collections::BTreeMap;

use harness::Dir;
use harness::export::Export;
use harness::gzip;
use harness::postgres::Postgres;
use serde_json::Value;

use crate::bash;

const RECORDS: [&str; 3] =
    [r#"{"Item":{"id":{"N":"1"}}}"#, r#"{"Item":{"id":{"N":"2"}}}"#, r#"{"Item":{"id":{"N":"3"}}}"#];

/// What `ddb-parse` makes of them.
const ITEMS: [&str; 3] = [r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":3}"#];

/// Where the name begins and ends that the header has.
const NAME: std::ops::Range<usize> = 10..16;

/// A gzip file whose header has a time and a name.
fn whole() -> Vec<u8> {
    let body = gzip(RECORDS.join("\n") + "\n");
    [&b"\x1f\x8b\x08\x08\x01\x02\x03\x04\x00\x03x.json\0"[..], &body[10..]].concat()
}

/// Whether the content is the same whatever stands there: the flag for text, time, level, system, name (RFC 1952,
/// section 2.3).
fn says_nothing(place: usize, before: u8, after: u8) -> bool {
    match place {
        3 => before ^ after == 1,
        4..10 => true,
        // A zero would end the name.
        _ => NAME.contains(&place) && after != 0,
    }
}

/// Every damaged file by its name, and whether nothing of its content is damaged.
fn damaged() -> BTreeMap<String, (Vec<u8>, bool)> {
    let whole = whole();
    let cut = (0..whole.len()).map(|length| (format!("cut-{length:03}"), whole[..length].to_vec(), false));
    let flip = (0..whole.len()).flat_map(|place| {
        let whole = whole.clone();
        let bytes =
            (0..8).map(|bit| 1 << bit).chain([whole[place], !whole[place], 0xff, 0x55]).filter(|mask| *mask > 0);
        bytes.map(move |mask| {
            let mut bytes = whole.clone();
            bytes[place] ^= mask;
            (format!("at-{place:03}-{mask:02x}"), bytes, says_nothing(place, whole[place], whole[place] ^ mask))
        })
    });
    cut.chain(flip).map(|(name, bytes, harmless)| (name, (bytes, harmless))).collect()
}

/// What came of each file: its lines of data, and why it failed.
fn outcomes(output: &str) -> BTreeMap<String, (Vec<String>, Option<String>)> {
    let (mut outcomes, mut lines, mut open) = (BTreeMap::new(), Vec::new(), None);
    for line in output.lines() {
        let parsed: Value = serde_json::from_str(line).unwrap();
        let Some(event) = parsed.get("$file") else {
            if !line.starts_with("{\"$") {
                lines.push(line.to_owned());
            }
            continue;
        };
        let key = event["key"].as_str().unwrap();
        let name = key.rsplit('/').next().unwrap().trim_end_matches(".json.gz").to_owned();
        match event["event"].as_str().unwrap() {
            "begin" => open = Some(name),
            "end" | "fail" => {
                // Nothing is said of a file twice.
                assert!(open.take().is_none_or(|open| open == name), "{line}");
                let reason = event["reason"].as_str().map(|reason| format!("{key}: {reason}"));
                assert!(outcomes.insert(name, (std::mem::take(&mut lines), reason)).is_none(), "{line}");
            }
            _ => {}
        }
    }
    assert_eq!((open, lines.len()), (None, 0));
    outcomes
}

#[test]
fn without_a_manifest_every_damage_of_the_content_is_said() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let damaged = damaged();
    for (name, (bytes, _)) in &damaged {
        dir.write(&format!("{name}.json.gz"), bytes);
    }

    let run = bash(&dir, &postgres, "ddb-cat *.json.gz | ddb-parse --markers").run();

    run.exits(1);
    let outcomes = outcomes(run.output());
    assert_eq!(outcomes.len(), damaged.len());
    for (name, (_, harmless)) in &damaged {
        let (lines, reason) = &outcomes[name];
        if *harmless {
            assert_eq!((lines.as_slice(), reason), (&ITEMS.map(str::to_owned)[..], &None), "{name}");
        } else {
            let reason = reason.as_deref().unwrap_or_else(|| panic!("{name} is taken for whole"));
            assert!(reason.contains(" is damaged at byte ") && reason.starts_with(name), "{reason}");
            assert!(lines.iter().zip(ITEMS).all(|(line, item)| line == item), "{name}: {lines:?}");
        }
    }
}

#[test]
fn with_a_manifest_every_other_byte_is_said() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let damaged = damaged();
    let export = Export::new("T", "01700000000000-abcdef12");
    let export = damaged.iter().fold(export, |export, _| export.file_of(whole(), 3));
    export.write_to(&dir);
    for (place, (bytes, _)) in damaged.values().enumerate() {
        dir.write(&export.key(place + 1), bytes);
    }

    let run = bash(&dir, &postgres, "ddb-list . | ddb-cat | ddb-parse --markers").run();

    run.exits(1);
    let outcomes = outcomes(run.output());
    assert_eq!(outcomes.len(), damaged.len());
    for ((name, (_, harmless)), (key, (_, reason))) in damaged.iter().zip(&outcomes) {
        let reason = reason.as_deref().unwrap_or_else(|| panic!("{key}, which is {name}, is taken for whole"));
        let expected = if *harmless { "MD5" } else { "is damaged at byte " };
        assert!(reason.contains(expected) && reason.contains(key), "{name}: {reason}");
    }
}
