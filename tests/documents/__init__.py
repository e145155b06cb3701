"""The code blocks of the documents, run as printed: see README.md here."""
