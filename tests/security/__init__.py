"""What a stranger may try, and what then does not happen: the tests behind docs/threats.md."""
