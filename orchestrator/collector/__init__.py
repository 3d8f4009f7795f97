"""Results to Parquet: the collector's steps and what only they need."""
