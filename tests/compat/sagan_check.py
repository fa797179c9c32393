#!/usr/bin/env python3
"""Feeds results to sagan, RIPE's own parser, and fails on whatever it does not take as we meant it.

Reads one JSON object a line on stdin: a result, or {"result": ..., "expect_error": bool, "name": ...}. Wrong is:
  - a result that sagan cannot parse, or calls malformed, the DNS messages in it included (--skip-messages leaves them out:
    what a server on the internet sends may be malformed, and the result has to carry it as it came);
  - `is_error` other than expected. What is expected says the line's `expect_error` or, with --expect-from-content,
    Atlas's own words in the result (see failed_by_content); of other lines it is not checked.

Prints a summary; exits with 1 when anything was wrong or nothing was read.

Errors of single packets, hops and resolvers, and answers like SERVFAIL, are results and no failures: they are counted and
shown, never wrong. That is why on_error is IGNORE here; FAIL would raise on the first unreachable host of a traceroute.

    pip install -r requirements.txt
    python3 sagan_check.py < ../../protocol/tests/golden/atlas.jsonl
"""

import argparse
import collections
import json
import logging
import sys
import warnings

from ripe.atlas.sagan import Result, ResultParseError


# Kinds that Atlas has not: sagan cannot know them. They are counted, and must be objects of their type.
OURS = ("pathmtu", "ipv6")


def failed_by_content(result):
    """Whether Atlas's own result would be an error as a whole: ping, traceroute, http and ntp say a failure inside `result`."""
    kind = result["type"]
    if kind == "dns":
        return "error" in result
    if kind in ("ping", "traceroute", "http", "ntp"):
        return False
    return any(word in result for word in ("err", "dnserr", "alert", "error"))


def without_response(element):
    """Whether an http connection failed before there was a response. sagan misses the code and calls that malformed, for
    Atlas's own results too."""
    return "err" in element and "res" not in element


def parse(result, messages):
    """The parsed result and how many of its parts sagan marks as errors. Raises ResultParseError."""
    # sagan moves fields about in what it is given.
    copy = json.loads(json.dumps(result))
    options = {"on_error": Result.ACTION_IGNORE, "on_malformation": Result.ACTION_FAIL}
    is_http = result["type"] == "http"
    if is_http and any(without_response(element) for element in result["result"]):
        options["on_malformation"] = Result.ACTION_IGNORE
    parsed = Result.get(copy, **options)
    is_error = parsed.is_error
    parts = []
    if result["type"] == "traceroute":
        for hop in parsed.hops:
            parts += [hop, *hop.packets, *(p.icmp_header for p in hop.packets if p.icmp_header)]
    elif result["type"] == "ping":
        parts += parsed.packets
    elif result["type"] == "ntp":
        # Of a packet without an answer sagan 2.0.1 cannot list the properties, Atlas's own included.
        parts += [packet for packet in parsed.packets if packet.rtt is not None]
    elif is_http:
        parts += [part for part, raw in zip(parsed.responses, result["result"]) if not without_response(raw)]
    elif result["type"] == "dns":
        parts += parsed.responses
        if messages:
            found = [message for response in parsed.responses for message in (response.abuf, response.qbuf)]
            parts += [message for message in found if message]
    for part in [parsed, *parts]:
        if result["type"] != "dns":
            list(part)  # reads every property, as a user would: some are parsed only then
        if part.is_malformed:
            raise ResultParseError(f"{type(part).__name__} is malformed")
    return is_error, sum(part.is_error for part in parts)


def expectation(line, from_content):
    """The result in a line, whether it must be an error (None: not known), and a name for it."""
    if "expect_error" in line:
        return line["result"], line["expect_error"], line.get("name")
    return line, failed_by_content(line) if from_content else None, None


def main():
    arguments = argparse.ArgumentParser(description="Checks results with sagan; see the top of this file.")
    arguments.add_argument("--expect-from-content", action="store_true")
    arguments.add_argument("--skip-messages", action="store_true")
    arguments = arguments.parse_args()
    logging.disable(logging.WARNING)  # reading every property reads deprecated ones too
    warnings.simplefilter("ignore")  # as sagan itself does, in the library that reads certificates

    counts = collections.Counter()
    wrong = []
    for number, text in enumerate(sys.stdin, 1):
        if not text.strip():
            continue
        name = None
        try:
            result, expected, name = expectation(json.loads(text), arguments.expect_from_content)
            if result["type"] in OURS:
                counts[result["type"], "ours"] += 1
                continue
            is_error, errors_inside = parse(result, not arguments.skip_messages)
            kind = result["type"]
            counts[kind, "results"] += 1
            counts[kind, "failed"] += is_error
            counts[kind, "errors inside"] += errors_inside
            if expected is not None and is_error != expected:
                wrong.append((number, name, f"is_error is {is_error}, expected {expected}"))
        # Whatever sagan trips over, a user of it would too.
        except Exception as error:
            wrong.append((number, name, f"{type(error).__name__}: {error}"))

    for number, name, what in wrong:
        print(f"line {number}{f' ({name})' if name else ''}: {what}", file=sys.stderr)
    for kind in sorted({kind for kind, _ in counts}):
        if kind in OURS:
            print(f"{kind}: {counts[kind, 'ours']} results, ours, not for sagan")
            continue
        results, failed, inside = (counts[kind, what] for what in ("results", "failed", "errors inside"))
        print(f"{kind}: {results} results, {failed} failed, {inside} errors of packets, hops or answers inside")
    print(f"{len(wrong)} wrong")
    return 1 if wrong or not counts else 0


if __name__ == "__main__":
    sys.exit(main())
