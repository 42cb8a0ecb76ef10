"""``robotchat draw``, ``chat`` and ``jobs``: pictures for a person at a terminal.

`commands` has the commands, `service` who draws (a service by its URL, or this process on an SD
host), `screen` what a terminal shows, `completion` what a shell completes.
"""
