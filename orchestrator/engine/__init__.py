"""Chooses the adapter behind each port, and gives each step its dependencies. No other package names adapters."""
