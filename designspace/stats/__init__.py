"""Statistics on arrays of errors: plain functions, frozen results.

`edf`, `bootstrap` and `compare` are public and check their arrays. All other functions
take float arrays that are finite already, and only check what depends on their own arguments.
"""
