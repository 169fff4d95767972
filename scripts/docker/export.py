"""Puts a small export of a table of pictures into the bucket `exports` of the S3 server at the address that is given."""

import base64
import gzip
import hashlib
import json
import sys

import boto3

ID = "AWSDynamoDB/01700000000000-abcdef12"


def items():
    """One item for each of 60 pictures in two formats."""
    for picture in range(1, 61):
        for format_ in (85, 72):
            yield {"id": {"S": f"{picture}-0-{format_}"}, "pictureId": {"N": str(picture)}, "languageId": {"N": "0"},
                   "url": {"S": f"/img/{picture}.jpg"}, "caption": {"S": f"Picture {picture}"}, "agencyId": {"N": "1"},
                   "formatId": {"N": str(format_)}, "formatPictureId": {"N": str(picture * 100 + format_)},
                   "originalWidth": {"N": "4000"}, "originalHeight": {"N": "3000"}}


def main(endpoint):
    s3 = boto3.client("s3", endpoint_url=endpoint, region_name="eu-west-1", aws_access_key_id="demo",
                      aws_secret_access_key="demo")
    s3.create_bucket(Bucket="exports", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    lines = [json.dumps({"Item": item}) for item in items()]
    data = gzip.compress("".join(line + "\n" for line in lines).encode())
    file = {"itemCount": len(lines), "md5Checksum": base64.b64encode(hashlib.md5(data).digest()).decode(),
            "etag": hashlib.md5(data).hexdigest() + "-1", "dataFileS3Key": f"{ID}/data/a.json.gz"}
    table = "arn:aws:dynamodb:eu-west-1:123456789012:table/Pictures"
    summary = {"version": "2020-06-30", "exportArn": f"{table}/export/01700000000000-abcdef12", "tableArn": table,
               "startTime": "2024-01-15T09:50:00.000Z", "endTime": "2024-01-15T09:55:00.000Z",
               "exportTime": "2024-01-15T09:50:00.000Z", "s3Bucket": "exports", "s3Prefix": None,
               "s3SseAlgorithm": "AES256", "s3SseKmsKeyId": None, "manifestFilesS3Key": f"{ID}/manifest-files.json",
               "billedSizeBytes": len(data), "itemCount": len(lines), "outputFormat": "DYNAMODB_JSON",
               "exportType": "FULL_EXPORT"}
    for key, body in (("data/a.json.gz", data), ("manifest-files.json", json.dumps(file) + "\n"),
                      ("manifest-summary.json", json.dumps(summary))):
        s3.put_object(Bucket="exports", Key=f"{ID}/{key}", Body=body)


main(sys.argv[1])
