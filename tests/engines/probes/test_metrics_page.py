"""A Prometheus page as samples, and the plug-in's counts on it."""

from swiftkv_bench.engines.probes.metrics_page import Counts, Metric, Page

COUNTERS = """# HELP swiftkv:tokens_total Tokens.
swiftkv:tokens_total 300.0
swiftkv:prompt_tokens_total{rank="0"} 200.0
swiftkv:prompt_tokens_total{rank="1"} 90.0
swiftkv:second_half_tokens_total 12.0
swiftkv:steps_total 11.0
swiftkv:model_info{mode="full"} 0.0
swiftkv:model_info{mode="skip",layers="6"} 1.0
"""


def test_a_page_is_read_with_its_labels() -> None:
    page = '# HELP a b\na_total{x="1",y="q\\"r"} 3.0\nb 4e-2 1700000000\n'
    assert Page.parse(page).samples == (Metric("a_total", {"x": "1", "y": 'q\\"r'}, 3.0), Metric("b", {}, 0.04))


def test_labels_are_summed_and_a_missing_sample_is_none() -> None:
    page = Page.parse(COUNTERS)
    assert page.total("swiftkv:prompt_tokens_total") == 290.0
    assert page.total("swiftkv:steps_without_second_half_total") is None


def test_the_model_is_the_one_whose_sample_is_not_zero() -> None:
    assert Page.parse(COUNTERS).labels("swiftkv:model_info") == {"mode": "skip", "layers": "6"}


def test_counts_are_differences_of_two_readings() -> None:
    page = Page.parse(COUNTERS)
    counts = Counts.of(page)
    assert counts == Counts(300.0, 290.0, 12.0, 11.0, 0.0)
    assert Counts(310.0, 295.0, 13.0, 12.0, 1.0).since(counts) == Counts(10.0, 5.0, 1.0, 1.0, 1.0)


def test_a_page_without_the_plugin_has_no_counts() -> None:
    assert Counts.of(Page.parse("vllm:prompt_tokens_total 3.0\n")) is None
