"""The work folder: create-only, whole-or-absent files."""
