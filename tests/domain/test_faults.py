"""Whose fault a failure is. The messages are the providers' own, from public reports and documentation."""

from __future__ import annotations

import pytest

from orchestrator.domain import faults
from orchestrator.domain.faults import At, Fault

# By hand: status, code, whose fault, for a line of a result file.
LINES = [
    (400, "", "row"),
    (400, "overloaded", "row"),  # the status is more certain than the word
    (401, "", "account"),
    (402, "", "account"),
    (403, "", "row"),  # OneRouter: moderation
    (404, "", "row"),
    (408, "", "transient"),
    (409, "", "transient"),
    (413, "", "row"),
    (422, "", "row"),
    (425, "", "transient"),
    (429, "", "transient"),
    (429, "invalid_request_error", "transient"),  # the type is general
    (429, "insufficient_quota", "account"),
    (429, "RESOURCE_EXHAUSTED", "transient"),
    (429, "enforced_spend_limit_reached", "account"),
    (499, "", "row"),
    (500, "", "transient"),
    (500, "content_policy_violation", "row"),  # OpenAI's and gateways' 500 for a moderated prompt
    (502, "", "transient"),
    (503, "", "transient"),
    (504, "", "transient"),
    (529, "", "transient"),
    (200, "", "transient"),
    (200, "overloaded_error", "transient"),
    (None, "", "transient"),
    (None, "batch_expired", "transient"),
    (None, "batch_cancelled", "transient"),
    (None, "request_timeout", "transient"),
    (None, "server_is_overloaded", "transient"),
    (None, "upstream_error", "transient"),
    (None, "a_word_nobody_has_seen", "transient"),
    (None, "14", "transient"),  # google.rpc.Code UNAVAILABLE
    (None, "UNAVAILABLE", "transient"),
    (None, "3", "row"),  # INVALID_ARGUMENT
    (None, "16", "account"),  # UNAUTHENTICATED
    (None, "expired", "transient"),
    (None, "canceled", "transient"),
    (None, "CANCELED", "transient"),
    (None, "rate_limit_error", "transient"),
    (None, "rate_limit_exceeded", "transient"),
    (None, "overloaded", "transient"),
    (None, "api_error", "transient"),
    (None, "timeout_error", "transient"),
    (None, "server_error", "transient"),
    (None, "internal_server_error", "transient"),
    (None, "invalid_request_error", "row"),
    (None, "invalid_request", "row"),
    (None, "content_filter", "row"),
    (None, "ContentFilter", "row"),
    (None, "content_policy_violation", "row"),
    (None, "context_length_exceeded", "row"),
    (None, "insufficient_quota", "account"),
    (None, "authentication_error", "account"),
    (None, "billing_error", "account"),
    (None, "model_not_found", "job"),
]

QUOTA = "You exceeded your current quota, please check your plan and billing details."
# By hand: status, code, message, whose fault, for a create, an upload or a poll.
CALLS = [
    (400, "", "", "row"),
    (422, "", "", "row"),
    (401, "", "", "account"),
    (402, "", "", "account"),
    (403, "", "", "account"),
    (404, "", "", "job"),
    (405, "", "", "job"),
    (410, "", "", "job"),
    (413, "", "", "size"),
    (408, "", "", "transient"),
    (409, "", "", "transient"),
    (429, "", "", "transient"),
    (500, "", "", "transient"),
    (503, "", "", "transient"),
    (None, "", "", "transient"),
    (429, "insufficient_quota", QUOTA, "account"),
    (429, "RESOURCE_EXHAUSTED", QUOTA, "queue"),  # Gemini's create, with the same words
    (400, "billing_hard_limit_reached", "Billing hard limit has been reached", "account"),
    (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API.", "account"),
    (429, "enforced_spend_limit_reached", "", "account"),
    (429, "ramp_limit_exceeded", "", "transient"),
    (400, "", "Insufficient Balance", "account"),
    (403, "insufficient_user_quota", "用户额度不足", "account"),  # new-api
    (403, "30001", "Sorry, your account balance is insufficient", "account"),  # SiliconFlow
    (429, "exceeded_current_quota_error", "Your account is suspended", "account"),  # Moonshot
    (403, "AccountOverdueError", "The request failed because your account has an overdue balance.", "account"),
    (429, "1113", "余额不足或无可用资源包,请充值。", "account"),  # Zhipu
    (403, "", "Your team 1a2b-3c has either used all available credits or reached its spending limit.", "account"),
    (429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted.", "account"),
    (400, "", "You've exceeded the 100 GB limit of storage for your organization.", "account"),
    (400, "quotaExceeded", "The resource has 500 files.", "account"),
    (400, "", "The organization has exceeded its file storage limit.", "account"),
    (
        400,
        "invalid_request_error",
        "Cannot find file file-1, or project proj_1 does not have access to it.",
        "platform",
    ),
    (400, "", "No such File object: file-1", "platform"),
    (404, "", "No such File object: file-1", "platform"),
    (400, "", "The file file-1 is not processed yet.", "platform"),
    (400, "", "Invalid input file: file is pending", "platform"),
    *(
        (400, "", message, "platform")
        for message in (
            "File is not ready",
            "The file status is not processed.",
            "File file-1 is still being processed. Please try again later.",
            "File is still processing.",
            "The input file isn't ready yet",
            "The input file isn\u2019t available yet",
            "Input file must be processed before a batch is created",
            "File has not been fully uploaded",
            "File hasn't finished processing",
            "File status is 'uploaded', expected 'processed'",
            "file is not in a terminal state",
            "input_file_id 'file-1' not found",
            "'input_file_id' does not exist",
            "The input_file_id file-1 is not ready.",
            "Could not find file 'file-1'",
            "Unable to locate input file",
        )
    ),
    (425, "", "File is not ready", "platform"),
    (409, "", "The file is pending", "platform"),
    (409, "file_not_ready", "", "platform"),
    (400, "", "Batch input file line 3: the status is pending", "row"),
    (400, "", "The file could not be processed: invalid JSON", "row"),
    (400, "", "Invalid value: 'the file is pending'", "row"),
    (400, "model_not_found", "", "job"),
    (404, "not_found_error", "model: claude-none", "job"),
    (400, "", "The provided model 'gpt-6-pro' is not supported by the Batch API.", "job"),
    (400, "token_limit_exceeded", "", "queue"),
    (400, "", "Enqueued token limit reached for gpt-4o-mini in organization org-1. Limit: 2,000,000.", "queue"),
    (400, "", "The number of enqueued tokens has surpassed the configured limit of 30K for the deployment.", "queue"),
    (429, "", "Batch rate limit exceeded for key.", "queue"),
    (400, "", "The batch contains too many requests.", "size"),
    (400, "", "max_tokens is too large: 90000.", "row"),
    (400, "invalid_request_error", "requests.3.params.messages: Field required", "row"),
    # Words of a row that a provider quotes: a row must not stop the account.
    (400, "", "Invalid value: 'insufficient balance'.", "row"),
    (400, "", "Invalid value: 'enqueued token limit'.", "row"),
    (400, "", "Invalid value: 'no such file'.", "row"),
]

# By hand: code, message, whose fault, for a batch that ended before any of its requests ran.
BATCHES = [
    ("", "", "platform"),
    ("a_word_nobody_has_seen", "Something went wrong.", "platform"),
    ("", "An internal error occurred, please try again later.", "platform"),
    ("", "Cannot find file file-1.", "platform"),
    ("token_limit_exceeded", "", "queue"),
    ("model_not_found", "", "job"),
    ("mismatched_model", "", "job"),
    ("model_mismatch", "", "job"),
    ("url_mismatch", "", "job"),
    ("too_many_tasks", "", "size"),
    ("missing_required_parameter", "Missing required parameter: 'messages[0].content'.", "row"),
    ("invalid_json_line", "", "row"),
    ("", "insufficient balance", "account"),  # new-api's fail_reason
    ("", "insufficient user quota", "account"),
    ("", "user quota is not enough", "account"),
    ("", "token quota is not enough, token remain quota: $0.01", "account"),
    ("", "预扣费额度失败, 用户剩余额度: $0.01", "account"),
    ("billing_hard_limit_reached", "", "account"),
]


@pytest.mark.parametrize(("status", "code", "fault"), LINES)
def test_a_line_that_failed(status: int | None, code: str, fault: str) -> None:
    """Known words decide; an unknown 4xx is the row's, and anything else passes."""
    assert faults.fault_of(At.LINE, status=status, codes=[code]) == fault


@pytest.mark.parametrize(("status", "code", "message", "fault"), CALLS)
def test_a_call_that_was_refused(status: int | None, code: str, message: str, fault: str) -> None:
    """Known words decide; an unknown 4xx is some row's, an unknown address or model the job's."""
    assert faults.fault_of(At.CALL, status=status, codes=[code], message=message) == fault


@pytest.mark.parametrize(("code", "message", "fault"), BATCHES)
def test_a_batch_that_failed_before_any_request_ran(code: str, message: str, fault: str) -> None:
    """Known words decide; what is unknown is the platform's: it is tried again, and no row is given up."""
    assert faults.fault_of(At.BATCH, codes=[code], message=message) == fault


@pytest.mark.parametrize("code", ["quotaExceeded", "quota_exceeded", "QUOTA-EXCEEDED", "QuotaExceeded"])
def test_a_code_is_compared_without_case_and_punctuation(code: str) -> None:
    assert faults.fault_of(At.CALL, status=400, codes=[code]) is Fault.ACCOUNT


def test_a_known_failure_of_the_account_says_what_to_do() -> None:
    """Every entry has a source; what only a person can change has advice."""
    for known in faults.TABLE:
        assert known.source
        assert bool(known.advice) == (known.fault in (Fault.ACCOUNT, Fault.JOB)), known.source


def test_the_shown_words_of_a_message_quote_no_row() -> None:
    known = faults.known_of(At.CALL, message="Insufficient balance for prompt 'my secret'")

    assert known is not None
    assert known.phrase_in("Insufficient balance for prompt 'my secret'") == "Insufficient balance"
