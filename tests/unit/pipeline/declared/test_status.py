"""Words of statuses: those that real registries use, and those that only contain them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overwatt.pipeline.declared.status import status_of
from overwatt.pipeline.vocabulary import NOT_OPERATING, STATUS_WORDS, UNKNOWN_STATUS

REAL = {
    "operational": (
        "Operational", "Operating", "OPERATING", "Active", "In use", "in operation", "Live", "Existing", "Completed",
        "Expanding", "Expansion planned", "Phase 1 operational", "Phase I operational", "partially operational",
        "Operational, expansion under construction", "phase 1 operational, phase 2 planned", "Operating since 2019",
        "Phase 1 operational and phase 2 cancelled", "Certificate of occupancy issued", "in Betrieb", "En service",
        "Opérationnel", "en operación", "Operativo", "fully operational", "operating/planned", "in_operation",
        "Operating (partial)", "Operating pre-retirement", "Operational (expansion underway)", "in funzione",
        "em operação", "operationeel", "Phase 1: operational; phase 2: cancelled",
        "operational (phase 1), cancelled (phase 2)",
    ),
    "construction": (
        "Under construction", "Under-Construction", "under_construction", "Construction", "Commenced", "Topped out",
        "Site preparation", "Under construction (2026)", "Construction - phase 2", "im Bau", "En construction",
        "en construcción", "Approved / under construction", "Approved/Permitted/Under construction",
        "Active - Under Construction", "Fit-out", "Shell complete", "in aanbouw", "em construção",
    ),
    "planned": (
        "Announced", "Pre-permit", "Permitted", "Proposed", "Planned", "Application submitted", "Under review",
        "Approved", "Appealed", "Conditions discharged", "Pre-construction", "Permitted (2025)", "In planning",
        "not yet operational", "Planning Permission Granted", "Delayed", "on hold", "geplant", "prévu", "Planificado",
        "announced, not operational", "approved with conditions", "Approved w/ conditions", "approved by council",
        "Rezoning", "Local Approval", "Conditional Use Permit", "Zoning Application", "Disclosed", "Undecided",
        "Pending Consideration", "Full planning permission granted", "Outline consent", "Active (proposed)",
        "Land bank", "Special exception pending", "in queue", "gepland", "planejado",
        "Phase 1 cancelled, phase 2 planned", "Phase 1: cancelled, phase 2: planned", "special use permit approved",
    ),
    "closed": (
        "Closed", "Retired", "Decommissioned", "Mothballed", "Suspended", "Inactive", "inoperative",
        "non-operational", "Not operational", "formerly operational", "out of service", "Retired 2020", "stillgelegt",
        "außer Betrieb", "fermé", "cerrado", "disused", "Abandoned", "Under construction (suspended)",
        "Construction, abandoned", "construction/closed", "halted", "construction halted", "No longer in use",
        "Temporarily closed", "Planned - closed", "Permanently shutdown", "abandonné", "dormant",
        "not in operation, retired",
    ),
    "cancelled": (
        "Cancelled", "Canceled", "Cancelled - inferred 4 y", "Shelved", "Shelved - inferred 2 y", "Withdrawn",
        "Refused", "Rejected", "Denied", "Expired", "Blocked", "Application withdrawn", "Planning Permission Refused",
        "annulé", "abgelehnt", "Proposed (withdrawn)", "Planned / cancelled", "announced, cancelled",
        "Approved (expired)", "Permission lapsed", "geannuleerd", "Cancelado", "permitted; revoked",
        "application submitted, withdrawn", "pending (denied)", "on hold, cancelled", "Planned (shelved)",
        "Withdrawn by applicant", "Denied by the City Council", "rezoning denied", "SUP denied",
        "construction and cancelled", "permit application withdrawn 2024",
    ),
    UNKNOWN_STATUS: (
        "decommissioning planned", "to be announced", "operating, retired 2023", "operational 2027", "Operational?",
        "operational: no", "pre-operational", "expected operational 2028", "TBD", "unknown", "n/a", "3", "-", "yes",
        "cooperative", "reactivation", "non-existing", "operational (cancelled)", "operational until retired",
        "permit active", "active (closed)", "Rumored", "Expansion", "application closed", "closed (partial)",
        "operational, not operational",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("status", "word"), [(s, w) for s, words in REAL.items() for w in words])
def test_words_that_real_registries_use(status, word):
    assert status_of(word) == status


def test_no_word_has_two_statuses_and_each_stands_for_its_own():
    words = [w for words in STATUS_WORDS.values() for w in words.split("|")]
    assert len(words) == len(set(words))
    for status, own in STATUS_WORDS.items():
        assert {status_of(w) for w in own.split("|")} == {status}


words = st.sampled_from(sorted(w for words in STATUS_WORDS.values() for w in words.split("|")))


@given(words, st.sampled_from([str.upper, str.title, str.strip]), st.sampled_from([" ", "_", "-", "  "]))
def test_case_and_blanks_do_not_matter(word, cased, blank):
    assert status_of(f" {cased(word).replace(' ', blank)}.") == status_of(word)


@given(st.sampled_from(STATUS_WORDS["operational"].split("|")), st.text("abcdefghij ", min_size=1, max_size=9))
def test_a_word_of_operation_inside_other_words_does_not_mean_operation(word, other):
    for text in (f"{other.strip()}{word}", f"not {word}", f"no longer {word}", f"{word} {other.strip()}x"):
        assert status_of(text) != "operational" or text.split() == word.split()


@given(st.text(max_size=60))
def test_any_text_has_a_status(text):
    assert status_of(text) in {"operational", UNKNOWN_STATUS, *NOT_OPERATING}
