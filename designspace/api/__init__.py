"""The Python API: every command of the command line as one call.

The classes here are those of the packages below, with the verbs that those packages may not import:
a `Run` that trains, a `Model` that builds and exports itself, `Findings` that draw and save
themselves. `designspace` exports all public names.
"""
