"""What the checks share: the lab's truth, waiting for results, and running a client as its users do.

`lab-clients` (tests/src/bin) made the network, wrote down its truth in the file that SONDE_LAB names, and runs this on a
household machine in it. The names in there are all that is known about Sonde; everything else is the clients' own business.
"""

import dataclasses
import ipaddress
import json
import os
import pathlib
import subprocess
import sys
import time

import pytest
import requests

BIN = pathlib.Path(sys.executable).parent

# How long anything may take before a check gives up: far beyond what it takes.
PATIENCE = 60
# How often a condition is looked at.
LOOK = 0.1


class Lab:
    """See `describe` in tests/src/bin/lab-clients.rs."""

    def __init__(self, facts):
        self.server = facts["server"]
        self.url = f"https://{self.server}"
        self.ca = facts["ca"]
        self.key = facts["key"]
        self.stranger = facts["stranger"]
        self.probes = {probe["host"]: probe for probe in facts["probes"]}
        self.target = facts["target"]
        self.dns = facts["dns"]
        self.text = facts["text"]
        self.clock_ahead = facts["clock_ahead"]
        self.body = facts["body"]
        # What every request class of cousteau takes.
        self.access = {"server": self.server, "verify": self.ca}

    def of(self, af):
        """The probes that have this family, by number."""
        return {probe["id"]: probe for probe in self.probes.values() if str(af) in probe["addresses"]}

    def address(self, af):
        """The target's main address."""
        return self.target["addresses"][str(af)][0]


@pytest.fixture(scope="session")
def lab():
    with open(os.environ["SONDE_LAB"]) as file:
        made = Lab(json.load(file))
    # websocket-client and requests have no other way in where a client does not offer one.
    os.environ["WEBSOCKET_CLIENT_CA_BUNDLE"] = made.ca
    os.environ["REQUESTS_CA_BUNDLE"] = made.ca
    os.environ["SSL_CERT_FILE"] = made.ca
    return made


def without(part):
    """A check that cannot pass before that part of Sonde is there. Passing is a failure too: then this mark must go."""
    return pytest.mark.xfail(reason=f"waits for {part}", strict=True)


def wait_for(what, look):
    """What `look` gives, as soon as that is something."""
    end = time.monotonic() + PATIENCE
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, f"waited {PATIENCE} s for {what}"
        time.sleep(LOOK)


@pytest.fixture(scope="session")
def resolving(lab):
    """Waits until the probes with IPv4 have the tags that blaeu asks for: Sonde gives them to those whose resolvers were seen
    to answer, so they are asked once."""
    question = {
        "type": "dns",
        "af": 4,
        "description": "do the resolvers answer?",
        "use_probe_resolver": True,
        "query_class": "IN",
        "query_argument": lab.target["name"],
    }
    asked = requests.post(
        f"{lab.url}/api/v2/measurements/",
        headers={"Authorization": f"Key {lab.key}"},
        json={
            "definitions": [question | {"query_type": record} for record in ("A", "AAAA")],
            "probes": [{"type": "area", "value": "WW", "requested": 10}],
            "is_oneoff": True,
        },
        timeout=PATIENCE,
    )
    assert asked.status_code == 201, asked.text
    tags = {"tags": "system-resolves-a-correctly,system-resolves-aaaa-correctly"}
    resolving = lambda: requests.get(f"{lab.url}/api/v2/probes/", params=tags, timeout=PATIENCE).json()["count"]
    wait_for("probes whose resolvers answer", lambda: resolving() >= len(lab.of(4)))


@dataclasses.dataclass
class Run:
    """A client's run, started; all of them work beside each other, as some wait by the clock."""

    words: list
    process: subprocess.Popen
    ended: tuple = None

    def end(self, code=0):
        """What it wrote, once it has ended with this exit code."""
        if self.ended is None:
            out, errors = self.process.communicate(timeout=8 * PATIENCE)
            self.ended = (self.process.returncode, out, errors)
        got, out, errors = self.ended
        assert got == code, f"{' '.join(self.words)}: exit code {got}\n{out}\n{errors}"
        assert "Traceback" not in errors, errors
        return out


@pytest.fixture(scope="session")
def start(lab, tmp_path_factory):
    """Starts a client's program with a home of its own, in which nothing is left from other servers."""
    home = tmp_path_factory.mktemp("home")
    environment = {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "LC_ALL": "C.UTF-8",
        "COLUMNS": "200",
        "PYTHONWARNINGS": "ignore",
        "SSL_CERT_FILE": lab.ca,
        "REQUESTS_CA_BUNDLE": lab.ca,
        "WEBSOCKET_CLIENT_CA_BUNDLE": lab.ca,
        "ATLASAUTH": lab.key,
    }
    rc = home / "config" / "ripe-atlas-tools" / "rc"
    rc.parent.mkdir(parents=True)
    rc.write_text(
        f"ripe-ncc:\n  endpoint: {lab.url}\n  stream-base-url: {lab.url}\n"
        f"authorisation:\n  create: {lab.key}\n"
    )

    def run(*words, stdin="", **more):
        words = [str(word) for word in words]
        process = subprocess.Popen(
            words,
            env=environment | more,
            # Some leave files where they are.
            cwd=home,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if stdin:
            process.stdin.write(stdin)
            process.stdin.flush()
        return Run(words, process)

    return run


def same(one, other):
    """Whether two texts are the same address."""
    return ipaddress.ip_address(one) == ipaddress.ip_address(other)
