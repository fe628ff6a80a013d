"""Plots of the report and of single commands, as SVG or PNG. The same values give the same bytes."""
