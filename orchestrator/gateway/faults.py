"""The fault plan: which faults the server injects, and when.

A plan is a TOML file (`--faults`) or a JSON object (`PUT /admin/faults`); a key it does not know is refused. Most
faults take a `Times`, which says how often:

    lost = 2        a whole number: the first two
    lost = 0.25     a share: a quarter of them, chosen by `seed` and always the same ones
    lost = 1.0      for ever

    seed = 7
    [create]        # counted over the valid creates since the plan began; `refuse`, `accept_then`: HTTP status = times
    refuse = { "429" = 2, "503" = 1 }     # before the effect: nothing was created
    retry_after_s = 1.5                   # goes with refusals; without it there is no Retry-After
    code = "billing_hard_limit_reached"   # goes with refusals: the error's code (OneRouter's: its type), and its
    message = "Billing hard limit …"      # message; so in [status], [list], [upload], [files], [delete], [cancel]
    error_body = 1                        # 200 with {"error": …}, nothing created
    code_body = 1                         # 200 with {"code": 503, "message": …}, nothing created
    accept_then = { "500" = 1 }           # created, and then this status
    lost = 1                              # created, and then the connection is cut
    hang = 1                              # created, and then silence for `hang_s`, and then the cut
    hang_s = 30.0
    late = 1                              # cut at once; created `late_s` later, unless its input file is gone by then
    late_s = 5.0
    shape = "plain"                       # of the answer, always: "plain" = the batch object alone, "data" = in
                                          # {"code": 0, "data": …}, "unknown" = without an id

    [status]        # counted over the GETs of each batch
    not_found = 2                         # 404, as if the batch were not there yet
    refuse = { "429" = 1, "502" = 1 }
    error_body = 1                        # and code_body, body_code, retry_after_s, as above
    lost = 1
    stale = 3                             # what was true when it was created
    unknown = 1                           # status `unknown_word`
    empty_result_url = 2                  # counted over the GETs that find the batch ended
    counts_off_by = 1                     # added to completed_count, always
    results_lag_s = 300.0                 # so long after its end a batch does not say where its results are
    inline_results = true                 # the results are in the status object (OneRouter's dialect only)

    [batch]         # counted over the batches created under this plan
    fail = 1                              # FAILURE, no results, nothing ran, nothing billed
    code = "model_not_found"              # of `fail`: the error's code and message
    message = "The model is not …"
    token_limit = 1                       # likewise, for want of room in the queue: token_limit_exceeded
    fail_partial = 1                      # FAILURE, with the results of `done_share` of the rows
    expire = 1                            # `expired_word`, likewise
    done_share = 0.5
    expired_lines = true                  # rows that never ran get a line that says so

    [rows]          # a whole number: the first rows of each batch; a share: by custom_id
    fail = { "429" = 0.1, "500" = 0.05 }  # never billed
    code = "insufficient_quota"           # of `fail`: the error's code and message
    message = "You exceeded your …"
    filtered = 0.01                       # refused by the content filter, whatever `times` says; never billed
    invalid = 0.01                        # a share: each such row makes its whole batch be refused, and is named:
                                          # `requests.N…` in a 400, or a line number in the errors of a failed batch
    times = 1                             # only the first times a custom_id is run; 0 = always
    no_line = true                        # failed rows leave no result line

    [lines]         # as [rows], over the rows that got an answer; whatever happens to the line is still billed
    missing = 0.01                        # null_custom_id, foreign_custom_id, not_json, invalid_utf8, nan, huge_number,
    times = 1                             # deep_nesting, empty_content, duplicate, duplicate_differing,
                                          # line_separator, blank_line
    prose = 0.01                          # and wrong_value, cut_text, fenced: JSON answers, spoiled by the model
    shape = "unknown"                     # of all answers' lines: "body_string", "bare_body", "key", "gemini",
                                          # "tool_calls" or "unknown", which no reader knows
    cut_last = 1                          # bom, crlf, cut_last, cut_in_character, in_order: per batch, as in [batch]

    [download]      # counted over the downloads of each batch; a stream from GET /v1/batches/{id} is one too
    refuse = { "403" = 1, "404" = 1 }
    cut = 1                               # after `cut_at` of the bytes, with a Content-Length
    cut_unannounced = 1                   # the same without one: looks like a whole, shorter file
    cut_at = 0.5
    bytes_per_s = 100000                  # 0 = as fast as it goes
    redirect = 1                          # 302 to the same file at another URL
    refuse_key = true                     # 400 to a request that brings an Authorization header, as some storages do

    [list]          # GET /v1/batches; counted over the calls since the plan began, as in the next four
    lag_s = 3.0                           # a batch shows so much later than it was created
    refuse = { "500" = 1 }                # and retry_after_s, lost, hang, hang_s
    [upload]        # POST /v1/files; accept_then, lost, hang: the file is there
    bytes_told = "zero"                   # of the file object: "zero", or "none" for no such key
    [files]         # GET /v1/files, GET /v1/files/{id}
    [delete]        # DELETE /v1/files/{id}; accept_then, lost, hang: the file is gone
    [cancel]        # POST /v1/batches/{id}/cancel, of either dialect

Where several faults of a table are counted, they are used up in the order given here: with `refuse = {"429" = 2}` and
`lost = 1`, the third create is lost. [batch], [rows] and [lines] hold for a batch as they stood when it was created;
the other tables, as they stand now. A batch of OpenAI's dialect takes all of it in its own words: docs/gateway.md says
how. A plan set while the server runs starts its counts anew, and outlives a restart.

The values are msgspec structs rather than dataclasses: msgspec checks types, bounds and unknown keys of those.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec
import xxhash

Count = Annotated[int, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Seconds = Annotated[float, msgspec.Meta(ge=0.0)]
Times = Count | Share
HttpError = Annotated[int, msgspec.Meta(ge=400, le=599)]
KEYS = {"propertyNames": {"pattern": "^[45][0-9]{2}$"}}  # the description would say nothing of a number's bounds there
HttpErrors = Annotated[dict[HttpError, Times], msgspec.Meta(extra_json_schema=KEYS)]


class FaultPlanError(ValueError):
    """A fault plan cannot be read; the message is one line and names the place."""


class Refusals(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """HTTP errors in place of an effect."""

    refuse: HttpErrors = {}
    retry_after_s: Seconds | None = None
    code: str = ""
    message: str = ""


class CreateFaults(Refusals, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens to `POST /v1/batches`."""

    error_body: Times = 0
    code_body: Times = 0
    body_code: HttpError = 503
    accept_then: HttpErrors = {}
    lost: Times = 0
    hang: Times = 0
    hang_s: Seconds = 60.0
    late: Times = 0
    late_s: Seconds = 5.0
    shape: Literal["documented", "plain", "data", "unknown"] = "documented"


class RouteFaults(Refusals, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens to a route that has no more than an answer to lose."""

    accept_then: HttpErrors = {}
    lost: Times = 0
    hang: Times = 0
    hang_s: Seconds = 60.0


class ListFaults(RouteFaults, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens to `GET /v1/batches`."""

    lag_s: Seconds = 0.0


class UploadFaults(RouteFaults, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens to `POST /v1/files`."""

    bytes_told: Literal["size", "zero", "none"] = "size"


class StatusFaults(Refusals, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens to `GET /v1/batches/{id}`."""

    not_found: Times = 0
    error_body: Times = 0
    code_body: Times = 0
    body_code: HttpError = 503
    lost: Times = 0
    stale: Times = 0
    unknown: Times = 0
    unknown_word: str = "PAUSED"
    empty_result_url: Times = 0
    counts_off_by: int = 0
    results_lag_s: Seconds = 0.0
    inline_results: bool = False


class BatchFaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What becomes of a whole batch."""

    fail: Times = 0
    code: str = ""
    message: str = ""
    token_limit: Times = 0
    fail_partial: Times = 0
    expire: Times = 0
    done_share: Share = 0.5
    expired_word: str = "EXPIRED"
    expired_lines: bool = False


class RowFaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which rows the model fails or refuses to answer."""

    fail: HttpErrors = {}
    code: str = ""
    message: str = ""
    filtered: Times = 0
    invalid: Share = 0.0
    times: Count = 1
    no_line: bool = False


class LineFaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens to result lines, and to result files."""

    missing: Times = 0
    null_custom_id: Times = 0
    foreign_custom_id: Times = 0
    not_json: Times = 0
    invalid_utf8: Times = 0
    nan: Times = 0
    huge_number: Times = 0
    deep_nesting: Times = 0
    empty_content: Times = 0
    prose: Times = 0
    wrong_value: Times = 0
    cut_text: Times = 0
    duplicate: Times = 0
    duplicate_differing: Times = 0
    fenced: Times = 0
    line_separator: Times = 0
    blank_line: Times = 0
    times: Count = 1
    shape: Literal["documented", "body_string", "bare_body", "key", "gemini", "tool_calls", "unknown"] = "documented"
    bom: Times = 0
    crlf: Times = 0
    cut_last: Times = 0
    cut_in_character: Times = 0
    in_order: Times = 0


class DownloadFaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens to downloads of result files."""

    refuse: HttpErrors = {}
    cut: Times = 0
    cut_unannounced: Times = 0
    cut_at: Share = 0.5
    bytes_per_s: Count = 0
    redirect: Times = 0
    refuse_key: bool = False


class FaultPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole plan; the empty plan does nothing wrong."""

    seed: int = 0
    create: CreateFaults = CreateFaults()
    status: StatusFaults = StatusFaults()
    batch: BatchFaults = BatchFaults()
    rows: RowFaults = RowFaults()
    lines: LineFaults = LineFaults()
    download: DownloadFaults = DownloadFaults()
    list: ListFaults = ListFaults()
    upload: UploadFaults = UploadFaults()
    files: RouteFaults = RouteFaults()
    delete: RouteFaults = RouteFaults()
    cancel: RouteFaults = RouteFaults()


class Fault(NamedTuple):
    """One fault that strikes now: the name of its key, and the HTTP status where it has one."""

    name: str
    status: int = 0


def read_plan(path: Path) -> FaultPlan:
    """Read a TOML plan; raise FaultPlanError with one line that names the file."""
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), FaultPlan, str_keys=True)
    except OSError as error:
        raise FaultPlanError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise FaultPlanError(f"{path}: {error}") from error


def decode_plan(plan: bytes | str) -> FaultPlan:
    """Read a JSON plan; raise FaultPlanError with one line."""
    try:
        return msgspec.json.decode(plan, type=FaultPlan)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FaultPlanError(str(error)) from error


def encode_plan(plan: FaultPlan) -> str:
    """Return the plan as JSON that `decode_plan` reads back."""
    return msgspec.json.encode(plan).decode()


def draw(seed: int, *names: object) -> float:
    """Return a number in [0, 1) that depends on the seed and the names alone."""
    return xxhash.xxh3_64_intdigest("/".join(map(str, (seed, *names))).encode()) / 2.0**64


def strikes(times: Times, seed: int, name: str, *, index: int, key: str) -> bool:
    """Say whether a fault strikes the thing number `index` (from 0), known to the seed as `key`."""
    if isinstance(times, int):
        return index < times
    return draw(seed, name, key) < times


def next_fault(table: msgspec.Struct, names: tuple[str, ...], seed: int, *, index: int, key: str) -> Fault | None:
    """Return the fault that strikes occasion number `index` (from 0): counted ones first, used up in turn."""
    past = 0
    for fault, times in _listed(table, names):
        if isinstance(times, int):
            if past <= index < past + times:
                return fault
            past += times
    for fault, times in _listed(table, names):
        if isinstance(times, float) and strikes(times, seed, f"{fault.name}{fault.status}", index=index, key=key):
            return fault
    return None


def has_any(table: msgspec.Struct, names: tuple[str, ...]) -> bool:
    """Say whether the plan has any of these faults, so that a server without faults counts nothing."""
    return any(times > 0 for _, times in _listed(table, names))


def _listed(table: msgspec.Struct, names: tuple[str, ...]) -> Iterator[tuple[Fault, Times]]:
    for name in names:
        times: Times | Mapping[int, Times] = getattr(table, name)
        if isinstance(times, Mapping):
            yield from ((Fault(name, status), each) for status, each in times.items())
        else:
            yield Fault(name), times
