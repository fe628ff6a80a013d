"""The kinds of machines that simulator, outlines and network tell apart."""

MACHINE_KINDS = ("chiller", "tower", "generator", "rooftop_unit")
"""In the order of their codes in masks: rows of chillers, dry coolers or air handlers; cells of cooling towers;
generators; packaged rooftop units."""
