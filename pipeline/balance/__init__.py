"""Material balances: what a site, an owner or a State declares, compared with what is seen there.

In: tables `ledger`, `sites`, `declared`. Out: one row per group and quantity with its error. Read
`material_balance.material_balance` first; it uses `places` (which records belong together) and `grouping`.
"""
