"""The contract of every backend, with tensors on GPUs: tests/distributed's own tests.

A test function is the same object as there; its fixture `backend` is this folder's,
whose ranks make their tensors on a GPU. What is only about the host (arrays, objects,
what is refused before anything moves) is not run again.
"""

from tests.distributed import (
    test_broadcast,
    test_gather,
    test_pad,
    test_reduce,
    test_repeated,
    test_results,
    test_roots,
)

CONTRACT = {
    test_gather: [
        "every_dtype",
        "views_and_kinds_of_tensors",
        "subclasses",
        "every_container",
        "first_dimensions_may_differ",
        "many_and_mixed_leaves",
        "autograd_modes",
        "payloads_around_every_threshold",
        "large_payloads",
        "other_leaves_are_refused",
        "a_leaf_that_one_rank_cannot_send",
    ],
    test_broadcast: [
        "every_dtype",
        "views_receive_their_own_elements_only",
        "conjugate_and_negative_views",
        "parameters",
        "every_container",
        "payloads_around_every_threshold",
        "large_payloads",
        "many_leaves",
        "a_tensor_whose_elements_share_memory",
    ],
    test_reduce: [
        "every_dtype",
        "what_means_nothing_is_refused",
        "views_and_kinds_of_tensors",
        "every_container",
        "many_and_mixed_leaves",
        "payloads_around_every_threshold",
        "scale",
        "none_keeps_what_each_rank_has",
        "calls_that_differ",
    ],
    test_pad: [
        "every_dtype_and_dimension",
        "views_and_kinds_of_tensors",
        "every_container",
        "many_leaves",
        "dimensions_that_some_leaves_lack",
        "values_that_do_not_fit",
    ],
    test_repeated: [
        "the_same_call_again",
        "other_calls_in_between",
        "uneven_rows_after_even_ones",
        "errors_after_success",
    ],
    test_results: [
        "results_are_private_and_writable",
        "results_live_while_later_operations_run",
        "results_are_freed_on_other_threads",
        "inputs_are_untouched",
    ],
    test_roots: ["one_rank_gets_all_tensors", "whole_structures"],
}

# pytest finds tests by a module's names, and these have the same names in several.
for _module, _names in CONTRACT.items():
    _short = _module.__name__.rpartition(".")[2]
    for _name in _names:
        globals()[f"{_short}_{_name}"] = getattr(_module, f"test_{_name}")
    # The modules' own names would be collected as tests otherwise.
    del globals()[_short]
