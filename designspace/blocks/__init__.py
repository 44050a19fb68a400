"""The blocks that ship beside RegNet's, one file each: what they cost, and how they are built."""
