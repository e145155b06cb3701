"""Benchmarks: one question a file, one report; README.md says how to run and read."""
