"""From registries of any layout to one table of declared facilities.

In: registries as `Received`. Out: table `declared`, and the rejected rows with their reasons. Read
`registry.normalize_registry` first; `deduplication.merge_registries` joins several.
"""
