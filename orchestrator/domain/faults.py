"""Whose fault is it: what a refusal, a failed batch or a failed line means, before any row pays for it.

Rule 1: `TABLE` holds what is known, with its source; the first entry that matches decides. This is the only place that
        knows a provider's error codes and phrases.
Rule 2: a code is compared whole, without regard to case and punctuation (`quotaExceeded` is `quota_exceeded`). A phrase
        is compared where a message begins, because the rest of a message may quote a row.
Rule 3: what is unknown is judged by its HTTP status (`_unknown`), and never costs a row more than its rounds: a line
        without a 4xx status is sent again, a batch that failed without a known reason is the platform's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final


class Fault(StrEnum):
    """Who must act for the same requests to succeed."""

    ACCOUNT = "account"  # its owner: key, permission, credit, spend limit, storage
    QUEUE = "queue"  # nobody: the account's queue is full and empties by itself
    PLATFORM = "platform"  # the provider
    JOB = "job"  # who wrote the job: every row would fail alike
    SIZE = "size"  # nobody: the batch must be smaller
    ROW = "row"  # one row, known or to be found
    TRANSIENT = "transient"  # nobody: another try may succeed
    UNREADABLE = "unreadable"  # we: it may be an answer, in a form that we cannot read


# A row with such a failure may be sent again as it is.
SENT_AGAIN: Final = frozenset({Fault.ACCOUNT, Fault.QUEUE, Fault.PLATFORM, Fault.TRANSIENT})


class At(Enum):
    """What failed."""

    CALL = "call"  # a create, an upload, a poll: nothing was created
    BATCH = "batch"  # a whole batch, before any of its requests ran
    LINE = "line"  # one request of a batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An entry of the table: one kind of failure."""

    fault: Fault
    source: str
    codes: frozenset[str] = frozenset()  # as `_plain` writes them
    phrase: re.Pattern[str] | None = None
    at: frozenset[At] = frozenset(At)
    advice: str = ""  # what a person can do about it
    yields: bool = False  # to a status that says "try again": its words are general

    def matches(self, at: At, codes: Iterable[str], message: str) -> bool:
        """Whether a failure is of this kind."""
        if at not in self.at:
            return False
        return self.names(codes) or self.phrase_in(message) != ""

    def names(self, codes: Iterable[str]) -> bool:
        """Whether one of the codes is of this kind."""
        return not self.codes.isdisjoint(map(_plain, codes))

    def phrase_in(self, message: str) -> str:
        """Return the words of the message that this entry knows: they quote no row."""
        found = self.phrase.match(message) if self.phrase is not None else None
        return "" if found is None else found[0]


def _plain(code: str) -> str:
    return re.sub(r"[^a-z0-9]", "", code.lower())


# A message may repeat its status before the text.
_OPENING: Final = r"(?:(?:error(?: code)?|http)?[:\s]{0,3}[0-9]{3}\b[\s:,-]{0,5})?"


def _known(
    fault: Fault,
    source: str,
    *,
    codes: str = "",
    phrase: str = "",
    at: str = "",
    advice: str = "",
    yields: bool = False,
) -> Known:
    return Known(
        fault=fault,
        source=source,
        codes=frozenset(map(_plain, codes.split())),
        phrase=re.compile(_OPENING + f"(?:{phrase})", re.IGNORECASE) if phrase else None,
        at=frozenset(map(At, at.split())) if at else frozenset(At),
        advice=advice,
        yields=yields,
    )


TOP_UP: Final = "add credit, or raise the limit, at the provider"
FREE_SPACE: Final = "delete old files at the provider, or ask it for more space"
CHECK_KEY: Final = "check the API key, its project and its permissions"
ADDRESS: Final = "check base_url in [provider] (most end in /v1), and that batches can be made at this address"
MODEL: Final = "choose a model that the provider offers for batches (request.model), and check base_url"

# The input file is named before anything that could be a row's words, and no line of it.
_FILE: Final = (
    r"(?!.{0,300}\b(?:line|row|request)s? #?\d)(?:[^'\"`]{0,80}\bfile\b|[^'\"`]{0,80}['\"`]?\binput_file(?:_id)?\b)"
    r".{0,250}?\b"
)
_NO_FILE: Final = (
    r"(?:cannot|could not|can't|unable to|failed to) (?:find|locate|access) (?:the )?(?:input )?file"
    r"|no such (?:input )?file"
    rf"|{_FILE}(?:not found|(?:not|n't) exist|deleted|expired|no longer available)\b"
)

TABLE: Final[tuple[Known, ...]] = (
    _known(
        Fault.ACCOUNT,
        "Gemini answers 429 RESOURCE_EXHAUSTED for used-up prepaid credit, too: ai.google.dev/gemini-api/docs/billing",
        phrase=r"your prepayment credits are depleted",
        advice=TOP_UP,
    ),
    _known(
        Fault.QUEUE,
        "OpenAI: openai-python#2084 (BatchError token_limit_exceeded, 'Enqueued token limit reached for …'); "
        "Azure: learn.microsoft.com/answers/questions/2285577 ('The number of enqueued tokens has surpassed …')",
        codes="token_limit_exceeded enqueued_token_limit_exceeded batch_enqueued_token_limit_exceeded",
        phrase=r"[^'\"`]{0,80}\benqueued[ _](?:prompt )?token|token_limit_exceeded",
        at="call batch",
    ),
    _known(
        Fault.QUEUE,
        "Gemini answers the create with 429 RESOURCE_EXHAUSTED while its queue is full: googleapis/python-genai#1901",
        codes="resource_exhausted",
        at="call batch",
    ),
    _known(
        Fault.QUEUE,
        "LiteLLM's limit of a key's batches: BerriAI/litellm#37539 ('Batch rate limit exceeded')",
        phrase=r"batch rate limit exceeded|too many (?:active|concurrent|pending) batch",
        at="call batch",
    ),
    _known(
        Fault.ACCOUNT,
        "OpenAI: 429 insufficient_quota (help.openai.com 6891831), 400 billing_hard_limit_reached "
        "(community.openai.com/t/74856), billing_not_active; ChatGPTNextWeb/NextChat#3123",
        codes="insufficient_quota billing_hard_limit_reached billing_soft_limit_reached billing_not_active",
        phrase=r"billing (?:hard|soft) limit has been reached|you exceeded your current quota"
        r"|your account is not active",
        advice=TOP_UP,
    ),
    _known(
        Fault.ACCOUNT,
        "Anthropic: 400 invalid_request_error 'Your credit balance is too low …' (continuedev/continue#5499), "
        "billing_error; 429 with a spend limit is a cap that waiting does not lift (types of anthropic 2.14.0)",
        codes="billing_error enforced_spend_limit_reached contract_spend_limit_reached "
        "linked_organization_spend_limit_reached linked_organization_billing_unavailable",
        phrase=r"your credit balance is too low|you have reached your specified api usage limits",
        advice=TOP_UP,
    ),
    _known(
        Fault.ACCOUNT,
        "OneRouter: 402 insufficient credits (docs.onerouter.pro/api-reference/errors); new-api's fail_reason and "
        "insufficient_user_quota (QuantumNous/new-api, types/error.go); DeepSeek, Moonshot: 'Insufficient Balance', "
        "exceeded_current_quota_error; SiliconFlow: 403 'Sorry, your account balance is insufficient'; xAI: 403 'Your "
        "team … has either used all available credits or …'; Volcengine: AccountOverdueError; Zhipu: '余额不足…'",
        codes="insufficient_credits insufficient_balance insufficient_user_quota insufficient_funds "
        "pre_consume_token_quota_failed arrearage payment_required exceeded_current_quota_error account_overdue_error",
        phrase=r"insufficient (?:account |user )?(?:balance|credits?|funds|quota)|not enough (?:credits?|balance)"
        r"|(?:user |token )?quota (?:is )?not enough|(?:sorry, )?(?:your )?account balance is insufficient"
        r"|your team \S{1,64} has either used all available credits|payment required"
        r"|(?:用户|令牌|预扣费)?额度(?:不足|失败)|(?:账户)?余额不足",
        advice=TOP_UP,
    ),
    _known(
        Fault.ACCOUNT,
        "Azure: quotaExceeded, 500 input files for each resource (learn.microsoft.com quotas-limits); OpenAI: the "
        "organization's file storage is full",
        codes="quota_exceeded storage_quota_exceeded storage_limit_exceeded exceeded_storage_quota",
        phrase=r"[^'\"`]{0,80}\bstorage (?:quota|limit|space)|you(?:'ve| have) exceeded[^'\"`]{0,40}\bstorage",
        at="call batch",
        advice=FREE_SPACE,
    ),
    _known(
        Fault.ACCOUNT,
        "OpenAI and Anthropic error types for keys; google.rpc.Code 7 and 16",
        codes="invalid_api_key account_deactivated authentication_error permission_error permission_denied "
        "unauthenticated missing_scope access_terminated",
        phrase=r"incorrect api key provided",
        advice=CHECK_KEY,
    ),
    _known(
        Fault.JOB,
        "OpenAI: errors.data model_not_found, mismatched_model; Azure: model_mismatch, url_mismatch (batch how-to); "
        "xai-org/xai-sdk-python#176, openai-python#3071 (models without batches); Anthropic: 'model: NAME'",
        codes="model_not_found mismatched_model model_mismatch invalid_model model_not_supported unsupported_model "
        "deployment_not_found url_mismatch invalid_endpoint unsupported_endpoint",
        phrase=r"the (?:provided |requested )?model\b[^.]{0,120}?\b(?:not supported|does not exist|not found"
        r"|not available)|no such model|model: ",
        advice=MODEL,
    ),
    _known(
        Fault.SIZE,
        "OpenAI: 'Batch input file … too many requests' (50,000); Azure: too_many_tasks; nginx and gateways: 413",
        # Not simply "too large": "max_tokens is too large" is one request's fault, and no smaller batch cures it.
        codes="too_many_tasks too_many_requests_in_batch batch_too_large request_too_large payload_too_large "
        "file_too_large",
        phrase=r"[^'\"`]{0,80}?(?:too many (?:requests|items|lines|entries|records|rows)\b"
        r"|\b(?:batch|file|body|payload|entity|request)(?:_| (?:size |file )?(?:is |are )?)too[ _](?:large|big)"
        r"|\b(?:batch|file|body|payload|number of requests|requests)\b[^.]{0,40}\b(?:exceed\w*|over)"
        r" (?:the )?(?:max|limit|size)"
        r"|\bmaximum (?:number of (?:requests|items|lines)|(?:batch|file|body|payload|request) size))",
        at="call batch",
    ),
    _known(
        Fault.PLATFORM,
        "bespokelabsai/curator#116 ('Cannot find file …, or project … does not have access to it'); OpenAI: 'No such "
        "File object'; a file that is pending or not processed yet; Azure: input_modified, input_no_permissions",
        codes="file_not_found input_modified input_no_permissions input_file_not_found file_not_ready "
        "file_not_processed file_pending file_processing file_not_available input_file_not_ready invalid_file_status",
        phrase=rf"{_NO_FILE}|{_FILE}(?:pending|processing|uploading|validating|in progress"
        r"|being (?:processed|uploaded|validated)|(?:must|should|needs to|has to) be (?:ready|processed)"
        r"|status\W{1,3}(?:is )?\W?uploaded|(?:(?:is|has|was)n['\u2019]t|not) (?:yet )?(?:been )?(?:fully )?"
        r"(?:ready|processed|available|finished|complete\w*|uploaded|validated|in an? \w{1,20} stat(?:e|us)))\b",
        at="call batch",
    ),
    _known(
        Fault.PLATFORM,
        "words of incident pages and of gateways whose upstream is down (status.openai.com; LiteLLM, new-api)",
        codes="internal_error internal_server_error server_error service_unavailable upstream_error overloaded",
        phrase=r"[^'\"`]{0,80}?\b(?:internal (?:server )?error|temporarily unavailable|service unavailable"
        r"|(?:please )?try again later|under maintenance|incident|outage)\b",
        at="batch",
    ),
    _known(
        Fault.ROW,
        "a row is refused for its content, whatever the status: OpenAI and Azure error codes",
        codes="content_policy_violation content_filter content_filtered responsible_ai_policy_violation "
        "moderation_blocked prohibited_content safety context_length_exceeded context_window_exceeded "
        "string_above_max_length string_too_long max_tokens_exceeded prompt_too_long image_parse_error "
        "invalid_image_url invalid_image_format image_too_large",
    ),
    _known(
        Fault.ROW,
        "OpenAI: errors.data missing_required_parameter, invalid_type …; Azure: invalid_json_line, invalid_request; "
        "Anthropic: invalid_request_error; google.rpc.Code 3 and 9; HTTP 403 for moderation at OneRouter",
        codes="invalid_request_error invalid_request invalid_json_line missing_required_parameter invalid_type "
        "invalid_value invalid_parameter unsupported_parameter unsupported_value unknown_parameter empty_array "
        "invalid_argument failed_precondition out_of_range unprocessable_entity validation_error bad_request",
        phrase=r"unrecognized request argument|unsupported parameter|missing required parameter|invalid value",
        at="batch line",
        yields=True,
    ),
)

# google.rpc.Code, which Gemini gives as a number: code.proto of googleapis.
_GRPC: Final = {3: "invalid_argument", 7: "permission_denied", 9: "failed_precondition", 16: "unauthenticated"}
_RETRYABLE: Final = frozenset({408, 409, 425, 429})
# This address accepts no batches, or not for this account: that holds for every chunk.
MISPLACED: Final = frozenset({404, 405, 410})
_UNAUTHORIZED: Final = frozenset({401, 402, 403})


def known_of(at: At, *, codes: Iterable[str] = (), message: str = "") -> Known | None:
    """Return the entry for a failure; None where the table knows none.

    Args:
        codes: the machine-readable words of the error: its code, its type.
        message: the provider's text for people.
    """
    words = [_GRPC.get(int(code), "") if code.isdecimal() and len(code) < 3 else code for code in codes]
    return next((known for known in TABLE if known.matches(at, words, message.strip())), None)


def advice_of(fault: Fault, error: str, status: int | None = None) -> str:
    """Return what a person can do about a failure of the account or of the job.

    Args:
        error: our own message about it, which has the provider's code, or a known phrase of its text.
    """
    words = re.findall(r"[A-Za-z_][\w-]*", error)
    for known in TABLE:
        phrase = known.phrase.pattern.removeprefix(_OPENING) if known.phrase is not None else r"(?!)"
        if known.fault is fault and (known.names(words) or re.search(phrase, error, re.IGNORECASE)):
            return known.advice
    if fault is Fault.JOB:
        return ADDRESS if status is not None and (status in MISPLACED or status < 400) else MODEL
    return TOP_UP if status == 402 else CHECK_KEY


_MISSING: Final = re.compile(_OPENING + f"(?:{_NO_FILE})", re.IGNORECASE)


def names_no_file(message: str) -> bool:
    """Return whether a message says that there is no such input file, rather than that it is not ready."""
    return _MISSING.match(message.strip()) is not None


def known_phrase(message: str) -> str:
    """Return the words with which a message says that it is about the account; "" where it does not."""
    known = known_of(At.CALL, message=message)
    return known.phrase_in(message.strip()) if known is not None and known.fault is Fault.ACCOUNT else ""


_PLACE: Final = re.compile(
    r"\brequests(?:\.|\[)(?P<place>[0-9]{1,6})\b|\b(?:request|line|row|item)s? #?(?P<number>[0-9]{1,6})\b",
    re.IGNORECASE,
)
_TOKENS: Final = re.compile(
    r"\blimit(?: of|:| is)? (?P<count>[0-9][0-9,.]{0,20})\s?(?P<unit>[KMB])?\b(?! ?(?:requests|batches))", re.IGNORECASE
)
_UNITS: Final = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}


def places_in(message: str) -> tuple[int, ...]:
    """Return the places (from 0) of the requests that a refusal names, such as `requests.3.params` or "line 4".

    A path counts from 0, a number in a sentence from 1. Nothing depends on it: a request that is named wrongly is sent
    alone and answered.
    """
    found = _PLACE.search(message)
    if found is None:
        return ()
    return (int(found["place"]) if found["place"] else max(0, int(found["number"]) - 1),)


def tokens_max_in(message: str) -> int | None:
    """Return the limit of queued tokens that a refusal names; None where it names none."""
    found = _TOKENS.search(message)
    if found is None:
        return None
    count = found["count"].rstrip(",.").replace(",", "")
    try:
        return int(float(count) * _UNITS[(found["unit"] or "").lower()])
    except ValueError:
        return None


def fault_of(at: At, *, status: int | None = None, codes: Iterable[str] = (), message: str = "") -> Fault:
    """Return whose fault a failure is.

    Args:
        status: the HTTP status, where there is one: of the call, or of the line's own response.
        codes: see `known_of`.
        message: see `known_of`.
    """
    known = known_of(at, codes=codes, message=message)
    is_passing = status is not None and (status in _RETRYABLE or status >= 500)
    return _unknown(at, status) if known is None or (known.yields and is_passing) else known.fault


def _unknown(at: At, status: int | None) -> Fault:
    """Judge what the table does not know, by its status alone."""
    if at is At.BATCH:
        return Fault.PLATFORM
    if status is None or not 400 <= status < 500 or status in _RETRYABLE:
        return Fault.TRANSIENT
    if at is At.CALL and status in MISPLACED:
        return Fault.JOB
    if at is At.CALL and status == 413:
        return Fault.SIZE
    # A 403 for one row of many is a moderated prompt, a 403 for a call is a missing permission.
    if status in _UNAUTHORIZED and not (at is At.LINE and status == 403):
        return Fault.ACCOUNT
    return Fault.ROW
