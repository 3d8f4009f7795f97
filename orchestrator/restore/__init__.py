"""A lost ledger made again from what lies in the work folder. Sends nothing; what cannot be known a person is asked."""
