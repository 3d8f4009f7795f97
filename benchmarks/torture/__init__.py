"""The scorecard: every line of it run by its own command, its figures held against its target, the table printed.

    python -m benchmarks.torture                  all lines, in at most 35 minutes on two cores
    python -m benchmarks.torture --only T5        one of them; several: --only T5 --only T12
    python -m benchmarks.torture --list           what there is, and what each may take
    python -m benchmarks.torture --document       write the table of docs/guarantees.md from the last results

Results are kept in `benchmarks/results/torture.json`, each line with the commit, the day, the machine and the seeds it
was run with. A line whose program is not there is "not built": it has no figure, and counts as missed.
"""
