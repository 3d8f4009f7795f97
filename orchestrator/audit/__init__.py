"""The audit compares the ledger with the files of the work folder: rows, creates, money. It is read-only."""
