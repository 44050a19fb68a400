"""Studies as files: populations, the order of their training, claims, and what follows."""
