//! S3 that answers wrongly, late or not at all, and objects that are not what the manifest says.

use std::sync::Arc;

use harness::export::md5_base64;

use super::Fault;
use crate::collection::FILES;
use crate::experiment::Experiment;
use crate::front::Treatment;
use crate::instant::{Fate, Instant};

/// The end of a run in which files failed.
const FILES_FAILED: [i32; 2] = [1, 65];

pub(super) const FAULTS: &[Fault] = &[
    Fault::new("S3 resets the connection in mid-body", |e| body(e, Treatment::Reset)),
    Fault::new("S3 closes the connection in mid-body", |e| body(e, Treatment::Close)),
    Fault::new("S3 stalls in mid-body", |e| {
        let (after, at) = (e.rng.u64(0..FILES as u64), e.rng.usize(0..90_000));
        e.world.front.treat(after, 1, Treatment::Stall(at));
        treated(e, &[1], "trying again");
    }),
    Fault::reordering("S3 cuts a body short without an error", |e| {
        let (after, at) = (e.rng.u64(0..FILES as u64), e.rng.usize(1..60_000));
        e.world.front.treat(after, 1, Treatment::Shorten(at));
        treated(e, &FILES_FAILED, "File failed");
    }),
    Fault::new("S3 says 503 SlowDown", |e| answer(e, "503 Slow Down", "SlowDown")),
    Fault::new("S3 says 500", |e| answer(e, "500 Internal Server Error", "InternalError")),
    Fault::reordering("the credentials have expired", |e| {
        let after = e.rng.u64(0..FILES as u64);
        e.world.front.treat(after, FILES as u64, Treatment::Answer("400 Bad Request", "ExpiredToken"));
        treated(e, &[1, 2, 65, 69], "ExpiredToken");
    }),
    Fault::reordering("objects are replaced under the reader", |e| {
        let objects = data(e, true);
        let s3 = Arc::clone(&e.world.s3);
        change(e, "", move || objects.iter().for_each(|(key, content)| s3.put(key, content)));
    }),
    Fault::reordering("objects are gone", |e| {
        let objects = data(e, false);
        let s3 = Arc::clone(&e.world.s3);
        change(e, "", move || objects.iter().for_each(|(key, _)| s3.delete(key)));
    }),
    Fault::reordering("an md5 is off", |e| {
        let md5 = md5_base64("something else");
        manifest(e, |line| replace(line, "\"md5Checksum\":\"", "\"", &md5));
    }),
    Fault::reordering("an item count is off", |e| manifest(e, |line| replace(line, "\"itemCount\":", ",", "5999"))),
];

/// Breaks some bodies in the middle.
fn body(e: &mut Experiment, treatment: fn(usize) -> Treatment) {
    for _ in 0..e.rng.u32(1..=3) {
        let (after, at) = (e.rng.u64(0..3), e.rng.usize(0..90_000));
        e.world.front.treat(after, e.rng.u64(1..=2), treatment(at));
    }
    treated(e, &[1], "");
}

/// Answers some requests in a row with an error.
fn answer(e: &mut Experiment, status: &'static str, code: &'static str) {
    let (after, times) = (e.rng.u64(0..FILES as u64), e.rng.u64(1..=3));
    e.world.front.treat(after, times, Treatment::Answer(status, code));
    treated(e, &[1], code);
}

/// Runs, and expects that, if something was treated at all.
fn treated(e: &mut Experiment, codes: &[i32], words: &str) {
    let ended = e.run();
    let treated = e.world.front.treated();
    e.tell(format!("{treated} requests treated"));
    e.injected += treated;
    if treated > 0 {
        e.expect(&ended, codes, words);
    }
}

/// The data files' keys and contents, or the same lines in another order.
fn data(e: &Experiment, turned: bool) -> Vec<(String, Vec<u8>)> {
    let mut export = e.world.collection.export();
    if turned {
        let turned = e.world.collection.files.iter().map(|lines| lines.iter().rev());
        export = turned.fold(export.without_files(), harness::export::Export::file);
    }
    let objects = export.under("exports/").objects();
    objects.into_iter().filter(|(key, _)| key.ends_with(".json.gz")).collect()
}

/// Changes the objects in the middle of a body, whose connection breaks; then they are as they were.
fn change(e: &mut Experiment, words: &str, work: impl FnOnce() + Send + 'static) {
    let number = e.number(Instant::Body, 0.0..0.8);
    e.arm(Instant::Body, number, move || {
        work();
        Fate::Cut
    });
    let ended = e.run();
    e.expect(&ended, &FILES_FAILED, words);
    e.world.collection.export().under("exports/").put_to(&e.world.s3);
}

/// A run with one line of the manifest changed, which is then as it was.
fn manifest(e: &mut Experiment, changed: impl Fn(&str) -> String) {
    let place = e.rng.usize(0..FILES);
    let objects = e.world.collection.export().under("exports/").objects();
    let (key, list) =
        objects.iter().find(|(key, _)| key.ends_with("manifest-files.json")).expect("every export has it");
    let list = String::from_utf8_lossy(list);
    let lines =
        list.lines().enumerate().map(|(line, text)| if line == place { changed(text) } else { text.to_owned() });
    let list: String = lines.map(|line| line + "\n").collect();
    e.world.s3.put(key, &list);
    e.world.s3.put(&key.replace(".json", ".md5"), md5_base64(&list));
    let ended = e.run();
    e.expect(&ended, &FILES_FAILED, "File failed");
    e.injected += 1;
    e.world.collection.export().under("exports/").put_to(&e.world.s3);
}

/// The line with another text between two others.
fn replace(line: &str, before: &str, after: &str, text: &str) -> String {
    let start = line.find(before).expect("it is in the manifest") + before.len();
    let end = start + line[start..].find(after).expect("it ends");
    format!("{}{text}{}", &line[..start], &line[end..])
}
