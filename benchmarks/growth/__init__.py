"""How time and memory of everything after the network grow with the number of tiles and footprints.

In: run folders whose tiles are stored already, with SIMULATED objects. Out: seconds by stage, peak memory, exponents.
"""
