"""What dlaflow does, one file a use case: frozen options in, records out, nothing printed.

Commands, recipes and sweeps call these functions; the face of each for Python and notebooks, which bears the command's
name and takes the same options as keywords, stands in `dlaflow` itself. Mistakes raise `dlaflow.DlaflowError`.
"""
