"""Models in a pipeline: the same bits as in one process."""
