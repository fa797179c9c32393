"""Every program of blaeu, unmodified: it finds the server under Atlas's own name, and says what is true of the lab.

blaeu waits by the clock, ten seconds and more each time; so all start at once.
"""

import re

import pytest


@pytest.fixture(scope="module")
def runs(lab, resolving, start):
    v4, v6, name = lab.address(4), lab.address(6), lab.target["name"]
    resolve = ["--type", "TXT", lab.text["name"]]
    words = {
        "reach 4": ["blaeu-reach", "--requested", "3", v4],
        "reach 6": ["blaeu-reach", "--requested", "2", "--by_probe", v6],
        "reach machine": ["blaeu-reach", "--machine-readable", "--requested", "3", v4],
        "reach country": ["blaeu-reach", "--probes", ",".join(map(str, lab.of(4))), v4],
        "reach by country": ["blaeu-reach", "--requested", "3", "--country", "DE", v4],
        "reach by area": ["blaeu-reach", "--requested", "3", "--area", "North-Central", v4],
        "reach by network": ["blaeu-reach", "--requested", "3", "--asn", lab.probes["dual"]["asn"], v4],
        "resolve at 4": ["blaeu-resolve", "--ipv4", "--requested", "3", "--nameserver", lab.dns["name"], *resolve],
        "resolve at 6": ["blaeu-resolve", "--requested", "2", "--nameserver", lab.dns["name"], *resolve],
        "resolve": ["blaeu-resolve", "--ipv4", "--requested", "3", "--type", "A", name],
        "traceroute 4": ["blaeu-traceroute", "--ipv4", "--requested", "3", "--format", v4],
        "traceroute 6": ["blaeu-traceroute", "--requested", "2", "--protocol", "ICMP", "--format", v6],
        "cert": ["blaeu-cert", "--ipv4", "--requested", "3", name],
        "cert 6": ["blaeu-cert", "--requested", "2", name],
        "http": ["blaeu-http", "--ipv4", "--requested", "3", name],
        "ntp": ["blaeu-ntp", "--ipv4", "--requested", "3", name],
        "ntp 6": ["blaeu-ntp", "--requested", "2", name],
    }
    return {name: start(*words) for name, words in words.items()}


@pytest.mark.parametrize(("name", "probes", "said"), [("reach 4", 3, "9 successful tests"), ("reach 6", 2, "2 successful probes")])
def test_reach(runs, name, probes, said):
    out = runs[name].end()
    assert f"{probes} probes reported" in out
    assert f"Tests: {said} (100.0 %)" in out
    # Above the shortest path of all, 20 ms.
    assert int(re.search(r"average RTT: (\d+) ms", out)[1]) >= 20


def test_reach_by_number(runs):
    out = runs["reach country"].end()
    assert "3 probes reported" in out
    assert "9 successful tests (100.0 %)" in out


@pytest.mark.parametrize(("how", "probes"), [("country", 1), ("area", 3), ("network", 1)])
def test_reach_by_place(runs, how, probes):
    assert f"{probes} probes reported" in runs[f"reach by {how}"].end()


def test_reach_for_machines(lab, runs):
    fields = runs["reach machine"].end().strip().split(",")
    assert (fields[0], fields[2], fields[4], fields[5]) == (lab.address(4), "3/3", "9", "100.0")


@pytest.mark.parametrize(("name", "probes"), [("resolve at 4", 3), ("resolve at 6", 2)])
def test_resolve_at_a_name_server(lab, runs, name, probes):
    out = runs[name].end()
    assert f"Nameserver {lab.dns['name']}" in out
    assert f'["{lab.text["is"]}"] : {probes} occurrences' in out


def test_resolve_by_the_probes_resolvers(lab, runs):
    assert f"[{' '.join(lab.target['addresses']['4'][:1])}" in runs["resolve"].end()


@pytest.mark.parametrize(("name", "af"), [("traceroute 4", 4), ("traceroute 6", 6)])
def test_traceroute(lab, runs, name, af):
    out = runs[name].end()
    probes = lab.of(af)
    assert f"{len(probes)} probes reported" in out
    for probe in probes.values():
        assert re.search(rf"Probe ID:\s+{probe['id']}\b", out)
        for hop in probe["path"][str(af)]:
            assert hop in out


@pytest.mark.parametrize(("name", "probes"), [("cert", 3), ("cert 6", 2)])
def test_cert(runs, name, probes):
    out = runs[name].end()
    assert f"{probes} probes reported" in out
    assert f"[/CN=rcgen self signed cert] : {probes} occurrences" in out


def test_http(lab, runs):
    out = runs["http"].end()
    assert "3 probes reported" in out
    assert "Tests: 3 successful tests (100.0 %)" in out
    assert f"average body size: {len(lab.body)} bytes" in out


@pytest.mark.parametrize(("name", "probes"), [("ntp", 3), ("ntp 6", 2)])
def test_ntp(lab, runs, name, probes):
    out = runs[name].end()
    assert f"[Version 4, Mode server, Stratum 1] : {probes} occurrences" in out
    assert abs(float(re.search(r"Mean time offset: (-?[\d.]+) s", out)[1]) - lab.clock_ahead) < 0.1
