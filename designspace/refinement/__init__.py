"""From findings to proposed constraints to a narrower space."""
