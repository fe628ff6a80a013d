"""From the evidence on a site to draws of IT and facility power.

In: columns of table `sites`, or `SiteEvidence`. Out: `PowerDraws`, or columns `it_mw_*` and `facility_mw_*`. Read
`sites.estimate_power` first, then `evidence_models.case` and `posterior.estimate`.
"""
