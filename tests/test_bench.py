"""The benchmark: its arithmetic, its children, its reports, and the stock reference."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import COMPACT_SHAPE, VGG_SHAPE, random_weights

from hires.bench import outputs, report, runs
from hires.bench.cases import VGG19_SHAPE, Case, case_from_json, cases_of, parse_size, parse_tile
from hires.bench.exercises import LadderExercise, StepExercise, picture
from hires.bench.roofline import best_seconds
from hires.bench.work import largest_megapixels, work_of
from hires.bench.worker import OUT_OF_MEMORY, Worker, WorkerError
from hires.cli.main import main
from hires.errors import ConfigError
from hires.features.arithmetic import forward_flops
from hires.features.checkpoints import write_checkpoint
from hires.features.costs import costs_of
from hires.features.network import Network
from hires.tiling.geometry import Region, Span, Tile, grid
from hires.tiling.planning import TilePlan, plan_tiles
from hires.utils.memory import is_out_of_memory

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1", "relu4_2")
ROOF = {"matrix_flops_per_second": {"fp32": 1e9}, "copy_bytes_per_second": 1e9, "device": "cpu"}


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("features") / "tiny.safetensors"
    write_checkpoint(path, COMPACT_SHAPE, random_weights(COMPACT_SHAPE), {})
    return str(path)


def network() -> Network:
    return Network(VGG_SHAPE, random_weights(VGG_SHAPE))


def result(seconds: float, **case: Any) -> report.Result:
    return {
        "case": Case(size=(64, 96), **case).published(),
        "status": "ok",
        "message": "",
        "seconds": report.spread([seconds, seconds * 1.1, seconds * 0.9]),
        "memory": {"resident": 2**30, "baseline": 2**29},
        "facts": {"num_tiles": 3},
        "rates": {"seconds_per_megapixel": seconds / 0.006144},
    }


def report_of(*results: report.Result) -> report.Report:
    return runs.new_report(results, [ROOF], "cpu")


# ---- cases


def test_cases_are_all_combinations() -> None:
    cases = cases_of(
        features=("compact", "vgg19"), sizes=("64x48", "32"), tiles=("auto", "64"), ladder=True
    )
    assert len(cases) == 2 * 2 * 2 * 2
    assert cases[0].size == (32, 32)
    assert cases[1].size == (48, 64)
    assert {case.kind for case in cases} == {"step", "ladder"}


@pytest.mark.parametrize("text", ["", "x", "12", "100x", "axb", "100x20x30", "-64"])
def test_sizes_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ConfigError, match="WIDTHxHEIGHT"):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "31", "big", "-1"])
def test_tiles_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ConfigError, match="auto"):
        parse_tile(text)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"repeats": 0}, "`repeats`"),
        ({"memory": "much"}, "memory"),
        ({"sizes": ()}, "nothing to measure"),
    ],
)
def test_settings_that_cannot_be_measured(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cases_of(**settings)


def test_a_published_case_holds_no_path() -> None:
    case = Case(size=(64, 96), features="/somewhere/else/mine.safetensors", tile=64)
    assert case_from_json(case.to_json()) == case
    assert case_from_json(case.published()) == replace(case, features="mine")
    assert case.label == "mine 96x64 auto tile 64"


# ---- arithmetic


def test_flops_are_those_of_the_networks_own_count() -> None:
    net, side = network(), 128
    whole = Region(Span(0, side), Span(0, side))
    flops = forward_flops(net, NAMES, Tile(whole))
    assert flops == pytest.approx(2 * net.layers["relu5_1"].multiply_adds * side**2)


def test_tiles_compute_nothing_twice_but_for_second_forwards() -> None:
    net, size = network(), (320, 480)
    halo, alignment = net.reach(NAMES)
    tiles = grid(size, 160, halo=halo, alignment=alignment)
    kept = work_of(net, NAMES, size, TilePlan(tiles, 160, len(tiles), 0))
    walked_twice = work_of(net, NAMES, size, TilePlan(tiles, 160, 0, 0))
    assert kept.done_flops == pytest.approx(kept.useful_flops)
    remade = work_of(net, NAMES, size, TilePlan(tiles, 160, len(tiles), 0, remakes=True))
    first = 2 * net.layers["relu1_1"].multiply_adds * 320 * 480
    assert remade.done_flops == pytest.approx(kept.useful_flops + first)
    assert walked_twice.done_flops == pytest.approx(1.5 * kept.done_flops)
    assert (kept.num_second_forwards, walked_twice.num_second_forwards) == (0, len(tiles))


def test_the_largest_untiled_canvas_is_one_tile() -> None:
    costs = costs_of(network(), NAMES, torch.float32)
    untiled, tiled = largest_megapixels(costs, 2**30)
    side = int((untiled * 1e6) ** 0.5) // 16 * 16
    plan = plan_tiles(costs, (side, side), memory=2**30)
    assert len(plan.tiles) == 1
    assert tiled > untiled > 0


def test_best_of_several() -> None:
    assert best_seconds(lambda: None, torch.device("cpu"), 3) >= 0


# ---- the command


def test_the_command_measures_saves_and_compares(
    features: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = str(tmp_path / "found.json")
    wanted = ["--features", features, "--sizes", "96x64", "--precisions", "fp32", "--repeats", "1"]
    assert main(["bench", *wanted, "-o", saved]) == 0
    printed = capsys.readouterr()
    assert "| tiny 96x64 fp32 |" in printed.out
    assert "tiny 96x64 fp32:" in printed.err
    assert main(["bench", "--compare", saved, saved]) == 0
    assert "| ~1.00 |" in capsys.readouterr().out


@pytest.mark.parametrize("extra", [["one.json"], ["one.json", "two.json", "--repeats", "3"]])
def test_a_comparison_takes_two_files_alone(
    extra: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--compare", *extra]) == 2
    assert "--compare takes two files" in capsys.readouterr().err


# ---- children


def test_a_case_in_a_child_of_its_own(features: str) -> None:
    case = Case(size=(64, 96), features=features, precision="fp32", warmup=1, repeats=3)
    found = runs.run_case(case, ROOF)
    assert found["status"] == "ok", found["message"]
    assert len(found["seconds"]["all"]) == 3
    assert set(found["stages"]) == {
        "variation",
        "measure",
        "judge",
        "paint",
        "optimise",
        "total",
    }
    assert sum(found["stages"].values()) == pytest.approx(2 * found["stages"]["total"])
    assert found["rates"]["roofline_share"] > 0
    assert found["memory"]["resident"] >= found["memory"]["baseline"] > 0


def test_out_of_memory_is_a_result() -> None:
    found = runs.run_case(Case(size=(2**22, 2**22)))
    assert found["status"] == OUT_OF_MEMORY
    assert report.row(found)[1] == OUT_OF_MEMORY


def test_a_killed_child_was_out_of_memory() -> None:
    command = (sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(WorkerError) as error:
        Worker({}, command)
    assert error.value.kind == OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("raise MemoryError('std::bad_alloc')", OUT_OF_MEMORY),
        ("import sys; sys.exit('no such thing')", "error"),
    ],
)
def test_a_dead_childs_last_words_count(code: str, kind: str) -> None:
    with pytest.raises(WorkerError) as error:
        Worker({}, (sys.executable, "-c", code))
    assert error.value.kind == kind


def test_errors_of_a_case_are_told_in_a_line(features: str) -> None:
    found = runs.run_case(Case(size=(64, 64), features=features + ".missing"))
    assert found["status"] == "error"
    assert "no such file" in found["message"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_BAD_PARAM"), False),
        (RuntimeError("shapes do not match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: BaseException, *, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


# ---- exercises, in this process


def test_a_ladder_says_where_it_is(features: str) -> None:
    case = Case(
        kind="ladder",
        size=(64, 96),
        min_size=64,
        iterations=(2,),
        features=features,
        precision="fp32",
    )
    exercise = LadderExercise(case)
    steps = [exercise.step() for _ in range(2)]
    while not steps[-1]["is_last"]:
        steps.append(exercise.step())
    assert tuple(steps[-1]["size"]) == (64, 96)


def test_pictures_are_the_same_every_time_and_in_range() -> None:
    image = picture((70, 33), 1)
    assert torch.equal(image, picture((70, 33), 1))
    assert image.shape == (1, 3, 70, 33)
    assert 0 <= float(image.min()) < float(image.max()) <= 1


def test_the_stock_reference_has_the_same_loss_and_gradient() -> None:
    case = Case(size=(64, 80), features=VGG19_SHAPE, style_loss="gram", precision="fp32")
    plain = _stock().StockExercise(case.to_json())
    (gradient,) = torch.autograd.grad(plain.loss(), plain.canvas)
    objective = StepExercise(case).run._objective
    assert objective is not None
    found = objective(plain.canvas.detach())
    assert float(found.loss) == pytest.approx(float(plain.loss().detach()), rel=1e-5)
    assert float((found.gradient - gradient).norm() / gradient.norm()) < 1e-4


def test_both_sides_shorten_their_steps_alike() -> None:
    case = Case(size=(64, 80), features=VGG19_SHAPE, style_loss="gram", precision="fp32")
    shorter = replace(case, learning_rate_decay=0.1, decay_every=2)
    stock = _stock().StockExercise(shorter.to_json())
    plain = [stock.step()["loss"] for _ in range(5)]
    exercise, constant = StepExercise(shorter), StepExercise(case)
    assert [exercise.step()["loss"] for _ in plain] == pytest.approx(plain, rel=2e-3)
    unlike = [constant.step()["loss"] for _ in plain]
    assert unlike[:3] == pytest.approx(plain[:3], rel=2e-3)
    assert unlike[4] != pytest.approx(plain[4], rel=2e-2)


def _stock() -> Any:
    spec = importlib.util.spec_from_file_location("stock", ROOT / "benchmarks" / "stock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---- reports


def test_spread_of_one_and_of_many() -> None:
    assert report.spread([2.0])["iqr"] == 0
    found = report.spread([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found["median"], found["iqr"]) == (3.0, 2.0)


def test_shares_of_the_roofline() -> None:
    facts = {"precision": "fp32", "useful_flops": 1e9, "done_flops": 3e9, "least_bytes": 2e9}
    found = report.rates(facts, 4.0, 2.0, ROOF)
    assert found["seconds_per_megapixel"] == 2.0
    assert found["matrix_share"] == 0.25
    assert found["roofline_share"] == 0.5


def test_a_report_survives_its_file(tmp_path: Path) -> None:
    made = report_of(result(1.0))
    paths, notice = outputs.write(made, tmp_path / "one.json")
    assert report.load(paths[0]) == made
    assert notice == ""
    assert {"torch", "commit", "processor"} <= set(made["environment"])


def test_markdown_has_a_row_for_every_result() -> None:
    failed = {**result(1.0, tile=64), "status": OUT_OF_MEMORY}
    text = report.markdown(report_of(result(1.0), failed))
    assert "compact 96x64 auto |" in text
    assert "| out of memory |" in text


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "hires-bench", "version": 0}'])
def test_files_that_are_no_reports(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"bad\.json"):
        report.load(path)


def test_comparison_tells_noise_from_change() -> None:
    before = report_of(result(1.0), result(1.0, tile=64), result(1.0, tile=128))
    after = report_of(result(0.5), result(1.02, tile=64))
    lines = report.compare(before, after).splitlines()
    assert len(lines) == 4
    assert "| 0.50 |" in lines[2]
    assert "| ~1.02 |" in lines[3]


def test_a_report_from_before_a_setting_was_known_still_compares() -> None:
    before, after = report_of(result(1.0)), report_of(result(0.5))
    del before["results"][0]["case"]["decay_every"]
    assert "| 0.50 |" in report.compare(before, after)


def test_nothing_in_common_is_told() -> None:
    with pytest.raises(ConfigError, match="in common"):
        report.compare(report_of(result(1.0)), report_of(result(1.0, tile=64)))


def test_a_folder_gets_json_markdown_and_plots(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    paths, _ = outputs.write(report_of(result(1.0), result(2.0, tile=64)), tmp_path / "new")
    assert [path.name for path in paths] == ["bench.json", "bench.md", "time.png", "memory.png"]
    assert all(path.stat().st_size for path in paths)


def test_without_matplotlib_the_rest_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    paths, notice = outputs.write(report_of(result(1.0)), tmp_path / "new")
    assert [path.name for path in paths] == ["bench.json", "bench.md"]
    assert "pip install matplotlib" in notice


def test_outputs_that_cannot_be_are_refused_beforehand(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("")
    for bad in (tmp_path / "none" / "a.json", tmp_path / "file.txt"):
        with pytest.raises(ConfigError, match="output"):
            outputs.check_output(bad)
    outputs.check_output(tmp_path / "a.json")
    outputs.check_output(tmp_path / "folder")


def test_series_are_sorted_by_size() -> None:
    wide = {**result(1.0), "case": Case(size=(640, 960)).published()}
    series = outputs.series_of(report_of(wide, result(2.0)))
    assert [point[1] for point in series["compact auto"]] == [2.0, 1.0]
