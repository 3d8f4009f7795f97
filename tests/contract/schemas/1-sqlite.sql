BEGIN TRANSACTION;
CREATE TABLE accounts (
	name TEXT NOT NULL, 
	paused_until BIGINT NOT NULL, 
	pause_reason TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "accounts" VALUES('onerouter/ONEROUTER_API_KEY',1795348830000000,'out of credits');
CREATE TABLE attempts (
	token TEXT NOT NULL, 
	job_id TEXT NOT NULL, 
	chunk_id TEXT NOT NULL, 
	number BIGINT NOT NULL, 
	state TEXT NOT NULL, 
	reserved_usd BIGINT NOT NULL, 
	cost_usd BIGINT, 
	batch_id TEXT, 
	sent_at BIGINT NOT NULL, 
	digest TEXT NOT NULL, 
	PRIMARY KEY (token), 
	UNIQUE (chunk_id, number), 
	UNIQUE (job_id, batch_id)
);
INSERT INTO "attempts" VALUES('token-1','sotu-9f86d081','sotu-9f86d081/c00000-00000',1,'created',500000000,123456789,'batch-1',1795348800000000,'');
CREATE TABLE chunk_shards (
	chunk_id TEXT NOT NULL, 
	shard_no BIGINT NOT NULL, 
	job_id TEXT NOT NULL, 
	row_count BIGINT NOT NULL, 
	dead BIGINT NOT NULL, 
	PRIMARY KEY (chunk_id, shard_no)
);
INSERT INTO "chunk_shards" VALUES('sotu-9f86d081/c00000-00000',0,'sotu-9f86d081',10,0);
INSERT INTO "chunk_shards" VALUES('sotu-9f86d081/c00000-00001',0,'sotu-9f86d081',10,0);
INSERT INTO "chunk_shards" VALUES('sotu-9f86d081/c00000-00002',0,'sotu-9f86d081',10,1);
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
	requests TEXT NOT NULL, 
	state TEXT NOT NULL, 
	results TEXT NOT NULL, 
	error_code TEXT NOT NULL, 
	error TEXT NOT NULL, 
	part TEXT NOT NULL, 
	cost_usd_max BIGINT, 
	fees_usd BIGINT, 
	token_sent TEXT, 
	file_id TEXT, 
	batch_id TEXT, 
	outcome TEXT, 
	sent_at BIGINT, 
	fenced_at BIGINT, 
	waiting_since BIGINT, 
	cancel_requested BOOLEAN NOT NULL, 
	cancel_sent BOOLEAN NOT NULL, 
	regather BOOLEAN NOT NULL, 
	done_count BIGINT NOT NULL, 
	failed_count BIGINT NOT NULL, 
	succeeded BIGINT NOT NULL, 
	dead BIGINT NOT NULL, 
	waiting BIGINT NOT NULL, 
	resent BIGINT NOT NULL, 
	missing BIGINT NOT NULL, 
	lines BIGINT NOT NULL, 
	duplicates BIGINT NOT NULL, 
	"foreign" BIGINT NOT NULL, 
	unreadable BIGINT NOT NULL, 
	due_at BIGINT, 
	lease_until BIGINT NOT NULL, 
	token BIGINT NOT NULL, 
	version BIGINT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "chunks" VALUES('sotu-9f86d081/c00000-00000','sotu-9f86d081','onerouter/ONEROUTER_API_KEY',0,0,10,10,1000,1,0,0,0,'requests/c00000-00000.jsonl.zst','planned','','','','',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1795348800000000,0,0,0);
INSERT INTO "chunks" VALUES('sotu-9f86d081/c00000-00001','sotu-9f86d081','onerouter/ONEROUTER_API_KEY',0,10,20,10,1000,1,0,0,0,'requests/c00000-00001.jsonl.zst','submitted','','','','',NULL,NULL,NULL,NULL,'batch-c00000-00001',NULL,NULL,NULL,NULL,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1795348800000000,0,0,0);
INSERT INTO "chunks" VALUES('sotu-9f86d081/c00000-00002','sotu-9f86d081','onerouter/ONEROUTER_API_KEY',0,0,10,10,1000,1,0,0,0,'requests/c00000-00002.jsonl.zst','collected','','','','',NULL,NULL,NULL,NULL,'batch-c00000-00002',NULL,NULL,NULL,1795348800000000,0,0,0,0,0,8,1,1,0,0,0,0,0,0,NULL,0,0,1);
CREATE TABLE events (
	id INTEGER NOT NULL, 
	job_id TEXT NOT NULL, 
	at BIGINT NOT NULL, 
	name TEXT NOT NULL, 
	unit TEXT NOT NULL, 
	details TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "events" VALUES(1,'sotu-9f86d081',1795348800000000,'job.opened','','{"shards": 3}');
INSERT INTO "events" VALUES(2,'other-deadbeef',1795348800000000,'job.opened','','{"shards": 1}');
INSERT INTO "events" VALUES(3,'sotu-9f86d081',1795348800000000,'account.paused','onerouter/ONEROUTER_API_KEY','{"reason": "out of credits"}');
INSERT INTO "events" VALUES(4,'sotu-9f86d081',1795348800000000,'chunk.collected','c00000-00002','{"attempt": 0}');
CREATE TABLE jobs (
	id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	account TEXT NOT NULL, 
	spec TEXT NOT NULL, 
	policy TEXT NOT NULL, 
	state TEXT NOT NULL, 
	due TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	revision BIGINT NOT NULL, 
	rounds_max BIGINT NOT NULL, 
	retry_count BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	ended_at BIGINT, 
	due_at BIGINT, 
	lease_until BIGINT NOT NULL, 
	token BIGINT NOT NULL, 
	version BIGINT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "jobs" VALUES('sotu-9f86d081','sotu','onerouter/ONEROUTER_API_KEY','{}','{"attempts_max": 3, "batches_in_flight_max": 20, "budget_usd": null, "chunk_bytes_max": 50000000, "chunk_requests_max": 10000, "chunk_tokens_max": null, "chunks_ahead_max": 40, "max_duplicate_usd": "0", "null_policy": "error", "on_ambiguous": "reconcile", "poll_s_max": 300.0, "poll_s_min": 15.0, "retry_gather_s": 600.0}','running','review','',1,3,0,1795348800000000,NULL,1795348800000000,0,5,0);
INSERT INTO "jobs" VALUES('other-deadbeef','sotu','onerouter/ONEROUTER_API_KEY','{}','{"attempts_max": 3, "batches_in_flight_max": 20, "budget_usd": null, "chunk_bytes_max": 50000000, "chunk_requests_max": 10000, "chunk_tokens_max": null, "chunks_ahead_max": 40, "max_duplicate_usd": "0", "null_policy": "error", "on_ambiguous": "reconcile", "poll_s_max": 300.0, "poll_s_min": 15.0, "retry_gather_s": 600.0}','running','review','',1,3,0,1795348800000000,NULL,1795348800000000,0,0,0);
CREATE TABLE meta (
	"key" TEXT NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "meta" VALUES('schema','1');
CREATE TABLE shards (
	job_id TEXT NOT NULL, 
	shard_no BIGINT NOT NULL, 
	state TEXT NOT NULL, 
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
	PRIMARY KEY (job_id, shard_no)
);
INSERT INTO "shards" VALUES('sotu-9f86d081',0,'planning',0,0,0,0,9,0,1795348800000000,0,0,0);
INSERT INTO "shards" VALUES('sotu-9f86d081',1,'planning',0,0,0,0,0,0,1795348800000000,0,0,0);
INSERT INTO "shards" VALUES('sotu-9f86d081',2,'planning',0,0,0,0,0,0,1795348800000000,0,0,0);
INSERT INTO "shards" VALUES('other-deadbeef',0,'planning',0,0,0,0,0,0,1795348800000000,0,0,0);
CREATE INDEX chunks_by_job ON chunks (job_id, state);
CREATE INDEX chunks_by_account ON chunks (account, state);
CREATE INDEX chunks_due ON chunks (due_at, state);
CREATE INDEX chunk_shards_by_shard ON chunk_shards (job_id, shard_no);
CREATE UNIQUE INDEX one_live_attempt ON attempts (chunk_id) WHERE state IN ('open', 'created');
CREATE INDEX attempts_by_job ON attempts (job_id, state);
CREATE INDEX events_by_job ON events (job_id, id);
COMMIT;
