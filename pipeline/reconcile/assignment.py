"""Partial one-to-one assignment: the best one, and the marginal probability of each pair.

In: candidate pairs as columns with their log-odds `gain`. Out: the chosen pairs, and a probability per pair. Every site
and declaration may stay without a partner. The best assignment is exact (Jonker-Volgenant, dense or sparse). The
marginals are exact in every connected group of pairs whose smaller side has at most `EXACT` members (sum over all
assignments by dynamic programming over subsets). Larger groups use belief propagation (Williams & Lau 2014, IEEE TAES
50(4)), which is exact without cycles and up to 0.2 off in small dense groups.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components, min_weight_full_bipartite_matching

EXACT = 8
"""Largest smaller side of a group summed exactly; cost doubles with each member (docs/methods.md, section 6.1)."""
_SURE = 50.0  # e50 is certainty already, larger values overflow in products
_MAX_SWEEPS = 200  # of belief propagation; own choice, it stops earlier at 1e-9
_MAX_CELLS = 1 << 22  # cells of one array held at a time, bounds memory to 64 MB; own choice


def assign(site: np.ndarray, decl: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Return the pairs of the best assignment, (chosen,) int, ascending; pairs with gain <= 0 are never chosen.

    Args:
        site: (pair,) int, row number of the site.
        decl: (pair,) int, row number of the declaration.
        gain: (pair,) log-odds of 'same facility'; the sum over chosen pairs is maximised.
    """
    good = np.flatnonzero(gain > 0)
    if not len(good):
        return good
    _, i = np.unique(site[good], return_inverse=True)
    _, j = np.unique(decl[good], return_inverse=True)
    n_sites, n_decls = int(i.max()) + 1, int(j.max()) + 1
    graph = csr_array((np.ones(len(good), np.int8), (i, j + n_sites)), shape=(n_sites + n_decls, n_sites + n_decls))
    group = connected_components(graph, directed=False)[1]
    edges = np.bincount(group[i])
    rows, cols = np.bincount(group[:n_sites]), np.bincount(group[n_sites:], minlength=len(edges))
    rows = np.pad(rows, (0, len(edges) - len(rows)))
    # connected groups are independent problems; a group with a single site or declaration takes its best pair
    order = np.lexsort((-gain[good], group[i]))
    first = np.concatenate([[0], np.cumsum(edges)])
    chosen = [order[first[:-1][np.minimum(rows, cols) == 1]]]
    for g in np.flatnonzero(np.minimum(rows, cols) > 1):
        part = order[first[g] : first[g + 1]]
        r, c = (np.unique(k[part], return_inverse=True)[1] for k in (i, j))
        chosen.append(part[_best(r, c, gain[good[part]])])
    return np.sort(good[np.concatenate(chosen)])


def _best(row: np.ndarray, col: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Return the pairs of the best assignment of one connected group; all gains must be > 0."""
    rows, cols = int(row.max()) + 1, int(col.max()) + 1
    if rows * cols <= _MAX_CELLS:
        weight = np.zeros((rows, cols))
        weight[row, col] = gain
        index = np.full((rows, cols), -1)
        index[row, col] = np.arange(len(gain))
        found = index[linear_sum_assignment(weight, maximize=True)]
        return np.asarray(found[found >= 0])
    alone = cols + np.arange(rows)  # a dummy column per site: matched to it, the site has no partner
    offset = gain.max() + 1.0  # keeps costs positive; every row is matched once, so a constant changes nothing
    cost = np.concatenate([offset - gain, np.full(rows, offset)])
    places = (np.concatenate([row, np.arange(rows)]), np.concatenate([col, alone]))
    r, c = min_weight_full_bipartite_matching(csr_array((cost, places), shape=(rows, cols + rows)))
    key = row * np.int64(cols) + col
    order = np.argsort(key, kind="stable")
    real = c < cols
    return np.asarray(order[np.searchsorted(key[order], r[real] * np.int64(cols) + c[real])])


def marginals(site: np.ndarray, decl: np.ndarray, gain: np.ndarray, n_sites: int, n_decls: int) -> np.ndarray:
    """Return P(pair is in the true assignment), (pair,) float64.

    The probability of an assignment is exp(sum of its gains), normalised over all assignments.

    Args:
        site: (pair,) int, 0 to n_sites - 1.
        decl: (pair,) int, 0 to n_decls - 1.
        gain: (pair,) log-odds of 'same facility'.
        n_sites: number of sites.
        n_decls: number of declarations.
    """
    if not len(gain):
        return np.zeros(0)
    psi = np.exp(np.minimum(gain, _SURE))
    out = propagated(site, decl, gain, n_sites, n_decls)
    graph = csr_array(
        (np.ones(len(site), np.int8), (site, n_sites + decl)), shape=(n_sites + n_decls, n_sites + n_decls)
    )
    group = connected_components(graph, directed=False)[1][site]
    order = np.argsort(group, kind="stable")
    edges = np.bincount(group)
    rows, cols = (np.bincount(group[np.unique(k, return_index=True)[1]], minlength=len(edges)) for k in (site, decl))
    small = np.minimum(rows, cols)
    exact = (
        (edges > 0) & (edges >= rows + cols) & (small <= EXACT)
    )  # fewer edges than nodes: a tree, propagation is exact
    first = np.concatenate([[0], np.cumsum(edges)])
    # groups of similar size are padded with pairs of weight 0 and summed as one batch: a few hundred array
    # operations instead of a million
    size = np.where(exact, 1 << np.ceil(np.log2(np.maximum(np.maximum(rows, cols), 1))).astype(int), 0)
    for n, m in {(int(a), int(b)) for a, b in zip(small[exact], size[exact], strict=True)}:
        alike = np.flatnonzero(exact & (small == n) & (size == m))
        step = max(1, _MAX_CELLS // ((m + 1) << n))
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
    """Return the rank of each key among the distinct keys of its group, (n,) int from 0."""
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
    """Return the marginals of dense groups, (group, row, column), by a forward and a backward pass over the rows.

    `forward[r][:, s]` is the sum over all assignments of the first r rows that use exactly the columns of subset s
    (one bit per column). Each step is divided by its maximum, which cancels in the ratio and prevents overflow.
    """
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
    after = np.ones((groups, 1 << cols))  # sum over the later rows, given the columns already taken
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


def propagated(site: np.ndarray, decl: np.ndarray, gain: np.ndarray, n_sites: int, n_decls: int) -> np.ndarray:
    """Return approximate `marginals`, (pair,), by belief propagation (Williams & Lau 2014, IEEE TAES 50(4))."""
    if not len(gain):
        return np.zeros(0)
    psi = np.exp(np.minimum(gain, _SURE))
    to_site = np.ones(len(psi))
    for _ in range(_MAX_SWEEPS):
        total = np.bincount(site, psi * to_site, n_sites)
        to_decl = psi / (1.0 + np.maximum(total[site] - psi * to_site, 0.0))
        taken = np.bincount(decl, to_decl, n_decls)
        new = 1.0 / (1.0 + np.maximum(taken[decl] - to_decl, 0.0))
        done = float(np.max(np.abs(new - to_site))) < 1e-9
        to_site = new
        if done:
            break
    total = np.bincount(site, psi * to_site, n_sites)
    return np.asarray(psi * to_site / (1.0 + total[site]))
