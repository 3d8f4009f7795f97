"""Every endpoint of every dialect under every fault of a server: what becomes of each is declared in outcomes.toml."""
