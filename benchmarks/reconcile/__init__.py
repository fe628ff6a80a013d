"""The ledger against planted edits and rivals: `python -m benchmarks.reconcile --json`."""
