"""Which entry matters most, and where to send an inspector.

In: table `ledger` with `sites` and `declared`. Out: the ranked ledger, candidates and a randomised plan of visits.
Read `ranking.rank_discrepancies` first, then `plan.plan_inspections`.
"""
