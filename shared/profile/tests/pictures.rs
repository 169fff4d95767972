//! The rules of the pictures profile, one by one, with results worked out by hand. What PostgreSQL makes of the same
//! rows is tested in tests/end-to-end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bumpalo::Bump;
use std::path::Path;

use item::{Encoding, decode};
use profile::{Fate, Made, Merger, Options, Profile, Row};
use serde_json::{Value, json};

fn pictures(max_id: Option<i64>) -> Profile {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../profiles/pictures.toml");
    profile::read(&path, Options { max_id }).unwrap()
}

/// An item that has everything; `changes` replaces attributes, and removes those that it gives as null.
fn item(changes: &Value) -> String {
    let mut item = json!({
        "id": {"S": "7-0-85"}, "pictureId": {"N": "7"}, "languageId": {"N": "0"},
        "url": {"S": "/img/2013/07/11/1057245.jpg"}, "caption": {"S": "A house"}, "agencyId": {"N": "3"},
        "formatId": {"N": "85"}, "formatPictureId": {"N": "12"},
        "originalWidth": {"N": "4000"}, "originalHeight": {"N": "3000"}, "x": {"N": "1"}, "y": {"S": "not looked at"},
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            item.as_object_mut().unwrap().remove(name);
        } else {
            item[name] = value.clone();
        }
    }
    json!({ "Item": item }).to_string()
}

fn row_of(profile: &Profile, changes: &Value) -> Result<Row, String> {
    let line = item(changes);
    let memory = Bump::new();
    let item = decode(line.as_bytes(), Encoding::DynamodbJson, &memory).map_err(|error| error.to_string())?;
    let mut made = Made::default();
    assert_eq!(profile.rows(&item, &mut made)?, Fate::Row);
    Ok(made.rows().next().unwrap().1.to_row())
}

fn columns(profile: &Profile, row: &Row) -> Value {
    let cells = profile.tables[0].schema.columns.iter().zip(row.cells());
    Value::Object(cells.map(|(column, cell)| (column.name.clone(), serde_json::from_str(cell).unwrap())).collect())
}

/// The columns of the row of one item.
#[track_caller]
fn row(changes: &Value) -> Value {
    let profile = pictures(None);
    columns(&profile, &row_of(&profile, changes).unwrap())
}

/// The columns of the row that several items make, in that order.
fn merged(items: &[Value]) -> Value {
    let profile = pictures(None);
    let merger = Merger::new(&profile.tables[0].schema).unwrap();
    let rows = items.iter().map(|changes| row_of(&profile, changes).unwrap());
    columns(&profile, &rows.reduce(|a, b| merger.merge(&a, &b)).unwrap())
}

#[test]
fn columns_with_the_time_of_the_load_are_marked() {
    let marked =
        |profile: &Profile| profile.tables[0].schema.columns.iter().map(|column| column.load_time).collect::<Vec<_>>();
    let pictures = pictures(None);
    let names =
        pictures.tables[0].schema.columns.iter().map(|column| column.name.ends_with("edAt")).collect::<Vec<_>>();
    assert_eq!(marked(&pictures), names, "createdAt and updatedAt");
    let json = serde_json::to_string(&pictures.tables[0].schema.columns).unwrap();
    assert_eq!(json.matches(r#","load_time":true}"#).count(), 2);
    assert_eq!(json.matches("load_time").count(), 2, "the others look as they always did");

    let text = r#"
        table = "t"
        key = ["id"]
        [values]
        now = { load_time = true }
        text = { template = "at {now}" }
        [columns]
        id = { type = "bigint" }
        loaded = { type = "jsonb", array = ["text"] }
        other = { type = "text", from = "id" }"#;
    let by_other_values = profile::parse("t.toml".as_ref(), text, Options::default()).unwrap();
    assert_eq!(marked(&by_other_values), [false, true, false]);
}

#[test]
fn one_item_gives_one_row() {
    let mut row = row(&json!({}));
    let created = row["createdAt"].take();
    assert_eq!(row["updatedAt"].take(), created);
    assert!(created.as_str().unwrap().ends_with('Z'));
    assert_eq!(
        row,
        json!({
            "id": 7,
            // uuid.uuid5(uuid.NAMESPACE_DNS, "7") of Python
            "uuid": "a9f96b98-dd44-5216-ab0d-dbfc6b262edf",
            "path": "2013/07/11/1057245.jpg", "imageType": "image/jpeg", "width": 4000, "height": 3000,
            "description_i18n": {"en": "A house"}, "agencyId": 3, "focalPointX": null, "focalPointY": null,
            "crops": [], "taxonomy": [], "type": "MEDIA", "createdBy": "migration-script",
            "createdAt": null, "updatedAt": null,
            "variants": [{"formatId": 85, "formatPictureId": 12, "width": 2560, "height": 1440,
                          "path": "2013/07/11/1057245-12-2560-1440.jpg"}],
        })
    );
}

#[test]
fn numbers_may_be_texts_that_hold_them() {
    let row = row(&json!({
        "pictureId": {"S": "7"}, "languageId": {"S": "1"}, "agencyId": {"S": "3"}, "formatId": {"S": "72"},
        "formatPictureId": {"S": "12"}, "originalWidth": {"S": "40"}, "originalHeight": {"S": "30"},
    }));
    assert_eq!(
        (&row["id"], &row["agencyId"], &row["width"], &row["height"]),
        (&json!(7), &json!(3), &json!(40), &json!(30))
    );
    assert_eq!(row["uuid"], "a9f96b98-dd44-5216-ab0d-dbfc6b262edf");
    assert_eq!(row["description_i18n"], json!({"de": "A house", "en": ""}));
    assert_eq!(row["variants"][0]["formatId"], 72);
    assert_eq!(row["variants"][0]["path"], "2013/07/11/1057245-12-640-480.jpg");
}

#[test]
fn what_is_required_and_missing_or_of_another_type_rejects_the_item() {
    let profile = pictures(None);
    for (changes, reason) in [
        (json!({"id": null}), "attribute `id` is missing"),
        (json!({"pictureId": null}), "attribute `pictureId` is missing"),
        (json!({"languageId": null}), "attribute `languageId` is missing"),
        (json!({"url": null}), "attribute `url` is missing"),
        (json!({"agencyId": null}), "attribute `agencyId` is missing"),
        (json!({"formatId": null}), "attribute `formatId` is missing"),
        (json!({"id": {"N": "7"}}), "attribute `id` is N, but S is wanted"),
        (json!({"url": {"N": "7"}}), "attribute `url` is N, but S is wanted"),
        (json!({"url": {"NULL": true}}), "attribute `url` is null, but a value is required"),
        (json!({"pictureId": {"S": "seven"}}), "attribute `pictureId` is `seven`, which is not a number"),
        (json!({"pictureId": {"S": ""}}), "attribute `pictureId` is ``, which is not a number"),
        (json!({"pictureId": {"N": "7.5"}}), "attribute `pictureId` is `7.5`, which is not a whole number"),
        (json!({"languageId": {"BOOL": true}}), "attribute `languageId` is BOOL, but N or S is wanted"),
        (json!({"formatId": {"L": []}}), "attribute `formatId` is L, but N or S is wanted"),
        (json!({"caption": {"N": "1"}}), "attribute `caption` is N, but S is wanted"),
        (json!({"originalWidth": {"S": "wide"}}), "attribute `originalWidth` is `wide`, which is not a number"),
        (
            json!({"originalWidth": {"N": "3000000000"}}),
            "attribute `originalWidth` is 3000000000, which is outside -2147483648 to 2147483647",
        ),
    ] {
        assert_eq!(row_of(&profile, &changes).unwrap_err(), reason, "{changes}");
    }
}

#[test]
fn the_image_s_type_follows_the_extension() {
    for (url, path, image_type) in [
        ("/img/a.png", "a.png", "image/png"),
        ("/img/a.PNG", "a.PNG", "image/png"),
        ("/img/a.Gif", "a.Gif", "image/gif"),
        ("/img/a.webp", "a.webp", "image/jpeg"),
        ("/img/a", "a", "image/jpeg"),
        ("/images/a.png", "/images/a.png", "image/png"),
        ("/img/img/a.jpg", "img/a.jpg", "image/jpeg"),
    ] {
        let row = row(&json!({"url": {"S": url}}));
        assert_eq!((row["path"].as_str(), row["imageType"].as_str()), (Some(path), Some(image_type)), "{url}");
    }
}

#[test]
fn width_and_height_come_together_or_not_at_all() {
    for changes in [
        json!({"originalWidth": null}),
        json!({"originalHeight": null}),
        json!({"originalWidth": {"NULL": true}}),
        json!({"originalHeight": {"NULL": true}}),
    ] {
        let row = row(&changes);
        assert_eq!((&row["width"], &row["height"]), (&Value::Null, &Value::Null), "{changes}");
    }
}

#[test]
fn a_description_needs_a_known_language_and_a_text() {
    for (language, caption, expected) in [
        ("17", json!({"S": "Ház"}), json!({"hu": "Ház", "en": ""})),
        ("2", json!({"S": "?"}), json!({"en": ""})),
        ("1", json!({"S": ""}), json!({"en": ""})),
        ("1", json!(null), json!({"en": ""})),
        ("1", json!({"NULL": true}), json!({"en": ""})),
        ("0", json!({"S": "A \"house\"\n"}), json!({"en": "A \"house\"\n"})),
    ] {
        let row = row(&json!({"languageId": {"N": language}, "caption": caption}));
        assert_eq!(row["description_i18n"], expected, "{language} {caption}");
    }
}

#[test]
fn every_language_has_its_code() {
    for (id, code) in [
        (0, "en"),
        (1, "de"),
        (3, "fr"),
        (4, "it"),
        (5, "nl"),
        (6, "es"),
        (9, "tr"),
        (11, "da"),
        (13, "nb"),
        (14, "pl"),
        (15, "ru"),
        (16, "ro"),
        (17, "hu"),
    ] {
        let row = row(&json!({"languageId": {"N": id.to_string()}}));
        assert_eq!(row["description_i18n"][code], "A house", "{id}");
    }
}

#[test]
fn a_variant_has_a_path_only_with_a_known_format_and_a_picture() {
    let none = |format: i64, picture: Value| json!([{"formatId": format, "formatPictureId": picture, "width": null, "height": null, "path": null}]);
    for (changes, expected) in [
        (json!({"formatPictureId": null}), none(85, Value::Null)),
        (json!({"formatPictureId": {"NULL": true}}), none(85, Value::Null)),
        (json!({"formatId": {"N": "1"}}), none(1, json!(12))),
        (json!({"url": {"S": "/img/2013.07/none"}}), none(85, json!(12))),
        (
            json!({"formatId": {"N": "68"}, "url": {"S": "/other/a.b.JPEG"}}),
            json!([{"formatId": 68, "formatPictureId": 12, "width": 310, "height": 310, "path": "/other/a.b-12-310-310.JPEG"}]),
        ),
    ] {
        assert_eq!(row(&changes)["variants"], expected, "{changes}");
    }
}

#[test]
fn max_id_keeps_what_is_strictly_less() {
    for (limit, fate) in [(8, Fate::Row), (7, Fate::Filtered), (6, Fate::Filtered)] {
        let profile = pictures(Some(limit));
        let line = item(&json!({}));
        let memory = Bump::new();
        let item = decode(line.as_bytes(), Encoding::DynamodbJson, &memory).unwrap();
        assert_eq!(profile.rows(&item, &mut Made::default()), Ok(fate), "{limit}");
    }
}

#[test]
fn descriptions_are_laid_over_each_other_and_an_empty_text_replaces_none() {
    let texts = |language: &str, caption: &str| json!({"languageId": {"N": language}, "caption": {"S": caption}});
    let row = merged(&[texts("0", "one"), texts("1", "eins"), texts("1", "zwei"), texts("3", "")]);
    assert_eq!(row["description_i18n"], json!({"en": "one", "de": "zwei"}));
    let row = merged(&[texts("1", "eins"), texts("0", "one")]);
    assert_eq!(row["description_i18n"], json!({"en": "one", "de": "eins"}));
}

#[test]
fn the_side_with_a_picture_in_format_85_gives_path_and_size() {
    let with = json!({"url": {"S": "/img/with.png"}, "originalWidth": {"N": "1"}, "originalHeight": {"N": "2"}});
    let other = json!({"url": {"S": "/img/other.gif"}, "formatId": {"N": "72"}});
    let sizeless = json!({"url": {"S": "/img/sizeless.jpg"}, "formatId": {"N": "68"}, "originalWidth": null});
    let pathless = json!({"url": {"S": "/img/pathless.jpg"}, "formatPictureId": null, "originalWidth": null});
    let primary = |row: &Value| [&row["path"], &row["imageType"], &row["width"], &row["height"]].map(Clone::clone);

    let first = [json!("with.png"), json!("image/png"), json!(1), json!(2)];
    assert_eq!(primary(&merged(&[with.clone(), other.clone()])), first, "a qualifies");
    assert_eq!(primary(&merged(&[other.clone(), with.clone()])), first, "b qualifies");
    // All four from b, NULL too.
    let null = json!({"url": {"S": "/img/null.jpg"}, "originalWidth": null});
    let second = [json!("null.jpg"), json!("image/jpeg"), Value::Null, Value::Null];
    assert_eq!(primary(&merged(&[with.clone(), null])), second, "both qualify");
    // Neither qualifies: each from b where it is not null.
    let third = [json!("sizeless.jpg"), json!("image/jpeg"), json!(4000), json!(3000)];
    assert_eq!(primary(&merged(&[other.clone(), sizeless])), third, "neither qualifies");
    // Format 85 without a path does not count.
    assert_eq!(primary(&merged(&[with, pathless.clone()])), first, "85 without a path");
    assert_eq!(primary(&merged(&[other, pathless]))[0], json!("pathless.jpg"));
}

#[test]
fn variants_are_one_for_each_key_ordered_by_the_keys_texts() {
    let variant = |format: &str, picture: Value, url: &str| json!({"formatId": {"N": format}, "formatPictureId": picture, "url": {"S": url}});
    let picture = |number: &str| json!({"N": number});
    let row = merged(&[
        variant("85", picture("2"), "/img/a.jpg"),
        variant("85", picture("10"), "/img/a.jpg"),
        variant("85", Value::Null, "/img/a.jpg"),
        variant("9", picture("1"), "/img/a.jpg"),
        variant("72", picture("1"), "/img/a.jpg"),
    ]);
    let keys: Vec<_> =
        row["variants"].as_array().unwrap().iter().map(|v| (&v["formatId"], &v["formatPictureId"])).collect();
    // By text: "72" < "85" < "9"; "10" < "2" < "null".
    let expected = [json!([72, 1]), json!([85, 10]), json!([85, 2]), json!([85, null]), json!([9, 1])];
    assert_eq!(keys, expected.iter().map(|key| (&key[0], &key[1])).collect::<Vec<_>>());
}

#[test]
fn of_two_variants_with_one_key_a_path_wins_then_the_later_one() {
    let with = |url: &str| json!({"url": {"S": url}});
    let path = |items: &[Value]| merged(items)["variants"][0]["path"].clone();
    assert_eq!(path(&[with("/img/a.jpg"), with("/img/b.jpg")]), "b-12-2560-1440.jpg");
    assert_eq!(path(&[with("/img/a.jpg"), with("/img/none")]), "a-12-2560-1440.jpg");
    assert_eq!(path(&[with("/img/none"), with("/img/b.jpg")]), "b-12-2560-1440.jpg");
    assert_eq!(path(&[with("/img/none"), with("/img/neither")]), Value::Null);
}

#[test]
fn the_rest_comes_from_the_side_that_the_specification_names() {
    let profile = pictures(None);
    let merger = Merger::new(&profile.tables[0].schema).unwrap();
    let index = |name: &str| profile.tables[0].schema.index(name).unwrap();
    let with = |marks: &[(&str, &str)]| {
        let plain = row_of(&profile, &json!({})).unwrap();
        let cell = |place: usize| marks.iter().find(|(name, _)| index(name) == place).map(|(_, json)| *json);
        Row::of(
            (0..profile.tables[0].schema.columns.len()).map(|place| cell(place).unwrap_or_else(|| plain.cell(place))),
        )
    };
    let names = [
        "uuid",
        "agencyId",
        "focalPointX",
        "focalPointY",
        "crops",
        "taxonomy",
        "type",
        "createdBy",
        "createdAt",
        "updatedAt",
    ];
    let a: Vec<_> = names.iter().map(|name| (*name, "\"a\"")).collect();
    let b: Vec<_> = names.iter().map(|name| (*name, "\"b\"")).collect();
    let row = columns(&profile, &merger.merge(&with(&a), &with(&b)));
    let sides: Vec<_> = names.iter().map(|name| row[name].as_str().unwrap()).collect();
    assert_eq!(sides, ["a", "b", "b", "b", "a", "b", "a", "a", "a", "a"]);
}

mod laws {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        /// Items that differ where merging looks, from few values so that they meet.
        fn items()(
            language in prop::sample::select(vec!["0", "1", "3", "2"]),
            caption in prop::sample::select(vec!["", "x", "y"]),
            url in prop::sample::select(vec!["/img/a.jpg", "/img/b.png", "/img/none"]),
            format in prop::sample::select(vec!["85", "72", "1"]),
            picture in prop::option::of(prop::sample::select(vec!["2", "10"])),
            size in prop::option::of(1..5),
        ) -> Value {
            json!({
                "languageId": {"N": language}, "caption": {"S": caption}, "url": {"S": url}, "formatId": {"N": format},
                "formatPictureId": picture.map(|number| json!({"N": number})),
                "originalWidth": size.map(|size: i32| json!({"N": size.to_string()})),
            })
        }
    }

    proptest! {
        /// Wherever a window, a batch or a run ends, the row is the same.
        #[test]
        fn merging_is_associative(items in prop::collection::vec(items(), 3..8), cut in any::<prop::sample::Index>()) {
            let profile = pictures(None);
            let merger = Merger::new(&profile.tables[0].schema).unwrap();
            let rows: Vec<_> = items.iter().map(|changes| row_of(&profile, changes).unwrap()).collect();
            let fold = |rows: &[Row]| rows.iter().cloned().reduce(|a, b| merger.merge(&a, &b)).unwrap();
            let cut = 1 + cut.index(rows.len() - 1);
            let apart = merger.merge(&fold(&rows[..cut]), &fold(&rows[cut..]));
            prop_assert_eq!(columns(&profile, &apart), columns(&profile, &fold(&rows)));
        }

        /// A stretch that is read again, because a run was cut off behind it, changes nothing.
        #[test]
        fn repeating_a_stretch_changes_nothing(items in prop::collection::vec(items(), 1..8), from in any::<prop::sample::Index>()) {
            let profile = pictures(None);
            let merger = Merger::new(&profile.tables[0].schema).unwrap();
            let rows: Vec<_> = items.iter().map(|changes| row_of(&profile, changes).unwrap()).collect();
            let fold = |rows: &[Row]| rows.iter().cloned().reduce(|a, b| merger.merge(&a, &b)).unwrap();
            let again = [&rows[..], &rows[from.index(rows.len())..]].concat();
            prop_assert_eq!(columns(&profile, &fold(&again)), columns(&profile, &fold(&rows)));
        }
    }
}
