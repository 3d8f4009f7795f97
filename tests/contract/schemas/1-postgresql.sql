CREATE TABLE public.accounts (
    name text NOT NULL,
    paused_until bigint NOT NULL,
    pause_reason text NOT NULL
);
CREATE TABLE public.attempts (
    token text NOT NULL,
    job_id text NOT NULL,
    chunk_id text NOT NULL,
    number bigint NOT NULL,
    state text NOT NULL,
    reserved_usd bigint NOT NULL,
    cost_usd bigint,
    batch_id text,
    sent_at bigint NOT NULL,
    digest text NOT NULL
);
CREATE TABLE public.chunk_shards (
    chunk_id text NOT NULL,
    shard_no bigint NOT NULL,
    job_id text NOT NULL,
    row_count bigint NOT NULL,
    dead bigint NOT NULL
);
CREATE TABLE public.chunks (
    id text NOT NULL,
    job_id text NOT NULL,
    account text NOT NULL,
    shard_no bigint,
    row_start bigint NOT NULL,
    row_end bigint NOT NULL,
    request_count bigint NOT NULL,
    request_bytes bigint NOT NULL,
    round bigint NOT NULL,
    tokens_in bigint NOT NULL,
    attempt bigint NOT NULL,
    tries bigint NOT NULL,
    requests text NOT NULL,
    state text NOT NULL,
    results text NOT NULL,
    error_code text NOT NULL,
    error text NOT NULL,
    part text NOT NULL,
    cost_usd_max bigint,
    fees_usd bigint,
    token_sent text,
    file_id text,
    batch_id text,
    outcome text,
    sent_at bigint,
    fenced_at bigint,
    waiting_since bigint,
    cancel_requested boolean NOT NULL,
    cancel_sent boolean NOT NULL,
    regather boolean NOT NULL,
    done_count bigint NOT NULL,
    failed_count bigint NOT NULL,
    succeeded bigint NOT NULL,
    dead bigint NOT NULL,
    waiting bigint NOT NULL,
    resent bigint NOT NULL,
    missing bigint NOT NULL,
    lines bigint NOT NULL,
    duplicates bigint NOT NULL,
    "foreign" bigint NOT NULL,
    unreadable bigint NOT NULL,
    due_at bigint,
    lease_until bigint NOT NULL,
    token bigint NOT NULL,
    version bigint NOT NULL
);
CREATE TABLE public.events (
    id bigint NOT NULL,
    job_id text NOT NULL,
    at bigint NOT NULL,
    name text NOT NULL,
    unit text NOT NULL,
    details text NOT NULL
);
CREATE SEQUENCE public.events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.events_id_seq OWNED BY public.events.id;
CREATE TABLE public.jobs (
    id text NOT NULL,
    name text NOT NULL,
    account text NOT NULL,
    spec text NOT NULL,
    policy text NOT NULL,
    state text NOT NULL,
    due text NOT NULL,
    reason text NOT NULL,
    revision bigint NOT NULL,
    rounds_max bigint NOT NULL,
    retry_count bigint NOT NULL,
    created_at bigint NOT NULL,
    ended_at bigint,
    due_at bigint,
    lease_until bigint NOT NULL,
    token bigint NOT NULL,
    version bigint NOT NULL
);
CREATE TABLE public.meta (
    key text NOT NULL,
    value text NOT NULL
);
CREATE TABLE public.shards (
    job_id text NOT NULL,
    shard_no bigint NOT NULL,
    state text NOT NULL,
    row_count bigint NOT NULL,
    chunk_count bigint NOT NULL,
    slice_count bigint NOT NULL,
    refused_count bigint NOT NULL,
    settled_count bigint NOT NULL,
    finished_slice_count bigint NOT NULL,
    due_at bigint,
    lease_until bigint NOT NULL,
    token bigint NOT NULL,
    version bigint NOT NULL
);
ALTER TABLE ONLY public.events ALTER COLUMN id SET DEFAULT nextval('public.events_id_seq'::regclass);
INSERT INTO public.accounts VALUES ('onerouter/ONEROUTER_API_KEY', 1795348830000000, 'out of credits');
INSERT INTO public.attempts VALUES ('token-1', 'sotu-9f86d081', 'sotu-9f86d081/c00000-00000', 1, 'created', 500000000, 123456789, 'batch-1', 1795348800000000, '');
INSERT INTO public.chunk_shards VALUES ('sotu-9f86d081/c00000-00000', 0, 'sotu-9f86d081', 10, 0);
INSERT INTO public.chunk_shards VALUES ('sotu-9f86d081/c00000-00001', 0, 'sotu-9f86d081', 10, 0);
INSERT INTO public.chunk_shards VALUES ('sotu-9f86d081/c00000-00002', 0, 'sotu-9f86d081', 10, 1);
INSERT INTO public.chunks VALUES ('sotu-9f86d081/c00000-00000', 'sotu-9f86d081', 'onerouter/ONEROUTER_API_KEY', 0, 0, 10, 10, 1000, 1, 0, 0, 0, 'requests/c00000-00000.jsonl.zst', 'planned', '', '', '', '', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, false, false, false, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1795348800000000, 0, 0, 0);
INSERT INTO public.chunks VALUES ('sotu-9f86d081/c00000-00001', 'sotu-9f86d081', 'onerouter/ONEROUTER_API_KEY', 0, 10, 20, 10, 1000, 1, 0, 0, 0, 'requests/c00000-00001.jsonl.zst', 'submitted', '', '', '', '', NULL, NULL, NULL, NULL, 'batch-c00000-00001', NULL, NULL, NULL, NULL, false, false, false, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1795348800000000, 0, 0, 0);
INSERT INTO public.chunks VALUES ('sotu-9f86d081/c00000-00002', 'sotu-9f86d081', 'onerouter/ONEROUTER_API_KEY', 0, 0, 10, 10, 1000, 1, 0, 0, 0, 'requests/c00000-00002.jsonl.zst', 'collected', '', '', '', '', NULL, NULL, NULL, NULL, 'batch-c00000-00002', NULL, NULL, NULL, 1795348800000000, false, false, false, 0, 0, 8, 1, 1, 0, 0, 0, 0, 0, 0, NULL, 0, 0, 1);
INSERT INTO public.events VALUES (1, 'sotu-9f86d081', 1795348800000000, 'job.opened', '', '{"shards": 3}');
INSERT INTO public.events VALUES (2, 'other-deadbeef', 1795348800000000, 'job.opened', '', '{"shards": 1}');
INSERT INTO public.events VALUES (3, 'sotu-9f86d081', 1795348800000000, 'account.paused', 'onerouter/ONEROUTER_API_KEY', '{"reason": "out of credits"}');
INSERT INTO public.events VALUES (4, 'sotu-9f86d081', 1795348800000000, 'chunk.collected', 'c00000-00002', '{"attempt": 0}');
INSERT INTO public.jobs VALUES ('other-deadbeef', 'sotu', 'onerouter/ONEROUTER_API_KEY', '{}', '{"attempts_max": 3, "batches_in_flight_max": 20, "budget_usd": null, "chunk_bytes_max": 50000000, "chunk_requests_max": 10000, "chunk_tokens_max": null, "chunks_ahead_max": 40, "max_duplicate_usd": "0", "null_policy": "error", "on_ambiguous": "reconcile", "poll_s_max": 300.0, "poll_s_min": 15.0, "retry_gather_s": 600.0}', 'running', 'review', '', 1, 3, 0, 1795348800000000, NULL, 1795348800000000, 0, 0, 0);
INSERT INTO public.jobs VALUES ('sotu-9f86d081', 'sotu', 'onerouter/ONEROUTER_API_KEY', '{}', '{"attempts_max": 3, "batches_in_flight_max": 20, "budget_usd": null, "chunk_bytes_max": 50000000, "chunk_requests_max": 10000, "chunk_tokens_max": null, "chunks_ahead_max": 40, "max_duplicate_usd": "0", "null_policy": "error", "on_ambiguous": "reconcile", "poll_s_max": 300.0, "poll_s_min": 15.0, "retry_gather_s": 600.0}', 'running', 'review', '', 1, 3, 0, 1795348800000000, NULL, 1795348800000000, 0, 5, 0);
INSERT INTO public.meta VALUES ('schema', '1');
INSERT INTO public.shards VALUES ('sotu-9f86d081', 1, 'planning', 0, 0, 0, 0, 0, 0, 1795348800000000, 0, 0, 0);
INSERT INTO public.shards VALUES ('sotu-9f86d081', 2, 'planning', 0, 0, 0, 0, 0, 0, 1795348800000000, 0, 0, 0);
INSERT INTO public.shards VALUES ('other-deadbeef', 0, 'planning', 0, 0, 0, 0, 0, 0, 1795348800000000, 0, 0, 0);
INSERT INTO public.shards VALUES ('sotu-9f86d081', 0, 'planning', 0, 0, 0, 0, 9, 0, 1795348800000000, 0, 0, 0);
SELECT pg_catalog.setval('public.events_id_seq', 4, true);
ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT accounts_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT attempts_chunk_id_number_key UNIQUE (chunk_id, number);
ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT attempts_job_id_batch_id_key UNIQUE (job_id, batch_id);
ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT attempts_pkey PRIMARY KEY (token);
ALTER TABLE ONLY public.chunk_shards
    ADD CONSTRAINT chunk_shards_pkey PRIMARY KEY (chunk_id, shard_no);
ALTER TABLE ONLY public.chunks
    ADD CONSTRAINT chunks_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.meta
    ADD CONSTRAINT meta_pkey PRIMARY KEY (key);
ALTER TABLE ONLY public.shards
    ADD CONSTRAINT shards_pkey PRIMARY KEY (job_id, shard_no);
CREATE INDEX attempts_by_job ON public.attempts USING btree (job_id, state);
CREATE INDEX chunk_shards_by_shard ON public.chunk_shards USING btree (job_id, shard_no);
CREATE INDEX chunks_by_account ON public.chunks USING btree (account, state);
CREATE INDEX chunks_by_job ON public.chunks USING btree (job_id, state);
CREATE INDEX chunks_due ON public.chunks USING btree (due_at, state);
CREATE INDEX events_by_job ON public.events USING btree (job_id, id);
CREATE UNIQUE INDEX one_live_attempt ON public.attempts USING btree (chunk_id) WHERE (state = ANY (ARRAY['open'::text, 'created'::text]));
