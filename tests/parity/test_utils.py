"""The everyday helpers in one process, beside accelerate's."""

from tests.parity.cases import compare

SCRIPT = """
import functools
from types import MethodType
from torch import nn

# Names, numbers, dicts.
for size in [0, 1023, 1024, 1536 * 1024, 2**30 - 1, 2**50, 2**60, -2048, 10.5]:
    case(f"convert_bytes {size}", u.convert_bytes, size)


class Outer:
    class Inner:
        def method(self):
            pass


named = [Outer, Outer.Inner, Outer.Inner(), Outer.Inner().method, len, 3, io.StringIO]
case("get_pretty_name", lambda: [u.get_pretty_name(what) for what in named])
case("merge", u.merge_dicts, {"a": {"b": 1}, "c": 2}, {"a": {"x": 3}, "d": 5})
case("merge into a number", u.merge_dicts, {"a": {"b": 1}}, {"a": 3})
case("recursive_getattr", u.recursive_getattr, os, "path.sep")
case("recursive_getattr nowhere", u.recursive_getattr, os, "path.nowhere")

# Versions.
for operation in [">", ">=", "==", "!=", "<=", "<", "~"]:
    for version in ["1.0", "99", "2.13.0", "2.13.0+cpu"]:
        case(f"torch {operation} {version}", u.is_torch_version, operation, version)
        case(f"numpy {operation} {version}", u.compare_versions, "numpy", operation,
             version)
case("no such package", u.compare_versions, "nowhere_at_all", ">", "1")
case("no version", u.compare_versions, "numpy", ">", "one")

# What is there.
for name in sorted(dir(module("utils.imports"))):
    if name.startswith("is_") and name != "is_torch_version":
        case(name, lambda: bool(getattr(module("utils.imports"), name)()))
os.environ["ACCELERATE_ENABLE_RICH"] = "1"
case("rich, asked for", u.is_rich_available)
case("bf16 without a TPU", u.is_bf16_available, True)
case("numpy of the future", module("utils.imports").is_numpy_available, "99.0")
case("mps of the future", u.is_mps_available, "99.0")
case("XLA on both", u.is_torch_xla_available, True, True)
case("device type", u.get_current_device_type)
case("libraries", u.are_libraries_initialized, "torch", "os", "nowhere")
case("p2p", u.check_cuda_p2p_ib_support)
case("fp8", u.check_cuda_fp8_capability)
case("gpu info", u.get_gpu_info)
case("driver", module("utils.environment").get_driver_version)

# The environment.
def patched():
    with u.patch_environment(one=1, Two="x", THREE=None):
        inside = {k: os.environ.get(k) for k in ("ONE", "TWO", "THREE", "one")}
        os.environ["TWO"] = "changed"
        os.environ["FOUR"] = "4"
    return inside, [os.environ.get(k) for k in ("ONE", "TWO", "THREE", "FOUR")]


def cleared():
    with u.clear_environment():
        os.environ["FIVE"] = "5"
        inside = dict(os.environ)
    return inside, "FIVE" in os.environ, "FOUR" in os.environ


@u.purge_accelerate_environment
class Tests:
    def test_one(self):
        os.environ["ACCELERATE_ONE"] = "1"
        os.environ.pop("ACCELERATE_BEFORE")

    @staticmethod
    def test_static():
        os.environ["ACCELERATE_TWO"] = "1"

    def helper(self):
        os.environ["ACCELERATE_HELPER"] = "1"


class Derived(Tests):
    def test_three(self):
        os.environ["ACCELERATE_THREE"] = "1"


@u.purge_accelerate_environment
def purged(value):
    os.environ["ACCELERATE_FOUR"] = os.environ["OTHER"] = value
    return value


def purge():
    os.environ["ACCELERATE_BEFORE"] = "0"
    Derived().test_one(), Derived().test_three(), Tests.test_static(), purged("4")
    Tests().helper()
    return sorted(k for k in os.environ if k.startswith(("ACCELERATE_", "OTHER")))


case("patch", patched)
case("clear", cleared)
case("purge", purge)
case("purge, static method of an instance", lambda: Tests().test_static())
for character in ";\\n<> =|&'\\t#":
    case(f"variables with {character!r}", u.convert_dict_to_env_variables,
         {"A": "x" + character, "B": "1"})
case("empty variables", u.convert_dict_to_env_variables, {"": "1", "A": ""})
case("a variable that is a number", u.convert_dict_to_env_variables, {"A": 1})
for word in ["yes", "OFF", "maybe", True]:
    case(f"str_to_bool {word}", u.str_to_bool, word)
case("cpu information", u.get_cpu_distributed_information)
with u.patch_environment(PMI_RANK=2, PMI_SIZE=4, MPI_LOCALRANKID=1, LOCAL_WORLD_SIZE=2):
    case("cpu information, MPI", u.get_cpu_distributed_information)
for port in [None, 0, 99999]:
    case(f"port {port}", u.is_port_in_use, port)
case("kernel", u.check_os_kernel)

# Memory.
def attempts(limit, start, reduce=None, factory=False, error="CUDA out of memory."):
    tried = []

    def function(batch_size, *rest):
        tried.append(batch_size)
        if batch_size > limit:
            raise RuntimeError(error)
        return rest

    options = {"starting_batch_size": start, "reduce_batch_size_fn": reduce}
    if factory:
        search = u.find_executable_batch_size(**options)(function)
    else:
        search = u.find_executable_batch_size(function, **options)
    results = [search("rest")]
    results.append(search("again"))
    return tried, results


for start in [1, 2, 9, 33, 64, 100, 128, 1000]:
    case(f"attempts from {start}", attempts, 1, start)
case("attempts to zero", attempts, 0, 16)
case("attempts from zero", attempts, 0, 0)
case("attempts reduced", attempts, 7, 16, lambda: 5)
case("attempts reduced, factory", attempts, 7, 16, lambda: 5, True)
case("attempts, another error", attempts, 7, 16, None, False, "no")


@u.find_executable_batch_size
def takes_two(batch_size, other):
    return other


@u.find_executable_batch_size
def takes_none():
    pass


case("batch size left out", takes_two, 1)
case("batch size passed", takes_two, 1, 2)
case("no batch size taken", takes_none)
errors = [
    RuntimeError("CUDA out of memory. Tried to allocate"),
    RuntimeError("XPU out of memory. Tried to allocate"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED."),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("something else"), RuntimeError(), ValueError("out of memory"), None,
]
case("should_reduce_batch_size", lambda: [
    memory.should_reduce_batch_size(error) for error in errors])
case("CUDA error: out of memory", memory.should_reduce_batch_size,
     RuntimeError("CUDA error: out of memory"))
case("torch.OutOfMemoryError", memory.should_reduce_batch_size,
     torch.OutOfMemoryError("HIP"))
case("MemoryError", memory.should_reduce_batch_size, MemoryError())
case("release_memory", u.release_memory, 1, [2])
case("clear_device_cache", memory.clear_device_cache, True)

# Models.
model = nn.ModuleDict({
    "a": nn.Sequential(nn.Linear(1, 1), nn.ModuleList([nn.ReLU(), nn.ReLU()])),
    "b": nn.Linear(2, 2),
})
wrapped = nn.DataParallel(model)
compiled = torch.compile(model)
case("children", lambda: [
    name for name, _ in u.get_module_children_bottom_up(model, return_fqns=True)])
case("children alone", lambda: [
    type(child).__name__ for child in u.get_module_children_bottom_up(model)])
case("repeated", lambda: [
    [other.is_repeated_blocks(m), other.has_repeated_blocks(m)]
    for m in [model, model["a"], model["a"][1], model["b"], nn.ModuleList()]])
case("dtensor", u.model_has_dtensor, model)
case("tp size", u.get_model_tp_size, model)
case("compiled", lambda: [u.is_compiled_module(m) for m in (model, compiled, 3)])
case("regions", lambda: [
    u.has_compiled_regions(m) for m in (model, compiled, nn.Sequential(compiled))])
case("extract", lambda: [
    u.extract_model_from_parallel(m) is model for m in (model, wrapped)])
case("extract compiled", lambda: u.extract_model_from_parallel(compiled) is compiled)
case("extract what was compiled", lambda: u.extract_model_from_parallel(
    torch.compile(wrapped), keep_torch_compile=False) is model)
case("extract compiled and wrapped", lambda: u.extract_model_from_parallel(
    torch.compile(wrapped))._orig_mod is model)
case("extract recursive", lambda: u.extract_model_from_parallel(
    nn.Sequential(nn.DataParallel(nn.DataParallel(model))), recursive=True)[0] is model)
case("extract not recursive", lambda: u.extract_model_from_parallel(
    nn.Sequential(wrapped))[0] is wrapped)


def regions(*blocks):
    outer = nn.Sequential(nn.ModuleList(blocks), nn.Sequential(nn.ReLU()))
    made = u.compile_regions(outer, backend="eager")
    return (
        [type(module).__name__ for module in made.modules()],
        u.extract_model_from_parallel(made, keep_torch_compile=False) is outer,
    )


case("compile_regions", regions, nn.Linear(1, 1), nn.Linear(1, 1))
case("compile_regions of different blocks", regions, nn.Linear(1, 1), nn.ReLU())
case("compile_regions without blocks", regions)


def forward_of(keep):
    layer = nn.Linear(2, 2)
    original = layer._original_forward = layer.forward
    ones = functools.wraps(original.__func__)(lambda self, x: torch.ones(1))
    layer.forward = MethodType(ones, layer)
    u.extract_model_from_parallel(layer, keep_fp32_wrapper=keep)
    as_before = torch.equal(layer(torch.ones(2)), original(torch.ones(2)))
    return as_before, hasattr(layer, "_original_forward")


case("forward kept", forward_of, True)
case("forward restored", forward_of, False)

# Files.
def there_and_back(value, **options):
    u.save(value, "file", **options)
    return u.load("file")


shared = torch.arange(4.0)
case("save", there_and_back, {"a": torch.ones(2), "b": [1, "x"]})
case("save arrays", there_and_back, np.arange(3))
case("save a class", there_and_back, {"a": object})
u.save({"a": torch.ones(2)}, "safe", safe_serialization=True)
from safetensors import safe_open
with safe_open("safe", "pt") as file:
    case("safe", lambda: [file.metadata(), file.keys(), file.get_tensor("a")])
case("load safe", u.load, "safe")
case("save safe, a number", u.save, {"a": 3}, "x", safe_serialization=True)
case("save safe, a list", u.save, [1], "x", safe_serialization=True)
case("clean", lambda: u.clean_state_dict_for_safetensors(
    {"a": torch.arange(6).reshape(2, 3).t(), "b": shared, "c": shared}))


def kept():
    given = {"b": shared, "c": shared}
    u.clean_state_dict_for_safetensors(given)
    return sorted(given)


def overlapping():
    u.save({"b": shared, "c": shared[:2]}, "overlap", safe_serialization=True)
    with safe_open("overlap", "pt") as file:
        return file.keys()


case("clean, what was given", kept)
case("save overlapping", lambda: sorted(overlapping()))
case("save nowhere", u.save, 1, "nowhere/file")
config = {"save_location": "config/file.json"}
case("write_basic_config", lambda: u.write_basic_config("BF16", **config).read_text())
case("write_basic_config again", u.write_basic_config, **config)
case("write_basic_config, wrong", u.write_basic_config, "bf17", "other.json")

# Keyword holders.
from datetime import timedelta
handler = u.InitProcessGroupKwargs
case("no timeout", lambda: handler().to_kwargs())
case("timeout", lambda: handler(timeout=timedelta(seconds=5)).to_kwargs())
case("ten minutes", lambda: handler(timeout=timedelta(seconds=600)).to_kwargs())
case("gloo", lambda: [handler("gloo").backend, handler("gloo").timeout.seconds])
for name in ["RNGType", "CustomDtype", "ComputeEnvironment", "LoggerType"]:
    case(name, lambda: {m.name: m.value for m in getattr(u, name)})
case("RNGType of a text", lambda: u.RNGType("torch") is u.RNGType.TORCH)
case("RNGType of another", u.RNGType, "dice")
case("TensorInformation", u.TensorInformation, torch.Size([2]), torch.float16)

# Checks for tests.
testing = module("test_utils.testing")


def asserted(raised, *expected):
    with testing.assert_exception(*expected):
        if raised is not None:
            raise raised


case("assert_exception", asserted, UnicodeError("abc"), ValueError)
case("assert_exception, text", asserted, ValueError("abc"), ValueError, "b")
case("assert_exception, other text", asserted, ValueError("abc"), ValueError, "z")
case("assert_exception, none", asserted, None, ValueError)
case("logger without state", module("logging").get_logger("x").info, "y")
finish()
"""


def test_helpers(fresh, tmp_path):
    compare(fresh.python, SCRIPT, tmp_path, "alone")
