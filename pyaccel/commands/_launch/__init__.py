"""What `pyaccel launch` is made of; pyaccel/commands/README.md is the map."""
