"""What is done: one module a stage, in the order the data flows. Stages have no side effects."""
