"""One wheel for CPython 3.11 and up, one for 3.10: tried on every interpreter here."""
