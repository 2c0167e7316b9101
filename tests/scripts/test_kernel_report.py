"""What scripts/kernel_report.py reads and computes: from text and numbers made here, and from compilers' output."""

import json
import math
import shutil
import sys
from pathlib import Path

import pytest
from side_environments import ROOT, python_with

sys.path.insert(0, str(ROOT / "scripts"))

import kernel_report
from kernel_model.bounds import access_cycles, executed, iterations, unit_cycles
from kernel_model.gpus import GPUS, occupancy
from kernel_model.launches import Launch, build_recorder, launch_from_json, recorded_launches
from kernel_model.sass import kernels_in_sass, loops_of, main_loop, mix
from kernel_model.toolkit import PACKAGES, Toolkit, demangled, find_toolkit, resources_from_log, short_name
from kernel_model.workloads import STAGES, Workload

from natdeploy.errors import NatdeployError

# Two nested loops: the inner one twice as long to come back to; an instruction that never runs; the jump to itself
# that ends a kernel.
LISTING = """
\t\tFunction : kernel_of_two_loops
        /*0000*/                   LDC R1, c[0x0][0x28] ;     /* 0x00000a00ff017b82 */
                                                              /* 0x000e620000000800 */
        /*0010*/                   LDG.E.128 R4, desc[UR4][R2.64] ;  /* 0x0 */
        /*0020*/              @!PT LDS RZ, [RZ] ;             /* 0x0 */
        /*0030*/                   HMMA.16816.F32 R4, R8, R6, R4 ;   /* 0x0 */
        /*0040*/                   MUFU.EX2 R5, R5 ;          /* 0x0 */
        /*0050*/                   F2FP.F16.F32.PACK_AB R5, R5, R6 ; /* 0x0 */
        /*0060*/               @P0 BRA 0x30 ;                 /* 0x0 */
        /*0070*/                   LDS.64 R4, [R2] ;          /* 0x0 */
        /*0080*/              @!P1 BRA 0x10 ;                 /* 0x0 */
        /*0090*/                   EXIT ;                     /* 0x0 */
        /*00a0*/                   BRA 0xa0 ;                 /* 0x0 */
\t\tFunction : another_kernel
        /*0000*/                   MUFU.RCP R1, R1 ;          /* 0x0 */
"""


def launch(**values) -> Launch:
    zero = dict.fromkeys(
        ["products", "matrices", "copies", "exponentials", "shuffles", "barriers", "copied_bytes"], 0.0
    )
    return Launch(**{"tactic": 2, "kernel": "k", "grid": 10, "threads": 64, "shared_bytes": 0, **zero, **values})


def test_instructions_and_loops_of_a_listing():
    kernels = kernels_in_sass(LISTING)
    assert [(name, len(code)) for name, code in kernels.items()] == [("kernel_of_two_loops", 11), ("another_kernel", 1)]
    outside, loops = loops_of(kernels["kernel_of_two_loops"])
    assert [(loop.first, loop.last, loop.depth) for loop in loops] == [(0x10, 0x80, 1), (0x30, 0x60, 2)]
    assert [i.opcode for i in outside] == ["LDC", "EXIT", "BRA"]
    assert mix(loops[0].body) == {"load_global": 1, "idle": 1, "load_shared": 1, "branch": 1}
    assert mix(loops[1].body) == {"mma": 1, "mufu": 1, "min_max_pack": 1, "branch": 1}
    assert main_loop(loops) is loops[1]
    assert main_loop(loops_of(kernels["another_kernel"])[1]) is None


def test_loops_run_as_often_as_the_counts_say():
    _, loops = loops_of(kernels_in_sass(LISTING)["kernel_of_two_loops"])
    assert iterations(loops, launch(products=700, exponentials=700), warps=20) == pytest.approx([20, 700])


def test_alternative_loops_share_the_iterations():
    code = kernels_in_sass(LISTING)["kernel_of_two_loops"]
    _, loops = loops_of(code)
    twins = [loops[1], loops[1]]
    assert sum(iterations(twins, launch(products=700, exponentials=700), warps=20)) == pytest.approx(700)


def test_executed_instructions_use_the_exact_counts():
    counts = executed(kernels_in_sass(LISTING)["kernel_of_two_loops"], launch(products=701, exponentials=699))
    assert counts["mma", "HMMA.16816.F32"] == pytest.approx(701)
    assert counts["min_max_pack", "F2FP.F16.F32.PACK_AB"] == pytest.approx(700, rel=0.01)
    assert counts["load_global", "LDG.E.128"] == 20  # once per warp
    assert counts["move", "LDC"] == 20


def test_units_take_the_time_that_their_width_allows():
    counts = {("mma", "HMMA.16816.F32"): 1000.0, ("load_shared", "LDS.128"): 100.0, ("mufu", "MUFU.EX2"): 10.0}
    cycles = unit_cycles(counts, GPUS[80])
    assert cycles["mma"] == 1000 * 16 * 8 * 16 / 1024
    assert cycles["shared"] == 400
    assert cycles["exponentials"] == 20
    assert cycles["issue"] == 1110 / 4
    assert [access_cycles("load_global", op) for op in ("LDG.E.128", "LDG.E.64", "LDG.E")] == [4, 2, 1]
    assert access_cycles("idle", "LDS") == 0


@pytest.mark.parametrize(
    ("arguments", "blocks", "limit"),
    [
        ((90, 128, 32, 0), 16, "warps"),  # 64 warps
        ((90, 32, 32, 0), 32, "blocks"),
        ((90, 128, 248, 0), 2, "registers"),  # 7936 registers per warp, two warps per quarter
        ((90, 128, 168, 0), 3, "registers"),
        ((90, 128, 32, 113 << 10), 2, "shared memory"),  # with the system's 1 KiB: exactly half of 228 KiB
        ((90, 128, 32, (113 << 10) + 1), 1, "shared memory"),
        ((75, 128, 32, 32 << 10), 2, "shared memory"),  # nothing reserved before 8.0
        ((86, 1024, 32, 0), 1, "warps"),
    ],
)
def test_occupancy(arguments: tuple[int, ...], blocks: int, limit: str):
    found = occupancy(*arguments)
    assert (found.blocks, found.limit) == (blocks, limit)
    assert found.warps == blocks * arguments[1] // 32


def test_compulsory_bytes_are_those_of_the_paper_calculation():
    stage = Workload("", 56, 56, heads=2)  # 8*B*N*C bytes in half precision, and the tables
    assert stage.compulsory_bytes == 8 * 128 * 56 * 56 * 64 + 2 * 13 * 13 * 4
    assert Workload("", 56, 56, heads=2, dtype="float32").compulsory_bytes == pytest.approx(
        2 * stage.compulsory_bytes, rel=1e-5
    )


def test_counts_by_thread_become_counts_by_warp_and_batch():
    counts = dict.fromkeys(["matrices", "copies", "exponentials", "shuffles", "barriers"], 0)
    line = {
        "tactic": 2,
        "kernel": "_Z1kv",
        "grid": 6,
        "threads": 96,
        "shared_bytes": 5,
        "images": 2,
    }
    found = launch_from_json(json.dumps({**line, **counts, "products": 640, "copied_bytes": 100}), batch=10)
    assert (found.products, found.copied_bytes, found.warps) == (100, 500, 18)
    assert found.kernel == "_Z1kv"


@pytest.mark.parametrize(
    ("full", "short"),
    [
        ("void natdeploy::k<natdeploy::Plan<__half, 7, 32> >(natdeploy::A, int)", "k<Plan<__half, 7, 32>>"),
        ("void natdeploy::k<natdeploy::Plan<float, (natdeploy::Kept)1> >(natdeploy::A)", "k<Plan<float, (Kept)1>>"),
        ("sums(float4 const*, float*, int)", "sums"),
        ("no_arguments", "no_arguments"),
    ],
)
def test_readable_names(full: str, short: str):
    assert short_name(full) == short


def test_an_assembler_report_that_cannot_be_read_is_no_success():
    assert resources_from_log("") == {}
    with pytest.raises(ValueError, match="the assembler's report on some_kernel"):
        resources_from_log("ptxas info : Compiling entry function 'some_kernel' for 'sm_90'\nUsed many registers\n")


def test_a_missing_toolkit_is_one_sentence_with_the_packages(tmp_path: Path):
    with pytest.raises(NatdeployError, match="bin/nvdisasm") as caught:
        find_toolkit(tmp_path)
    assert all(package in str(caught.value) for package in PACKAGES)


@pytest.fixture(scope="module")
def toolkit() -> Toolkit:
    if shutil.which("c++filt") is None:
        pytest.skip("c++filt is not installed")
    python = python_with(*PACKAGES)
    return find_toolkit(next((python.parents[1] / "lib").glob("python*/site-packages/nvidia/cu13")))


@pytest.fixture(scope="module")
def kernels(toolkit: Toolkit, tmp_path_factory: pytest.TempPathFactory):
    return kernel_report.compiled_kernels(toolkit, 90, tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="module")
def recorder(toolkit: Toolkit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_recorder(toolkit.root / "include", tmp_path_factory.mktemp("recorder"))


SOURCE = """
__global__ void sums(const float4* in, float* out, int count) {
  __shared__ float table[64];
  table[threadIdx.x] = out[threadIdx.x];
  __syncthreads();
  float sum = 0;
  for (int i = 0; i < count; ++i) {
    const float4 v = in[i];
    float a, b;
    asm volatile("ex2.approx.ftz.f32 %0, %1;" : "=f"(a) : "f"(v.x));
    asm volatile("ex2.approx.ftz.f32 %0, %1;" : "=f"(b) : "f"(v.y));
    sum += a * table[i % 64] + b * v.z + v.w;
    asm volatile("" ::: "memory");
  }
  out[threadIdx.x] = sum;
}
"""


@pytest.mark.slow
def test_a_real_listing(toolkit: Toolkit, tmp_path: Path):
    source = tmp_path / "sums.cu"
    source.write_text(SOURCE.replace("for (", "#pragma unroll 1\n  for ("))
    resources = resources_from_log(toolkit.compiled(source, 80, [], tmp_path / "sums.cubin"))
    code = kernels_in_sass(toolkit.disassembled(tmp_path / "sums.cubin"))
    assert resources.keys() == code.keys()
    (name,) = resources
    assert demangled([name])[name] == "sums"
    assert (resources[name].shared_bytes, resources[name].spill_bytes) == (256, 0)
    assert 8 <= resources[name].registers <= 40
    loop = main_loop(loops_of(code[name])[1])
    assert loop is not None and loop.exponentials() == 2
    assert [i.opcode for i in loop.body if i.kind == "load_global"] == ["LDG.E.128"]
    assert loop.count("load_shared") == 1 and loop.count("branch") >= 1
    assert not any(instruction.kind == "other" for instruction in code[name])


@pytest.mark.slow
def test_every_instruction_of_the_kernels_has_a_class(kernels):
    assert len(kernels) > 10
    assert {i.opcode for _, code in kernels.values() for i in code if i.kind == "other"} == set()


@pytest.mark.slow
def test_recorded_launches_do_the_work_that_the_operator_needs(recorder: Path):
    workload = Workload("", 28, 21, heads=2, batch=6)
    found = {launch.tactic: launch for launch in recorded_launches(recorder, workload, 132, 90, images=2)}
    queries = 6 * 28 * 21 * 2
    assert {1, 2} <= found.keys()
    assert found[1].exponentials >= queries * 49 / 32
    assert found[1].products == 0
    assert found[2].exponentials >= queries * 49 / 32
    assert found[2].products * 16 * 8 * 16 >= 2 * 49 * queries * 32  # scores and outputs
    assert found[2].copied_bytes >= 0.7 * (workload.compulsory_bytes * 3 / 4)
    # Twice the images executed: the same per image.
    again = {launch.tactic: launch for launch in recorded_launches(recorder, workload, 132, 90, images=4)}
    assert again[2].products == found[2].products


@pytest.mark.slow
def test_the_report_covers_every_stage(toolkit: Toolkit, kernels, recorder: Path, monkeypatch):
    monkeypatch.setattr(kernel_report, "compiled_kernels", lambda *arguments: kernels)
    monkeypatch.setattr(kernel_report, "build_recorder", lambda *arguments: recorder)
    report = kernel_report.report_of(toolkit, [90], 128, "float16")
    assert json.loads(json.dumps(report)) == report
    (architecture,) = report["architectures"]
    rows = architecture["launches"]
    assert {row["workload"] for row in rows} == {stage.name for stage in STAGES}
    for row in rows:
        low, high = row["floor_ratio"]
        assert 0 < low <= high <= 1
        assert row["occupancy"]["blocks"] >= 1
        assert row["units_us"]["memory"] > row["floor_us"]
        assert all(math.isfinite(time) for time in row["units_us"].values())
        assert row["units_us"][row["binding"]] == max(row["units_us"].values())
        assert sum(row["main_loop"].values()) > 50
    fast = {row["workload"]: max(r["floor_ratio"][1] for r in rows if r["workload"] == row["workload"]) for row in rows}
    assert fast["nat_mini stage 1"] > 0.3  # a layer that is computed by the generic kernel alone stays below 0.1
    assert "nat_mini stage 1" in kernel_report.text_of(report)
