"""Holds a result, as sagan reads it, against what the lab knows to be true."""

from conftest import same
from ripe.atlas.sagan import Result

# How far below the path's delay a round trip may seem to be, in ms: results are rounded.
ROUNDING = 0.01
# How far the target's clock may seem to be from where it is, in seconds.
CLOCK = 0.1


def read(raw):
    """The result in sagan's eyes; anything malformed or failed in it raises."""
    return Result.get(raw, on_error=Result.ACTION_FAIL, on_malformation=Result.ACTION_FAIL)


def check(lab, raw):
    """A result of one of `definitions`, of any probe."""
    result = read(raw)
    af = raw["af"]
    probe = lab.of(af)[result.probe_id]
    floor = probe["rtt_ms"][str(af)] - ROUNDING
    assert same(result.origin, probe["public"][str(af)])
    assert result.firmware >= 5000
    CHECKS[raw["type"]](lab, result, raw, probe, af, floor)
    return result


def ping(lab, result, raw, probe, af, floor):
    assert same(result.destination_address, lab.address(af))
    assert result.packets_sent == result.packets_received == 3
    assert result.rtt_min >= floor
    assert len(result.packets) == 3


def traceroute(lab, result, raw, probe, af, floor):
    assert same(result.destination_address, lab.address(af))
    assert result.destination_ip_responded and result.is_success
    seen = [sorted({packet.origin for packet in hop.packets if packet.origin}) for hop in result.hops]
    assert seen == [[address] for address in probe["path"][str(af)]]
    assert result.last_median_rtt >= floor


def dns(lab, result, raw, probe, af, floor):
    for response in result.responses:
        assert response.abuf.header.return_code == "NOERROR"
        data = [" ".join(answer.data) for answer in response.abuf.answers]
        assert data == [lab.text["is"]]


def sslcert(lab, result, raw, probe, af, floor):
    assert same(result.destination_address, lab.address(af))
    assert len(result.certificates) == 2
    assert result.certificates[0].extensions["subjectAltName"] == [lab.target["name"]]
    assert result.response_time >= floor


def http(lab, result, raw, probe, af, floor):
    (response,) = result.responses
    assert same(response.destination_address, lab.address(af))
    assert response.code == 200
    assert response.body_size == len(lab.body)
    assert response.response_time >= floor


def ntp(lab, result, raw, probe, af, floor):
    assert same(result.destination_address, lab.address(af))
    assert result.mode == "server" and result.stratum == 1
    assert result.rtt_min >= floor
    assert abs(abs(result.offset_median) - lab.clock_ahead) < CLOCK


CHECKS = {"ping": ping, "traceroute": traceroute, "dns": dns, "sslcert": sslcert, "http": http, "ntp": ntp}
