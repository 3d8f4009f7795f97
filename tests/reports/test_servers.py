"""The two servers of the reports, with nothing wrong: what every other report is compared with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reports.play import play
from tests.reports.server import OneRouterServer, OpenAIServer


@pytest.mark.parametrize("server", [OpenAIServer, OneRouterServer])
def test_a_job_at_a_sound_provider_is_clean(server: type[OpenAIServer] | type[OneRouterServer], tmp_path: Path) -> None:
    """Twelve rows in two batches: every row has its answer, none was paid for twice."""
    provider = server()
    seen = play(provider, tmp_path)

    assert seen.is_clean
    assert provider.counts["creates"] == 2
