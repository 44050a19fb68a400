"""Findings, or a published model, and a target: RegNet parameters; and narrower spaces."""
