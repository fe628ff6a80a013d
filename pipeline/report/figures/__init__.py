"""Plots of the report and of single commands, as SVG or PNG; the same values give the same bytes."""
