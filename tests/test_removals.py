"""What the program ever takes away, read from its sources: nothing that was paid for, nothing that may be asked for.

Rule 1: every place that removes a file, a row of the ledger or an object at the provider stands here, with its reason.
        A new one is a decision, and this test is where it is made.
Rule 2: a file that is removed is told apart by what names it, so that a second removal in the same function is seen.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

import pytest

from tests.test_architecture import Module, modules_of_the_tree

REMOVERS: Final = frozenset({"remove", "unlink", "rmtree", "rmdir", "delete", "fence", "truncate"})
OURS: Final = ("orchestrator", "workers")

# `module: call` -> why it may.
ALLOWED: Final = {
    # the provider's copies: the input file of a create that is in doubt, once no batch of it is listed
    "orchestrator.batches.recover: provider.fence(chunk.file_id)": "so that a create still on its way must fail",
    "orchestrator.providers.private_errors: self._provider.fence(file_id)": "hands on what a step asked for",
    # the work folder: never requests, raw results, parts or output
    "orchestrator.job_files.create_journal: job_files.remove(intent_name(token))": "nothing was created under it",
    "orchestrator.job_files.create_journal: job_files.remove(journal_name(token))": "a person has said otherwise",
    "orchestrator.engine.opening: job_files.remove(MARK)": "a mark that this process has just written",
    # the ledger: no job, chunk, attempt or event
    "orchestrator.ledger.workers: sa.delete(workers)": "a process that is gone",
    "orchestrator.ledger.admin: sa.delete(table)": "a stand-in for rows that nobody has planned",
    # recovery puts back what the work folder knows of a job, in the same transaction
    "orchestrator.ledger.snapshot: sa.delete(chunk_shards)": "made anew from the work folder",
    "orchestrator.ledger.snapshot: sa.delete(table)": "made anew from the work folder",
    "orchestrator.ledger.snapshot: sa.delete(jobs)": "made anew from the work folder",
    # temporary files, and the ways to remove at all
    "orchestrator.dataset.in_memory: Path(temporary).unlink(missing_ok=True)": "a draft",
    "orchestrator.storage.local: temporary.unlink()": "a draft",
    "orchestrator.storage.local: path.unlink(missing_ok=True)": "this is `JobFiles.remove`",
    "orchestrator.storage.object_store: obstore.delete(self._store, key)": "this is `JobFiles.remove`",
    "orchestrator.storage.object_store: obstore.delete(self._store, self._temporary)": "a draft",
    "orchestrator.storage.probe: obstore.delete(store, key)": "the probe's own file",
    "orchestrator.engine.local_runner: file.truncate(0)": "the lock file, to write this process's number",
}


def removals(modules: list[Module]) -> Iterator[str]:
    """Yield every call that takes something away, with its module."""
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in REMOVERS:
                yield f"{module.name}: {ast.unparse(node)}"


def unforeseen(modules: list[Module]) -> list[str]:
    """Return the removals that nobody has allowed."""
    return [call for call in removals(modules) if call not in ALLOWED]


def ours() -> list[Module]:
    """Return the program's modules, without the gateway: its files are its own, and hold nothing that was paid for."""
    ours = (module for module in modules_of_the_tree() if module.name.partition(".")[0] in OURS)
    return [module for module in ours if not module.name.startswith("orchestrator.gateway")]


def test_nothing_is_taken_away_but_what_is_listed_here() -> None:
    """Results, requests, parts, output, attempts and the provider's files stay until a person removes them."""
    assert unforeseen(ours()) == []


def test_the_list_names_nothing_that_is_not_there() -> None:
    assert set(ALLOWED) - set(removals(ours())) == set()


@pytest.mark.parametrize(
    "source", ["job_files.remove(chunk.part)", "sa.delete(attempts)", "provider.fence(file)", "shutil.rmtree(folder)"]
)
def test_a_new_removal_is_seen(source: str) -> None:
    assert unforeseen([Module(name="orchestrator.collector.sweep", source=source)]) != []
