"""Every method of the plugin, driven by a program that plays TensorRT (tests/cpp/plugin).

Once with the library as nvcc built it, once with AddressSanitizer and UBSan and the kernels executed on this CPU.
"""

import pytest
from plugins.trt_build import attempt, plugin_library, run
from plugins.trt_driver import OPTIMIZED, SANITIZED, driver, sanitized_library

pytestmark = pytest.mark.slow

ANYWHERE = (
    "a_context_has_a_plugin_of_its_own",
    "a_plugin_is_called_as_its_creator",
    "broken_expressions_are_refused",
    "clones_live_on_their_own",
    "collections_that_are_none_are_refused",
    "creators_are_two_and_stay",
    "declared_fields",
    "enqueue_refuses_what_it_cannot_run",
    "every_allocation_may_fail",
    "formats",
    "hostile_fields_are_refused_with_a_reason",
    "hostile_plans_are_refused_with_a_reason",
    "hostile_positions",
    "hostile_profiles",
    "long_refusals_are_cut",
    "namespace_and_version_may_be_given",
    "other_types_are_refused",
    "output_shapes",
    "output_types_are_those_of_the_input",
    "plans_give_back_what_was_written",
    "profiles",
    "shapes_at_run_time",
    "shapes_that_do_not_fit_are_refused",
    "tactics_are_positive_and_each_once",
    "tactics_of_other_libraries_are_refused",
    "ten_thousand_random_field_sets",
    "the_manifest_stays",
    "threads_may_build_side_by_side",
    "timing_cache_id_tells_attributes_and_kernels",
)
UNDER_EVERY_TENSORRT = (
    "it_leaves_no_creator_behind",
    "it_registers_itself_until_it_is_loaded_as_a_plugin_library",
    "refusals_are_logged_as_errors",
    "without_a_logger_refusals_go_to_stderr",
)
ON_THE_CPU = ("a_plan_from_a_newer_gpu_runs_on_an_older_one", "numbers_of_both_forms", "numbers_of_every_tactic")
OTHERS = ("a_tensorrt_that_nobody_knows_is_left_alone", "enqueue_says_that_there_is_no_gpu")

ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "ASAN_OPTIONS": "detect_leaks=1:allocator_may_return_null=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


@pytest.fixture(scope="module", params=["nvcc", "sanitized"])
def check(request):
    """Run one check in a process of its own; gives its stderr."""
    if request.param == "nvcc":
        return _runner(driver(OPTIMIZED), plugin_library())
    return _runner(driver(SANITIZED), sanitized_library())


@pytest.fixture(scope="module")
def check_on_cpu():
    return _runner(driver(SANITIZED), sanitized_library())


def _runner(program, library):
    def check(name, **environment):
        done = attempt(program, library, name, **ENVIRONMENT, **environment)
        assert done.returncode == 0, f"status {done.returncode}\n{done.stdout}{done.stderr[-6000:]}"
        assert done.stdout == "all holds\n"
        return done.stderr

    return check


def test_all_checks_are_run():
    listed = run(driver(OPTIMIZED), "no library", "--list").split()
    assert sorted([*ANYWHERE, *UNDER_EVERY_TENSORRT, *ON_THE_CPU, *OTHERS]) == listed


@pytest.mark.parametrize("name", ANYWHERE)
def test_method(check, name):
    check(name)


@pytest.mark.parametrize("major", ["10", "11", "1"], ids=["10.x", "11.x", "for RTX"])
@pytest.mark.parametrize("name", UNDER_EVERY_TENSORRT)
def test_host(check, name, major):
    stderr = check(name, PRETENDED_TENSORRT_MAJOR=major)
    if name == "without_a_logger_refusals_go_to_stderr":
        assert stderr.count("natdeploy: PackedNeighborhoodAttention: createPlugin: num_heads 0 is not positive\n") == 2
        assert stderr.endswith("createPlugin: there are no attributes\n")
    else:
        assert stderr == ""


def test_a_tensorrt_that_nobody_knows_is_left_alone(check):
    stderr = check("a_tensorrt_that_nobody_knows_is_left_alone", PRETENDED_TENSORRT_MAJOR="12")
    assert stderr == "natdeploy: PackedNeighborhoodAttention: createPlugin: num_heads 0 is not positive\n"


def test_without_a_gpu():
    _runner(driver(OPTIMIZED), plugin_library())("enqueue_says_that_there_is_no_gpu")


@pytest.mark.parametrize("name", ON_THE_CPU)
def test_numbers(check_on_cpu, name):
    check_on_cpu(name)
