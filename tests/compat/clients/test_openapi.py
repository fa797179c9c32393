"""schemathesis reads the server's own description and asks what that allows and what it does not: never a 5xx, never an
answer that is not described. Without a key, and as an account that owns nothing but one measurement of its own."""

import pytest
from conftest import BIN
from ripe.atlas import cousteau

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"

# Requests for each operation in the last phase; and what all of them are made from.
EXAMPLES = 5
SEED = 1


@pytest.fixture(scope="module")
def runs(lab, start, tmp_path_factory):
    """Both at the same time: most of it is waiting."""
    ping = cousteau.Ping(af=4, target=lab.address(4), description="to be spoilt", interval=60)
    source = cousteau.AtlasSource(type="area", value="WW", requested=1)
    success, answer = cousteau.AtlasCreateRequest(
        **lab.access, key=lab.stranger, measurements=[ping], sources=[source], is_oneoff=False
    ).create()
    assert success, answer
    # Without this nearly all numbers are nobody's.
    config = tmp_path_factory.mktemp("schemathesis") / "schemathesis.toml"
    config.write_text(
        f'[[operations]]\ninclude-path-regex = "/measurements/[{{]"\nparameters = {{ "path.id" = {answer["measurements"][0]} }}\n'
        f'[[operations]]\ninclude-path-regex = "/probes/[{{]"\nparameters = {{ "path.id" = {lab.probes["dual"]["id"]} }}\n'
    )
    words = ["schemathesis", "--config-file", config, "run", f"{lab.url}/api/v2/openapi.json", "--tls-verify", lab.ca]
    words += ["--seed", SEED, "--max-examples", EXAMPLES, "--checks", CHECKS, "--continue-on-failure", "--no-color"]
    # Every parameter at its bounds is asked once, by whom most of it is allowed.
    return {
        "anybody": start(*words, "--phases", "fuzzing"),
        "an account": start(
            *words, "--phases", "examples,coverage,fuzzing", "--header", f"Authorization: Key {lab.stranger}"
        ),
    }


@pytest.mark.parametrize("who", ["anybody", "an account"])
def test_every_answer_is_described(runs, who):
    assert "Test cases:" in runs[who].end()


def test_the_server_is_well(lab):
    assert BIN.exists() and cousteau.Probe(id=lab.probes["dual"]["id"], **lab.access).status == "Connected"
