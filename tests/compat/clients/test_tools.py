"""`ripe-atlas`, RIPE's program: measuring with its stream, reports by every renderer, searches; what it says is looked at."""

import json
import re

import pytest
from conftest import wait_for
from ripe.atlas import cousteau

# What each kind asks beside its target, and what must stand in the report.
KINDS = {
    "ping": (["--packet-interval", "100"], "9 packets transmitted, 9 received, 0.0% loss"),
    "traceroute": (["--protocol", "ICMP"], "Probe #"),
    "dns": (["--query-type", "TXT", "--query-argument", "clients.lab.example"], "read by everybody"),
    "sslcert": ([], "rcgen self signed cert"),
    "http": ([], " 20.30.1.10 200 "),
    "ntp": ([], "stratum: 1/16"),
}
NUMBER = re.compile(r"Measurement (\d+) was created")


def target(lab, kind):
    return lab.dns["name"] if kind == "dns" else lab.target["name"]


@pytest.fixture(scope="module")
def made(lab, start):
    """A measurement of every kind, made by the program without waiting for a report: by kind its number."""
    runs = {
        kind: start("ripe-atlas", "measure", kind, "--target", target(lab, kind), "--probes", 3, "--no-report", *words)
        for kind, (words, _) in KINDS.items()
    }
    numbers = {kind: int(NUMBER.search(run.end())[1]) for kind, run in runs.items()}
    for kind, number in numbers.items():
        def all_there(number=number):
            return len(cousteau.AtlasLatestRequest(number, **lab.access).create()[1]) == len(lab.of(4))
        wait_for(f"results of {kind}", all_there)
    return numbers


@pytest.fixture(scope="module")
def streamed(lab, start):
    """The same with the report as it streams in."""
    return {
        kind: start("ripe-atlas", "measure", kind, "--target", target(lab, kind), "--probes", 3, "--stream-timeout", 60, *words)
        for kind, (words, _) in KINDS.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_measure_and_stream(lab, streamed, kind):
    out = streamed[kind].end()
    assert "Looking good!" in out and "Disconnected from stream" in out
    shown(lab, kind, out)


@pytest.mark.parametrize("kind", KINDS)
def test_report(lab, made, start, kind):
    shown(lab, kind, start("ripe-atlas", "report", made[kind]).end())


def shown(lab, kind, out):
    assert KINDS[kind][1] in out
    # The web server's form of `http` has no room for numbers.
    for number in [] if kind == "http" else lab.of(4):
        assert re.search(rf"probe #{number}\b", out, re.IGNORECASE)
    if kind == "traceroute":
        for probe in lab.of(4).values():
            assert all(hop in out for hop in probe["path"]["4"][-3:])


# Every renderer, with what it must say of a measurement of that kind. (`traceroute_aspath` and `dst_asn` ask another
# service of RIPE's for AS numbers, which the lab has not; the latter then has nothing to say.)
RENDERERS = [
    ("raw", "ping", '"type":"ping"'),
    ("ping", "ping", "9 packets transmitted, 9 received"),
    ("traceroute", "traceroute", "20.30.1.10"),
    ("dns", "dns", "read by everybody"),
    ("dns_compact", "dns", "read by everybody"),
    ("http", "http", " 20.30.1.10 200 "),
    ("ntp", "ntp", "stratum: 1/16"),
    ("sslcert", "sslcert", "rcgen self signed cert"),
    ("ssl_consistency", "sslcert", "Seen by 3 probes"),
    ("traceroute_aspath", "traceroute", "3 probes, 3 completed"),
    ("dst_asn", "ping", ""),
]


@pytest.mark.parametrize(("renderer", "kind", "said"), RENDERERS)
def test_renderers(made, start, renderer, kind, said):
    assert said in start("ripe-atlas", "report", made[kind], "--renderer", renderer).end()


@pytest.mark.parametrize("aggregate", ["country", "rtt-median", "status", "asn_v4", "prefix_v4"])
def test_aggregates(made, start, aggregate):
    out = start("ripe-atlas", "report", made["ping"], "--aggregate-by", aggregate).end()
    assert "9 packets transmitted, 9 received" in out


def test_report_of_some_probes_and_of_a_time(lab, made, start):
    wanted = lab.probes["nat"]["id"]
    out = start("ripe-atlas", "report", made["ping"], "--renderer", "raw", "--probes", wanted).end()
    assert [json.loads(line)["prb_id"] for line in out.splitlines() if line.startswith("{")] == [wanted]
    out = start("ripe-atlas", "report", made["ping"], "--renderer", "raw", "--start-time", "2020-01-01").end()
    assert len([line for line in out.splitlines() if line.startswith("{")]) == len(lab.of(4))


def test_refusals_are_told(lab, start):
    # The program ends with 0 all the same.
    def told(*words):
        return "".join(start("ripe-atlas", *words).process.communicate())

    assert "[404 Not Found] Not found." in told("report", 999_999_999)
    measure = ["measure", "ping", "--target"]
    no_key = told(*measure, lab.target["name"], "--auth", "00000000-0000-0000-0000-000000000000")
    assert "The status is 403 so you probably need an API key." in no_key
    assert '"pointer": "/definitions/0/target"' in told(*measure, "127.0.0.1")


def test_probe_search(lab, start):
    out = start("ripe-atlas", "probe-search", "--status", 1, "--field", "id", "--field", "status", "--field", "prefix_v4").end()
    assert "Connected" in out and "20.10.1.0/24" in out
    out = start("ripe-atlas", "probe-search", "--tag", "system-ipv6-works", "--ids-only").end()
    assert sorted(map(int, out.split())) == sorted(lab.of(6))


def test_probe_search_by_prefix(lab, start):
    out = start("ripe-atlas", "probe-search", "--prefixv4", "20.11.0.0/16", "--ids-only").end()
    assert out.split() == [str(lab.probes["v4only"]["id"])]


def test_probe_search_by_place(lab, start):
    out = start("ripe-atlas", "probe-search", "--country", "nl", "--ids-only").end()
    assert out.split() == [str(lab.probes["dual"]["id"])]
    out = start("ripe-atlas", "probe-search", "--asnv4", lab.probes["v4only"]["asn"], "--ids-only").end()
    assert out.split() == [str(lab.probes["v4only"]["id"])]


def test_probe_info(lab, start):
    number = lab.probes["dual"]["id"]
    out = start("ripe-atlas", "probe-info", number).end()
    assert re.search(rf"ID\s+{number}\b", out) and re.search(r"Status\s+Connected", out)
    assert "20.10.1.0/24" in out and "system-ipv6-works" in out


def test_measurement_search(made, start):
    out = start("ripe-atlas", "measurement-search", "--type", "traceroute", "--af", 4, "--ids-only").end()
    assert str(made["traceroute"]) in out.split()
    assert str(made["ping"]) not in out.split()


def test_measurement_search_by_time(made, start):
    out = start("ripe-atlas", "measurement-search", "--status", "ongoing", "--started-after", "2020-01-01", "--limit", 500).end()
    assert str(made["dns"]) in out and "Ongoing" in out


@pytest.mark.parametrize("kind", KINDS)
def test_measurement_info(lab, made, start, kind):
    out = start("ripe-atlas", "measurement-info", made[kind]).end()
    assert re.search(rf"ID\s+{made[kind]}\b", out) and "Ongoing" in out and target(lab, kind) in out
