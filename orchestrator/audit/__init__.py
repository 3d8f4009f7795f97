"""Holding the ledger against what lies in the work folder: to the row, the create and the dollar. It only reads."""
