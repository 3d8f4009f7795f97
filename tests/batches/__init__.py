"""The steps that move a chunk at a provider, one at a time, over a real ledger."""
