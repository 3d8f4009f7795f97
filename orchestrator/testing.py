"""A fake provider for your own tests: no key, no cost, no network beyond this machine.

    def test_moods(tmp_path):
        with orchestrator.testing.fake_provider(lambda body: "good") as fake:
            result = orchestrator.run(frame, prompt="Mood of: {text}", model="any", work=tmp_path, **fake.options)
        assert result.to_pandas()["llm_response"].tolist() == ["good"] * len(frame)

It is a real server of the Batches API (`orchestrator.gateway`) in a thread of this process: requests, batches, polls
and results work as they do with a provider; only the answers are yours.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeAlias, TypedDict

import msgspec

from orchestrator.gateway.in_thread import serving
from orchestrator.gateway.openai_bodies import Refusal
from orchestrator.gateway.settings import GatewayConfig
from orchestrator.gateway.simulated import Answer

KEY_VARIABLE: Final = "ORCHESTRATOR_FAKE_PROVIDER_KEY"
_LIMITS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An answer that fails its row: 400 and similar are final, after 429 and 5xx the row is sent again."""

    status: int = 400
    code: str = "content_filter"
    message: str = "the request was refused"


Answering: TypeAlias = Callable[[dict[str, Any]], str | Mapping[str, Any] | Failure]


class Options(TypedDict):
    """The arguments of `run`, `plan`, `submit` and `Job` that select the fake provider."""

    provider: str
    provider_options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FakeProvider:
    """A running fake provider."""

    url: str
    requests: list[dict[str, Any]] = field(repr=False)  # the bodies that were answered, in order
    dialect: str = "onerouter"

    @property
    def options(self) -> Options:
        """The arguments that send a job to this provider: `run(df, …, **fake.options)`."""
        table = {"dialect": self.dialect, "base_url": self.url, "api_key_env": KEY_VARIABLE}
        return {"provider": "fake", "provider_options": table | {"poll_s_min": 0.1, "poll_s_max": 0.2}}


@dataclass(slots=True)
class _Model:
    """Answers with the test's own function; keeps the requests, and the function's first error."""

    function: Answering | None
    requests: list[dict[str, Any]] = field(default_factory=list)
    error: Exception | None = None

    def answer(self, usual: Answer | Refusal, request: msgspec.Raw) -> Answer | Refusal:
        if isinstance(usual, Refusal):  # a body that a provider refuses is refused here, too
            return usual
        body = msgspec.json.decode(request)
        self.requests.append(body)
        if self.function is None:
            return usual
        try:
            given = self.function(body)
        except Exception as error:  # noqa: BLE001 - raised again at the end of the block
            self.error = self.error or error
            return Refusal(status=400, code="answer_raised", message=f"the test's answer raised {type(error).__name__}")
        if isinstance(given, Failure):
            return Refusal(status=given.status, code=given.code, message=given.message)
        text = given if isinstance(given, str) else msgspec.json.encode(given).decode()
        words = text.split()
        limit = next((body[name] for name in _LIMITS if body.get(name)), len(words))
        if len(words) > limit:
            return replace(usual, text=" ".join(words[:limit]), finish_reason="length", output_tokens=limit)
        return replace(usual, text=text, finish_reason="stop", output_tokens=len(words))


@contextmanager
def fake_provider(answer: Answering | None = None, *, dialect: str = "onerouter") -> Iterator[FakeProvider]:
    """Run a fake provider for the length of a block.

    Args:
        answer: gets a request's body (a dict), and returns the text of the answer, a dict that becomes JSON, or a
            Failure. It is called in another thread, once for each request of a batch. A text of more words than the
            request's `max_tokens` is cut off. An exception fails the row, and is raised again at the end of the block.
            Without a function, the answer begins with "[simulated]" and the first words of the prompt, or is JSON of
            the schema that the request asks for.
        dialect: "onerouter", "openai" or "anthropic": whose API it has, and so what a request's body is.
    """
    model, key = _Model(answer), secrets.token_hex(8)
    with tempfile.TemporaryDirectory(prefix="fake-provider-") as folder, environment(KEY_VARIABLE, key):
        config = GatewayConfig(state=Path(folder), api_key=key, duration_s=0.0, answer=model.answer)
        with serving(config) as (url, _):
            yield FakeProvider(f"{url}/v1", model.requests, dialect)
    if model.error is not None:
        raise model.error


@contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """Set a variable of this process's environment for the length of a block."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
