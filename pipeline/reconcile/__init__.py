"""Record linkage: which declaration is which site, and what does not fit.

In: tables `sites`, `declared`, `looked_at`. Out: table `ledger` without ranks. Read `ledger.reconcile` first, then
`linkage` (match probabilities), `likelihood_ratios` and `entries` (classes and evidence).
"""
