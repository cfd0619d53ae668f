import json
import math
import xml.etree.ElementTree as ElementTree

import pytest

from starsmith.train.metrics import MetricsFile, Spikes, peak_of, plot, utilisation, words


def test_peaks_are_known_by_part_of_a_name():
    assert peak_of("NVIDIA H100 80GB HBM3") == 989e12
    assert peak_of("NVIDIA H100 PCIe") == 756e12
    assert peak_of("NVIDIA L40S") == 362e12
    assert peak_of("Some CPU") is None
    assert utilisation(1000.0, 6e9, 1e13) == 0.6
    assert utilisation(1000.0, 6e9, None) is None


def test_what_is_no_number_is_refused():
    spikes = Spikes(0.0)
    assert spikes.refuses(1.0, 1.0) is None
    assert spikes.refuses(math.nan, 1.0) == "its loss is nan"
    assert spikes.refuses(1.0, math.inf) == "the norm of its gradient is inf"
    assert spikes.refuses(1e9, 1.0) is None, "without a factor nothing is a spike"
    assert spikes.losses == [1.0, 1e9]


def test_a_spike_is_measured_by_the_mean_of_the_last():
    spikes = Spikes(3.0)
    assert [spikes.refuses(2.0, 1.0) for _ in range(9)] == [None] * 9
    assert spikes.refuses(2.0, 1.0) is None
    assert spikes.refuses(6.1, 1.0) == "its loss of 6.100 is more than 3 times the mean of 2.000"
    assert Spikes(3.0, spikes.losses).refuses(6.1, 1.0), "a resumed run decides alike"
    assert spikes.refuses(5.9, 1.0) is None


def test_a_resumed_run_says_again_what_came_after_its_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path, step=0)
    for step in (1, 2, 3):
        file.write({"step": step, "loss": float(step)})
    with path.open("a") as cut_off:
        cut_off.write('{"step": 4, "lo')
    again = MetricsFile(path, step=2)
    again.write({"step": 3, "loss": 9.0})
    assert [line["loss"] for line in again.lines()] == [1.0, 2.0, 9.0]
    assert all(json.loads(line) for line in path.read_text().splitlines())


@pytest.mark.parametrize(
    "lines", [[], [{"step": 1, "loss": 2.0}], [{"step": n, "loss": 1 / n} for n in range(1, 3000)]]
)
def test_the_plot_is_svg(lines):
    root = ElementTree.fromstring(plot([*lines, {"step": 3000, "bits_per_byte": 1.5}] if len(lines) > 1 else lines))
    assert root.tag.endswith("svg")
    points = root.find("{*}polyline").get("points").split()
    assert len(points) <= 800
    assert (len(root.findall("{*}circle")) == 1) is (len(lines) > 1)


def test_a_line_for_people():
    line = {
        "step": 1200,
        "loss": 1.23456,
        "tokens_per_second": 54321.0,
        "utilisation": 0.512,
        "rate": 0.0003,
        "norm": 0.5,
        "seconds_left": 4000.0,
    }
    assert words(line, steps=5000) == (
        "step 1,200 of 5,000, loss 1.235, 54,321 tokens/s, 51% of the device's peak, rate 3.0e-04, norm 0.50, "
        "67 min left"
    )
    assert "peak" not in words(line | {"utilisation": None}, steps=5000)
