"""Puts folders into moto's S3 (`NAME=FOLDER ...`), prints the server's address and stays until stdin ends."""

import os
import sys

import boto3
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
endpoint = f"http://{host}:{port}"
s3 = boto3.client(
    "s3", endpoint_url=endpoint, region_name="eu-west-1", aws_access_key_id="test", aws_secret_access_key="test"
)
s3.create_bucket(Bucket="exports", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
for pair in sys.argv[1:]:
    name, folder = pair.split("=", 1)
    for path, _, files in os.walk(folder):
        for file in files:
            source = os.path.join(path, file)
            with open(source, "rb") as body:
                s3.put_object(Bucket="exports", Key=f"{name}/{os.path.relpath(source, folder)}", Body=body)
print(endpoint, flush=True)
sys.stdin.read()
server.stop()
