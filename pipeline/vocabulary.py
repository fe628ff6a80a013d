"""Words that several stages share: statuses, kinds of declaration, classes of position error.

In: nothing. Out: sets and tables of words; a word that is missing here is unknown to all stages.
The classes of ledger entries are in `overwatt.pipeline.tables`, with the schema.
"""

from __future__ import annotations

from typing import Literal

RegistryFormat = Literal[
    "auto", "generic", "im3", "osm", "epa", "epoch", "peeringdb", "cloud_regions", "gpu_clusters", "chip_quantities",
    "workloads",
]  # fmt: skip
"""Layouts of registries that can be asked for; `auto` tells the layout by the content."""

NOT_OPERATING = frozenset({"planned", "construction", "closed"})
"""Statuses of a declaration whose facility need not be visible or run."""

STATUS_WORDS = {
    "operational": "operational|operating|active|in use|in operation|open|running|built|existing",
    "construction": "construction|under construction|being built|building",
    "planned": "planned|proposed|permitted|announced|approved",
    "closed": "closed|decommissioned|retired|shut down|inactive|demolished|disused|abandoned",
}
"""Status of the table `declared` by the words that registries use, separated by |."""

PLACELESS_KINDS = frozenset({"chips", "workload"})
"""Kinds of declaration that say what is used and not where a facility stands: they enter balances only, and may
have an empty point."""

POSITION_ERROR_M = {"rooftop": 30.0, "parcel": 200.0, "postcode": 1500.0, "city": 8000.0, "vague": 25_000.0}
"""One sigma by kind of coordinate, m (docs/methods.md, section 6.1)."""

OTHER_USES = frozenset({
    "warehouse", "warehousing", "storage", "logistics", "distribution", "fulfilment", "fulfillment", "depot", "factory",
    "manufacturing", "workshop", "office", "offices", "retail", "shop", "shopping", "mall", "supermarket", "mine",
    "mining", "farm", "school", "hospital", "hotel", "housing", "residential", "vacant", "parking",
})  # fmt: skip
"""Words of declared uses that contradict a data-center building with cooling plant; no image contradicts 'cloud'."""
