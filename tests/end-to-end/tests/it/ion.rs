//! Exports in the format Amazon Ion: a table exported both ways gives the same rows.

use harness::export::Export;
use harness::postgres::Postgres;
use harness::s3::S3;
use harness::{Dir, gzip};

use crate::bash;
use crate::orders;

/// The items of `orders`, written out by hand as the developer guide writes Ion.
const ITEMS: &str = r#"$ion_1_0 {Item:{OrderId:"o-1",Status:" Paid ",Note:"tab\tnew\nline \\ \"q\" \u00e9 \U0001f600",OrderNumber:9223372036854775807.,Quantity:"3",Priority:-5.,Total:12345678901234567890.123456789012345678,Weight:1.5d-7,Score:77.80,Paid:true,CustomerId:"6ba7b810-9dad-11d1-80b4-00c04fd430c8",AccountName:"7",Signature:{{AAH/}},OrderedAt:"2024-01-15T10:30:00Z",ShippedAt:1680109764.,SeenAt:1680109764123.,Due:"2024-02-01",LocalTime:"2024-01-15 10:30:00",Tags:$dynamodb_SS::["b,1","a\"2\\","","NULL"],Sizes:$dynamodb_NS::[3.,2.50],Keys:$dynamodb_BS::[{{AA==}},{{/w==}}],Address:{Country:"NL",Lines:["1",null]},Lines:[{n:12345678901234567890123456789012345678.}],Anything:$dynamodb_SS::["x"]}}
$ion_1_0 {Item:{OrderId:"o-2",Note:""}}
$ion_1_0 {Item:{OrderId:"o-3",Deleted:true}}
"#;

const RUN: &str = "migrate -p orders run --create --source";

fn export() -> Export {
    Export::new("Orders", "01700000000000-0000001f").under("nightly/").with("outputFormat", "ION")
}

#[test]
fn a_table_exported_both_ways_gives_the_same_rows() {
    let (dir, postgres, s3) = (Dir::new(), Postgres::new(), S3::start());
    export().file(ITEMS.lines()).put_to(&s3);

    let run = bash(&dir, &postgres, &format!("{RUN} {}", s3.url("nightly/"))).envs(s3.envs()).run();

    run.exits(0).stderr_has("COMPLETED: 1 files, 3 records");
    // The same as of DynamoDB JSON.
    assert_eq!(orders::table(&postgres, "orders"), orders::EXPECTED);
}

#[test]
fn files_are_known_by_their_name_or_their_beginning() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let files = [("named/1.ion.gz", ITEMS), ("other/1.gz", ITEMS), ("emulator/1.ion.gz", orders::ITEMS)];
    for (file, items) in files {
        dir.write(file, gzip(items));
        let place = file.split('/').next().unwrap_or_default();
        let line = format!("ddb-list --source {place} | ddb-cat | ddb-parse -p orders | pg-upsert --create");
        bash(&dir, &postgres, &line).run().exits(0);
        assert_eq!(orders::table(&postgres, "orders"), orders::EXPECTED, "{place}");
        postgres.query("drop table orders");
    }
}

#[test]
fn a_line_that_is_no_record_is_a_reject_with_its_number() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let mut lines: Vec<_> = ITEMS.lines().collect();
    lines.insert(1, "$ion_1_0 {Item:{OrderId:\"o-4\",Score:2e0}}");
    lines.push("$ion_1_0 {Item:{OrderId:\"o-5\"");
    export().file(&lines).write_to(&dir);

    let run = bash(&dir, &postgres, &format!("{RUN} nightly --max-rejects 100%")).run();

    run.exits(1).stderr_has("5 records");
    assert_eq!(orders::table(&postgres, "orders"), orders::EXPECTED);
    let rejects = dir.read("migrate-orders.rejects.jsonl");
    let mut rejects = rejects.lines();
    let first = rejects.next().unwrap_or_default();
    assert!(first.contains("attribute `Score`: a float is no type of DynamoDB") && first.contains(":2,"), "{first}");
    let second = rejects.next().unwrap_or_default();
    assert!(second.contains("not Ion: ") && second.contains(":5,"), "{second}");
    assert_eq!(rejects.next(), None);
}
