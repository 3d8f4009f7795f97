"""Adapters to batch providers, one file per dialect; `http` is the one module that imports httpx."""
