"""Makes tables in moto's DynamoDB, exports them to moto's S3, prints the server's address and stays until stdin ends.

The table Things is exported below `pre`; with a file of items as an export has them, a table Shop below `shop`.
"""

import json
import sys

import boto3
from boto3.dynamodb.types import Binary
from decimal import Decimal
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
endpoint = f"http://{host}:{port}"
settings = dict(
    endpoint_url=endpoint, region_name="eu-west-1", aws_access_key_id="test", aws_secret_access_key="test"
)
s3 = boto3.client("s3", **settings)
s3.create_bucket(Bucket="exports", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
dynamodb = boto3.client("dynamodb", **settings)


def create(name, *keys):
    """Makes a table whose partition key, and whose sort key if there is one, are texts; returns its ARN."""
    table = dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"))],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
        BillingMode="PAY_PER_REQUEST",
    )["TableDescription"]
    dynamodb.update_continuous_backups(
        TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    return table["TableArn"]


def export(arn, prefix):
    """Exports a table below a prefix."""
    dynamodb.export_table_to_point_in_time(
        TableArn=arn, S3Bucket="exports", S3Prefix=prefix, ExportFormat="DYNAMODB_JSON"
    )


arn = create("Things", "id")
things = boto3.resource("dynamodb", **settings).Table("Things")
things.put_item(
    Item={
        "id": "all",
        "n": Decimal("12345678901234567890123456789012345678"),
        "b": Binary(b"\x00\x01\xff"),
        "flag": True,
        "tags": {"a", "b"},
        "doc": {"l": [Decimal("1.5"), None, "é"], "m": {"x": ""}},
    }
)
for number in range(100):
    things.put_item(Item={"id": f"n{number}", "n": number})
export(arn, "pre")

if len(sys.argv) > 1:
    arn = create("Shop", "PK", "SK")
    with open(sys.argv[1]) as lines:
        for line in lines:
            dynamodb.put_item(TableName="Shop", Item=json.loads(line)["Item"])
    export(arn, "shop")

print(endpoint, flush=True)
sys.stdin.read()
server.stop()
