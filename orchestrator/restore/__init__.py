"""Rebuilds a lost ledger from the files of the work folder. It sends nothing; a person decides on unknown creates."""
