"""The command `overwatt tiles`: cut tiles from labels or findings, propose what to label, or check for leaks.

In: options as typed. Out: the summary that `--json` prints, and the same as lines of text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overwatt.aoi.errors import ConfigError
from overwatt.models.training.spatial_splits import SPLITS
from overwatt.workflows.tiles import left_out, proposals
from overwatt.workflows.tiles.cut import Progress, check_leaks, cut
from overwatt.workflows.tiles.from_dispositions import KINDS, cut_dispositions
from overwatt.workflows.tiles.labels import parse_class_map, parse_label_file
from overwatt.workflows.tiles.splits import TileSettings

_KIND_WORDS = {
    "hard_negative": "hard negative(s)", "confirmed": "confirmed", "missed": "missed", "empty_cell": "empty cell(s)",
}  # fmt: skip
FROM_FINDINGS = (1.0, 0.0, 0.0)  # findings are few and expensive: by default all go to training; own choice


@dataclass(frozen=True)
class Options:
    """Options of the command; see `TileSettings`. `shares` is as typed; None if the default depends on the task."""

    size_px: int = 512
    overlap_px: int = 0
    gsd_m: float | None = None
    tile_gsd_m: float | None = None
    split_by: str = "place"
    shares: str | None = None
    guard_m: float | None = None
    seed: int = 0
    unlabelled: str = "background"
    empty: bool = False
    licence: str = ""
    attribution: str = ""
    workers: int = 1


def run(
    images: Sequence[Path],
    labels: Sequence[str],
    out: Path | None,
    options: Options,
    *,
    run_folder: Path | None,
    dispositions: Path | None,
    check: Sequence[Path],
    class_map: Sequence[str],
    from_run: Path | None = None,
    most_useful: int | None = None,
    say: Callable[[str], None],
    tick: Callable[[int, int, int], None],
) -> dict[str, Any]:
    """Run the command.

    Args:
        images: image files.
        labels: label files, as FILE, FILE=CLASS, FILE:LAYER or FILE:LAYER=CLASS.
        out: output folder.
        options: further options.
        run_folder: run whose places the findings concern.
        dispositions: table of findings [default: those of the run folder].
        check: indexes to check instead of cutting.
        class_map: NAME=CLASS assignments.
        from_run: run of which to propose squares to label, instead of cutting tiles.
        most_useful: number of squares to propose.
        say: takes progress lines.
        tick: takes (done, failed, total).

    Returns:
        The summary for `--json`.

    Raises:
        OverwattError: options contradict one another, or inputs are unusable.
    """
    if check:
        if images or labels or dispositions or run_folder or from_run:
            raise ConfigError("--check takes only finished tiles; run it without images, --labels, --run, --from-run")
        return check_leaks(check, options.guard_m)
    if out is None:
        raise ConfigError("--out: give the output folder of the tiles")
    if (from_run is None) != (most_useful is None):
        raise ConfigError("--from-run RUN and --most-useful N belong together; give both, or neither")
    if from_run is not None and most_useful is not None:
        if run_folder is not None:
            raise ConfigError("--run and --from-run exclude each other: one cuts tiles, the other proposes squares")
        return proposals.propose(
            from_run, most_useful, out, images=images, labels=[parse_label_file(text) for text in labels],
            class_map=parse_class_map(class_map), dispositions=dispositions, seed=options.seed,
        )  # fmt: skip
    if run_folder is None and dispositions is not None:
        raise ConfigError("--dispositions: give --run as well, the run that the findings concern")
    if run_folder is not None and labels:
        raise ConfigError("--labels and --run exclude each other; cut them separately, into two folders")
    progress = Progress(say=say, tick=tick)
    if run_folder is not None:
        if options.split_by != "place" or options.empty:
            raise ConfigError("--split-by, --empty: not applicable with --run, which cuts the inspected places")
        settings = _settings(options, FROM_FINDINGS)
        return cut_dispositions(run_folder, dispositions, out, settings, images=images, progress=progress)
    files = [parse_label_file(text) for text in labels]
    return cut(images, files, out, _settings(options, None), class_map=parse_class_map(class_map), progress=progress)


def lines(result: dict[str, Any]) -> list[str]:
    """Return a summary as lines of text."""
    if "squares" in result:
        return proposals.lines(result)
    if "by_kind" in result:
        found = ", ".join(f"{n} {kind}" for kind, n in sorted(result["by_kind"].items())) or "none"
        return [f"{result['tiles']} tiles; leaks: {found}", *result["first"]]
    tiles = result["tiles"]
    out = [f"{tiles['written']} tiles written, {tiles['reused']} reused, {tiles['failed']} failed"]
    for split in SPLITS:
        s = result["splits"][split]
        out.append(f"  {split:5s} {s['tiles']} tiles, {s['places']} places, {s['data_centers']} data centers labelled")
    if "dispositions" in result:
        d = result["dispositions"]
        kinds = ", ".join(f"{d['kinds'][k]} {_KIND_WORDS[k]}" for k in KINDS)
        out.append(f"findings: {d['read']} read, {d['superseded']} superseded, {d['ignored']} ignored; {kinds}")
    out += left_out.lines(result["left_out"])
    out += [f"failed: {text}" for text in result["failures"]]
    out += [f"note: {text}" for text in result["warnings"]]
    return [*out, "leaks between splits: none found", f"index: {result['index']}"]


def _settings(options: Options, shares: tuple[float, float, float] | None) -> TileSettings:
    chosen = dict(options.__dict__)
    given, guard_m = chosen.pop("shares"), chosen.pop("guard_m")
    if given is not None:
        try:
            train, val, test = (float(v) for v in given.split(","))
        except ValueError as error:
            raise ConfigError(
                f"--shares '{given}': give three numbers, train,val,test, such as 0.7,0.15,0.15"
            ) from error
        shares = (train, val, test)
    chosen |= {} if shares is None else {"shares": shares}
    chosen |= {} if guard_m is None else {"guard_m": guard_m}
    return TileSettings(**chosen)
