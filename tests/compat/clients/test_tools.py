"""`ripe-atlas`, RIPE's program: measuring with its stream, reports by every renderer, searches; what it says is looked at."""

import json
import re

import pytest
from conftest import wait_for
from ripe.atlas import cousteau

# What each kind asks beside its target, and what must stand in the report.
KINDS = {
    "ping": (["--packet-interval", "100"], "3 packets transmitted, 3 received, 0.0% loss"),
    "traceroute": (["--protocol", "ICMP"], "Probe #"),
    "dns": (["--query-type", "TXT", "--query-argument", "clients.lab.example"], "read by everybody"),
    "sslcert": ([], "rcgen self signed cert"),
    "http": ([], "200"),
    "ntp": ([], "Stratum"),
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
    assert "Looking good!" in out and "Connecting to stream" in out
    shown(lab, kind, out)


@pytest.mark.parametrize("kind", KINDS)
def test_report(lab, made, start, kind):
    shown(lab, kind, start("ripe-atlas", "report", made[kind]).end())


def shown(lab, kind, out):
    assert KINDS[kind][1] in out
    for number in lab.of(4):
        assert re.search(rf"\b{number}\b", out)
    if kind == "traceroute":
        for probe in lab.of(4).values():
            assert all(hop in out for hop in probe["path"]["4"])


# Every renderer, with what it must say of a measurement of that kind. (`traceroute_aspath` and `dst_asn` ask another
# service of RIPE's for AS numbers, which the lab has not, and say so.)
RENDERERS = [
    ("raw", "ping", '"type":"ping"'),
    ("ping", "ping", "3 packets transmitted"),
    ("aggregate_ping", "ping", "3"),
    ("traceroute", "traceroute", "20.30.1.10"),
    ("dns", "dns", "read by everybody"),
    ("dns_compact", "dns", "read by everybody"),
    ("http", "http", "200"),
    ("ntp", "ntp", "Stratum"),
    ("sslcert", "sslcert", "rcgen self signed cert"),
    ("ssl_consistency", "sslcert", "3"),
    ("traceroute_aspath", "traceroute", "probe"),
    ("dst_asn", "traceroute", "probe"),
]


@pytest.mark.parametrize(("renderer", "kind", "said"), RENDERERS)
def test_renderers(made, start, renderer, kind, said):
    assert said in start("ripe-atlas", "report", made[kind], "--renderer", renderer).end()


@pytest.mark.parametrize("aggregate", ["country", "rtt-median", "status", "asn_v4", "prefix_v4"])
def test_aggregates(made, start, aggregate):
    out = start("ripe-atlas", "report", made["ping"], "--aggregate-by", aggregate).end()
    assert "3 packets transmitted" in out


def test_report_of_some_probes_and_of_a_time(lab, made, start):
    wanted = lab.probes["nat"]["id"]
    out = start("ripe-atlas", "report", made["ping"], "--renderer", "raw", "--probes", wanted).end()
    assert [json.loads(line)["prb_id"] for line in out.splitlines() if line.startswith("{")] == [wanted]
    out = start("ripe-atlas", "report", made["ping"], "--renderer", "raw", "--start-time", "2020-01-01").end()
    assert len([line for line in out.splitlines() if line.startswith("{")]) == len(lab.of(4))


def test_report_of_nothing(start):
    run = start("ripe-atlas", "report", 999_999_999)
    run.process.wait()
    assert "404 Not Found" in run.process.communicate()[1]


def test_probe_search(lab, start):
    out = start("ripe-atlas", "probe-search", "--status", 1, "--field", "id", "--field", "status", "--field", "prefix_v4").end()
    assert "Connected" in out and "20.10.1.0/24" in out
    out = start("ripe-atlas", "probe-search", "--tag", "system-ipv6-works", "--ids-only").end()
    assert sorted(map(int, out.split())) == sorted(lab.of(6))
    out = start("ripe-atlas", "probe-search", "--prefixv4", "20.11.0.0/16", "--ids-only").end()
    assert out.split() == [str(lab.probes["v4only"]["id"])]


def test_probe_info(lab, start):
    number = lab.probes["dual"]["id"]
    out = start("ripe-atlas", "probe-info", number).end()
    assert re.search(rf"ID\s+{number}\b", out) and "Connected" in out and "20.10.1.0/24" in out
    assert "system-ipv6-works" in out.lower() or "IPv6 Works" in out


def test_measurement_search(made, start):
    out = start("ripe-atlas", "measurement-search", "--type", "traceroute", "--af", 4, "--ids-only").end()
    assert str(made["traceroute"]) in out.split()
    assert str(made["ping"]) not in out.split()
    out = start("ripe-atlas", "measurement-search", "--status", "ongoing", "--started-after", "2020-01-01", "--limit", 500).end()
    assert str(made["dns"]) in out and "Ongoing" in out


@pytest.mark.parametrize("kind", KINDS)
def test_measurement_info(lab, made, start, kind):
    out = start("ripe-atlas", "measurement-info", made[kind]).end()
    assert re.search(rf"ID\s+{made[kind]}\b", out) and "Ongoing" in out and target(lab, kind) in out


def test_a_wrong_key_is_told(lab, start):
    run = start(
        "ripe-atlas", "measure", "ping", "--target", lab.target["name"], "--auth", "00000000-0000-0000-0000-000000000000"
    )
    out, errors = run.process.communicate()
    assert run.process.returncode != 0
    assert "API key" in out + errors
