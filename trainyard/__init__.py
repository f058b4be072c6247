"""Keep many projects alike: what an update would do, what has drifted, and the same of a fleet.

This program is installed beside the projects, never in them. `command_line.py` lists the verbs;
each is a module of its own, imported when it is called.
"""
