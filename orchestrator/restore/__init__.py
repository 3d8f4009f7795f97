"""Rebuilds a lost ledger from the files of the work folder. Sends nothing; unknown creates are left to a person."""
