"""The helpers that know the other processes, beside accelerate's."""

from functools import partial

from tests.parity.cases import compare

SCRIPT = """
top = importlib.import_module(library)
accelerator = top.Accelerator(cpu=True)
state = top.PartialState()
rank = state.process_index

# Logging.
written = io.StringIO()
handler = logging.StreamHandler(written)
handler.setFormatter(logging.Formatter("%(levelname)s %(funcName)s %(message)s"))
logging.getLogger().addHandler(handler)
logger = module("logging").get_logger("here")


def log():
    logger.warning("of %s", "the main one")
    logger.log(logging.ERROR, "too")
    logger.info("nobody sees this")
    logger.warning("of all", main_process_only=False)
    logger.warning("in order", in_order=True)
    logger.warning("not the main one in order", in_order=True, main_process_only=True)


log()
case("logged", written.getvalue)
case("level", lambda: logging.getLogger().level)
module("logging").get_logger("there", "debug")
case("levels", lambda: [logging.getLogger(n).level for n in ("", "here", "there")])
os.environ["ACCELERATE_LOG_LEVEL"] = "error"
module("logging").get_logger("everywhere")
case("levels by variable", lambda: logging.getLogger("everywhere").level)
case("level, wrong", module("logging").get_logger, "x", "loud")

# Progress.
case("tqdm", lambda: u.tqdm([1, 2], file=io.StringIO()).disable)
case("tqdm of all", lambda: u.tqdm(
    [1], main_process_only=False, file=io.StringIO()).disable)
case("tqdm, disabled", lambda: list(u.tqdm([1, 2], disable=True)))
case("tqdm of a bool", u.tqdm, True, [1])

# Random numbers.
def drawn():
    return [torch.rand(1).item(), np.random.rand(), random.random()]


u.set_seed(7)
case("seeded", drawn)
u.set_seed(7, device_specific=True)
case("seeded apart", drawn)
generator = torch.Generator().manual_seed(rank)
u.synchronize_rng_state(u.RNGType.GENERATOR, generator)
case("generator", lambda: torch.rand(3, generator=generator))
generator.manual_seed(rank)
torch.manual_seed(rank)
u.synchronize_rng_states(["torch", "generator"], generator=generator)
case("states", lambda: [torch.rand(3), torch.rand(3, generator=generator)])
case("states of nothing", u.synchronize_rng_states, [])
case("states, wrong", u.synchronize_rng_states, ["dice"])
case("states without a generator", u.synchronize_rng_states, ["generator"])
case("states of NPUs", u.synchronize_rng_states, ["npu"])
u.set_seed(1, deterministic=True)
case("deterministic", torch.are_deterministic_algorithms_enabled)
torch.use_deterministic_algorithms(False)

# Files.
os.makedirs(f"{library}-{rank}", exist_ok=True)
u.save([rank], f"{library}-{rank}/plain")
u.save([rank], f"{library}-{rank}/node", save_on_each_node=True)
u.save({"a": torch.ones(1)}, f"{library}-{rank}/safe", safe_serialization=True)
case("files", lambda: sorted(os.listdir(f"{library}-{rank}")))
case("wait_for_everyone", u.wait_for_everyone)
finish()
"""


def test_helpers(fresh, tmp_path):
    compare(partial(fresh.torchrun, size=2), SCRIPT, tmp_path, "several", size=2)
