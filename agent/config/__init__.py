"""Configuration: one table of options, ordered sources, one frozen result.

Read in this order: `options.py` (what exists), `sources.py` (flags and files -> ordered sources), `load.py` (merge,
validate, freeze), `runtime.py` (the result that everybody reads).
"""
