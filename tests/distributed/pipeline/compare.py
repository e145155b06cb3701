"""One row in one process and in a pipeline of several: what differs."""

from functools import partial

import torch

from pyaccel import PartialState
from pyaccel._pipe.tree import rebuild, tensors_of
from pyaccel.inference import prepare_pippy
from tests.distributed.pipeline.rows import load

MODES = {
    "greedy": {"do_sample": False},
    "sample": {"do_sample": True, "top_k": 20, "temperature": 1.3},
    "beams": {"do_sample": False, "num_beams": 3},
}
LENGTHS = {"max_new_tokens": 6, "min_new_tokens": 4}


def seeded(make, seed=0):
    torch.manual_seed(seed)
    return make()


def cut(inputs, count):
    """The chunks that a batch is cut into, and their rows, by torch alone."""
    batch = next(t for t in tensors_of(inputs) if t.dim()).shape[0]
    rows = [len(part) for part in torch.arange(batch).tensor_split(min(count, batch))]

    def part(place):
        def of(tensor):
            is_cut = tensor.dim() and tensor.shape[0] == batch
            return tensor.split(rows)[place] if is_cut else tensor

        return rebuild(inputs, of)

    return [part(place) for place in range(len(rows))], rows


def joined(parts, rows, shape):
    """One tensor of several chunks, where its shape as a whole is known."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if not first.dim():
        if not first.is_floating_point():
            return first
        weighted = sum(part.double() * n for part, n in zip(parts, rows, strict=True))
        return (weighted / sum(rows)).to(first.dtype)
    if first.shape == shape:
        return first
    for dim in range(first.dim()):
        length = sum(part.shape[dim] for part in parts)
        if (*first.shape[:dim], length, *first.shape[dim + 1 :]) == tuple(shape):
            return torch.cat(parts, dim)
    raise AssertionError(f"parts of {first.shape} do not make {shape}")


def differences(label, output, references, rows):
    """What is not the same bit for bit, in words."""
    got = tensors_of(output)
    parts = [tensors_of(reference) for reference in references]
    if {len(part) for part in parts} != {len(got)}:
        return [f"{label}: {len(got)} tensors and not {len(parts[0])}"]
    if type(output) is not type(references[0]):
        return [f"{label}: a {type(output)} and not a {type(references[0])}"]
    found = []
    for place, tensor in enumerate(got):
        expected = joined([part[place] for part in parts], rows, tensor.shape)
        # A mean of several may be rounded otherwise.
        rough = not tensor.dim() and len(rows) > 1
        close = torch.allclose(tensor.double(), expected.double(), 1e-6, 1e-7)
        if tensor.dtype != expected.dtype or not (
            same(tensor, expected) or (rough and close)
        ):
            found.append(f"{label}: tensor {place} of shape {tuple(tensor.shape)}")
    return found


def same(first, second):
    """Whether two tensors have the same bits, of which some may be no numbers."""
    if first.shape != second.shape:
        return False
    if first.is_floating_point():
        return torch.equal(first.nan_to_num(7.5), second.nan_to_num(7.5))
    return torch.equal(first, second)


def forward(name, attention):
    """Calls a row's model in 1, S and 2S+1 chunks; what differs on this rank."""
    state = PartialState(cpu=True)
    size, last = state.num_processes, state.is_last_process
    row = load()[name]
    model = seeded(row.build)
    known = attention == "eager" or getattr(model, "_supports_sdpa", False)
    if attention is not None and known:
        model.set_attn_implementation(attention)
    counts = (1, size, 2 * size + 1)
    references = {}
    with torch.no_grad():
        for count in counts:
            chunks, rows = cut(seeded(row.inputs, 1), 1 if row.whole else count)
            references[count] = [model(**chunk) for chunk in chunks], rows
        prepare_pippy(model, example_kwargs=seeded(row.inputs, 1))
        found = []
        for gather in (False, True):
            model.pippy_stage.gather_output = gather
            for count in counts:
                model.pippy_stage.num_chunks = count
                label = f"{count} chunks{', gathered' if gather else ''}"
                # Another rank's inputs do not count.
                inputs = seeded(row.inputs, 1 if state.is_main_process else 2)
                output = model(**inputs)
                if gather or last:
                    found += differences(label, output, *references[count])
                elif output is not None:
                    found.append(f"{label}: an output on rank {state.process_index}")
    return found


def generate(name):
    """Lets a row's model generate; returns the ways that differ on this rank."""
    state = PartialState(cpu=True)
    row = load()[name]
    model = seeded(row.build)
    inputs = {each: seeded(row.inputs, 1)[each] for each in row.generates}
    modes = [mode for mode in MODES if row.beams or mode != "beams"]
    found = []
    with torch.no_grad():
        whole = {
            mode: seeded(partial(model.generate, **inputs, **LENGTHS, **how), 5)
            for mode, how in MODES.items()
            if mode in modes
        }
        chunks, _ = cut(inputs, state.num_processes)
        parts = [
            model.generate(**chunk, **LENGTHS, **MODES["greedy"]) for chunk in chunks
        ]
        prepare_pippy(model, num_chunks=1)
        for mode in modes:
            torch.manual_seed(5 if state.is_main_process else 6)
            tokens = model.generate(**inputs, **LENGTHS, **MODES[mode])
            if not torch.equal(tokens, whole[mode]):
                found.append(mode)
        model.pippy_stage.num_chunks = state.num_processes
        tokens = model.generate(**inputs, **LENGTHS, **MODES["greedy"])
        if not torch.equal(tokens, _stacked(parts)):
            found.append("greedy, in chunks")
    return found


def _stacked(parts):
    longest = max(part.shape[1] for part in parts)
    return torch.cat(
        [torch.nn.functional.pad(part, (0, longest - part.shape[1])) for part in parts]
    )
