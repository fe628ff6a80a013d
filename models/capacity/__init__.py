"""Laws of capacity: from a machine, a chip, an operator or a stage of construction to kilowatts and months.

In: sizes and kinds of machines, chip names, operators. Out: log-normal capacities with their errors, read from the
fitted tables in `overwatt.models.reference`. Modules named `fit_*` make these tables from Epoch AI's data; nothing else
needs them. Read `equipment.unit_capacity` first.
"""
