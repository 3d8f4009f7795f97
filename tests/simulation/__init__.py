"""The production steps under a seeded simulator: crashes, pauses, double deliveries, and a provider that misbehaves."""
