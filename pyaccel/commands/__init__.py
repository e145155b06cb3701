"""The commands: one module a sub-command, and `pyaccel_cli` that chooses one."""
