"""Whether the answer of a web service is whole, or one page of it, or cut by a limit of the server.

In: parsed JSON. Out: its rows, and how it says that there are more. A part taken for the whole would make declared
facilities undeclared, ground without labels background, and an area smaller, so it is refused unless it is asked for.
"""

from __future__ import annotations

import re
from typing import Any

_LISTS = ("features", "elements", "data", "results", "records", "items", "rows", "value", "regions", "facilities",
          "result.records", "result.results", "Results.Facilities")  # fmt: skip
"""Where services put their rows: GeoJSON, Overpass, PeeringDB, Django, CKAN, OData, EPA ECHO and others."""
_TOTALS = ("numberMatched", "totalFeatures", "totalResults", "total_count", "totalCount", "context.matched",
           "meta.total", "meta.total_count", "meta.numberMatched", "result.total", "pagination.total", "page.total",
           "Results.QueryRows", "@odata.count", "recordsTotal", "totalElements",
           "meta.pagination.total")  # fmt: skip
"""Members that state how many rows there are in all: OGC API, WFS, STAC, CKAN and others."""
_PAGING = frozenset({"limit", "offset", "page", "pages", "next", "previous", "prev", "skip", "start", "per_page",
                     "page_size", "pageSize", "size", "returned", "numberReturned", "has_more", "hasMore",
                     "endOfRecords"})  # fmt: skip
"""Members beside which `total` and `count` are numbers of rows; alone in GeoJSON they may be megawatts."""
_NEXT = ("next", "nextLink", "@odata.nextLink", "next_page", "nextPageToken", "next_page_token", "meta.next",
         "pagination.next", "paging.next", "links.next", "links.next.href", "_links.next.href", "nextUrl",
         "next_url")  # fmt: skip
"""Members that lead to a further page."""
_MORE = {"has_more": True, "hasMore": True, "endOfRecords": False, "meta.has_more": True}
"""Members that say so without a link."""
_PAGE_COUNTS = ("total_pages", "totalPages", "pages", "last_page", "meta.last_page", "meta.total_pages")
_PAGES = "fetch the further pages (limit and offset, or the next link) into one file"


def rows_of(content: object) -> list[Any] | None:
    """Return the list of rows of a web service's answer: a usual one, else any list of objects; None without one."""
    if isinstance(content, list):
        return content
    found = [_at(content, path) for path in _LISTS]
    if not any(isinstance(f, list) for f in found) and isinstance(content, dict):
        found = [v for v in content.values() if isinstance(v, list) and v and isinstance(v[0], dict)]
    return max((f for f in found if isinstance(f, list)), key=len, default=None)


def part_of(content: object) -> str:
    """Return what is missing of an answer and how to fetch it, such as '2 of 4 rows; fetch …'; '' if it is whole."""
    rows = rows_of(content)
    if not isinstance(content, dict) or rows is None:
        return ""
    count = f"{len(rows):,} row{'' if len(rows) == 1 else 's'}"
    if any(_at(content, path) is True for path in ("exceededTransferLimit", "properties.exceededTransferLimit")):
        total = _total(content)
        of = f"{len(rows):,} of {total:,} rows" if total and total > len(rows) else count
        return (
            f"{of}, cut at the server's limit (exceededTransferLimit); fetch the rest with resultOffset into one file"
        )
    remark = content.get("remark")
    if isinstance(remark, str) and re.search(r"error|timed out|memory", remark):
        text = " ".join(remark.split())[:120].rstrip(".")
        return f"{count}, then the server stopped ({text}); ask again with a larger [timeout:] or [maxsize:]"
    total = _total(content)
    if total is not None:
        # an offset beyond the start is told by the total too: this file alone has fewer
        return f"{len(rows):,} of {total:,} rows; {_PAGES}" if total > len(rows) else ""
    links = content.get("links")
    linked = isinstance(links, list) and any(isinstance(k, dict) and k.get("rel") == "next" for k in links)
    linked |= any(isinstance(v := _at(content, path), str) and bool(v) for path in _NEXT)
    linked |= any(_at(content, path) is value for path, value in _MORE.items())
    linked |= isinstance(content.get("records"), list) and isinstance(content.get("offset"), str)  # Airtable
    page, pages = content.get("page"), next((v for p in _PAGE_COUNTS if isinstance(v := _at(content, p), int)), None)
    if linked or (isinstance(page, int) and pages is not None and page < pages):
        return f"{count}, and more pages; {_PAGES}"
    return ""


def _total(content: dict[str, Any]) -> int | None:
    """Return the stated number of rows in all, None if there is none."""
    paged = bool(_PAGING & content.keys())
    plain = content.get("type") != "FeatureCollection"  # the answer of another service, whose rows it counts
    for path in (*_TOTALS, *(["total"] if paged or plain else []), *(["count"] if paged else [])):
        value = _at(content, path)
        if isinstance(value, bool):
            continue
        if isinstance(value, int) or (isinstance(value, str) and value.isdigit()):
            return int(value)
    return None


def _at(content: object, path: str) -> Any:  # noqa: ANN401  # JSON is anything
    """Return the member at a dotted path, None if there is none; a key that has the dots itself goes first."""
    if isinstance(content, dict) and path in content:
        return content[path]
    for key in path.split("."):
        content = content.get(key) if isinstance(content, dict) else None
    return content
