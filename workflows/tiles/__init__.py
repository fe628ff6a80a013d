"""Training tiles, cut from imagery and labels or inspectors' findings, split by place. Read `command.run` first."""
