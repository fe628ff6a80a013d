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

BUILDING_CLASSES = ("data_center", "other_building")
"""Classes of footprints that are buildings; the others are machines and substations."""

UNKNOWN_STATUS = "unknown"
"""Status of a declaration whose word is not in `STATUS_WORDS`. A declaration without a word has no status at all."""

NOT_OPERATING = frozenset({"planned", "construction", "closed", "cancelled"})
"""Statuses of a declaration whose facility need not be visible or run."""

NOTHING_DECLARED = frozenset({"closed", "cancelled"})
"""Statuses of a declaration that claims no power: what is seen there counts as not declared."""

NOT_BUILT = frozenset({"planned", "cancelled"})
"""Statuses of a declaration of which nothing stands: not yet, or not any more intended."""

NOT_SAID_TO_OPERATE = NOT_OPERATING | {UNKNOWN_STATUS}
"""Statuses of a declaration that does not say that its facility runs."""

STATUS_WORDS = {
    "operational": (
        "operational|operating|operative|in operation|operation|in service|in use|active|open|opened|running|live"
        "|online|on line|built|existing|completed|complete|commissioned|energized|energised"
        "|certificate of occupancy issued|permit finaled|finaled|finalled|partially operational|partly operational"
        "|partially operating|partly operating|operating partial|operational partial|partial operation"
        "|initial operation|expanding|under expansion|expansion planned"
        "|expansion proposed|expansion announced|expansion approved|expansion permitted|expansion under construction"
        "|expansion underway|expansion in progress|operating pre retirement|partially energized|partly energized"
        "|ramping up|in funzione|in esercizio|attivo|attiva|operationeel|in bedrijf|em operacao|operacional"
        "|in betrieb|im betrieb|aktiv|bestehend|bestand|fertiggestellt|en service|en exploitation|en activite"
        "|en fonctionnement|operationnel|operationnelle|en operacion|operativo|operativa|operando|en funcionamiento"
        "|en servicio|activo|activa"
    ),
    "construction": (
        "construction|under construction|in construction|under constr|being built|building|construction started"
        "|construction commenced|commenced|development commenced|broke ground|groundbreaking|site preparation"
        "|site prep|site work|site clearing|earthworks|topped out|commissioning|im bau|in bau|im aufbau"
        "|en construction|en chantier|en travaux|en construccion|en obras"
        "|fit out|fitting out|in fit out|shell complete|shell construction|partially built|in costruzione|in aanbouw"
        "|em construcao"
    ),
    "planned": (
        "planned|planning|in planning|proposed|proposal|permitted|permitting|permit issued|issued|pre permit"
        "|pre permitting|announced|approved|approved with conditions|approved subject to conditions"
        "|conditionally approved|approval granted|permission granted|planning permission granted"
        "|planning application submitted|planning application received|appeal granted|awaiting construction|scoping"
        "|plan review|plan check|ready to issue|granted|consented|zoned|rezoned|application|applied"
        "|application submitted|application received|application filed|submitted|filed|under review|in review"
        "|under consideration|pending|pending approval|pending review|awaiting decision|awaiting approval|appealed"
        "|under appeal|appeal lodged|conditions discharged|pre construction|preconstruction|early development"
        "|advanced development|in development|under development|development|land acquired|land banked|prospective"
        "|future|conceptual|delayed|on hold|postponed|deferred|paused|stalled|not yet operational|not yet operating"
        "|not yet built|not yet open|not built|not started|geplant|in planung|beantragt|genehmigt|angekundigt|prevu"
        "|prevue|planifie|planifiee|projete|projetee|en projet|annonce|annoncee|autorise|autorisee|approuve|approuvee"
        "|en cours d instruction|planificado|planificada|planeado|planeada|previsto|prevista|proyectado|proyectada"
        "|en proyecto|anunciado|anunciada|aprobado|aprobada|autorizado|autorizada|en tramite"
        "|disclosed|coming soon|land bank|pipeline|in pipeline|speculative|committed|entitled|entitlement|entitlements"
        "|entitlements in progress|by right|zoning application|rezoning|conditional use permit|local approval"
        "|recommended for approval|tabled|frozen|funded|financed|under negotiation|planned facility|in queue"
        "|active queue|interconnection agreement executed|undecided|under assessment|pending consideration|called in"
        "|appeal in progress|application permitted|grant permission|outline consent|outline permission granted"
        "|outline planning permission granted|full permission granted|full planning permission granted"
        "|reserved matters approved|pianificato|pianificata|proposto|approvato|gepland|vergund|in voorbereiding"
        "|planejado|planejada|aprovado"
    ),
    "closed": (
        "closed|decommissioned|decommissioning|retired|shut down|shutdown|shuttered|inactive|demolished|disused"
        "|abandoned|dismantled|mothballed|idle|idled|suspended|offline|deactivated|halted|construction halted"
        "|construction suspended|construction stopped"
        "|construction abandoned|construction ceased|ceased|ceased operation"
        "|out of service|out of operation|out of use|not operational|not operating|not in operation|not in use"
        "|no longer operational|no longer operating|no longer in operation|no longer in use|temporarily closed"
        "|permanently closed|non operational|nonoperational|non operating|inoperative|formerly operational"
        "|previously operational|former"
        "|razed|removed|stillgelegt|ausser betrieb|geschlossen|abgerissen|ruckgebaut|eingestellt|ferme|fermee|arrete"
        "|arretee|hors service|desaffecte|desaffectee|demantele|demantelee|suspendu|suspendue|cerrado|cerrada"
        "|clausurado|clausurada|desmantelado|desmantelada|fuera de servicio|suspendido|suspendida"
        "|dormant|permanently shutdown|permanently shut down|discontinued|ruins|abandonne|abandonnee|abandonado"
        "|chiuso|dismesso|sospeso|gesloten|buiten gebruik|desativado|fechado"
    ),
    "cancelled": (
        "cancelled|canceled|withdrawn|rejected|refused|denied|dismissed|shelved|blocked|scrapped|terminated|revoked"
        "|rescinded|expired|lapsed|void|voided|dropped|voted down|turned down|defeated|never built"
        "|abandoned before construction"
        "|application withdrawn|application refused|application rejected|permit denied|permit expired|permit revoked"
        "|permission refused|planning permission refused|planning permission expired|planning application withdrawn"
        "|planning application refused|appeal refused|appeal withdrawn|appeal dismissed|abgesagt|abgelehnt|storniert"
        "|zuruckgezogen|verworfen|annule|annulee|refuse|refusee|rejete|rejetee|retire|retiree|cancelado|cancelada"
        "|rechazado|rechazada|denegado|denegada|retirado|retirada"
        "|permission lapsed|planning permission lapsed|consent lapsed|consent expired|withdrawn from queue|annullato"
        "|respinto|ritirato|geannuleerd|ingetrokken|geweigerd|rejeitado"
    ),
}
"""Status of the table `declared` by the words that registries use, in lower case without accents, separated by |.

The words are those of IM3, OpenStreetMap, Epoch, trackers such as Global Energy Monitor's, permit and planning
registries, in English, German, French, Spanish and, fewer, Italian, Dutch and Portuguese. 'closed' ran, or may have run
(suspended); 'cancelled' never did.
"""

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
