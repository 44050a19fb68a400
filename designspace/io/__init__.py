"""Files: YAML, validation, atomic writes, journals, locks, worker processes."""
