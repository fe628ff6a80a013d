"""Tables of facts (CSV files here), each row with its source; `facts` reads them.

Accelerators, chips and their power, cooling equipment and its fitted laws, area priors, ratios, operators, waits of
construction. Read `facts` first; docs/methods.md says which formula uses which table.
"""
