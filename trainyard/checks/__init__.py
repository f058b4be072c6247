"""The checks of `trainyard check`, a module for each group. They read a project and never run it.

definition.py      what a check is and what it finds
repository.py      the files of a project, as git lists them
sources.py         its Python files and notebooks, as syntax trees
settings.py        what a project leaves out, and why
of_files.py        TY1: the repository
of_secrets.py      TY1, continued: what belongs to a person or a machine
of_python.py       TY2: Python and its packages
of_loading.py      TY3: what is loaded runs nothing
of_records.py      TY4: the run can be repeated
of_training.py     TY5: training and evaluation
report.py          the table, the JSON and the list
"""
