"""What is done: the stages, in the order the data flows, tables in and tables out, without side effects.

imagery → detection → sites → power → compute, and declared; then reconcile → inspection, balance, change; then
report. No stage opens a file, asks a clock or knows a cluster: that is the work of `overwatt.workflows`. The columns
of every table are in `tables`. docs/architecture.md draws the rooms and the way of a tile through them.
"""
