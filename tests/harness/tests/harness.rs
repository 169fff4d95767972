//! What the other tests stand on: that the S3 of the harness answers as S3 does, and that its exports look as AWS
//! writes them.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Config, Credentials, Region, retry::RetryConfig};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use harness::Dir;
use harness::export::{Export, md5_base64, md5_hex};
use harness::s3::{ACCESS_KEY, BUCKET, Fault, Get, Proxy, S3, SECRET_KEY};

const ID: &str = "01700000000000-abcdef12";

/// A client with what a program would have from its environment.
fn client(envs: &[(&str, String)], secret: &str) -> Client {
    let endpoint = envs.iter().find(|(name, _)| *name == "AWS_ENDPOINT_URL").expect("it says where it is");
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(&endpoint.1)
        .force_path_style(true)
        .region(Region::new("eu-west-1"))
        .retry_config(RetryConfig::disabled())
        .credentials_provider(Credentials::new(ACCESS_KEY, secret, None, None, "test"));
    Client::from_conf(config.build())
}

fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> String {
    error.as_service_error().and_then(|error| error.code()).unwrap_or("no answer").to_owned()
}

#[tokio::test]
async fn an_object_is_read_as_a_whole_and_in_ranges() {
    let s3 = S3::start();
    let client = client(&s3.envs(), SECRET_KEY);
    s3.put("a/x", "0123456789");

    let whole = client.get_object().bucket(BUCKET).key("a/x").send().await.unwrap();
    assert_eq!(whole.e_tag(), Some(format!("\"{}\"", md5_hex("0123456789")).as_str()));
    assert_eq!(whole.body.collect().await.unwrap().to_vec(), b"0123456789");

    let part = client.get_object().bucket(BUCKET).key("a/x").range("bytes=7-").send().await.unwrap();
    assert_eq!(part.content_range(), Some("bytes 7-9/10"));
    assert_eq!(part.body.collect().await.unwrap().to_vec(), b"789");

    let get = |from| Get { key: "a/x".to_owned(), from, conditional: false };
    assert_eq!(s3.gets(), [get(0), get(7)]);
}

#[tokio::test]
async fn only_the_object_with_the_etag_that_is_wanted_is_given() {
    let s3 = S3::start();
    let client = client(&s3.envs(), SECRET_KEY);
    s3.put("x", "old");
    let etag = format!("\"{}\"", md5_hex("old"));
    let get = || client.get_object().bucket(BUCKET).key("x").if_match(&etag).send();

    assert!(get().await.is_ok());
    s3.put("x", "new");
    let error = get().await.unwrap_err();

    assert_eq!(code(&error), "PreconditionFailed");
    assert_eq!(error.raw_response().map(|response| response.status().as_u16()), Some(412));
}

#[tokio::test]
async fn what_a_client_puts_is_listed_with_its_etag() {
    let s3 = S3::start();
    let client = client(&s3.envs(), SECRET_KEY);
    let body = ByteStream::from_static(b"content");
    client.put_object().bucket(BUCKET).key("a/1").body(body).send().await.unwrap();
    s3.put("a/2", "more");
    s3.put("b/3", "");

    let list = client.list_objects_v2().bucket(BUCKET).prefix("a/").send().await.unwrap();

    let listed: Vec<_> = list.contents().iter().map(|o| (o.key(), o.size(), o.e_tag().map(str::to_owned))).collect();
    let etag = |content: &str| Some(format!("\"{}\"", md5_hex(content)));
    assert_eq!(listed, [(Some("a/1"), Some(7), etag("content")), (Some("a/2"), Some(4), etag("more"))]);
}

#[tokio::test]
async fn what_is_missing_or_forbidden_has_the_code_that_s3_gives() {
    let s3 = S3::start();
    s3.put("x", "");
    let client = |secret| client(&s3.envs(), secret);
    let get = |client: Client, bucket: &str, key: &str| client.get_object().bucket(bucket).key(key).send();

    let errors = [
        get(client(SECRET_KEY), BUCKET, "none").await.unwrap_err(),
        get(client("wrong"), BUCKET, "x").await.unwrap_err(),
    ];
    assert_eq!(errors.map(|error| code(&error)), ["NoSuchKey", "SignatureDoesNotMatch"]);
    let list = client(SECRET_KEY).list_objects_v2().bucket("other").send().await.unwrap_err();
    assert_eq!(code(&list), "NoSuchBucket");

    s3.slow_down(1);
    assert_eq!(code(&get(client(SECRET_KEY), BUCKET, "x").await.unwrap_err()), "SlowDown");
    assert!(get(client(SECRET_KEY), BUCKET, "x").await.is_ok());
}

#[tokio::test]
async fn a_proxy_cuts_the_connections_that_it_was_told_to_and_no_others() {
    let s3 = S3::start();
    s3.put("x", vec![b'x'; 100_000]);
    let proxy = Proxy::to(&s3, [Fault::Cut(50_000)]);

    for whole in [false, true, true] {
        // Each on a connection of its own.
        let client = client(&s3.envs_by(&proxy), SECRET_KEY);
        let object = client.get_object().bucket(BUCKET).key("x").send().await.unwrap();
        assert_eq!(object.body.collect().await.is_ok_and(|body| body.to_vec().len() == 100_000), whole);
    }
}

#[test]
fn an_export_has_every_file_that_aws_writes() {
    let dir = Dir::new();
    let export = Export::new("Pictures", ID).under("exports/").file(["{\"Item\":{}}"]).file([""; 0]);
    export.write_to(&dir);

    let folder = format!("exports/AWSDynamoDB/{ID}/");
    assert_eq!(dir.read(&format!("{folder}_started")), "");
    for name in ["manifest-summary", "manifest-files"] {
        let content = dir.read(&format!("{folder}{name}.json"));
        assert_eq!(dir.read(&format!("{folder}{name}.md5")), md5_base64(content));
    }
    let summary = dir.read(&format!("{folder}manifest-summary.json"));
    for part in [
        r#""version":"2020-06-30""#,
        r#""tableArn":"arn:aws:dynamodb:eu-west-1:123456789012:table/Pictures""#,
        r#""s3Prefix":"exports""#,
        r#""s3SseKmsKeyId":null"#,
        &format!(r#""manifestFilesS3Key":"{folder}manifest-files.json""#),
        r#""itemCount":1"#,
    ] {
        assert!(summary.contains(part), "{part} in {summary}");
    }
    assert!(!summary.ends_with('\n'), "{summary}");
    let files = dir.read(&format!("{folder}manifest-files.json"));
    let first = export.objects().into_iter().find(|(key, _)| *key == export.key(1)).expect("it is there").1;
    let key = format!("{folder}data/00000000000000000000000001.json.gz");
    let line = format!(r#"{{"itemCount":1,"md5Checksum":"{}","etag":""#, md5_base64(first));
    assert!(files.starts_with(&line) && files.contains(&format!("-1\",\"dataFileS3Key\":\"{key}\"}}\n")), "{files}");
    assert_eq!(files.lines().count(), 2);
}

#[test]
fn increments_share_a_folder() {
    let export = Export::new("Pictures", ID).incremental().file(["{\"Keys\":{}}"]);
    assert_eq!(export.key(1), "AWSDynamoDB/data/01700000000000000000000001.json.gz");
    let summary =
        export.objects().into_iter().find(|(key, _)| key.ends_with("manifest-summary.json")).expect("written").1;
    let summary = String::from_utf8(summary).expect("it is text");
    assert!(summary.contains(r#""exportType":"INCREMENTAL_EXPORT""#) && !summary.contains("exportTime\""), "{summary}");
    assert!(summary.contains(r#""s3Prefix":null"#), "{summary}");
}
