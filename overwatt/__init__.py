"""Overwatt: data centers in public imagery, the power and AI compute they could hold, and what was declared."""
