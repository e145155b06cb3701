"""Programs to run: ``pyaccel launch -m pyaccel.examples.NAME``; see README.md here."""
