"""The page of a work folder's jobs, for a browser on this machine: `orchestrator ui`. It draws looks, as `cli` does."""
