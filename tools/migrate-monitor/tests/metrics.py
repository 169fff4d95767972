"""Reads metrics from stdin as Prometheus' own library does, and prints each sample as JSON.

usage: metrics.py openmetrics|text
"""

import json
import sys

from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics

parse = {"openmetrics": openmetrics, "text": parser}[sys.argv[1]].text_string_to_metric_families
for family in parse(sys.stdin.read()):
    for sample in family.samples:
        print(json.dumps({"family": family.name, "type": family.type, "unit": family.unit, "name": sample.name,
                          "labels": sample.labels, "value": sample.value}))
