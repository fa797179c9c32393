"""Every request class of cousteau, RIPE's library, and its stream; every result by sagan, against the truth."""

import datetime

import pytest
from conftest import PATIENCE, wait_for
from ripe.atlas import cousteau
from truth import check, read

KINDS = ["ping", "traceroute", "dns", "sslcert", "http", "ntp"]


def definition(lab, kind, af, **more):
    common = {"af": af, "description": f"{kind} by cousteau"} | more
    target = {"target": lab.target["name"]}
    match kind:
        case "ping":
            return cousteau.Ping(**common, **target, packets=3, packet_interval=100)
        case "traceroute":
            return cousteau.Traceroute(**common, **target, protocol="ICMP", response_timeout=1500)
        case "dns":
            question = {"query_class": "IN", "query_type": "TXT", "query_argument": lab.text["name"]}
            return cousteau.Dns(**common, **question, target=lab.dns["name"])
        case "sslcert":
            return cousteau.Sslcert(**common, **target)
        case "http":
            return cousteau.Http(**common, **target, header_bytes=100)
        case "ntp":
            return cousteau.Ntp(**common, **target, packets=3)


def source(probes):
    return cousteau.AtlasSource(type="probes", value=",".join(map(str, probes)), requested=len(probes))


def create(lab, measurements, sources, key=None, **more):
    """Numbers of new measurements."""
    request = cousteau.AtlasCreateRequest(
        **lab.access, key=key or lab.key, measurements=measurements, sources=sources, **more
    )
    success, answer = request.create()
    assert success, answer
    return answer["measurements"]


def results(lab, measurement, count=0, **more):
    def look():
        success, answer = cousteau.AtlasResultsRequest(**lab.access, msm_id=measurement, **more).create()
        assert success and isinstance(answer, list), answer
        return answer if len(answer) >= count else None

    return wait_for(f"{count} results of {measurement}", look) if count else look()


@pytest.fixture(scope="module")
def oneoffs(lab):
    """One one-off of every kind and family, by these two; each by every probe that can."""
    made = {}
    for af in (4, 6):
        numbers = create(lab, [definition(lab, kind, af) for kind in KINDS], [source(lab.of(af))], is_oneoff=True)
        made |= {(kind, af): number for kind, number in zip(KINDS, numbers)}
    return made


@pytest.mark.parametrize("af", [4, 6])
@pytest.mark.parametrize("kind", KINDS)
def test_one_offs_come_back_true(lab, oneoffs, kind, af):
    for key in (None, lab.key):
        raw = results(lab, oneoffs[kind, af], len(lab.of(af)), key=key)
        assert sorted(result["prb_id"] for result in raw) == sorted(lab.of(af))
        for result in raw:
            assert result["msm_id"] == oneoffs[kind, af]
            check(lab, result, af, owner=key is not None)


def test_results_by_probe_and_time(lab, oneoffs):
    number, wanted = oneoffs["ping", 4], lab.probes["v4only"]["id"]
    (newest, *_) = results(lab, number, len(lab.of(4)))
    assert [result["prb_id"] for result in results(lab, number, probe_ids=[wanted])] == [wanted]
    now = datetime.datetime.fromtimestamp(newest["timestamp"], datetime.timezone.utc).replace(tzinfo=None)
    hour = datetime.timedelta(hours=1)
    assert len(results(lab, number, start=now - hour, stop=now + hour)) == len(lab.of(4))
    assert results(lab, number, start=now - 2 * hour, stop=now - hour) == []


def test_latest(lab, oneoffs):
    number = oneoffs["ping", 4]
    results(lab, number, len(lab.of(4)))
    success, answer = cousteau.AtlasLatestRequest(number, **lab.access).create()
    assert success and sorted(result["prb_id"] for result in answer) == sorted(lab.of(4))
    wanted = lab.probes["nat"]["id"]
    success, answer = cousteau.AtlasLatestRequest(number, probe_ids=[wanted], **lab.access).create()
    assert success and [result["prb_id"] for result in answer] == [wanted]


def test_measurement_object(lab, oneoffs):
    measurement = cousteau.Measurement(id=oneoffs["ping", 6], **lab.access)
    assert (measurement.type, measurement.protocol, measurement.is_oneoff) == ("ping", 6, True)
    assert measurement.target == lab.target["name"]
    assert measurement.target_ip in lab.target["addresses"]["6"]
    assert measurement.description == "ping by cousteau"
    assert measurement.status == "Ongoing" and measurement.is_public
    assert measurement.creation_time and measurement.start_time
    assert measurement.result_url.startswith(f"{lab.url}/api/v2/measurements/{measurement.id}/results")
    with_probes = cousteau.Measurement(id=measurement.id, fields=["probes", "status"], **lab.access).meta_data
    assert sorted(probe["id"] for probe in with_probes["probes"]) == sorted(lab.of(6))


def test_probe_object(lab):
    dual = lab.probes["dual"]
    probe = cousteau.Probe(id=dual["id"], **lab.access)
    assert (probe.status, probe.is_anchor) == ("Connected", False)
    assert probe.prefix_v4 == "20.10.1.0/24" and probe.prefix_v6
    slugs = {tag["slug"] for tag in probe.tags}
    assert {"system-ipv4-works", "system-ipv6-works"} <= slugs
    # The owner sees the addresses; the public does not.
    assert probe.address_v4 is None
    assert cousteau.Probe(id=dual["id"], key=lab.key, **lab.access).address_v4 == dual["addresses"]["4"][0]


def test_probe_listing(lab):
    everybody = sorted(probe["id"] for probe in lab.probes.values())
    listing = cousteau.ProbeRequest(**lab.access)
    assert sorted(probe["id"] for probe in listing) == everybody
    assert listing.total_count == len(everybody)
    # A page each, by the server's own `next`.
    paged = cousteau.ProbeRequest(**lab.access, page_size=1, sort="-id", return_objects=True)
    assert [probe.id for probe in paged] == everybody[::-1]
    chosen = cousteau.ProbeRequest(**lab.access, id__in=everybody[:2], status=1)
    assert [probe["id"] for probe in chosen] == everybody[:2]
    tagged = cousteau.ProbeRequest(**lab.access, tags="system-ipv6-works")
    assert sorted(probe["id"] for probe in tagged) == sorted(lab.of(6))


def test_probes_by_place(lab):
    for probe in lab.probes.values():
        shown = cousteau.Probe(id=probe["id"], **lab.access)
        assert shown.country_code == probe["country"]
        asn = shown.asn_v4 if "4" in probe["public"] else shown.asn_v6
        assert asn == probe["asn"]
        found = cousteau.ProbeRequest(**lab.access, country_code=probe["country"].lower(), asn=probe["asn"])
        assert probe["id"] in [one["id"] for one in found]
    german = cousteau.ProbeRequest(**lab.access, country_code__in="de", asn_v4=lab.probes["v4only"]["asn"])
    assert [one["id"] for one in german] == [lab.probes["v4only"]["id"]]


def test_target_has_an_origin(lab, oneoffs):
    listing = cousteau.MeasurementRequest(**lab.access, target_asn=64599, type="ping")
    assert oneoffs["ping", 4] in [measurement["id"] for measurement in listing]


def test_measurement_listing(lab, oneoffs):
    listing = cousteau.MeasurementRequest(**lab.access, type="traceroute", af=6, status__in="1,2", search="by cousteau")
    assert [measurement["id"] for measurement in listing] == [oneoffs["traceroute", 6]]
    ids = sorted(oneoffs.values())
    paged = cousteau.MeasurementRequest(**lab.access, id__in=ids, page_size=5, sort="id", return_objects=True)
    assert [measurement.id for measurement in paged] == ids
    assert paged.total_count == len(ids)


def test_anchor_listing(lab):
    assert list(cousteau.AnchorRequest(**lab.access)) == []


@pytest.fixture(scope="module")
def periodic(lab):
    """A ping every two seconds by one probe."""
    (number,) = create(
        lab, [definition(lab, "ping", 4, interval=2)], [source([lab.probes["dual"]["id"]])], is_oneoff=False
    )
    return number


def test_participation(lab, periodic):
    wanted = lab.probes["v4only"]["id"]
    for action, settled in [("add", 2), ("remove", 1)]:
        change = cousteau.AtlasChangeSource(type="probes", value=str(wanted), requested=1, action=action)
        request = cousteau.AtlasChangeRequest(**lab.access, key=lab.key, msm_id=periodic, sources=[change])
        success, answer = request.create()
        assert success, answer
        wait_for(
            f"{settled} participants",
            lambda: cousteau.Measurement(id=periodic, **lab.access).meta_data["participant_count"] == settled,
        )


def test_tags(lab, oneoffs):
    number = oneoffs["ping", 4]
    tagger = cousteau.MeasurementTagger(**lab.access, key=lab.key)
    for act, expected in [(tagger.add_tag, ["by-cousteau"]), (tagger.remove_tag, [])]:
        success, answer = act(number, "by-cousteau")
        assert success, answer
        assert cousteau.Measurement(id=number, **lab.access).meta_data["tags"] == expected


def test_stop(lab, periodic):
    results(lab, periodic, 1)
    success, answer = cousteau.AtlasStopRequest(**lab.access, key=lab.key, msm_id=periodic).create()
    assert success, answer
    assert cousteau.Measurement(id=periodic, **lab.access).status == "Stopped"


def test_refusals(lab, oneoffs):
    def refused(**more):
        request = {"measurements": [definition(lab, "ping", 4)], "sources": [source(lab.of(4))], "is_oneoff": True}
        success, answer = cousteau.AtlasCreateRequest(**lab.access, **(request | more)).create()
        assert not success
        assert {"status", "code", "title", "detail"} <= answer["error"].keys()
        return answer["error"]

    assert refused(key="00000000-0000-0000-0000-000000000000")["status"] == 403
    assert refused()["status"] == 403
    wrong = refused(key=lab.key, measurements=[definition(lab, "ping", 5)])
    assert (wrong["status"], wrong["code"]) == (400, 102)
    assert wrong["errors"][0]["source"]["pointer"] == "/definitions/0/af"
    stop = cousteau.AtlasStopRequest(**lab.access, key=lab.stranger, msm_id=oneoffs["ping", 4]).create()
    assert stop[0] is False and stop[1]["error"]["status"] == 403


def receive(stream, wanted, count):
    """The first messages of a name, and whatever else came."""
    got = {}
    for name, payload in stream.iter(seconds=PATIENCE):
        got.setdefault(name, []).append(payload)
        if len(got.get(wanted, [])) == count:
            return got
    raise AssertionError(f"{count} {wanted} wanted: {got}")


@pytest.fixture
def stream(lab):
    stream = cousteau.AtlasStream(base_url=lab.url)
    stream.connect()
    yield stream
    stream.disconnect()


def test_stream_live(lab, stream):
    numbers = list(lab.of(4))
    (number,) = create(
        lab,
        [definition(lab, "ping", 4)],
        [source(numbers)],
        is_oneoff=True,
        # Ahead, so that the subscription is there first.
        start_time=datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=3),
    )
    stream.subscribe(cousteau.AtlasStream.STREAM_TYPE_RESULT, msm=number)
    got = receive(stream, "atlas_result", len(numbers))
    assert got["atlas_subscribed"][0]["msm"] == number
    assert sorted(result["prb_id"] for result in got["atlas_result"]) == sorted(numbers)
    for result in got["atlas_result"]:
        check(lab, result, 4)


def test_stream_backlog(lab, oneoffs, stream):
    number = oneoffs["traceroute", 6]
    there = results(lab, number, len(lab.of(6)))
    stream.subscribe("result", msm=number, sendBacklog=True)
    got = receive(stream, "atlas_result", len(there))["atlas_result"]
    assert sorted(result["prb_id"] for result in got) == sorted(lab.of(6))
    for result in got:
        assert read(result).measurement_id == number
