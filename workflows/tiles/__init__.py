"""Training tiles: cut from imagery and labels or from inspectors' findings, split by place.

Read `command.run` first.
"""
