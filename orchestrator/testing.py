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
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeAlias, TypedDict

import msgspec
import uvicorn
from starlette.applications import Starlette

from orchestrator.gateway.app import create_app
from orchestrator.gateway.openai_bodies import Refusal
from orchestrator.gateway.settings import GatewayConfig
from orchestrator.gateway.simulated import Answer, answer_onerouter

KEY_VARIABLE: Final = "ORCHESTRATOR_FAKE_PROVIDER_KEY"
STOP_S_MAX: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An answer that fails its row: 400 and similar are final, after 429 and 5xx the row is sent again."""

    status: int = 400
    code: str = "content_filter"
    message: str = "the request was refused"


Answering: TypeAlias = Callable[[dict[str, Any]], str | Failure]


class Options(TypedDict):
    """The arguments of `run`, `plan`, `submit` and `Job` that select the fake provider."""

    provider: str
    provider_options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FakeProvider:
    """A running fake provider."""

    url: str
    requests: list[dict[str, Any]] = field(repr=False)  # the bodies that were answered, in order

    @property
    def options(self) -> Options:
        """The arguments that send a job to this provider: `run(df, …, **fake.options)`."""
        table = {"dialect": "onerouter", "base_url": self.url, "api_key_env": KEY_VARIABLE}
        return {"provider": "fake", "provider_options": table | {"poll_s_min": 0.1, "poll_s_max": 0.2}}


@dataclass(slots=True)
class _Model:
    """Answers with the test's own function; keeps the requests, and the function's first error."""

    function: Answering | None
    requests: list[dict[str, Any]] = field(default_factory=list)
    error: Exception | None = None

    def answer(self, params: msgspec.Raw) -> Answer | Refusal:
        usual = answer_onerouter(params)  # a body that a provider refuses is refused here, too
        if isinstance(usual, Refusal):
            return usual
        body = msgspec.json.decode(params)
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
        return replace(usual, text=given, finish_reason="stop", output_tokens=len(given.split()))


@contextmanager
def fake_provider(answer: Answering | None = None) -> Iterator[FakeProvider]:
    """Run a fake provider for the length of a block.

    Args:
        answer: gets a request's body (a dict), and returns the text of the answer, or a Failure. It is called in
            another thread, once for each request of a batch. An exception fails the row, and is raised again at the
            end of the block. Without it, the answer begins with "[simulated]" and the first words of the prompt.
    """
    with tempfile.TemporaryDirectory(prefix="fake-provider-") as folder, _listening() as listening:
        model, key = _Model(answer), secrets.token_hex(8)
        app = create_app(GatewayConfig(state=Path(folder), api_key=key, duration_s=0.0, answer=model.answer))
        try:
            with _serving(app, listening), _environment(KEY_VARIABLE, key):
                yield FakeProvider(f"http://127.0.0.1:{listening.getsockname()[1]}/v1", model.requests)
        finally:
            app.state.service.close()
    if model.error is not None:
        raise model.error


@contextmanager
def _listening() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)  # from now on connections wait until the server accepts them
        yield listening


@contextmanager
def _serving(app: Starlette, listening: socket.socket) -> Iterator[None]:
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="fake-provider", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(STOP_S_MAX)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
