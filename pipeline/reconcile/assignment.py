"""One-to-one assignment with everyone free to stay alone: the best one, and the probability of each pair.

In: candidate pairs as columns with their log-odds `gain`. The best assignment is exact (sparse
Jonker-Volgenant). The marginals are exact in every connected group of pairs whose smaller side has at most
`EXACT` members (sum over assignments by dynamic programming over subsets); larger groups use belief
propagation (Williams & Lau 2014, IEEE TAES 50(4)), exact without cycles, up to 0.2 off in small dense ones.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, min_weight_full_bipartite_matching

EXACT = 8
_SWEEPS = 200
_CELLS = 1 << 22  # of the sums held at a time: 64 MB


def assign(site: np.ndarray, decl: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Return the indices of the pairs of the best assignment; a pair of gain <= 0 is never in it.

    Args:
        site: (pair,) int.
        decl: (pair,) int.
        gain: (pair,) log-odds.
    """
    good = np.flatnonzero(gain > 0)
    if not len(good):
        return good
    _, i = np.unique(site[good], return_inverse=True)
    _, j = np.unique(decl[good], return_inverse=True)
    sites, decls = int(i.max()) + 1, int(j.max()) + 1
    graph = csr_array((np.ones(len(good), np.int8), (i, j + sites)), shape=(sites + decls, sites + decls))
    group = connected_components(graph, directed=False)[1]
    edges = np.bincount(group[i])
    rows, cols = np.bincount(group[:sites]), np.bincount(group[sites:], minlength=len(edges))
    rows = np.pad(rows, (0, len(edges) - len(rows)))
    # groups are solved apart; one of a single site or declaration takes its best pair
    order = np.lexsort((-gain[good], group[i]))
    first = np.concatenate([[0], np.cumsum(edges)])
    chosen = [order[first[:-1][np.minimum(rows, cols) == 1]]]
    for g in np.flatnonzero(np.minimum(rows, cols) > 1):
        part = order[first[g] : first[g + 1]]
        r, c = (np.unique(k[part], return_inverse=True)[1] for k in (i, j))
        chosen.append(part[_best(r, c, gain[good[part]])])
    return np.sort(good[np.concatenate(chosen)])


def _best(row: np.ndarray, col: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Indices of the pairs of the best assignment of one group, all gains > 0."""
    rows, cols = int(row.max()) + 1, int(col.max()) + 1
    if rows * cols <= _CELLS:
        weight = np.zeros((rows, cols))
        weight[row, col] = gain
        index = np.full((rows, cols), -1)
        index[row, col] = np.arange(len(gain))
        found = index[linear_sum_assignment(weight, maximize=True)]
        return np.asarray(found[found >= 0])
    alone = cols + np.arange(rows)  # one column per site that stays alone
    offset = gain.max() + 1.0  # each row is matched once, so a constant changes nothing
    cost = np.concatenate([offset - gain, np.full(rows, offset)])
    places = (np.concatenate([row, np.arange(rows)]), np.concatenate([col, alone]))
    r, c = min_weight_full_bipartite_matching(csr_array((cost, places), shape=(rows, cols + rows)))
    key = row * np.int64(cols) + col
    order = np.argsort(key, kind="stable")
    real = c < cols
    return np.asarray(order[np.searchsorted(key[order], r[real] * np.int64(cols) + c[real])])


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
    edges = np.bincount(group)
    rows, cols = (np.bincount(group[np.unique(k, return_index=True)[1]], minlength=len(edges)) for k in (site, decl))
    small = np.minimum(rows, cols)
    exact = (edges > 0) & (edges >= rows + cols) & (small <= EXACT)  # propagation is exact where there is no cycle
    first = np.concatenate([[0], np.cumsum(edges)])
    # alike groups together, padded with pairs of weight 0: a million small sums are a few hundred large ones
    size = np.where(exact, 1 << np.ceil(np.log2(np.maximum(np.maximum(rows, cols), 1))).astype(int), 0)
    for n, m in {(int(a), int(b)) for a, b in zip(small[exact], size[exact], strict=True)}:
        alike = np.flatnonzero(exact & (small == n) & (size == m))
        step = max(1, _CELLS // ((m + 1) << n))
        for start in range(0, len(alike), step):
            part = alike[start : start + step]
            pairs = order[np.concatenate([np.arange(first[g], first[g + 1]) for g in part])]
            which = np.repeat(np.arange(len(part)), edges[part])
            i, j = _ranks(which, site[pairs]), _ranks(which, decl[pairs])
            turn = (rows[part] < cols[part])[which]
            i, j = np.where(turn, j, i), np.where(turn, i, j)
            weights = np.zeros((len(part), m, n))
            np.maximum.at(weights, (which, i, j), psi[pairs])
            out[pairs] = _exact(weights)[which, i, j]
    return out


def _ranks(group: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Rank of each key among the distinct keys of its group, (n,) int from 0."""
    order = np.lexsort((key, group))
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(group[order]) != 0) | (np.diff(key[order]) != 0)
    count = np.cumsum(new) - 1
    start = np.zeros(int(group.max()) + 1, int)
    heads = np.concatenate([[True], np.diff(group[order]) != 0])
    start[group[order][heads]] = count[heads]
    out = np.empty(len(order), int)
    out[order] = count - start[group[order]]
    return out


def _exact(psi: np.ndarray) -> np.ndarray:
    """Marginals of dense groups, (group, row, column); sums over partial assignments, subsets of columns as bits."""
    groups, rows, cols = psi.shape
    subsets = np.arange(1 << cols)
    without = [subsets[(subsets >> c) & 1 == 0] for c in range(cols)]
    forward = np.zeros((rows + 1, groups, 1 << cols))
    forward[0, :, 0] = 1.0
    for r in range(rows):
        forward[r + 1] = forward[r]
        for c, free in enumerate(without):
            forward[r + 1][:, free | (1 << c)] += psi[:, r, c, None] * forward[r][:, free]
        forward[r + 1] /= forward[r + 1].max(axis=1, keepdims=True)
    after = np.ones((groups, 1 << cols))  # sum over what rows r+1.. may do, given the columns taken before them
    out = np.zeros_like(psi)
    for r in range(rows - 1, -1, -1):
        before = after.copy()
        alone = np.einsum("gs,gs->g", forward[r], after)
        for c, free in enumerate(without):
            taken = psi[:, r, c, None] * after[:, free | (1 << c)]
            before[:, free] += taken
            out[:, r, c] = np.einsum("gs,gs->g", forward[r][:, free], taken)
        out[:, r] /= (alone + out[:, r].sum(1))[:, None]
        after = before / before.max(axis=1, keepdims=True)
    return out


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
