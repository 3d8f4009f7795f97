"""What a line's output comes to: a figure in words, and whether the target was met. No number is made up here.

Rule: what is needed and was not printed is a miss that says so, never a zero.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

FIRST_STEP: Final = "seconds to the first useful step"  # as tests/kills names its figures
ALL_KNOWN: Final = "seconds until all are known"
PAID_TWICE: Final = "rows paid twice"
SUMMARY: Final = re.compile(r"^=*\s*((?:\d+ \w+,? ?)+) in ([\d.]+)s", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What the commands of a line printed, and how they ended: 0 where all ended with 0."""

    code: int
    text: str
    objects: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What to say of it."""

    held: bool
    figure: str


Judge = Callable[[Output], Verdict]


def _sound(output: Output, *names: str) -> Sequence[Mapping[str, Any]] | Verdict:
    """Return the objects that have all of these figures, or a verdict where there is none."""
    found = [one for one in output.objects if set(names) <= one.keys()]
    if found:
        return found
    last = output.text.strip().splitlines()[-1:] or ["nothing"]
    return Verdict(held=False, figure=f"no figures (exit code {output.code}): {last[0][:120]}")


def _of(names: Sequence[str], judge: Callable[[Sequence[Mapping[str, Any]]], Verdict]) -> Judge:
    """Return a judge of the objects that have these figures; it also wants exit code 0."""

    def judged(output: Output) -> Verdict:
        found = _sound(output, *names)
        if isinstance(found, Verdict):
            return found
        verdict = judge(found)
        if output.code and verdict.held:
            return Verdict(held=False, figure=f"{verdict.figure}; exit code {output.code}")
        return verdict

    return judged


def passed(at_least: int, word: str = "tests") -> Judge:
    """Return a judge of what pytest says last: so many have passed, none failed, none was skipped."""

    def judge(output: Output) -> Verdict:
        counts: dict[str, int] = {}
        for summary, _ in SUMMARY.findall(output.text):
            for count, name in re.findall(r"(\d+) (\w+?)s?\b", summary):
                counts[name] = counts.get(name, 0) + int(count)
        good, skipped = counts.get("passed", 0), counts.get("skipped", 0)
        broken = counts.get("failed", 0) + counts.get("error", 0)
        figure = f"{good:,} {word}, {broken} failed" + (f", {skipped} skipped" if skipped else "")
        return Verdict(held=output.code == 0 and good >= at_least and not broken and not skipped, figure=figure)

    return judge


def _seeds(found: Sequence[Mapping[str, Any]]) -> Verdict:
    seeds, crashes = sum(one["seeds"] for one in found), sum(one["crashes"] for one in found)
    failed = sum(one["failed"] for one in found)
    classes = ", ".join(one["provider"] for one in found)
    figure = f"{seeds:,} seeds ({classes}), {crashes:,} crashes: {failed} failed"
    return Verdict(held=seeds > 0 and not failed, figure=figure)


def _schedules(found: Sequence[Mapping[str, Any]]) -> Verdict:
    """Judge the schedules; the last object is the negative control, which must have failures."""
    *sound, control = found
    count, failed = sum(one["schedules"] for one in sound), sum(one["failed"] for one in sound)
    figure = f"{count:,} schedules: {failed} failed (a protocol that lists at once: {control['failed']:,})"
    return Verdict(held=count > 0 and not failed and control["failed"] > 0, figure=figure)


def _protocols(found: Sequence[Mapping[str, Any]]) -> Verdict:
    seeds = [one["first_bad_seed"] for one in found]
    survived = [one["mutant"] for one in found if one["first_bad_seed"] is None]
    latest = max((seed for seed in seeds if seed is not None), default=None)
    figure = f"{len(found) - len(survived)} of {len(found)} caught, the last at seed {latest}"
    figure += f"; survived: {', '.join(survived)}" if survived else ""
    return Verdict(held=len(found) >= 25 and not survived, figure=figure)


def mutants(output: Output) -> Verdict:
    """Judge broken protocols in the simulation, and broken lines of code before their tests."""
    protocols, lines = _of(("mutant", "first_bad_seed"), _protocols)(output), _of(_LINES, _lines)(output)
    return Verdict(held=protocols.held and lines.held, figure=f"{protocols.figure}; {lines.figure}")


SAMPLE_PERCENT: Final = 90  # of twenty lines: of all of them 95 are asked for, and twenty are few
_LINES: Final = ("mutants", "caught", "percent", "stale")


def _lines(found: Sequence[Mapping[str, Any]]) -> Verdict:
    one = found[-1]
    figure = f"{one['caught']} of {one['mutants']} broken lines caught"
    return Verdict(held=one["mutants"] > 0 and one["percent"] >= SAMPLE_PERCENT and not one["stale"], figure=figure)


def _upgraded(found: Sequence[Mapping[str, Any]]) -> Verdict:
    """Judge seeds with an upgrade in them; in most, both versions must have taken steps."""
    seeds, failed = sum(one["seeds"] for one in found), sum(one["failed"] for one in found)
    mixed = sum(one["mixed"] for one in found)
    schemas = ", ".join(str(one["schema"]) for one in found)
    figure = f"{seeds} seeds beside schema {schemas}, {mixed} of them mixed: {failed} failed"
    return Verdict(held=seeds >= 100 and mixed * 2 > seeds and not failed, figure=figure)


def both(first: Judge, second: Judge) -> Judge:
    """Return a judge that wants what both want."""

    def judge(output: Output) -> Verdict:
        one, two = first(output), second(output)
        return Verdict(held=one.held and two.held, figure=f"{one.figure}; {two.figure}")

    return judge


def _branches(found: Sequence[Mapping[str, Any]]) -> Verdict:
    """Judge the branches that tests take: in the domain every one, and every statement."""
    core = [one for one in found if one["folder"] == "orchestrator/domain"]
    figure = "branches taken: " + ", ".join(
        f"{one['branches_taken']} of {one['branches']} in {one['folder']}" for one in found
    )
    whole = all(one["branches"] == one["branches_taken"] and one["statements"] == one["statements_run"] for one in core)
    return Verdict(held=bool(core) and core[0]["branches"] > 0 and whole, figure=figure)


def unlike(at_least: int) -> Judge:
    """Return a judge of so many seeds that were run twice."""

    def judge(found: Sequence[Mapping[str, Any]]) -> Verdict:
        seeds, others = sum(one["seeds"] for one in found), sum(one["unlike_themselves"] for one in found)
        figure = f"{seeds} seeds twice: {others} unlike themselves"
        return Verdict(held=seeds >= at_least and not others, figure=figure)

    return _of(("seeds", "unlike_themselves"), judge)


def kills(at_least: int) -> Judge:
    """Return a judge of campaigns of kills."""

    def judge(found: Sequence[Mapping[str, Any]]) -> Verdict:
        trials, failed = sum(one["trials"] for one in found), sum(one["failed"] for one in found)
        twice = sum(one.get(PAID_TWICE, 0) for one in found)
        figure = f"{trials:,} trials: {failed} failed, {twice} rows paid twice"
        return Verdict(held=trials >= at_least and not failed and not twice, figure=figure)

    return _of(("campaign", "trials", "failed"), judge)


def readers(at_least: int) -> Judge:
    """Return a judge of what readers saw while so many kills struck whoever wrote."""

    def judge(found: Sequence[Mapping[str, Any]]) -> Verdict:
        killed, failed, looks, partial, wrong = (sum(one[name] for one in found) for name in _READERS)
        figure = f"{killed:,} kills, {looks:,} looks: {partial} partial, {wrong} wrong, {failed} failed"
        return Verdict(held=killed >= at_least and looks > killed and not (failed or partial or wrong), figure=figure)

    return _of(_READERS, judge)


_READERS: Final = ("kills", "failed", "seen: looks", "seen: partial", "seen: wrong")


def _healed(found: Sequence[Mapping[str, Any]]) -> Verdict:
    trials, healed, twice = (sum(one[name] for one in found) for name in ("trials", "healed", "paid_twice"))
    figure = f"{healed} of {trials} healed by themselves, {twice} rows paid twice"
    return Verdict(held=trials >= 100 and healed == trials and not twice, figure=figure)


def _soaked(found: Sequence[Mapping[str, Any]]) -> Verdict:
    one = found[-1]
    # A share of a percent is the interpreter's own; what grows with the batches grows by far more.
    flat = 0 < one["objects_last"] <= one["objects_first"] * 1.05
    exact = not one["wrong_rows"] and not one["paid_twice"]
    figure = (
        f"{one['days']} days, {one['in_flight_most']:,} in flight, {one['batches']:,} batches: "
        f"{one['wrong_rows']} rows wrong, {one['paid_twice']} paid twice, "
        f"objects {one['objects_first']:,} → {one['objects_last']:,}"
    )
    return Verdict(held=exact and flat and one["days"] >= 30 and one["in_flight_most"] >= 1_000, figure=figure)


def _unleaking(found: Sequence[Mapping[str, Any]]) -> Verdict:
    one = found[-1]
    figure = (
        f"{one['minutes']} minutes, {one['jobs']} jobs, {one['batches']:,} batches: {one['rss_mb']} MB, "
        f"{one['rss_mb_per_minute']:+} MB a minute, open files {one['files_first']} → {one['files_last']}, "
        f"threads {one['threads_first']} → {one['threads_last']}, {one['paid_twice']} rows paid twice"
    )
    # A file that is just being written, a thread that is just being started: a leak is one more with every batch.
    flat = one["rss_mb_per_minute"] <= 1 and all(
        one[f"{what}_last"] <= one[f"{what}_first"] + 2 for what in ("files", "threads")
    )
    return Verdict(held=flat and one["minutes"] >= 4 and one["jobs"] > 0 and not one["paid_twice"], figure=figure)


def _ledger(found: Sequence[Mapping[str, Any]]) -> Verdict:
    one = found[-1]
    figure = (
        f"{one['chunks']:,} chunks: entered in {one['insert_s']} s, due p99 {one['due_p99_ms']} ms, "
        f"{one['handed_out_per_s']:,} handed out a second, {one['handed_out_twice']} twice"
    )
    held = (
        one["chunks"] >= 1_000_000
        and one["insert_s"] <= 30
        and one["due_p99_ms"] <= 5
        and one["handed_out_per_s"] >= 500
        and not one["handed_out_twice"]
    )
    return Verdict(held=held, figure=figure)


def flight(at_least: int) -> Judge:
    """Return a judge of so many batches in flight."""

    def judge(found: Sequence[Mapping[str, Any]]) -> Verdict:
        one = found[-1]
        figure = (
            f"{one['created']:,} of {one['batches']:,} in flight: "
            f"{one['refused_calls']:,} of {one['calls']:,} calls refused, "
            f"stalest {one['stale_intervals']} intervals, {one['rss_mb']} MB"
        )
        held = one["batches"] >= at_least and one["created"] == one["batches"] and one["refused_share"] <= 0.05
        return Verdict(held=held and one["stale_intervals"] <= 2 and one["rss_mb"] <= 500, figure=figure)

    return _of(("calls", "refused_share", "stale_intervals", "rss_mb"), judge)


def _rows(found: Sequence[Mapping[str, Any]]) -> Verdict:
    one = found[-1]
    flat = one["peak_mb"] <= 1.2 * one["peak_mb_at_half"]
    figure = (
        f"{one['rows']:,} rows: {one['wrong_rows']} wrong, "
        f"peak {one['peak_mb']} MB ({one['peak_mb_at_half']} at the half), "
        f"{one['collect_rows_per_cpu_s']:,} collected and {one['finish_rows_per_cpu_s']:,} finished a core second"
    )
    held = one["rows"] >= 10_000_000 and not one["wrong_rows"] and one["peak_mb"] <= 1_024 and flat
    return Verdict(held=held and one["finish_rows_per_cpu_s"] >= 50_000, figure=figure)


def _recovered(output: Output) -> Verdict:
    """Judge the times from a start after everything was killed, of several ways to run, and of creates in doubt."""
    steps = [one[FIRST_STEP] for one in output.objects if FIRST_STEP in one]
    known = [one[ALL_KNOWN] for one in output.objects if ALL_KNOWN in one]
    twice = sum(one.get(PAID_TWICE, 0) for one in output.objects)
    if not steps or not known:
        return Verdict(held=False, figure=f"no figures (exit code {output.code})")
    figure = f"first step after {max(steps)} s at most, all creates known after {max(known)} s, {twice} rows paid twice"
    return Verdict(held=output.code == 0 and max(steps) <= 5 and max(known) <= 60 and not twice, figure=figure)


def _chaos(output: Output) -> Verdict:
    """Judge the table that the chaos run prints."""
    table = dict(re.findall(r"^(\S.*?) {2,}(\S.*)$", output.text, re.MULTILINE))
    if "runs" not in table or "rows paid twice" not in table:
        return Verdict(held=False, figure=f"no table (exit code {output.code})")
    runs, exact, twice = (int(table[name]) for name in ("runs", "exact", "rows paid twice"))
    struck = sum(
        int(value) for name, value in table.items() if name.startswith(("kill ", "freeze ", "flush", "black "))
    )
    figure = f"{exact} of {runs} runs exact, {struck} kills, freezes and cuts, {twice} rows paid twice"
    return Verdict(held=output.code == 0 and runs > 0 and exact == runs and not twice, figure=figure)


def fuzzed(at_least: int) -> Judge:
    """Return a judge of so many result files, and of the requests that were drawn."""

    def judge(output: Output) -> Verdict:
        found = re.search(r"^(\d+) result files: no exception.*?; (\d+) a second", output.text, re.MULTILINE)
        if found is None or output.code:
            last = output.text.strip().splitlines()[-1:] or ["nothing"]
            return Verdict(held=False, figure=f"exit code {output.code}: {last[0][:120]}")
        count = int(found[1])
        asked = passed(1, "kinds of requests")(output)
        figure = f"{count:,} files: no exception, no wrong row, every line counted; {asked.figure}"
        return Verdict(held=count >= at_least and asked.held, figure=figure)

    return judge


chaos: Final[Judge] = _chaos
seeds: Final = _of(("provider", "seeds", "crashes", "failed"), _seeds)
schedules: Final = _of(("provider", "schedules", "failed"), _schedules)
upgraded: Final = _of(("schema", "seeds", "mixed", "failed"), _upgraded)
branches: Final = _of(("folder", "branches", "branches_taken", "statements", "statements_run"), _branches)
healed: Final = _of(("trials", "healed", "paid_twice"), _healed)
soaked: Final = _of(("days", "objects_first", "objects_last", "wrong_rows", "paid_twice"), _soaked)
unleaking: Final = _of(("minutes", "jobs", "rss_mb_per_minute", "files_last", "threads_last"), _unleaking)
ledger: Final = _of(("chunks", "insert_s", "due_p99_ms", "handed_out_per_s", "handed_out_twice"), _ledger)
rows: Final = _of(("rows", "wrong_rows", "peak_mb", "peak_mb_at_half", "finish_rows_per_cpu_s"), _rows)
recovered: Final[Judge] = _recovered
