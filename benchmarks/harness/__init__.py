"""What the benchmarks share: groups of ranks, rounds, floors, the report."""
