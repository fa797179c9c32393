#!/usr/bin/env python3
"""Holds docs/protocol.cddl against the messages that the code really makes, so that neither changes without the other.

Reads on stdin what `protocol/examples/golden.rs` prints:

    RULE HEX             a message; it must be valid by that rule of the file
    limit NAME NUMBER    a bound of the code; the file must give NAME the same number

A description that allows everything would pass, so each message is also spoilt in every way of two kinds, and each of
those must be refused: a value of another type at every place, and an unknown key in every map. (Readers do skip unknown
keys; the file says so in words, and its rules say what this version writes.)

Prints a summary; exits with 1 when anything was wrong or nothing was read.

    pip install -r requirements.txt
    cargo run --profile ci -q -p sonde-protocol --example golden | python3 cddl_check.py
"""

import pathlib
import re
import sys

import cbor2
import pycddl

CDDL = pathlib.Path(__file__).resolve().parents[2] / "docs" / "protocol.cddl"

# A value that stands nowhere in the protocol, so that it is wrong at every place.
WRONG = 0.5
UNKNOWN_KEY = 4711


def schema_for(text, rule):
    """The file with RULE as what a whole item must be: the first rule counts."""
    return pycddl.Schema(f"whole-item = {rule}\n{text}")


def is_valid(schema, item):
    try:
        schema.validate_cbor(item)
    except pycddl.ValidationError:
        return False
    return True


def spoilt(value, path="item"):
    """Every variant of `value` with one thing wrong, and where it is."""
    yield WRONG, path
    if isinstance(value, dict):
        yield {**value, UNKNOWN_KEY: 1}, f"{path}: an unknown key"
        for key, inner in value.items():
            for variant, place in spoilt(inner, f"{path}.{key}"):
                yield {**value, key: variant}, place
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            for variant, place in spoilt(inner, f"{path}[{at}]"):
                yield value[:at] + [variant] + value[at + 1 :], place


def main():
    text = CDDL.read_text()
    schemas, messages, refusals, limits, wrong = {}, 0, 0, 0, []
    for line in sys.stdin:
        rule, rest = line.split(maxsplit=1)
        if rule == "limit":
            limits += 1
            name, number = rest.split()
            # "; control, from the probe       262144      (MAX_CONTROL_UP)", "at most 196608 bytes (MAX_REPORT)"
            if not re.search(rf"\b{number}\b(?: bytes| *) *\({name}\b", text):
                wrong.append(f"{CDDL.name} does not say that {name} is {number}")
            continue
        item = bytes.fromhex(rest)
        if rule not in schemas:
            schemas[rule] = schema_for(text, rule)
        schema = schemas[rule]
        messages += 1
        if not is_valid(schema, item):
            wrong.append(f"{rule}: the code makes what {CDDL.name} does not allow: {item.hex()}")
            continue
        for variant, place in spoilt(cbor2.loads(item)):
            refusals += 1
            if is_valid(schema, cbor2.dumps(variant)):
                wrong.append(f"{rule}: {CDDL.name} allows anything at {place}")
    for problem in wrong:
        print(problem)
    print(f"{messages} messages of {len(schemas)} rules valid, {refusals} spoilt ones tried, {limits} limits; "
          f"{len(wrong)} wrong")
    if not messages or not limits:
        print("nothing was read: give me what protocol/examples/golden.rs prints")
    return 1 if wrong or not messages or not limits else 0


if __name__ == "__main__":
    sys.exit(main())
