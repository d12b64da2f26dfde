"""The command line, one file per group of commands."""

import gc

# Imports make many objects and no garbage: fewer collections start a guest a tenth sooner.
gc.set_threshold(50_000, 20, 20)
