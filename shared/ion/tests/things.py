"""Made things.ion and things.jsonl: the same items as amazon.ion 0.15 writes them and as DynamoDB JSON. Not run by a test."""

import base64
import json
import random
from decimal import Decimal
from pathlib import Path

from amazon.ion import simpleion
from amazon.ion.core import IonType
from amazon.ion.simple_types import IonPyBytes, IonPyList

NAMES = ["id", "Price", "a b", "dotted.name", "it's", 'say "so"', "$10", "null", "true", "", "été", "snow ☃", "back\\slash", "new\nline"]
TEXTS = ["", "x", "8.5 x 11.0", "it's", 'say "so"', "'''", "back\\slash", "tab\tnew\nline\r", "é ☃ 😀", "\u2028", "\x01", "{[(", "// no comment"]
random.seed(7)


def number():
    digits = random.randint(1, 38)
    # DynamoDB keeps no zeros at the end of a fraction, and amazon.ion writes none.
    coefficient = random.randrange(1, 10**digits) // 10 * 10 + random.randint(1, 9)
    scale = random.randint(0, 38 if random.random() < 0.2 else min(digits, 6))
    sign = random.choice(["", "-"])
    return Decimal(f"{sign}{coefficient}E-{scale}") if scale else Decimal(f"{sign}{coefficient}")


def binary():
    return bytes(random.randrange(256) for _ in range(random.randint(0, 9)))


def annotated(name, values):
    return IonPyList.from_value(IonType.LIST, values, (name,))


def blob(value):
    return IonPyBytes.from_value(IonType.BLOB, value)


def encoded(value):
    return base64.b64encode(value).decode()


def value(depth):
    """A value for Ion, and the same with its type."""
    kind = random.choice(["S", "N", "B", "BOOL", "NULL", "SS", "NS", "BS"] + (["M", "L"] * 2 if depth else []))
    count = range(random.randint(1, 4))
    if kind == "S":
        text = random.choice(TEXTS)
        return text, {"S": text}
    if kind == "N":
        n = number()
        return n, {"N": format(n, "f")}
    if kind == "B":
        b = binary()
        return blob(b), {"B": encoded(b)}
    if kind == "BOOL":
        truth = random.random() < 0.5
        return truth, {"BOOL": truth}
    if kind == "NULL":
        return None, {"NULL": True}
    if kind == "SS":
        texts = [random.choice(TEXTS) for _ in count]
        return annotated("$dynamodb_SS", texts), {"SS": texts}
    if kind == "NS":
        numbers = [number() for _ in count]
        return annotated("$dynamodb_NS", numbers), {"NS": [format(n, "f") for n in numbers]}
    if kind == "BS":
        all_bytes = [binary() for _ in count]
        return annotated("$dynamodb_BS", [blob(b) for b in all_bytes]), {"BS": [encoded(b) for b in all_bytes]}
    if kind == "L":
        pairs = [value(depth - 1) for _ in count]
        return [ion for ion, _ in pairs], {"L": [typed for _, typed in pairs]}
    ion, typed = attributes(depth - 1)
    return ion, {"M": typed}


def attributes(depth):
    names = random.sample(NAMES, random.randint(1, 6))
    pairs = {name: value(depth) for name in names}
    return {name: pair[0] for name, pair in pairs.items()}, {name: pair[1] for name, pair in pairs.items()}


folder = Path(__file__).parent
with open(folder / "things.ion", "w", encoding="utf-8") as ion_file, open(folder / "things.jsonl", "w", encoding="utf-8") as json_file:
    for _ in range(120):
        ion, typed = attributes(3)

        line = simpleion.dumps({"Item": ion}, binary=False)
        ion_file.write(line.replace("\n", " ") + "\n")
        json_file.write(json.dumps({"Item": typed}, ensure_ascii=False, separators=(",", ":")) + "\n")
