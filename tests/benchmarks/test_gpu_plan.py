"""What the plan reads from the text of a compiled program, on a program written by hand."""

from __future__ import annotations

import pytest

from benchmarks import gpu_cases, gpu_memory
from benchmarks.compiled_program import Program
from benchmarks.described_gpu import H200
from benchmarks.gpu_plan import TINY, described, largest, rows, shared_bytes
from benchmarks.random_features import Sizes
from eaglenet_jax.training.sharding import make_mesh

TEXT = """HloModule jit_f, is_scheduled=true, entry_computation_layout={(f32[8,16]{1,0})->f32[8,4]{1,0}}

%fused (param_0: f32[10,8], param_1: s32[]) -> f32[8] {
  %param_0 = f32[10,8]{1,0} parameter(0)
  %param_1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  %row = f32[1,8]{1,0} dynamic-slice(%param_0, %param_1, %zero), dynamic_slice_sizes={1,8}
  ROOT %out = f32[8]{0} bitcast(%row)
}

%body (state: (s32[], f32[10,8])) -> (s32[], f32[10,8]) {
  %state = (s32[], f32[10,8]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %all = f32[10,8]{1,0} get-tuple-element(%state), index=1
  %taken = f32[8]{0} fusion(%all, %i), kind=kLoop, calls=%fused
  ROOT %next = (s32[], f32[10,8]{1,0}) tuple(%i, %all)
}

%condition (state.1: (s32[], f32[10,8])) -> pred[] {
  %state.1 = (s32[], f32[10,8]{1,0}) parameter(0)
  ROOT %yes = pred[] constant(true)
}

ENTRY %main (x: f32[8,16], w: bf16[16,4], s: (s32[], f32[10,8])) -> f32[8,4] {
  %x = f32[8,16]{1,0} parameter(0)
  %w = bf16[16,4]{1,0} parameter(1)
  %s = (s32[], f32[10,8]{1,0}) parameter(2)
  %gemm = (f32[8,4]{1,0}, s8[4096]{0}) custom-call(%x, %w), custom_call_target="__cublas$gemm", metadata={op_name="jit(f)/dot"}, backend_config={"gemm_backend_config":{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"],"rhs_contracting_dimensions":["0"]}}}
  %y = f32[8,4]{1,0} get-tuple-element(%gemm), index=0
  %loop = (s32[], f32[10,8]{1,0}) while(%s), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"10"}}
  %start = f32[8,4]{1,0} all-reduce-start(%y), replica_groups={{0,1}}, to_apply=%add
  ROOT %done = f32[8,4]{1,0} all-reduce-done(%start)
}
"""  # noqa: E501


def test_bytes_and_products_of_calls_loops_and_parts() -> None:
    costs = {cost.operation.name: cost for cost in Program(TEXT).costs()}
    assert set(costs) == {"gemm", "taken", "start"}
    gemm, taken = costs["gemm"], costs["taken"]
    assert (gemm.read, gemm.written, gemm.flops) == (8 * 16 * 4 + 16 * 4 * 2, 8 * 4 * 4, 2 * 8 * 4 * 16)  # no workspace
    # A row a trip, not the whole array; the index is read too.
    assert (taken.times, taken.read, taken.written) == (10, 8 * 4 + 4, 8 * 4)
    assert gemm.operation.source == "jit(f)/dot"
    assert gemm.seconds(1e3, 1e9) == pytest.approx((640 + 128) / 1e3)
    assert gemm.seconds(1e9, 1e3) == pytest.approx(1024 / 1e3)


def test_collectives_are_counted_once_with_what_they_send() -> None:
    found = Program(TEXT).collectives()
    assert [(cost.times, cost.read) for cost in found.pop("all-reduce")] == [(1, 8 * 4 * 4)] and not found


def test_a_loop_of_unknown_length_is_refused() -> None:
    with pytest.raises(ValueError, match="how often loop runs"):
        Program(TEXT.replace("known_trip_count", "other")).costs()


class _Compiled:
    """A compiled program that has been written by hand."""

    temp_size_in_bytes, argument_size_in_bytes = 3_000_000_000, 1_000_000_000

    def as_text(self) -> str:
        return TEXT

    def memory_analysis(self) -> _Compiled:
        return self


def test_the_prediction_divides_by_pairs_and_names_the_largest() -> None:
    found = described(_Compiled(), "float32", 4)
    moved = 640 + 128 + 10 * 68 + 2 * 128
    assert found["bytes"] == (moved - 128) / 4  # what a collective sends is in place
    assert found["flops"] == 1024 / 4 and found["arithmetic_seconds"] == 256 / H200.float32
    assert [row["operation"] for row in found["largest"]] == ["custom-call", "fusion", "all-reduce-start"]
    text = rows({"a case": found}, 1e3, "kB")
    assert "| a case |" in text and "| 3.00 | 1.00 |" in text and "1 all-reduce of 0.0 MB" in text
    assert "`f32[8,4]`" in largest(found, 1.0, "B")


def test_the_largest_batch_leaves_room_for_parameters() -> None:
    row = {"config": "c", "with": "w", "batch": 10, "frames": 2, "temporary_bytes": 10 * 10**9, "argument_bytes": 10**9}
    assert gpu_memory.largest_batch(row, 24) == 16  # 0.9 · 24 − 1 = 20.6 clips of 1 GB, in steps of eight
    assert gpu_memory.largest_batch(row, 10) == 8
    assert gpu_memory.largest_batch(row, 1) == 0
    batches = {card: gpu_memory.largest_batch(row, card) for card in gpu_memory.CARDS}
    assert (
        gpu_memory.table([row | {"batches": batches}]).splitlines()[-1].endswith("| 10.0 | 1.0 | 16 | 32 | 64 | 120 |")
    )


def _kernel_calls(jaxpr) -> list:
    """The calls of Pallas kernels in a program, with those inside others."""
    inside = [value for equation in jaxpr.eqns for value in equation.params.values() if hasattr(value, "jaxpr")]
    calls = [equation for equation in jaxpr.eqns if equation.primitive.name == "pallas_call"]
    return calls + [call for each in inside for call in _kernel_calls(each.jaxpr)]


def test_what_programs_of_the_kernel_share_is_counted_from_its_arrays(monkeypatch) -> None:
    traced = []
    monkeypatch.setattr(gpu_cases, "compiled", lambda jitted, given, *_: traced.append(jitted.trace(*given).jaxpr))
    sizes = Sizes(**TINY)
    for kernel in ("none", "interpret"):
        gpu_cases.compiled_scoring(sizes, "bfloat16", make_mesh(), kernel=kernel)
    without, (call,) = (_kernel_calls(each.jaxpr) for each in traced)
    assert not without
    _, *of_video, of_texts, of_frames = (each.aval.size * each.aval.dtype.itemsize for each in call.invars)
    assert shared_bytes(sizes, "bfloat16") == sum(of_video) / sizes.videos + of_texts + of_frames


def test_the_pairs_are_traced_in_the_form_that_is_asked_for(monkeypatch) -> None:
    monkeypatch.setattr(gpu_cases, "compiled", lambda jitted, given, dtype: (str(jitted.trace(*given).jaxpr), dtype))
    few, mixed = (gpu_cases.compiled_pairs(Sizes(**TINY), make_mesh(), few_reads) for few_reads in (True, False))
    one_product = "f32[4,4,4,48]"  # of the text nodes: values of two relations, the residual's 8 columns, 8 logits
    assert one_product in few[0] and one_product not in mixed[0]
    assert few[1] == "tensorfloat32" and H200.float32 < H200.flops("tensorfloat32") < H200.flops("bfloat16")
