#!/usr/bin/env python3
"""Holds docs/protocol.cddl against the messages that the code really makes, so that neither changes without the other.

Reads on stdin what `protocol/examples/golden.rs` prints:

    RULE HEX             a message; it must be valid by that rule of the file
    limit NAME NUMBER    a bound of the code; the file must give NAME the same number

It also reads the messages that are written down in protocol/tests/golden/messages, the ones that probes in the field send:
each must be valid as a message of either side, a frame or a report.

A description that allows everything would pass, so each message is also spoilt, one thing at a time, and each of those must
be refused: a value of another type at every place, an unknown key in every map, one item more in every fixed array. (Readers
do skip unknown keys; the file says so in words, and its rules say what this version writes.)

It needs nothing but Python. The validators that can be had are no help here: pycddl 0.6 takes unknown keys in maps inside
arrays and wrong counts, zcbor 0.9 does not know all of the notation. So this reads the part of RFC 8610 that the file uses,
and stops at anything else.

Prints a summary; exits with 1 when anything was wrong or nothing was read.

    cargo run --profile ci -q -p sonde-protocol --example golden | python3 tests/compat/cddl_check.py
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
CDDL = ROOT / "docs" / "protocol.cddl"
GOLDEN = ROOT / "protocol" / "tests" / "golden" / "messages"

# What a file of GOLDEN can be.
ANY_MESSAGE = ("choice", [("name", rule) for rule in ("up", "down", "frame", "report", "from-system", "to-system")])

# ------------------------------------------------------------------------------------------------- CBOR, both ways


def decode(data):
    """The one item that `data` is."""
    item, end = decode_at(data, 0)
    if end != len(data):
        raise ValueError("bytes behind the item")
    return item


def decode_at(data, at):
    major, short = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7:
        return {20: False, 21: True, 22: None}[short], at
    number = short
    if short >= 24:
        size = {24: 1, 25: 2, 26: 4, 27: 8}[short]
        number, at = int.from_bytes(data[at : at + size], "big"), at + size
    if major == 0:
        return number, at
    if major == 1:
        return -1 - number, at
    if major in (2, 3):
        piece = bytes(data[at : at + number])
        if len(piece) != number:
            raise ValueError("cut")
        return (piece if major == 2 else piece.decode()), at + number
    if major == 4:
        items = []
        for _ in range(number):
            item, at = decode_at(data, at)
            items.append(item)
        return items, at
    if major == 5:
        members = {}
        for _ in range(number):
            key, at = decode_at(data, at)
            members[key], at = decode_at(data, at)
        return members, at
    raise ValueError(f"major type {major}")


# ------------------------------------------------------------------------- CDDL: text to tree; a tree node is a tuple

TOKEN = re.compile(r"\s+|;[^\n]*|(?P<token>\.\.|\.[a-z]+|-?\d+|[a-z][a-z0-9-]*|[={}\[\]()/:,?*&])")
TYPES = {
    "uint": lambda value: type(value) is int and value >= 0,
    "int": lambda value: type(value) is int,
    "bool": lambda value: type(value) is bool,
    "tstr": lambda value: type(value) is str,
    "bstr": lambda value: type(value) is bytes,
    "null": lambda value: value is None,
}


class Parser:
    def __init__(self, text):
        self.tokens, at = [], 0
        while at < len(text):
            found = TOKEN.match(text, at)
            if not found:
                raise SyntaxError(f"not understood: {text[at:at + 40]!r}")
            if found["token"]:
                self.tokens.append(found["token"])
            at = found.end()
        self.at = 0

    def peek(self, ahead=0):
        place = self.at + ahead
        return self.tokens[place] if place < len(self.tokens) else ""

    def take(self, expected=None):
        token = self.peek()
        if not token or (expected and token != expected):
            raise SyntaxError(f"{expected or 'more'} expected before {' '.join(self.tokens[self.at:self.at + 8])!r}")
        self.at += 1
        return token

    def rules(self):
        rules = {}
        while self.peek():
            name = self.take()
            self.take("=")
            if name in rules or name in TYPES:
                raise SyntaxError(f"{name} has two rules")
            rules[name] = self.choice()
        return rules

    def choice(self):
        choices = [self.limited()]
        while self.peek() == "/":
            self.take()
            choices.append(self.limited())
        return choices[0] if len(choices) == 1 else ("choice", choices)

    def limited(self):
        base = self.single()
        if self.peek() == "..":
            self.take()
            return ("range", base[1], int(self.take()))
        if self.peek() in (".size", ".cbor"):
            return (self.take(), base, self.single())
        return base

    def single(self):
        token = self.take()
        if token in "{[":
            kind, end = {"{": ("map", "}"), "[": ("array", "]")}[token]
            group = self.group(end)
            return (kind, group)
        if token == "(":
            inner = self.choice()
            self.take(")")
            return inner
        if token == "&":
            self.take("(")
            return ("choice", [value for _, _, _, value in self.group(")")])
        if re.fullmatch(r"-?\d+", token):
            return ("literal", int(token))
        if re.fullmatch(r"[a-z].*", token):
            return ("name", token)
        raise SyntaxError(f"not understood: {token}")

    def group(self, end):
        """Entries: least, most (None: any number), key (None: an item of an array), type or list of entries."""
        entries = []
        while self.peek() != end:
            least, most = 1, 1
            if self.peek() == "?":
                self.take()
                least = 0
            elif self.peek(1) == "*":
                least = int(self.take())
                self.take("*")
                most = int(self.take())
            key = None
            if self.peek(1) == ":":
                key = self.take()
                key = int(key) if key.isdigit() else key
                self.take(":")
            if key is None and self.peek() == "(":
                self.take()
                value = self.group(")")
            else:
                value = self.choice()
            entries.append((least, most, key, value))
            if self.peek() == ",":
                self.take()
        self.take(end)
        return entries


# ------------------------------------------------------------------------------------------------------- validation


class Schema:
    def __init__(self, text):
        self.rules = Parser(text).rules()
        self.used = set()

    def is_valid(self, node, value):
        kind = node[0]
        if kind == "name":
            self.used.add(node[1])
            return TYPES[node[1]](value) if node[1] in TYPES else self.is_valid(self.rules[node[1]], value)
        if kind == "literal":
            return type(value) is int and value == node[1]
        if kind == "range":
            return type(value) is int and node[1] <= value <= node[2]
        if kind == "choice":
            return any(self.is_valid(inner, value) for inner in node[1])
        if kind == ".size":
            size = len(value.encode() if type(value) is str else value) if type(value) in (str, bytes) else None
            return self.is_valid(node[1], value) and self.is_valid(node[2], size)
        if kind == ".cbor":
            return self.is_valid(node[1], value) and self.is_encoded(node[2], value)
        if kind == "array":
            return type(value) is list and len(value) in self.ends(node[1], value, {0})
        if kind == "map":
            known = {key for _, _, key, _ in node[1]}
            return type(value) is dict and value.keys() <= known and all(
                self.is_valid(inner, value[key]) if key in value else least == 0 for least, _, key, inner in node[1]
            )
        raise AssertionError(kind)

    def is_encoded(self, node, value):
        """Is it the CBOR of something valid? Other bytes are no mistake here: another choice may be right."""
        try:
            item = decode(value)
        except (ValueError, IndexError):
            return False
        return self.is_valid(node, item)

    def ends(self, entries, items, starts):
        """Where in `items` the entries can end that begin at one of `starts`."""
        for least, most, _, inner in entries:
            reached = set(starts) if least == 0 else set()
            for count in range(1, most + 1):
                if type(inner) is list:
                    starts = self.ends(inner, items, starts)
                else:
                    starts = {at + 1 for at in starts if at < len(items) and self.is_valid(inner, items[at])}
                if not starts:
                    break
                if count >= least:
                    reached |= starts
            starts = reached
        return starts


# A value that stands nowhere in the protocol, so that it is wrong at every place.
WRONG = 0.5
UNKNOWN_KEY = 4711


def spoilt(value, path="item"):
    """Variants of `value` with one thing wrong, and where."""
    yield WRONG, path
    if isinstance(value, dict):
        yield {**value, UNKNOWN_KEY: 1}, f"{path}, an unknown key"
        for key, inner in value.items():
            for variant, place in spoilt(inner, f"{path}.{key}"):
                yield {**value, key: variant}, place
    elif isinstance(value, list):
        yield value + [WRONG], f"{path}, one item more"
        for at, inner in enumerate(value):
            for variant, place in spoilt(inner, f"{path}[{at}]"):
                yield value[:at] + [variant] + value[at + 1 :], place


def check(schema, name, node, item, wrong):
    """Whether `item` is valid and everything near it is not. Gives how many were tried."""
    if not schema.is_valid(node, item):
        wrong.append(f"{name}: {CDDL.name} does not allow {item}")
        return 0
    tried = 0
    for variant, place in spoilt(item):
        tried += 1
        if schema.is_valid(node, variant):
            wrong.append(f"{name}: {CDDL.name} allows anything at {place} of {item}")
    return tried


def main():
    text = CDDL.read_text()
    schema = Schema(text)
    messages, refusals, limits, wrong = 0, 0, 0, []
    golden = sorted(GOLDEN.glob("*.hex"))
    for path in golden:
        refusals += check(schema, path.name, ANY_MESSAGE, decode(bytes.fromhex(path.read_text())), wrong)
    # Rules are counted as used by what the code makes now.
    schema.used.clear()
    for line in sys.stdin:
        rule, rest = line.split(maxsplit=1)
        if rule == "limit":
            limits += 1
            name, number = rest.split()
            if not re.search(rf"\b{number}\b(?: bytes)? *\({name}\b", text):
                wrong.append(f"{CDDL.name} does not say that {name} is {number}")
            continue
        messages += 1
        refusals += check(schema, rule, ("name", rule), decode(bytes.fromhex(rest)), wrong)
    unused = schema.rules.keys() - schema.used
    if messages and unused:
        wrong.append(f"no message has {', '.join(sorted(unused))}")
    for problem in wrong:
        print(problem)
    print(f"{messages} messages and {len(golden)} golden files, {refusals} spoilt ones, {limits} limits: {len(wrong)} wrong")
    if not (messages and limits and golden):
        print("nothing was read: give me what protocol/examples/golden.rs prints")
        return 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
