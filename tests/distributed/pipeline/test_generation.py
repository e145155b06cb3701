"""Hard cases of calls and of `generate`, each against the model in one process."""

import contextlib

import pytest
import torch
import transformers

from pyaccel import PartialState
from pyaccel._pipe.link import PipelineError
from pyaccel._pipe.tree import tensors_of
from pyaccel.inference import prepare_pippy
from tests.distributed.pipeline.compare import same, seeded
from tests.distributed.pipeline.rows import load
from tests.harness import here

EIGHT = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False}


def tokens_of(inputs):
    """What generate takes of a row's inputs."""
    return {k: v for k, v in inputs.items() if k != "decoder_input_ids"}


def attentions(model, inputs):
    if model.config.model_type not in ("mamba", "detr"):
        with contextlib.suppress(ValueError):
            model.set_attn_implementation("eager")
    return model(**inputs, output_attentions=True, output_hidden_states=True)


def labels(model, inputs):
    if "pixel_values" in inputs:
        return model(**inputs, labels=torch.tensor([0, 1, 1, 0, 1]))
    inputs = dict(inputs)
    tokens = inputs.pop("decoder_input_ids", inputs["input_ids"])
    return model(**inputs, labels=tokens)


def router(model, inputs):
    return model(**inputs, output_router_logits=True, labels=inputs["input_ids"])


def inference_mode(model, inputs):
    with torch.inference_mode():
        return model(**inputs)


def autocast(model, inputs):
    with torch.autocast("cpu", torch.bfloat16):
        return model(**inputs)


def static_cache(model, inputs):
    return model.generate(**inputs, **EIGHT, cache_implementation="static")


def window(model, inputs):
    tokens = inputs["input_ids"][:, :3]
    return model.generate(input_ids=tokens, **{**EIGHT, "max_new_tokens": 14})


def returned_cache(model, inputs):
    tokens = inputs["input_ids"]
    first = model(input_ids=tokens, use_cache=True)
    second = model(input_ids=tokens[:, :3], past_key_values=first.past_key_values)
    return [first.logits, second.logits]


def everything(model, inputs):
    done = model.generate(
        **tokens_of(inputs),
        **EIGHT,
        return_dict_in_generate=True,
        output_scores=True,
        output_logits=True,
        output_hidden_states=True,
    )
    hidden = done.get("hidden_states") or done.get("decoder_hidden_states")
    return [done.sequences, done.scores, done.logits, hidden]


def lookup(model, inputs):
    tokens = inputs["input_ids"][:1].repeat(1, 2)
    return model.generate(input_ids=tokens, **EIGHT, prompt_lookup_num_tokens=3)


def assisted(model, inputs):
    row = load()["llama"]
    assistant = seeded(row.build, 9)
    assistant.generation_config.num_assistant_tokens = 3
    return model.generate(
        input_ids=inputs["input_ids"][:1], **EIGHT, assistant_model=assistant
    )


def processors(model, inputs):
    torch.manual_seed(3)
    return model.generate(
        input_ids=inputs["input_ids"],
        max_new_tokens=8,
        do_sample=True,
        top_p=0.9,
        top_k=0,
        repetition_penalty=1.2,
        no_repeat_ngram_size=2,
        num_return_sequences=2,
    )


def penalised_beams(model, inputs):
    return model.generate(
        **tokens_of(inputs),
        max_new_tokens=6,
        num_beams=4,
        do_sample=False,
        length_penalty=0.5,
        early_stopping=True,
        num_return_sequences=2,
        no_repeat_ngram_size=2,
    )


def max_time(model, inputs):
    return model.generate(**tokens_of(inputs), **EIGHT, max_time=1000.0)


def criteria(model, inputs):
    stop = transformers.StoppingCriteriaList([lambda ids, scores, **_: stopped(ids)])
    return model.generate(
        **tokens_of(inputs), max_new_tokens=8, do_sample=False, stopping_criteria=stop
    )


def stopped(ids):
    return torch.full((len(ids),), ids.shape[1] > 14, dtype=torch.bool)


def long_form(model, inputs):
    model.generation_config.no_timestamps_token_id = 98
    return model.generate(
        torch.randn(2, 16, 150),
        attention_mask=torch.ones(2, 150),
        return_timestamps=True,
        max_new_tokens=6,
    )


def hooks(model, inputs):
    seen = []

    def see(module, args, output):
        seen.append(output[0] if isinstance(output, tuple) else output)

    handles = [
        module.register_forward_hook(see)
        for name, module in model.named_modules()
        if name.endswith(("layers.1", "layer.1"))
    ]
    output = model(**inputs)
    for handle in handles:
        handle.remove()
    assert seen
    return output


def changing_shapes(model, inputs):
    found = []
    for batch, length in ((4, 12), (1, 3), (2, 7), (5, 5), (3, 12), (2, 8), (2, 9)):
        part = {name: value[:batch, :length] for name, value in inputs.items()}
        found.append(tensors_of(model(**part))[0])
    return found


CASES = {
    attentions: "bert llama gpt2 t5 bart vit qwen3_moe mamba detr whisper llava swin",
    labels: "bert llama t5 vit mixtral",
    router: "mixtral qwen3_moe",
    inference_mode: "llama t5 mamba rwkv",
    autocast: "llama t5",
    static_cache: "llama gemma3",
    window: "mistral gemma3 phi3",
    returned_cache: "llama gemma2",
    everything: "llama t5",
    lookup: "llama qwen3",
    assisted: "llama",
    processors: "llama",
    penalised_beams: "llama t5",
    max_time: "llama",
    criteria: "llama t5",
    long_form: "whisper",
    hooks: "vit llama",
    changing_shapes: "llama mistral bert t5 gpt2",
}
NAMED = {case.__name__: case for case in CASES}


def compare(name, case):
    """The case in one process and in a pipeline, twice; how many tensors differ."""
    PartialState(cpu=True)
    row = load()[name]
    model = seeded(row.build)
    inputs = seeded(row.inputs, 1)

    def run():
        torch.manual_seed(11)
        return tensors_of(NAMED[case](model, dict(inputs)))

    with torch.no_grad():
        expected = run()
        prepare_pippy(model, num_chunks=1, gather_output=True, example_kwargs=inputs)
        for _ in range(2):
            got = run()
            assert len(got) == len(expected)
            wrong = [
                place
                for place, pair in enumerate(zip(got, expected, strict=True))
                if not same(*pair)
            ]
            assert not wrong, f"rank {here.rank}: tensors {wrong} of {len(got)}"


ALL = [(name, case.__name__) for case, names in CASES.items() for name in names.split()]


@pytest.mark.parametrize(
    ("number", "row", "case"),
    [(number, *pair) for number, pair in enumerate(ALL)],
    ids=["-".join(pair) for pair in ALL],
)
def test_hard_cases(shm, number, row, case):
    shm.run(compare, row, case, size=3, timeout=120.0)


class Counting(transformers.generation.streamers.BaseStreamer):
    """Keeps what it is given."""

    def __init__(self):
        self.seen = []
        self.done = False

    def put(self, value):
        self.seen.append(value.clone())

    def end(self):
        self.done = True


def streamed():
    PartialState(cpu=True)
    row = load()["llama"]
    model = seeded(row.build)
    tokens = seeded(row.inputs, 1)["input_ids"][:1]
    expected, streamer = Counting(), Counting()
    with torch.no_grad():
        model.generate(tokens, **EIGHT, streamer=expected)
        prepare_pippy(model)
        model.generate(tokens, **EIGHT, streamer=streamer)
        assert streamer.done
        assert all(map(same, streamer.seen, expected.seen))
        # Nobody but the main process has to watch.
        again = Counting() if here.rank == 0 else None
        model.generate(tokens, **EIGHT, streamer=again)
        assert again is None or len(again.seen) == len(expected.seen)
        # What decides about tokens must be everywhere.
        allowed = (lambda batch, ids: [5, 6]) if here.rank == 0 else None
        with pytest.raises((ValueError, PipelineError), match="on every process"):
            model.generate(tokens, **EIGHT, prefix_allowed_tokens_fn=allowed)


def test_streamers_are_each_process_own(shm):
    shm.run(streamed, size=2)
