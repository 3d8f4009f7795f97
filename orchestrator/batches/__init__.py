"""A chunk at a provider: submit, poll, cancel, recover."""
