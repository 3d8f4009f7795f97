CREATE TABLE accounts (
    name TEXT NOT NULL,
    paused_until BIGINT NOT NULL,
    pause_reason TEXT NOT NULL,
    pause_count BIGINT NOT NULL,
    needs_person BOOLEAN NOT NULL,
    is_probing BOOLEAN NOT NULL,
    in_flight_max BIGINT,
    learned_at BIGINT NOT NULL,
    PRIMARY KEY (name)
);
CREATE TABLE attempts (
    token TEXT NOT NULL,
    job_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    chunk_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    state TEXT NOT NULL,
    reserved_usd BIGINT NOT NULL,
    cost_usd BIGINT,
    batch_id TEXT,
    sent_at BIGINT NOT NULL,
    settled_at BIGINT,
    digest TEXT NOT NULL,
    key_mark TEXT NOT NULL,
    PRIMARY KEY (token),
    UNIQUE (chunk_id, number),
    UNIQUE (provider, batch_id)
);
CREATE INDEX attempts_by_job ON attempts (job_id, state);
CREATE UNIQUE INDEX one_live_attempt ON attempts (chunk_id) WHERE state IN ('open', 'created');
CREATE TABLE chunk_shards (
    chunk_id TEXT NOT NULL,
    shard_no BIGINT NOT NULL,
    job_id TEXT NOT NULL,
    row_count BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    PRIMARY KEY (chunk_id, shard_no)
);
CREATE INDEX chunk_shards_by_shard ON chunk_shards (job_id, shard_no);
CREATE TABLE chunks (
    id TEXT NOT NULL,
    job_id TEXT NOT NULL,
    account TEXT NOT NULL,
    shard_no BIGINT,
    row_start BIGINT NOT NULL,
    row_end BIGINT NOT NULL,
    request_count BIGINT NOT NULL,
    request_bytes BIGINT NOT NULL,
    round BIGINT NOT NULL,
    tokens_in BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    tries BIGINT NOT NULL,
    setbacks BIGINT NOT NULL,
    requests TEXT NOT NULL,
    state TEXT NOT NULL,
    results TEXT NOT NULL,
    error_code TEXT NOT NULL,
    error TEXT NOT NULL,
    part TEXT NOT NULL,
    causes TEXT NOT NULL,
    changes TEXT NOT NULL,
    regather TEXT NOT NULL,
    improves TEXT NOT NULL,
    amends TEXT NOT NULL,
    refused_places TEXT NOT NULL,
    cost_usd_max BIGINT,
    fees_usd BIGINT,
    token_sent TEXT,
    file_id TEXT,
    batch_id TEXT,
    outcome TEXT,
    provider_status TEXT NOT NULL,
    sent_at BIGINT,
    fenced_at BIGINT,
    failing_since BIGINT,
    waiting_since BIGINT,
    looked_at BIGINT,
    ended_at BIGINT,
    collected_at BIGINT,
    cancel_requested BOOLEAN NOT NULL,
    cancel_sent BOOLEAN NOT NULL,
    is_canary BOOLEAN NOT NULL,
    done_count BIGINT NOT NULL,
    failed_count BIGINT NOT NULL,
    succeeded BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    standing BIGINT NOT NULL,
    waiting BIGINT NOT NULL,
    resent BIGINT NOT NULL,
    reopened BIGINT NOT NULL,
    missing BIGINT NOT NULL,
    lines BIGINT NOT NULL,
    duplicates BIGINT NOT NULL,
    "foreign" BIGINT NOT NULL,
    unreadable BIGINT NOT NULL,
    truncated_answers BIGINT NOT NULL,
    empty_answers BIGINT NOT NULL,
    refused_answers BIGINT NOT NULL,
    unpriced BIGINT NOT NULL,
    unreadable_rows BIGINT NOT NULL,
    unread_answers BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    wasted_nano_usd BIGINT NOT NULL,
    due_at BIGINT,
    lease_until BIGINT NOT NULL,
    token BIGINT NOT NULL,
    version BIGINT NOT NULL,
    starts BIGINT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX chunks_by_account ON chunks (account, state);
CREATE INDEX chunks_by_end ON chunks (job_id, ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX chunks_by_job ON chunks (job_id, state);
CREATE INDEX chunks_by_step ON chunks (state, due_at, id);
CREATE INDEX chunks_in_order ON chunks (job_id, shard_no, row_start);
CREATE INDEX chunks_of_canary ON chunks (job_id, state) WHERE is_canary;
CREATE INDEX chunks_to_cancel ON chunks (state, due_at, id) WHERE cancel_requested;
CREATE INDEX chunks_waiting ON chunks (job_id) WHERE waiting > 0;
CREATE TABLE events (
    id BIGSERIAL NOT NULL,
    job_id TEXT NOT NULL,
    at BIGINT NOT NULL,
    name TEXT NOT NULL,
    unit TEXT NOT NULL,
    details TEXT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX events_by_job ON events (job_id, id);
CREATE INDEX step_failures ON events (job_id, unit, at) WHERE name = 'step.failed';
CREATE TABLE jobs (
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    account TEXT NOT NULL,
    spec TEXT NOT NULL,
    policy TEXT NOT NULL,
    state TEXT NOT NULL,
    due TEXT NOT NULL,
    reason TEXT NOT NULL,
    decision TEXT NOT NULL,
    approved TEXT NOT NULL,
    canary TEXT NOT NULL,
    revision BIGINT NOT NULL,
    rounds_max BIGINT NOT NULL,
    retry_count BIGINT NOT NULL,
    retrying TEXT NOT NULL,
    changes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    ended_at BIGINT,
    paused_at BIGINT,
    due_at BIGINT,
    lease_until BIGINT NOT NULL,
    token BIGINT NOT NULL,
    version BIGINT NOT NULL,
    starts BIGINT NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE meta (
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (key)
);
CREATE TABLE notices (
    id BIGSERIAL NOT NULL,
    job_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    reason TEXT NOT NULL,
    is_own BOOLEAN NOT NULL,
    state TEXT NOT NULL,
    at BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    ended_at BIGINT,
    tries BIGINT NOT NULL,
    error TEXT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX notices_by_job ON notices (job_id, subject);
CREATE INDEX notices_waiting ON notices (due_at) WHERE state = 'waiting';
CREATE TABLE shards (
    job_id TEXT NOT NULL,
    shard_no BIGINT NOT NULL,
    state TEXT NOT NULL,
    causes TEXT NOT NULL,
    row_count BIGINT NOT NULL,
    chunk_count BIGINT NOT NULL,
    slice_count BIGINT NOT NULL,
    refused_count BIGINT NOT NULL,
    settled_count BIGINT NOT NULL,
    finished_slice_count BIGINT NOT NULL,
    due_at BIGINT,
    lease_until BIGINT NOT NULL,
    token BIGINT NOT NULL,
    version BIGINT NOT NULL,
    starts BIGINT NOT NULL,
    PRIMARY KEY (job_id, shard_no)
);
CREATE INDEX shards_by_job ON shards (job_id, state);
CREATE INDEX shards_due ON shards (state, due_at, job_id, shard_no);
CREATE INDEX shards_settled ON shards (state, due_at, job_id, shard_no) WHERE settled_count = row_count;
CREATE TABLE workers (
    id TEXT NOT NULL,
    host TEXT NOT NULL,
    kind TEXT NOT NULL,
    queues TEXT NOT NULL,
    job_id TEXT NOT NULL,
    version TEXT NOT NULL,
    pid BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    doing TEXT NOT NULL,
    memory_bytes BIGINT,
    stop_asked BOOLEAN NOT NULL,
    PRIMARY KEY (id)
);
CREATE VIEW due_steps AS SELECT CASE WHEN (counts.step = 'review') THEN 'control' WHEN (counts.step = 'poll') THEN 'control' WHEN (counts.step = 'cancel') THEN 'control' WHEN (counts.step = 'recover') THEN 'control' WHEN (counts.step = 'submit') THEN 'transfer' WHEN (counts.step = 'plan') THEN 'plan' WHEN (counts.step = 'retry') THEN 'plan' WHEN (counts.step = 'split') THEN 'plan' WHEN (counts.step = 'collect') THEN 'collect' WHEN (counts.step = 'finish') THEN 'collect' WHEN (counts.step = 'seal') THEN 'collect' END AS queue, counts.step, counts.units
FROM (SELECT jobs.due AS step, count(*) AS units
FROM jobs
WHERE jobs.due_at <= CAST(extract(epoch from statement_timestamp()) * 1000000 AS BIGINT) AND jobs.lease_until <= CAST(extract(epoch from statement_timestamp()) * 1000000 AS BIGINT) AND jobs.state IN ('running', 'cancelling') GROUP BY jobs.due UNION ALL SELECT 'collect' AS anon_1, count(*) AS units
FROM chunks JOIN jobs ON jobs.id = chunks.job_id
WHERE chunks.due_at <= CAST(extract(epoch from statement_timestamp()) * 1000000 AS BIGINT) AND chunks.lease_until <= CAST(extract(epoch from statement_timestamp()) * 1000000 AS BIGINT) AND chunks.state = 'ended' AND jobs.state IN ('running', 'stopped', 'cancelling') UNION ALL SELECT 'cancel' AS anon_2, count(*) AS units
FROM chunks JOIN jobs ON jobs.id = chunks.job_id
WHERE chunks.due_at <= CAST(extract(epoch from statement_timestamp()) * 1000000 AS BIGINT) AND chunks.lease_until <= CAST(extract(epoch from statement_timestamp()) * 1000000 AS BIGINT) AND chunks.cancel_requested AND chunks.state IN ('planned', 'uploaded', 'splitting', 'submitted') AND (chunks.state != 'submitted' OR NOT chunks.cancel_sent) AND jobs.state IN ('running', 'stopped', 'cancelling') UNION ALL SELECT 'recover' AS anon_3, count(*) AS units
FROM chunks JOIN jobs ON jobs.id = chunks.job_id
WHERE chunks.due_at <= CAST(extract(epoch from statement_timestamp()) * 1000000 AS BIGINT) AND chunks.lease_until <= CAST(extract(epoch from statement_timestamp()) * 1000000 AS BIGINT) AND chunks.state IN ('submitting', 'ambiguous', 'unresolved') AND jobs.state IN ('running', 'stopped', 'cancelling') UNION ALL SELECT 'poll' AS anon_4, count(*) AS units
FROM chunks JOIN jobs ON jobs.id = chunks.job_id
WHERE chunks.due_at <= CAST(extract(epoch from statement_timestamp()) * 1000000 AS BIGINT) AND chunks.lease_until <= CAST(extract(epoch from statement_timestamp()) * 1000000 AS BIGINT) AND chunks.state = 'submitted' AND (NOT chunks.cancel_requested OR chunks.cancel_sent) AND jobs.state IN ('running', 'stopped', 'cancelling') UNION ALL SELECT 'split' AS anon_5, count(*) AS units
FROM chunks JOIN jobs ON jobs.id = chunks.job_id
WHERE chunks.due_at <= CAST(extract(epoch from statement_timestamp()) * 1000000 AS BIGINT) AND chunks.lease_until <= CAST(extract(epoch from statement_timestamp()) * 1000000 AS BIGINT) AND chunks.state = 'splitting' AND NOT chunks.cancel_requested AND jobs.state = 'running' UNION ALL SELECT 'submit' AS anon_6, count(*) AS units
FROM chunks JOIN jobs ON jobs.id = chunks.job_id
WHERE chunks.due_at <= CAST(extract(epoch from statement_timestamp()) * 1000000 AS BIGINT) AND chunks.lease_until <= CAST(extract(epoch from statement_timestamp()) * 1000000 AS BIGINT) AND chunks.state IN ('planned', 'uploaded') AND NOT chunks.cancel_requested AND jobs.state = 'running' AND jobs.paused_at IS NULL AND (chunks.is_canary OR jobs.canary IN ('none', 'passed')) UNION ALL SELECT 'finish' AS anon_7, count(*) AS units
FROM shards JOIN jobs ON jobs.id = shards.job_id
WHERE shards.due_at <= CAST(extract(epoch from statement_timestamp()) * 1000000 AS BIGINT) AND shards.lease_until <= CAST(extract(epoch from statement_timestamp()) * 1000000 AS BIGINT) AND shards.state = 'planned' AND shards.settled_count = shards.row_count AND jobs.state IN ('running', 'cancelling') UNION ALL SELECT 'plan' AS anon_8, count(*) AS units
FROM shards JOIN jobs ON jobs.id = shards.job_id
WHERE shards.due_at <= CAST(extract(epoch from statement_timestamp()) * 1000000 AS BIGINT) AND shards.lease_until <= CAST(extract(epoch from statement_timestamp()) * 1000000 AS BIGINT) AND shards.state = 'planning' AND jobs.state IN ('running', 'cancelling')) AS counts
WHERE counts.units > 0;
