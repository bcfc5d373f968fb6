"""Static inputs: which captured size a number of rows replays, and what the buffers then hold."""

from types import SimpleNamespace

import torch

from swiftkv_bench.swiftkv.graphs import StaticInputs, graph_mode


def _inputs(max_rows: int = 8) -> StaticInputs:
    return StaticInputs(max_rows, hidden_size=2, dtype=torch.float32)


def test_rows_take_the_smallest_captured_size_that_holds_them() -> None:
    inputs = _inputs()
    for size in (8, 4, 1, 4):
        inputs.captured(SimpleNamespace(num_tokens=size))
    sizes = [inputs.descriptor_for(rows) for rows in (1, 2, 4, 5, 8)]
    assert [found.num_tokens if found is not None else None for found in sizes] == [1, 4, 4, 8, 8]


def test_more_rows_than_any_capture_take_none() -> None:
    inputs = _inputs()
    assert inputs.descriptor_for(1) is None
    inputs.captured(SimpleNamespace(num_tokens=4))
    assert inputs.descriptor_for(5) is None


def test_loaded_rows_lead_the_buffers_at_fixed_addresses() -> None:
    inputs = _inputs()
    before = [part.data_ptr() for part in inputs.view(4)]
    hidden = torch.arange(10.0).view(5, 2)
    inputs.load(torch.arange(5), hidden, -hidden, torch.tensor([1, 4]))
    positions, rows, residual = inputs.view(4)
    assert positions[:2].tolist() == [1, 4]
    assert rows[:2].tolist() == [[2.0, 3.0], [8.0, 9.0]]
    assert residual[:2].tolist() == [[-2.0, -3.0], [-8.0, -9.0]]
    assert [part.data_ptr() for part in inputs.view(4)] == before


def test_all_rows_load_without_indices() -> None:
    inputs = _inputs()
    hidden = torch.ones(3, 2)
    inputs.load(torch.tensor([5, 6, 7]), hidden, hidden, None)
    assert inputs.view(3)[0].tolist() == [5, 6, 7]


def test_a_batch_beyond_the_buffers_does_not_fit() -> None:
    assert [_inputs(8).holds(rows) for rows in (8, 9)] == [True, False]


def test_sleep_mode_finds_the_buffers_and_a_checkpoint_does_not() -> None:
    inputs = _inputs()
    assert [buffer.data_ptr() for buffer in inputs.buffers()] == [part.data_ptr() for part in inputs.view(8)]
    assert not inputs.state_dict()


def test_graph_mode_is_restored() -> None:
    context = SimpleNamespace(cudagraph_runtime_mode="FULL", batch_descriptor="runner's")
    with graph_mode(context, "PIECEWISE", "own"):
        assert (context.cudagraph_runtime_mode, context.batch_descriptor) == ("PIECEWISE", "own")
    assert (context.cudagraph_runtime_mode, context.batch_descriptor) == ("FULL", "runner's")
