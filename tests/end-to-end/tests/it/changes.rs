//! A full export and three increments: in any repetition the tables have the final state, which is worked out apart.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use harness::Dir;
use harness::postgres::Postgres;

use crate::bash;

const PROFILE: &str = r#"
[[table]]
name = "users"
when = [{ attribute = "SK", equals = "USER" }]
key = ["email"]                                             # none of the item's key: it may move
version = "written"
[table.columns]
email = { type = "text", from = "Email" }
id = { type = "text", from = "PK" }
written = { type = "bigint", from = "$written" }

[[table]]
name = "orders"
when = [{ attribute = "SK", begins_with = "O#" }]
key = ["id"]
version = "written"
[table.columns]
id = { type = "text", from = "SK" }
total = { type = "numeric", from = "Total" }
written = { type = "bigint", from = "$written" }

[[table]]
name = "lines"
parent = "orders"
each = "Lines"
key = ["id", "line"]
version = "written"
[table.columns]
id = { type = "text", from = "SK" }
line = { type = "integer", from = "$position" }
sku = { type = "text", from = "$element" }
written = { type = "bigint", from = "$written" }
"#;

/// An item: of a user the address, of an order total and lines.
#[derive(Clone, PartialEq)]
enum State {
    User(String),
    Order(u32, Vec<u32>),
}

type Items = BTreeMap<u32, State>;

fn keys(id: u32, state: &State) -> String {
    let sort = if matches!(state, State::User(_)) { "USER".to_owned() } else { format!("O#{id}") };
    format!(r#""PK":{{"S":"U#{id}"}},"SK":{{"S":"{sort}"}}"#)
}

fn image(id: u32, state: &State) -> String {
    let rest = match state {
        State::User(email) => format!(r#""Email":{{"S":"{email}"}}"#),
        State::Order(total, lines) => {
            let lines: Vec<_> = lines.iter().map(|sku| format!(r#"{{"S":"s{sku}"}}"#)).collect();
            format!(r#""Total":{{"N":"{total}"}},"Lines":{{"L":[{}]}}"#, lines.join(","))
        }
    };
    format!("{{{},{rest}}}", keys(id, state))
}

fn full(items: &Items) -> String {
    items.iter().fold(String::new(), |mut lines, (&id, state)| {
        // Writing into a string cannot fail.
        let _ = writeln!(lines, r#"{{"Item":{}}}"#, image(id, state));
        lines
    })
}

/// The records of a period, not in the order of time.
fn increment(before: &Items, after: &Items, written: u32) -> String {
    let ids: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).copied().collect();
    let mut lines = String::new();
    for id in ids.into_iter().rev() {
        let (old, new) = (before.get(&id), after.get(&id));
        let Some(one) = old.or(new).filter(|_| old != new) else { continue };
        let of = |name: &str, state: Option<&State>| {
            state.map_or_else(String::new, |state| format!(r#","{name}":{}"#, image(id, state)))
        };
        let metadata = format!(r#""Metadata":{{"WriteTimestampMicros":{{"N":"{}"}}}}"#, written + id);
        let (keys, old, new) = (keys(id, one), of("OldImage", old), of("NewImage", new));
        let _ = writeln!(lines, r#"{{{metadata},"Keys":{{{keys}}}{old}{new}}}"#);
    }
    lines
}

/// Users 0 to 99 and orders 100 to 299, of which a part changes: some come, some go, addresses change hands.
fn change(items: &Items, random: &mut fastrand::Rng) -> Items {
    let mut after = items.clone();
    for id in 0..300 {
        match (random.u32(0..5), after.contains_key(&id)) {
            (0, true) => drop(after.remove(&id)),
            (0..=2, _) if id < 100 => drop(after.insert(id, State::User(format!("{id}-{}@x", random.u32(0..3))))),
            (0..=2, _) => {
                let lines = (0..random.u32(0..5)).map(|_| random.u32(0..9)).collect();
                after.insert(id, State::Order(random.u32(0..1000), lines));
            }
            _ => {}
        }
    }
    // An address that two users exchange, within one period.
    if let (Some(State::User(one)), Some(State::User(other))) = (items.get(&1), items.get(&2)) {
        after.insert(1, State::User(other.clone()));
        after.insert(2, State::User(one.clone()));
    }
    after
}

/// The rows of a state, by hand.
fn rows(items: &Items) -> Vec<String> {
    let mut rows = Vec::new();
    for (id, state) in items {
        match state {
            State::User(email) => rows.push(format!("user {email} U#{id}")),
            State::Order(total, lines) => {
                rows.push(format!("order O#{id} {total}"));
                rows.extend(lines.iter().zip(1..).map(|(sku, line)| format!("line O#{id} {line} s{sku}")));
            }
        }
    }
    rows.sort_unstable();
    rows
}

const ROWS: &str = "select 'user ' || email || ' ' || id from users union all select 'order ' || id || ' ' || total from \
                    orders union all select 'line ' || id || ' ' || line || ' ' || sku from lines";

#[test]
fn a_full_export_and_its_increments_make_the_final_state_in_any_repetition() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    dir.write("profiles/u.toml", PROFILE);
    let mut random = fastrand::Rng::with_seed(7);
    let mut states = vec![change(&Items::new(), &mut random)];
    let mut exports = vec![full(&states[0])];
    for period in 1..=3 {
        let after = change(&states[period - 1], &mut random);
        exports.push(increment(&states[period - 1], &after, u32::try_from(period).unwrap() * 1_000));
        states.push(after);
    }
    let expected = rows(&states[3]);
    let apply = |export: usize, rows: u32| {
        let line = format!("ddb-parse -p profiles/u.toml --old-images | pg-upsert --create -b {rows}");
        let run = bash(&dir, &postgres, &line).stdin(&exports[export]).run();
        run.exits(0);
        run.messages().to_owned()
    };
    let found = || {
        let found = postgres.query(ROWS);
        let mut found: Vec<_> = found.lines().map(str::to_owned).collect();
        found.sort_unstable();
        found
    };

    for (number, order) in
        [&[0, 1, 2, 3][..], &[1, 2, 3], &[0, 1, 2, 3], &[0, 0, 1, 1, 2, 2, 3, 3], &[2, 3, 2, 3], &[3]]
            .into_iter()
            .enumerate()
    {
        for &export in order {
            // Batches of few rows, so that what is written and what is deleted lie in different ones.
            let said = apply(export, if number % 2 == 0 { 50_000 } else { 20 });
            assert!(export == 0 || said.contains(" deleted"), "{said}");
        }
        assert_eq!(found(), expected, "after {order:?}");
    }
}

#[test]
fn a_deletion_that_postgresql_refuses_is_kept_and_sent_again_as_one() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    dir.write(
        "profiles/o.toml",
        "table = \"o\"\nkey = [\"id\"]\n[columns]\nid = { type = \"text\", from = \"SK\" }\nn = { type = \"bigint\", from = \"N\" }\n",
    );
    let run = |line: &str, input: &str| bash(&dir, &postgres, line).stdin(input).run();
    let load = "ddb-parse -p profiles/o.toml | pg-upsert";
    run(
        &format!("{load} --create"),
        "{\"Item\":{\"SK\":{\"S\":\"a\"},\"N\":{\"N\":\"1\"}}}\n{\"Item\":{\"SK\":{\"S\":\"b\"}}}\n",
    )
    .exits(0);
    postgres.query("create table r (id text references o); insert into r values ('a')");
    let gone = |key: &str| {
        format!(
            "{{\"Metadata\":{{\"WriteTimestampMicros\":{{\"N\":\"1\"}}}},\"Keys\":{{\"SK\":{{\"S\":\"{key}\"}}}}}}\n"
        )
    };

    run(&format!("{load} --max-rejects 100%"), &(gone("a") + &gone("b") + &gone("c")))
        .exits(1)
        .stderr_has("o: 3 = 0 rows written + 0 merged + 1 rejected + 2 deleted");
    assert_eq!(postgres.query("select id from o").trim_end(), "a");
    let rejects = dir.read("migrate-o.rejects.jsonl");
    assert!(
        rejects.contains(r#""sqlstate":"23503""#) && rejects.contains(r#""data":{"$delete":{"id":"a""#),
        "{rejects}"
    );

    postgres.query("drop table r");
    run("migrate -p profiles/o.toml retry-rejects", "").exits(0);
    assert_eq!(postgres.query("select count(*) from o").trim_end(), "0");
}
