"""The ledger tested on planted edits and compared with rivals: `python -m benchmarks.reconcile --json`."""
