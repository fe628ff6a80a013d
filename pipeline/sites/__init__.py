"""From footprints to sites, and the surface temperature anomaly at each.

In: table `footprints`; a stack of surface temperatures. Out: tables `sites`, `thermal`, `thermal_looks`. Read
`clustering.cluster_sites` first, then `thermal_anomaly.thermal_anomaly`.
"""
