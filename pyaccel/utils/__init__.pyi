"""What `__init__.py` imports at its first use, for type checkers."""

from .dataclasses import (
    DistributedType as DistributedType,
    InitProcessGroupKwargs as InitProcessGroupKwargs,
    KwargsHandler as KwargsHandler,
    PrecisionType as PrecisionType,
)
from .environment import (
    clear_environment as clear_environment,
    get_int_from_env as get_int_from_env,
    parse_choice_from_env as parse_choice_from_env,
    parse_flag_from_env as parse_flag_from_env,
    str_to_bool as str_to_bool,
)
from .operations import (
    broadcast as broadcast,
    broadcast_object_list as broadcast_object_list,
    gather as gather,
    gather_object as gather_object,
)
from .tqdm import (
    tqdm as tqdm,
)
