"""Everything a provider was seen to do wrong, one by one and all at once: each row still ends exactly once.

Source of the list: PROVIDERS §7 (what OneRouter's kind of gateway does) and §5 (what users of batch APIs reported).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

import orchestrator
from orchestrator import JobHeld, Result, open_job
from tests.acceptance.datasets import MODEL, QUICK, check_bill, check_books, check_exact, marked, read_output
from tests.acceptance.operator import resolve_all
from tests.gateway_process import GatewayProcess, running_gateway

ROWS: Final = 60
CHUNK: Final = 20
SOURCE: Final = marked(ROWS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault plan, and what a user then gets: how many rows are dead, of what."""

    name: str
    plan: Mapping[str, Any]
    dead: Mapping[str, int] = field(default_factory=dict)


FAULTS: Final = (
    Fault(name="create: 429 twice", plan={"create": {"refuse": {"429": 2}}}),
    Fault(name="create: 429 with Retry-After", plan={"create": {"refuse": {"429": 1}, "retry_after_s": 1.0}}),
    Fault(name="create: a 200 that says 429", plan={"create": {"error_body": 1, "body_code": 429}}),
    Fault(name="create: a 200 with code 429", plan={"create": {"code_body": 1, "body_code": 429}}),
    Fault(name="status: not there yet", plan={"status": {"not_found": 2}}),
    Fault(name="status: 429 and 502", plan={"status": {"refuse": {"429": 1, "502": 1}}}),
    Fault(name="status: 408 and 503", plan={"status": {"refuse": {"408": 1, "503": 1}, "retry_after_s": 0.3}}),
    Fault(name="status: a 200 that says 503", plan={"status": {"error_body": 1}}),
    Fault(name="status: a 200 with code 503", plan={"status": {"code_body": 1}}),
    Fault(name="status: cut", plan={"status": {"lost": 1}}),
    Fault(name="status: stale", plan={"status": {"stale": 3}}),
    Fault(name="status: an unknown word", plan={"status": {"unknown": 2}}),
    Fault(name="status: SUCCESS without a link", plan={"status": {"empty_result_url": 2}}),
    Fault(name="status: counts one too many", plan={"status": {"counts_off_by": 1}}),
    Fault(name="status: counts too few", plan={"status": {"counts_off_by": -7}}),
    Fault(name="batch: FAILURE", plan={"batch": {"fail": 1}}),
    Fault(name="batch: FAILURE with some results", plan={"batch": {"fail_partial": 1, "done_share": 0.4}}),
    Fault(name="batch: expired", plan={"batch": {"expire": 2, "done_share": 0.7}}),
    Fault(name="batch: expired, in lines", plan={"batch": {"expire": 1, "expired_lines": True}}),
    Fault(name="rows: 429 and 500", plan={"rows": {"fail": {"429": 3, "500": 2}}}),
    Fault(name="rows: 500 without a line", plan={"rows": {"fail": {"500": 3}, "no_line": True}}),
    Fault(name="rows: 400", plan={"rows": {"fail": {"400": 2}, "times": 0}}, dead={"400": 6}),
    Fault(name="rows: 500 for ever", plan={"rows": {"fail": {"500": 1.0}, "times": 0}}, dead={"500": ROWS}),
    Fault(name="rows: filtered", plan={"rows": {"filtered": 1}}, dead={"content_filter": 3}),
    Fault(name="lines: missing", plan={"lines": {"missing": 2}}),
    Fault(name="lines: null custom_id", plan={"lines": {"null_custom_id": 2}}),
    Fault(name="lines: foreign custom_id", plan={"lines": {"foreign_custom_id": 2}}),
    Fault(name="lines: not JSON", plan={"lines": {"not_json": 2}}),
    Fault(name="lines: not UTF-8", plan={"lines": {"invalid_utf8": 2}}),
    Fault(name="lines: NaN", plan={"lines": {"nan": 2}}),
    Fault(name="lines: a huge number", plan={"lines": {"huge_number": 2}}),
    Fault(name="lines: deep nesting", plan={"lines": {"deep_nesting": 2}}),
    Fault(name="lines: empty content", plan={"lines": {"empty_content": 2}}),
    Fault(name="lines: duplicates", plan={"lines": {"duplicate": 5}}),
    Fault(name="lines: duplicates that differ", plan={"lines": {"duplicate_differing": 5}}),
    Fault(name="lines: U+2028 inside", plan={"lines": {"line_separator": 5}}),
    Fault(name="lines: blank ones", plan={"lines": {"blank_line": 5}}),
    Fault(name="lines: a BOM", plan={"lines": {"bom": 3}}),
    Fault(name="lines: CRLF", plan={"lines": {"crlf": 3}}),
    Fault(name="lines: the last one cut", plan={"lines": {"cut_last": 2}}),
    Fault(name="lines: cut within a character", plan={"lines": {"cut_in_character": 2}}),
    Fault(name="lines: in source order", plan={"lines": {"in_order": 3}}),
    Fault(name="download: 403 and 404", plan={"download": {"refuse": {"403": 1, "404": 1}}}),
    Fault(name="download: 502", plan={"download": {"refuse": {"502": 2}}}),
    Fault(name="download: cut", plan={"download": {"cut": 1}}),
    Fault(name="download: cut, unannounced", plan={"download": {"cut_unannounced": 1, "cut_at": 0.6}}),
    Fault(name="download: slow", plan={"download": {"bytes_per_s": 20_000}}),
    Fault(name="download: takes no key", plan={"download": {"refuse_key": True}}),
)


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One gateway for the whole table; each case has a plan and a job of its own."""
    with running_gateway(tmp_path_factory.mktemp("provider"), "--duration-s", "0") as running:
        yield running


def run(gateway: GatewayProcess, work: Path, name: str, **policy: Any) -> Result:
    """Run the job of a case."""
    return orchestrator.run(
        SOURCE,
        prompt="{text}",
        model=MODEL,
        name=name,
        work=work,
        provider_options={"base_url": gateway.url, **QUICK},
        policy={"chunk_requests_max": CHUNK, "retry_gather_s": 0.2, **policy},
    )


def slug(name: str) -> str:
    """Return a case's name as a job may be called."""
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_each_row_ends_exactly_once_under_a_fault(fault: Fault, provider: GatewayProcess, tmp_path: Path) -> None:
    """Rows in = succeeded + dead, each answer on its own row, and no row paid twice but by the provider's doing."""
    before = provider.bill()
    provider.set_faults(fault.plan)

    result = run(provider, tmp_path / "work", slug(fault.name))

    check_exact(read_output(result.path), SOURCE, dead=fault.dead)
    check_books(result.status.as_dict())
    check_bill(provider.bill(), before)


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("mode", ["jsonl-stream", "mixed"])
@pytest.mark.parametrize("shape", ["openai", "anthropic"])
def test_every_documented_form_of_the_answers_is_read(mode: str, shape: str, tmp_path: Path) -> None:
    """The documents describe two forms of the same GET, and the lines' shape depends on the model behind."""
    plan = {"rows": {"fail": {"500": 2}}, "lines": {"not_json": 1, "duplicate": 2}, "download": {"cut": 1}}
    with running_gateway(
        tmp_path / "gateway", "--duration-s", "0", "--result-mode", mode, "--line-shape", shape
    ) as gateway:
        gateway.set_faults(plan)

        result = run(gateway, tmp_path / "work", f"{mode}-{shape}")

        check_exact(read_output(result.path), SOURCE)
        check_books(result.status.as_dict())
        check_bill(gateway.bill())


EVERYTHING: Final[Mapping[str, Any]] = {
    "create": {"refuse": {"429": 0.3}, "retry_after_s": 0.2},
    "status": {"not_found": 1, "refuse": {"429": 0.1, "502": 0.1}, "lost": 0.05, "stale": 0.1, "unknown": 0.1},
    "batch": {"fail": 0.15, "fail_partial": 0.15, "expire": 0.15, "done_share": 0.6, "expired_lines": True},
    "rows": {"fail": {"429": 0.1, "500": 0.05, "503": 0.05}},
    "lines": {
        "missing": 0.02,
        "null_custom_id": 0.02,
        "foreign_custom_id": 0.02,
        "not_json": 0.02,
        "invalid_utf8": 0.02,
        "nan": 0.02,
        "huge_number": 0.02,
        "deep_nesting": 0.02,
        "empty_content": 0.02,
        "duplicate": 0.05,
        "duplicate_differing": 0.05,
        "line_separator": 0.05,
        "blank_line": 0.05,
        "bom": 0.3,
        "crlf": 0.3,
        "cut_last": 0.2,
        "cut_in_character": 0.1,
    },
    "download": {"refuse": {"403": 0.1, "502": 0.1}, "cut": 0.1, "cut_unannounced": 0.1, "refuse_key": True},
}


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_each_row_ends_exactly_once_under_all_faults_together(
    seed: int, provider: GatewayProcess, tmp_path: Path
) -> None:
    """The same, with everything at once; eight attempts, so that nobody is unlucky for ever."""
    before = provider.bill()
    provider.set_faults({**EVERYTHING, "seed": seed})

    result = run(provider, tmp_path / "work", f"everything-{seed}", attempts_max=12)

    check_exact(read_output(result.path), SOURCE)
    check_books(result.status.as_dict())
    check_bill(provider.bill(), before)


# Whether a batch was made, by hand: `refuse` and the two bodies strike before the effect, the others after it.
AMBIGUOUS: Final = (
    ("lost", {"lost": 1}, True),
    ("hang", {"hang": 1, "hang_s": 0.3}, True),
    ("500 after", {"accept_then": {"500": 1}}, True),
    ("502 after", {"accept_then": {"502": 1}}, True),
    ("503 after", {"accept_then": {"503": 1}}, True),
    ("408 after", {"accept_then": {"408": 1}}, True),
    ("409 after", {"accept_then": {"409": 1}}, True),
    ("502 before", {"refuse": {"502": 1}}, False),
    ("503 before", {"refuse": {"503": 1}}, False),
    ("a 200 that says 503", {"error_body": 1}, False),
    ("a 200 with code 503", {"code_body": 1}, False),
)


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize(("name", "create", "was_made"), AMBIGUOUS, ids=[case[0] for case in AMBIGUOUS])
def test_a_create_that_may_have_happened_is_held_until_a_person_looks(
    name: str, create: Mapping[str, Any], was_made: bool, provider: GatewayProcess, tmp_path: Path
) -> None:
    """Nothing is sent again for its rows, the rest is finished, and after `resolve` the job ends with nothing paid twice."""
    before = provider.bill()
    provider.set_faults({"create": create})
    work = tmp_path / "work"
    with pytest.raises(JobHeld, match="orchestrator resolve") as told:
        run(provider, work, slug(name))

    job = open_job(str(told.value).split(":")[0].removeprefix("job "), work=work)
    assert job.status().as_dict()["succeeded"] == ROWS - CHUNK
    [said] = resolve_all(provider, job).values()
    assert (said is not None) == was_made
    result = run(provider, work, slug(name))

    check_exact(read_output(result.path), SOURCE)
    check_books(result.status.as_dict())
    bill = provider.bill()
    assert bill["paid_twice"] == before["paid_twice"]
    assert bill["creates"] - before["creates"] == ROWS // CHUNK
