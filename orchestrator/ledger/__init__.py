"""The durable record of jobs, shards, chunks and money, on SQLAlchemy Core."""
