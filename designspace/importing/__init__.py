"""Results that were measured elsewhere, read into a folder that can be analyzed."""
