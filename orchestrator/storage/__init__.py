"""The work folder: files that are created once, and are complete or absent."""
