"""Figures and HTML reports; the only package with matplotlib."""
