"""The chaos run: a job of many small batches, while a seeded plan kills and freezes whatever works on it.

    python -m benchmarks.chaos --runs 20
    python -m benchmarks.chaos --seed 7 --ledger postgres

plan.py says what happens, when, to whom; stage.py has the servers and the processes; run.py is one run, and what must
hold at its end: every row has its own answer, the provider made as many batches as there are chunks, nobody paid twice.
"""
