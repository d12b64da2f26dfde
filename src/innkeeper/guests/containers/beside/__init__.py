"""What stays beside a detached container: an interpreter that imports these few files and no more.

It is run as `python -I -S` with this package as a top-level one (so its imports are relative), and
imports nothing but modules that are compiled into the interpreter or stand alone: what each
container costs the host as long as it runs is what is imported here.
"""
