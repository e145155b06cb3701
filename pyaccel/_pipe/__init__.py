"""Pipelines without tracing: every rank runs the model's Python, each unit one rank.

A unit (a block, an embedding, a head) is run by the rank that owns it; elsewhere its
`forward` is a stub that returns placeholders, which know shape, dtype and which ranks
hold the bytes. Whatever the code between units does with them is placed by that, alike
on every rank, and so are transfers: nobody negotiates.

    spec, tree, rules       plain data: layouts, structures, shapes foretold
    tracked, glue, ops      the placeholder, and operations on it between units
    channel, link           messages between two ranks; transfers and replication
    state, effects, unit    a unit's call: what it returns and what else it changes
    discovery, probe, placement, install      units of a model and who owns them
    chunks, merge, session, prepared, generate    calls of a prepared model
"""
