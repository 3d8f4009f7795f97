"""Mutation testing: production code is broken in one place at a time, and some test must notice.

It is a program of ours because the two that are well kept do not fit. mutmut (3.8) reaches the bodies of functions, not
tables, defaults and words outside of any, which much of the domain is (its issue 558 counts how much of such a tree it
leaves out). cosmic-ray (8.7) changes the files in place and starts one pytest for each mutant, seconds every time.
"""
