"""The dependencies of one job's steps: its provider, files, dataset, and the settings of its spec."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, cast

from orchestrator.collector.finish import Finishing
from orchestrator.collector.settle import Collecting
from orchestrator.collector.typed_answers import TypedAnswers
from orchestrator.collector.vectors import Vectors
from orchestrator.dataset.dataset import Dataset, open_dataset
from orchestrator.dataset.image_files import file_reader, folder_of
from orchestrator.domain import custom_id
from orchestrator.domain.errors import ConfigError, DatasetError
from orchestrator.domain.model import Job
from orchestrator.domain.policy import Limits, NullPolicy, Policy, Reuse
from orchestrator.engine.function_identity import changes_of, function_identity
from orchestrator.engine.render_sample import sample_digest
from orchestrator.engine.row_function import RowFunction, imported_function, is_version, top_package
from orchestrator.engine.spec import Spec
from orchestrator.job_files.asked_keys import AskedKeys
from orchestrator.job_files.changed_requests import Changing
from orchestrator.job_files.reused_parts import OtherAnswers, OtherJob
from orchestrator.planner.amended import Amending
from orchestrator.planner.cost import Costing
from orchestrator.planner.images import NotAnImage
from orchestrator.planner.overlay import Overlay
from orchestrator.planner.plan import SLICE_ROWS, Planning, rows_for
from orchestrator.planner.render import CallableRenderer, Renderer, TemplateRenderer
from orchestrator.planner.row_template import RowTemplateRenderer, compile_rows
from orchestrator.planner.template import compile_body, has_rows_of_its_own
from orchestrator.ports import Checkpoint, JobFiles, Provider, Source, never_interrupted
from orchestrator.providers.catalogue import Sold
from orchestrator.providers.dialect import Dialect
from orchestrator.providers.private_errors import PrivateErrors
from orchestrator.providers.registry import dialect_of
from orchestrator.providers.structured_output import refuse_beside_schema
from orchestrator.settings import ProviderSettings
from orchestrator.storage.location import join, parent_and_name
from orchestrator.storage.open import open_job_files

OUTPUT: Final = "output"


def _not_connected(settings: ProviderSettings) -> Provider:
    raise ConfigError(f"provider {settings.name!r} is not connected: this command only plans or reads")


@dataclass
class JobContext:
    """The dependencies of one job's steps; each is made when it is first needed."""

    spec: Spec
    work: str
    connect: Callable[[ProviderSettings], Provider] = _not_connected
    others: Callable[[], Sequence[Job]] = tuple  # the jobs of the work folder, the newest first
    counts_own: bool = False  # the job's own answers are among those of others: for an estimate of what is left to buy
    text: str = ""  # the spec as the ledger has it
    render: RowFunction | None = None
    opened: Dataset | None = None
    _answers: dict[Reuse, OtherAnswers | None] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def folder(self) -> str:
        """The location of the job's own folder."""
        return join(self.work, self.spec.job_id)

    @property
    def output_folder(self) -> str:
        """The location of the first revision of the output."""
        return self.spec.output or join(self.folder, OUTPUT)

    @property
    def job_files(self) -> JobFiles:
        """The job's files."""
        return open_job_files(self.folder)

    @cached_property
    def provider(self) -> Provider:
        """The provider; its messages for people are kept among the job's files."""
        return PrivateErrors(self.connect(self.spec.provider), lambda: self.job_files, self.folder)

    @cached_property
    def dialect(self) -> Dialect:
        """The provider's dialect; needs no key."""
        return dialect_of(self.spec.provider)

    @property
    def sold_as(self) -> Sold:
        """The model as its vendor calls it."""
        return self.dialect.sold_as(self.spec.model)

    @cached_property
    def source(self) -> Source:
        """The dataset."""
        if self.opened is not None:
            return self.opened
        return open_dataset(
            self.spec.dataset,
            shard_rows=self.spec.shard_rows,
            shard_bytes=self.spec.shard_bytes,
            options=self.spec.dataset_options,
        )

    @property
    def source_or_reason(self) -> Source:
        """The dataset; where it cannot be opened, what raises the reason in the step that needs it."""
        try:
            return self.source
        except DatasetError as error:
            return cast("Source", _LostSource(str(error)))

    @property
    def costing(self) -> Costing:
        """The prices of requests."""
        tokens_max = 0 if self.dialect.gives_vectors else self.spec.output_tokens_max
        return Costing(price=self.spec.price, output_tokens_max=tokens_max)

    def answers(self, reuse: Reuse) -> OtherAnswers | None:
        """The answers of other jobs that this one may take; their keys are read once. None where there are none."""
        with self._lock:
            if reuse not in self._answers:
                jobs = [
                    OtherJob(job_id=job.id, job_files=open_job_files(join(self.work, job.id)))
                    for job in ([] if reuse is Reuse.NEVER else self.others())
                    if (self.counts_own or job.id != self.spec.job_id)
                    and (reuse is Reuse.ALL or job.name == self.spec.name)
                ]
                found = OtherAnswers(jobs) if jobs else None
                self._answers[reuse] = found or None
            return self._answers[reuse]

    @cached_property
    def asked(self) -> AskedKeys:
        """The requests of the job that this process knows to be planned."""
        return AskedKeys()

    @property
    def changing(self) -> Changing:
        """What changes requests of rows that a person has sent again."""
        over = Overlay(self.dialect, is_typed=bool(self.spec.response)).body
        return Changing(envelope=self.dialect.envelope, scope=self.spec.scope, over=over)

    @property
    def finishing(self) -> Finishing:
        """What is needed to write output."""
        parent, name = parent_and_name(self.output_folder)
        return Finishing(
            source=self.source_or_reason,
            fingerprint=self.spec.fingerprint,
            options=self.spec.output_options,
            job_digest=self.spec.digest,
            slice_rows=SLICE_ROWS,
            output=open_job_files(parent, is_private=not self.spec.output),
            folder=name,
            vectors=self.vectors,
            typed=self.typed,
            request_lines=self._request_lines,
        )

    def _request_lines(self, shard_no: int, row_start: int) -> Iterator[tuple[int, bytes | None]]:
        """Yield the rows from `row_start` on, each with its request line; None where it has none."""
        renderer = self.renderer(shard_no, Policy(null_policy=NullPolicy.SKIP))
        shard = self.source.shards[shard_no]
        for batch in rows_for(renderer, self.source, shard, row_start):
            lines = renderer.render(batch, row_start=row_start).lines
            yield from enumerate(lines, row_start)
            row_start += len(lines)

    @property
    def collecting(self) -> Collecting:
        """What is needed to read results."""
        return Collecting(
            job_digest=self.spec.digest,
            price=self.spec.price,
            keep_raw=self.spec.output_options.raw,
            read_line=self.dialect.read_line,
            vectors=self.vectors,
            typed=self.typed,
        )

    @cached_property
    def typed(self) -> TypedAnswers | None:
        """What checks answers and makes columns of them, where they have a schema."""
        schema = self.spec.response_schema
        if schema is None:
            return None
        has_limit = self.spec.body is None or self.spec.output_limit is not None
        return TypedAnswers(schema, has_limit=has_limit)

    @property
    def amending(self) -> Amending | None:
        """What changes the requests of rows whose answers were no use; None where any answer will do."""
        return None if self.spec.response_schema is None else Amending(dialect=self.dialect)

    @property
    def vectors(self) -> Vectors | None:
        """The vector length, where answers are vectors."""
        if not self.dialect.gives_vectors:
            return None
        dimensions = (self.spec.body or {}).get("dimensions")
        return Vectors(length=dimensions if isinstance(dimensions, int) else None)

    def require_provider(self) -> Provider:
        """Return the provider. Raises ConfigError where its key is missing: called before a job is added."""
        return self.provider

    def renderer(self, shard_no: int, policy: Policy, checkpoint: Checkpoint = never_interrupted) -> Renderer:
        """Return the renderer of a shard's rows."""
        if self.spec.body is None:
            return self.callable_renderer(shard_no, self.row_function, checkpoint)
        dialect = self.dialect
        if has_rows_of_its_own(self.spec.body):
            options = self.spec.dataset_options
            return RowTemplateRenderer(
                template=compile_rows(self.spec.body, self.source.schema),
                translate=self.translated,
                envelope=dialect.envelope,
                id_prefix=custom_id.prefix(self.spec.digest, shard_no).encode(),
                null_policy=policy.null_policy.value,
                read_file=file_reader(options.image_folder or folder_of(self.spec.dataset), NotAnImage),
                row_label=self._row_label(shard_no),
                checkpoint=checkpoint,
            )
        return TemplateRenderer(
            compiled=compile_body(self.translated(self.spec.body, is_template=True), self.source.schema),
            envelope=dialect.envelope,
            id_prefix=custom_id.prefix(self.spec.digest, shard_no).encode(),
            null_policy=policy.null_policy.value,
            row_label=self._row_label(shard_no),
        )

    def translated(self, request: Mapping[str, Any], *, is_template: bool = False) -> dict[str, Any]:
        """Return the provider's body of a request, which asks for answers of the job's schema."""
        schema = self.spec.response_schema
        if schema is None:
            return self.dialect.request_body(request)
        refuse_beside_schema(request)
        return self.dialect.request_body(self.dialect.asks_for(request, schema, is_template=is_template))

    def check_function(self) -> None:
        """Raise ConfigError where the job names a function that renders its rows, and that has changed."""
        if self.spec.render_path:
            self.row_function  # noqa: B018 - reading it checks it

    @cached_property
    def row_function(self) -> RowFunction:
        """The function that renders the rows. Raises ConfigError where it is not the one the job was started with."""
        if self.render is not None:
            return self.render
        if not self.spec.render_path:
            raise ConfigError(
                f"job {self.spec.job_id} renders its rows with a Python function, which only your program has: "
                "call orchestrator.run(...) there to resume it"
            )
        function = imported_function(self.spec.render_path)
        if not is_version(self.spec.render):
            found = function_identity(function, own=top_package(self.spec.render_path))
            if found.digest != self.spec.render:
                raise ConfigError(
                    f"job {self.spec.job_id}: {self.spec.render_path} is not the function that the job was started "
                    f"with: {changes_of(self.spec.render_parts, found.parts)}. Install the same version here, or start "
                    "a new job"
                )
        if sample_digest(self.callable_renderer(0, function), self.source) != self.spec.render_sample:
            raise ConfigError(
                f"job {self.spec.job_id}: {self.spec.render_path} gives other requests for the first rows than when "
                "the job was started, though its code is the same: it depends on a file, the environment or the time. "
                "Put that back as it was, or start a new job"
            )
        return function

    def callable_renderer(
        self, shard_no: int, function: RowFunction, checkpoint: Checkpoint = never_interrupted
    ) -> CallableRenderer:
        """Return the renderer of a shard's rows by a function."""
        return CallableRenderer(
            function=function,
            translate=self.translated,
            model=self.spec.model,
            envelope=self.dialect.envelope,
            id_prefix=custom_id.prefix(self.spec.digest, shard_no).encode(),
            row_label=self._row_label(shard_no),
            checkpoint=checkpoint,
        )

    def _row_label(self, shard_no: int) -> Callable[[int], str]:
        def label(row: int) -> str:
            return f"row {row}" if len(self.source.shards) == 1 else f"row {row} of shard {shard_no}"

        return label


class _LostSource:
    """Stands for a dataset that cannot be opened (and may be there again later, so that nothing keeps this)."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __getattr__(self, name: str) -> object:
        raise DatasetError(self._reason)


def planning_of(context: JobContext, policy: Policy, checkpoint: Checkpoint = never_interrupted) -> Planning:
    """Return what is needed to plan."""
    return Planning(
        source=context.source_or_reason,
        renderer=lambda shard_no: context.renderer(shard_no, policy, checkpoint),
        limits=limits_of(policy),
        costing=context.costing,
        scope=context.spec.scope(),
        answers=context.answers(policy.reuse),
        asked=context.asked if policy.dedupe else None,
        agree_length=None if context.vectors is None else context.vectors.agreed,
        checkpoint=checkpoint,
    )


def limits_of(policy: Policy) -> Limits:
    """Return the limits of one batch."""
    return Limits(
        requests_max=policy.chunk_requests_max,
        bytes_max=policy.chunk_bytes_max,
        tokens_max=policy.chunk_tokens_max,
    )
