"""Holds a result, as sagan reads it, against what the lab knows to be true."""

import ipaddress

from conftest import same
from ripe.atlas.sagan import Result

# How far below the path's delay a round trip may seem to be, in ms: results are rounded.
ROUNDING = 0.01
# How far the target's clock may seem to be from where it is, in seconds.
CLOCK = 0.1


def read(raw):
    """The result in sagan's eyes; anything malformed or failed in it raises."""
    return Result.get(raw, on_error=Result.ACTION_FAIL, on_malformation=Result.ACTION_FAIL)


def check(lab, raw, af, owner=False):
    """A result of one of `definitions`, of any probe, as its owner or the public sees it."""
    result = read(raw)
    probe = lab.of(af)[result.probe_id]
    floor = probe["rtt_ms"][str(af)] - ROUNDING
    # As Atlas: where the probe came to the network from, by whatever family.
    origins = probe["public"].values()
    assert any(same(result.origin, origin if owner else hidden(origin)) for origin in origins)
    assert result.firmware >= 5000
    CHECKS[raw["type"]](lab, result, probe, af, floor, owner)
    return result


def hidden(address):
    """What the public sees of an address of a household: its network."""
    length = 24 if ipaddress.ip_address(address).version == 4 else 48
    return str(ipaddress.ip_network(f"{address}/{length}", strict=False).network_address)


def ping(lab, result, probe, af, floor, owner):
    assert same(result.destination_address, lab.address(af))
    assert result.packets_sent == result.packets_received == 3
    assert result.rtt_min >= floor
    assert len(result.packets) == 3


def traceroute(lab, result, probe, af, floor, owner):
    assert same(result.destination_address, lab.address(af))
    assert result.destination_ip_responded and result.is_success
    seen = [sorted({packet.origin for packet in hop.packets if packet.origin}) for hop in result.hops]
    path = probe["path"][str(af)]
    if owner:
        assert seen == [[address] for address in path]
    else:
        # What is close to the probe is hidden with it; the far end never is.
        assert len(seen) == len(path) and seen[-2:] == [[address] for address in path[-2:]]
        assert seen[0] != [path[0]]
    assert result.last_median_rtt >= floor


def dns(lab, result, probe, af, floor, owner):
    for response in result.responses:
        assert response.abuf.header.return_code == "NOERROR"
        data = [" ".join(answer.data) for answer in response.abuf.answers]
        assert data == [lab.text["is"]]


def sslcert(lab, result, probe, af, floor, owner):
    assert same(result.destination_address, lab.address(af))
    assert len(result.certificates) == 2
    assert result.certificates[0].extensions["subjectAltName"] == [lab.target["name"]]
    assert result.response_time >= floor


def http(lab, result, probe, af, floor, owner):
    (response,) = result.responses
    assert same(response.destination_address, lab.address(af))
    assert response.code == 200
    assert response.body_size == len(lab.body)
    assert response.response_time >= floor


def ntp(lab, result, probe, af, floor, owner):
    assert same(result.destination_address, lab.address(af))
    assert result.mode == "server" and result.stratum == 1
    # In seconds.
    assert result.rtt_min * 1000 >= floor - 1
    assert abs(abs(result.offset_median) - lab.clock_ahead) < CLOCK


CHECKS = {"ping": ping, "traceroute": traceroute, "dns": dns, "sslcert": sslcert, "http": http, "ntp": ntp}
