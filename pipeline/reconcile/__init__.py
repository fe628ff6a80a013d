"""Record linkage of declarations with observed sites, and the inconsistencies between them.

In: tables `sites`, `declared`, `looked_at`. Out: table `ledger` without ranks. Read `ledger.reconcile` first, then
`linkage` (match probabilities), `likelihood_ratios` and `entries` (classes and evidence).
"""
