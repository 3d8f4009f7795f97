"""What the tests of rows and pictures look at: jobs that were really run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import pandas as pd
import pytest
from starlette.testclient import TestClient

import orchestrator
from orchestrator.api.viewer import Viewer
from orchestrator.domain.errors import JobNeedsDecision
from orchestrator.engine.opening import opened_workspace
from orchestrator.testing import Failure, fake_provider
from orchestrator.web.access import Access
from orchestrator.web.app import make_app
from tests.servers.hurry import hurried as hurried
from tests.web.words import EVIL, TEXTS, job_named

TOKEN: Final = "a-token-of-this-test"


def answering() -> Any:
    asked = Counter[str]()

    def answer(body: dict[str, Any]) -> str | Failure:
        text = body["messages"][-1]["content"]
        asked[text] += 1
        if "blocked" in text:
            return Failure(code="content_filter", message="category violence")
        if "busy" in text and (asked[text] == 1 or "once" not in text):
            return Failure(status=500, code="server_error", message="try later")
        return {"l": "one two three four five six", "s": "", "e": f"echo {EVIL}"}.get(text[0], f"re: {text}")

    return answer


@pytest.fixture(scope="session")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    """A work folder with a job that has ended, and one of which only the canary was answered."""
    work = tmp_path_factory.mktemp("work")
    policy = {"retry_gather_s": 0, "chunk_requests_max": 16}
    with fake_provider(answering()) as fake:
        frame = pd.DataFrame({"text": TEXTS, "n": range(len(TEXTS))})
        both = {"prompt": "{text}", "model": "any", "work": work, "max_tokens": 5} | fake.options
        orchestrator.run(frame, name="ended", policy=policy, **both)
        some = pd.DataFrame({"text": [f"blocked {number}" for number in range(1_100)]})
        with pytest.raises(JobNeedsDecision):
            orchestrator.run(some, name="open", policy=policy | {"canary_rows": 4}, **both)
        orchestrator.run(frame.head(12), name="ended", policy=policy, alongside=True, **both)
    with opened_workspace(str(work)) as workspace:
        yield Viewer(workspace)


@pytest.fixture
def browser(viewer: Viewer) -> TestClient:
    app = make_app(viewer, Access(hosts=frozenset(), token=TOKEN))
    headers = {"authorization": f"Bearer {TOKEN}"}
    return TestClient(app, headers=headers, follow_redirects=False)


@pytest.fixture
def ended(viewer: Viewer) -> str:
    return job_named(viewer, "ended", len(TEXTS))
