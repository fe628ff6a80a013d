"""One-to-one assignment with everyone free to stay alone: the best one, and the probability of each pair.

In: candidate pairs as columns with their log-odds `gain`. The best assignment is exact (sparse
Jonker-Volgenant). The marginals are exact in every connected group of pairs whose smaller side has at most
`EXACT` members (sum over assignments by dynamic programming over subsets); larger groups use belief
propagation (Williams & Lau 2014, IEEE TAES 50(4)), exact without cycles, up to 0.2 off in small dense ones.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, min_weight_full_bipartite_matching

EXACT = 8
_SWEEPS = 200


def assign(site: np.ndarray, decl: np.ndarray, gain: np.ndarray, decls: int) -> np.ndarray:
    """Return the indices of the pairs of the best assignment; a pair of gain <= 0 is never in it.

    Args:
        site: (pair,) int.
        decl: (pair,) int, below `decls`.
        gain: (pair,) log-odds.
        decls: number of declarations.
    """
    good = np.flatnonzero(gain > 0)
    if not len(good):
        return good
    rows, row = np.unique(site[good], return_inverse=True)
    alone = decls + np.arange(len(rows))  # one column per site that stays alone
    offset = gain[good].max() + 1.0  # each row is matched once, so a constant changes nothing
    cost = np.concatenate([offset - gain[good], np.full(len(rows), offset)])
    shape = (len(rows), decls + len(rows))
    index = (np.concatenate([row, np.arange(len(rows))]), np.concatenate([decl[good], alone]))
    r, c = min_weight_full_bipartite_matching(csr_array((cost, index), shape=shape))
    real = c < decls
    key = row * np.int64(decls) + decl[good]
    order = np.argsort(key, kind="stable")
    found = np.searchsorted(key[order], r[real] * np.int64(decls) + c[real])
    place = order[found]
    return np.sort(good[place])


def marginals(site: np.ndarray, decl: np.ndarray, gain: np.ndarray, sites: int, decls: int) -> np.ndarray:
    """Return P(pair is in the true assignment), (pair,) float64.

    An assignment has the probability exp(sum of its gains), over the sum of all.

    Args:
        site: (pair,) int, below `sites`.
        decl: (pair,) int, below `decls`.
        gain: (pair,) log-odds.
        sites: number of sites.
        decls: number of declarations.
    """
    if not len(gain):
        return np.zeros(0)
    psi = np.exp(np.minimum(gain, 50.0))
    out = _propagated(site, decl, psi, sites, decls)
    graph = csr_array((np.ones(len(site), np.int8), (site, sites + decl)), shape=(sites + decls, sites + decls))
    group = connected_components(graph, directed=False)[1][site]
    order = np.argsort(group, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        a, i = np.unique(site[part], return_inverse=True)
        b, j = np.unique(decl[part], return_inverse=True)
        if min(len(a), len(b)) > 1 and min(len(a), len(b)) <= EXACT:
            matrix = np.zeros((len(a), len(b)))
            np.maximum.at(matrix, (i, j), psi[part])
            out[part] = _exact(matrix)[i, j]
    return out


def _exact(psi: np.ndarray) -> np.ndarray:
    """Marginals of a small dense group; sums over partial assignments, subsets of the smaller side as bits."""
    if psi.shape[0] < psi.shape[1]:
        return _exact(psi.T).T
    rows, cols = psi.shape
    size = 1 << cols
    subsets = np.arange(size)
    forward = np.zeros((rows + 1, size))
    forward[0, 0] = 1.0
    for r in range(rows):
        forward[r + 1] = _step(forward[r], psi[r], subsets)
        forward[r + 1] /= forward[r + 1].max()
    backward = np.zeros((rows + 1, size))  # sum over what rows r.. may do, given the columns taken before them
    backward[rows] = 1.0
    for r in range(rows - 1, -1, -1):
        backward[r] = backward[r + 1]
        for c in range(cols):
            free = (subsets >> c) & 1 == 0
            backward[r, free] += psi[r, c] * backward[r + 1, subsets[free] | (1 << c)]
        backward[r] /= backward[r].max()
    out = np.zeros_like(psi)
    for r in range(rows):
        alone = float(forward[r] @ backward[r + 1])
        for c in range(cols):
            free = (subsets >> c) & 1 == 0
            out[r, c] = psi[r, c] * float(forward[r, free] @ backward[r + 1, subsets[free] | (1 << c)])
        out[r] /= alone + out[r].sum()
    return out


def _step(before: np.ndarray, psi: np.ndarray, subsets: np.ndarray) -> np.ndarray:
    after = before.copy()
    for c, weight in enumerate(psi):
        free = (subsets >> c) & 1 == 0
        after[subsets[free] | (1 << c)] += weight * before[free]
    return after


def _propagated(site: np.ndarray, decl: np.ndarray, psi: np.ndarray, sites: int, decls: int) -> np.ndarray:
    to_site = np.ones(len(psi))
    for _ in range(_SWEEPS):
        total = np.bincount(site, psi * to_site, sites)
        to_decl = psi / (1.0 + np.maximum(total[site] - psi * to_site, 0.0))
        taken = np.bincount(decl, to_decl, decls)
        new = 1.0 / (1.0 + np.maximum(taken[decl] - to_decl, 0.0))
        done = float(np.max(np.abs(new - to_site))) < 1e-9
        to_site = new
        if done:
            break
    total = np.bincount(site, psi * to_site, sites)
    return np.asarray(psi * to_site / (1.0 + total[site]))
