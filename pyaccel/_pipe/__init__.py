"""Pipelines without tracing: every rank runs the model's Python, each unit one rank.

A unit (a block, an embedding, a head) is run by the rank that owns it; elsewhere its
`forward` is a stub that returns placeholders, which know shape, dtype and which ranks
hold the bytes. Whatever the code between units does with them is placed by that, alike
on every rank, and so are transfers: nobody negotiates.

    spec, tree, rules       plain data: layouts, structures, shapes foretold
    tracked, ops, glue      the placeholder, and operations on it between units
    channel, link           messages between two ranks; transfers and replication
    state, capture, watch   what a unit's call changes, found on its owner
    effects, unit           the same as the owner tells it; the call on every rank
    discovery, probe, placement, install, coarsen      units of a model and their owners
    chunks, merge, kept     inputs cut, outputs put together, caches that stay in place
    own, session, prepared  what all ranks are given, and a call from start to end
    baton, generate         several loops of `generate` at once
    prepare, explain        from a model to its placement, and that in words
"""
