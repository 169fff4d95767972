//! The pictures profile through the whole pipeline, down to the rows of the table.

use harness::Dir;
use harness::export::Export;
use harness::postgres::Postgres;

use crate::{bash, pictures, pictures_table};

/// Items of one picture in three files. The expected rows are worked out by hand from the profile's specification.
const ITEMS: [&[&str]; 3] = [
    &[
        r#"{"Item":{"id":{"S":"7-0-72"},"pictureId":{"N":"7"},"languageId":{"N":"0"},"url":{"S":"/img/a/7.png"},"caption":{"S":"A house"},"agencyId":{"N":"3"},"formatId":{"N":"72"},"formatPictureId":{"N":"12"},"originalWidth":{"N":"40"},"originalHeight":{"N":"30"}}}"#,
        r#"{"Item":{"id":{"S":"8-2-1"},"pictureId":{"S":"8"},"languageId":{"N":"2"},"url":{"S":"/img/none"},"agencyId":{"N":"4"},"formatId":{"N":"1"},"formatPictureId":{"N":"5"}}}"#,
        r#"{"Item":{"id":{"S":"7-1-85"},"pictureId":{"N":"7"},"languageId":{"N":"1"},"url":{"S":"/img/a/7-b.gif"},"caption":{"S":"Ein Haus"},"agencyId":{"N":"3"},"formatId":{"N":"85"},"formatPictureId":{"NULL":true}}}"#,
    ],
    &[
        r#"{"Item":{"id":{"S":"7-3-85"},"pictureId":{"N":"7"},"languageId":{"N":"3"},"url":{"S":"/img/a/7-c.jpg"},"caption":{"S":"Une maison"},"agencyId":{"N":"5"},"formatId":{"N":"85"},"formatPictureId":{"N":"9"},"originalWidth":{"S":"4000"},"originalHeight":{"N":"3000"}}}"#,
    ],
    &[
        r#"{"Item":{"id":{"S":"7-4-72"},"pictureId":{"N":"7"},"languageId":{"N":"4"},"url":{"S":"/img/other"},"caption":{"S":""},"agencyId":{"N":"6"},"formatId":{"N":"72"},"formatPictureId":{"N":"12"}}}"#,
        r#"{"Item":{"id":{"S":"8-0-1"},"pictureId":{"N":"8"},"languageId":{"N":"0"},"url":{"S":"/img/later.PNG"},"caption":{"S":"Later"},"agencyId":{"N":"4"},"formatId":{"N":"1"},"formatPictureId":{"N":"5"},"originalWidth":{"N":"1"},"originalHeight":{"N":"2"}}}"#,
    ],
];

const EXPECTED: &str = r#"7|a9f96b98-dd44-5216-ab0d-dbfc6b262edf|a/7-c.jpg|image/jpeg|4000|3000|{"de": "Ein Haus", "en": "A house", "fr": "Une maison"}|6|||[]|[]|MEDIA|migration-script|[{"path": "a/7-12-640-480.png", "width": 640, "height": 480, "formatId": 72, "formatPictureId": 12}, {"path": "a/7-c-9-2560-1440.jpg", "width": 2560, "height": 1440, "formatId": 85, "formatPictureId": 9}, {"path": null, "width": null, "height": null, "formatId": 85, "formatPictureId": null}]
8|e99caacd-6c45-5906-bd9f-b79e62f25963|later.PNG|image/png|1|2|{"en": "Later"}|4|||[]|[]|MEDIA|migration-script|[{"path": null, "width": null, "height": null, "formatId": 1, "formatPictureId": 5}]"#;

const COLUMNS: &str = r#"select id, uuid, path, "imageType", width, height, description_i18n, "agencyId", "focalPointX", "focalPointY", crops, taxonomy, type, "createdBy", variants from pictures order by id"#;

fn export() -> Export {
    ITEMS.iter().fold(Export::new("Pictures", "01700000000000-abcdef12"), |export, items| export.file(*items))
}

#[test]
fn items_of_one_picture_in_several_files_become_its_row() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    export().write_to(&dir);

    let run = bash(&dir, &postgres, "ddb-list . | ddb-cat | ddb-parse -p pictures | pg-upsert --create").run();

    run.exits(0);
    assert_eq!(postgres.query(COLUMNS).trim_end(), EXPECTED);
}

#[test]
fn merging_in_the_stream_and_against_the_table_is_the_same() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    export().write_to(&dir);

    // No two items meet before the table.
    let line = "ddb-list . | ddb-cat | ddb-parse -p pictures --window 1 | pg-upsert --create -b 1";
    bash(&dir, &postgres, line).run().exits(0);

    assert_eq!(postgres.query(COLUMNS).trim_end(), EXPECTED);
}

#[test]
fn a_row_of_the_table_is_the_earlier_side() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    export().write_to(&dir);
    let pipeline = "ddb-list . | ddb-cat | ddb-parse -p pictures | pg-upsert --create";
    bash(&dir, &postgres, pipeline).run().exits(0);
    postgres.query(
        r#"update pictures set "createdAt" = '2001-01-01Z', "updatedAt" = '2002-02-02Z', crops = '[1]', taxonomy = '[2]',
           type = 'OTHER', "createdBy" = 'somebody', "focalPointX" = 1, "agencyId" = 99,
           uuid = '00000000-0000-0000-0000-000000000000', description_i18n = description_i18n || '{"es": "Casa"}'
           where id = 7"#,
    );

    bash(&dir, &postgres, pipeline).run().exits(0);

    let kept = r#"select "createdAt" at time zone 'UTC', "updatedAt" at time zone 'UTC', crops, taxonomy, type, "createdBy", "focalPointX", "agencyId", uuid, description_i18n->>'es' from pictures where id = 7"#;
    let expected =
        "2001-01-01 00:00:00|2002-02-02 00:00:00|[1]|[]|OTHER|somebody||6|00000000-0000-0000-0000-000000000000|Casa";
    assert_eq!(postgres.query(kept).trim_end(), expected);
}

#[test]
fn the_sequence_is_past_the_highest_id_when_all_is_done() {
    let (dir, postgres) = (Dir::new(), Postgres::new());
    export().write_to(&dir);

    let line = "ddb-list . | ddb-cat | ddb-parse -p pictures | pg-upsert -p pictures --create";
    bash(&dir, &postgres, line).run().exits(0);

    assert_eq!(postgres.query("select nextval('picture_id_seq')").trim_end(), "9");
    assert!(!dir.has("migrate-pictures.bookmark.json"));
}

/// Windows, gathering, batches, connections and the number of files do not show in the table.
#[test]
fn the_table_does_not_depend_on_where_windows_batches_and_files_end() {
    let items = pictures(3000);
    let mut tables = Vec::new();
    for (files, window, batch, gather, connections) in [
        (1, 50_000, 50_000, 500_000, 1),
        (7, 10, 97, 1, 1),
        (3, 1, 500, 100, 3),
        (12, 333, 20, 20, 2),
        (2, 50_000, 1, 70, 4),
        (5, 100, 50, 500_000, 2),
    ] {
        let (dir, postgres) = (Dir::new(), Postgres::new());
        let size = items.len().div_ceil(files);
        let export = Export::new("Pictures", "01700000000000-abcdef12");
        items.chunks(size).fold(export, Export::file).write_to(&dir);

        let parse = format!("ddb-parse -p pictures --window {window}");
        let upsert = format!("pg-upsert --create -b {batch} --gather {gather} --connections {connections}");
        bash(&dir, &postgres, &format!("ddb-list . | ddb-cat | {parse} | {upsert}")).run().exits(0);

        tables.push(pictures_table(&postgres));
    }
    assert!(tables[0].lines().count() > 300);
    for table in &tables[1..] {
        assert_eq!(table, &tables[0]);
    }
}

/// A run that is killed again and again, at any record, ends with the table of an undisturbed one.
#[test]
fn the_table_does_not_depend_on_where_a_run_was_cut_off() {
    let items = pictures(4000);
    let (dir, postgres) = (Dir::new(), Postgres::new());
    let export = Export::new("Pictures", "01700000000000-abcdef12");
    items.chunks(1500).fold(export, Export::file).write_to(&dir);
    let undisturbed = Postgres::new();
    let line = "ddb-list . | ddb-cat | ddb-parse -p pictures | pg-upsert --create";
    bash(&dir, &undisturbed, line).run().exits(0);

    let list = "ddb-list . --pending --profile pictures";
    let upsert = "pg-upsert -p pictures --create -b 200 --gather 200";
    for round in 0..8_u32 {
        // The stream breaks at some byte, in the middle of a line mostly, as when the programs before are killed.
        let bytes = round.wrapping_mul(2_654_435_761) % 500_000;
        let line = format!("{list} | ddb-cat | ddb-parse -p pictures --window 100 | head -c {bytes} | {upsert}");
        bash(&dir, &postgres, &line).run();
    }
    bash(&dir, &postgres, &format!("{list} | ddb-cat | ddb-parse -p pictures | {upsert}")).run().exits(0);

    assert_eq!(pictures_table(&postgres), pictures_table(&undisturbed));
    assert!(!dir.has("migrate-pictures.bookmark.json"));
}
