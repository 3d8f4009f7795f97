"""A program of an earlier version at work beside the present one, on one ledger and one work folder."""
