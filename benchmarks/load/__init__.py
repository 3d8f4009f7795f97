"""Large numbers, one question each: a million chunks, ten million rows, a month of batches, ten thousand at once.

    python -m benchmarks.load ledger    --chunks 1000000
    python -m benchmarks.load rows      --rows 10000000
    python -m benchmarks.load soak      --days 30 --in-flight 1000
    python -m benchmarks.load in-flight --batches 10000

The sizes that stand by default are small, for a look; those above are the ones of docs/guarantees.md (T14, T16, T13,
T15). `--json` prints the figures as one object. Nothing here judges them.
"""
