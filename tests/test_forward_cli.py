"""``hires train``, ``apply``, ``export`` and ``--finish``, as typed."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import COMPACT_SHAPE, random_image, random_weights, refusal
from forward_models import ENLARGE, STYLE, random_model, write_random_model
from press import press_profile, problems_of_pdfx4

from hires.cli import main as cli
from hires.config.feedforward import ApplyConfig, TrainConfig
from hires.features.checkpoints import write_checkpoint
from hires.feedforward import training as forward_training
from hires.feedforward.apply import Inference
from hires.feedforward.design import Design
from hires.feedforward.grain import grain_over
from hires.feedforward.model import read_model, write_model
from hires.feedforward.plan import Geometry
from hires.image.decode.read import load_image, read_picture
from hires.image.encode.save import save_image
from hires.tiling.geometry import Region, Span

FP32 = ("--precision", "fp32")
TRAIN = ("--steps", "2", "--batch-size", "1", "--crop", "64", "--features", "tiny.safetensors")


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photographs, a style, two models and a tiny feature network."""
    folder = tmp_path_factory.mktemp("studio")
    (folder / "photos").mkdir()
    save_image(random_image(72, 96, seed=1), folder / "photos" / "one.png")
    save_image(random_image(90, 70, seed=2), folder / "photos" / "two.jpg")
    save_image(random_image(80, 80, seed=3), folder / "style.png")
    write_random_model(folder / "style.safetensors")
    write_random_model(folder / "enlarge.safetensors", "super-resolution")
    write_checkpoint(
        folder / "tiny.safetensors",
        COMPACT_SHAPE,
        random_weights(COMPACT_SHAPE),
        {"licence": "none"},
    )
    return folder


@pytest.fixture(autouse=True)
def work(studio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with the studio's files in it; small networks are trained."""
    (tmp_path / "photos").mkdir()
    for file in studio.rglob("*.*"):
        os.link(file, tmp_path / file.relative_to(studio))
    monkeypatch.chdir(tmp_path)

    def design_of(config: TrainConfig) -> Design:
        return STYLE if config.task == "style" else ENLARGE

    monkeypatch.setattr(forward_training, "design_of", design_of)
    return tmp_path


class TestApply:
    def test_one_picture(self, capsys: pytest.CaptureFixture[str]) -> None:
        argv = ["apply", "style.safetensors", "photos/one.png", "-o", "out.png", *FP32]
        assert cli.main(argv) == 0
        captured = capsys.readouterr()
        assert re.fullmatch(r"out\.png: 96x72 in [\d.]+ s\n", captured.out)
        assert "out.png: 100%" in captured.err
        inference = Inference(random_model(STYLE), ApplyConfig(precision="fp32"))
        expected = inference.apply(load_image("photos/one.png"))
        torch.testing.assert_close(load_image("out.png"), expected, rtol=0, atol=0.003)

    def test_a_folder_is_done_once(self, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
        argv = ["apply", "style.safetensors", "photos", "-o", "new/made", *FP32]
        assert cli.main([*argv, "--quiet"]) == 0
        assert capsys.readouterr() == ("", "")
        made = work / "new" / "made"
        assert sorted(file.name for file in made.iterdir()) == ["one.png", "two.jpg"]
        (made / "one.png").unlink()
        before = (made / "two.jpg").stat().st_mtime_ns
        assert cli.main(argv) == 0
        captured = capsys.readouterr()
        assert "1 in new/made already: skipped (--overwrite makes them anew)" in captured.err
        assert "one.png" in captured.out
        assert "two.jpg" not in captured.out
        assert (made / "two.jpg").stat().st_mtime_ns == before
        assert cli.main([*argv, "--overwrite"]) == 0
        assert (made / "two.jpg").stat().st_mtime_ns > before

    def test_what_is_passed_over_in_folders_is_told(
        self, work: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name in ("photos/deep/er/one.png", "photos/.hidden/three.png"):
            (work / name).parent.mkdir(parents=True)
            os.link("photos/one.png", name)
        Path("photos/._one.png").write_bytes(b"a shadow of macOS")
        for name in ("notes.txt", "a.xcf", "b.XCF", "README"):
            Path("photos", name).write_bytes(b"no picture")
        argv = ["apply", "style.safetensors", "photos", *FP32]
        assert cli.main([*argv, "-o", "made"]) == 0
        others = "4 files of other kinds skipped (1 .txt, 2 .xcf, 1 without an ending)"
        hint = ", 1 subfolder not searched; --recursive searches them"
        assert capsys.readouterr().err.endswith(f"hires: warning: {others}{hint}\n")
        assert sorted(path.name for path in Path("made").iterdir()) == ["one.png", "two.jpg"]
        # What is made within the folder is not taken for more photographs of it.
        inner = [*argv, "-o", "photos/made", "--recursive"]
        for _ in range(2):
            assert cli.main(inner) == 0
            assert capsys.readouterr().err.endswith(f"hires: warning: {others}\n")
        made = Path("photos/made")
        assert sorted(str(path.relative_to(made)) for path in made.rglob("*.*")) == [
            "deep/er/one.png",
            "one.png",
            "two.jpg",
        ]
        assert cli.main([*argv, "-o", "made", "--overwrite", "--quiet"]) == 0
        hint = hint.replace("1 subfolder", "2 subfolders")
        assert capsys.readouterr() == ("", f"hires: warning: {others}{hint}\n")
        pattern = ["apply", "style.safetensors", "photos/*", "-o", "made", *FP32]
        assert cli.main(pattern) == 0
        assert f"{others}, 2 subfolders not searched; --rec" in capsys.readouterr().err
        error = refusal([*argv[:2], "photos/one.png", "-o", "x.png", "--recursive"], capsys)
        assert "--recursive is for folders: leave it out, or give one" in error
        for path in (*Path("photos").glob("one.*"), Path("photos/two.jpg")):
            path.unlink()
        error = refusal([*argv, "-o", "other"], capsys)
        assert "photos: no pictures in this folder (" in error
        assert f"; {others}, 2 subfolders not searched" in error

    def test_what_an_ending_does_not_hold_gets_another(self, work: Path) -> None:
        Path("press.icc").write_bytes(press_profile())
        argv = ["apply", "style.safetensors", "photos", "--quiet", *FP32]
        inks = ["--icc", "press.icc", "--ink-limit", "400"]
        for folder, options, names in (
            ("inks", inks, ["one.tif", "two.jpg"]),
            ("lzw", ["--compression", "lzw"], ["one.tif", "two.tif"]),
            ("pages", [*inks, "--pdfx", "4", "--dpi", "100"], ["one.pdf", "two.pdf"]),
        ):
            assert cli.main([*argv, "-o", folder, *options]) == 0
            assert sorted(file.name for file in (work / folder).iterdir()) == names
        assert problems_of_pdfx4(work / "pages" / "one.pdf") == []

    def test_patterns_and_sixteen_bit(self, work: Path) -> None:
        argv = ["apply", "enlarge.safetensors", "photos/*.*", "-o", "made", "--bit-depth", "16"]
        assert cli.main([*argv, "--quiet", *FP32]) == 0
        # A JPEG cannot hold 16 bits, so what is made of one becomes a PNG.
        assert sorted(file.name for file in (work / "made").iterdir()) == ["one.png", "two.png"]
        found = read_picture("made/two.png")
        assert (found.bit_depth, found.pixels.shape) == (16, (1, 3, 360, 280))

    def test_transparency_is_kept(self) -> None:
        alpha = torch.zeros(1, 1, 72, 96)
        alpha[..., :48] = 1
        save_image(random_image(72, 96), "clear.png", alpha=alpha)
        argv = ["apply", "enlarge.safetensors", "clear.png", "-o", "out.png", "--quiet", *FP32]
        assert cli.main(argv) == 0
        found = read_picture("out.png")
        assert found.alpha is not None
        assert float(found.alpha[..., :180].min()) > 0.99
        assert float(found.alpha[..., 204:].max()) < 0.01

    def test_delivered_for_a_lab(self, capsys: pytest.CaptureFixture[str]) -> None:
        save_image(random_image(72, 96), "photos/three.webp")
        argv = ["apply", "style.safetensors", "photos", "-o", "made", "--quiet", *FP32]
        argv += ["--deliver", "lab", "--icc", "adobe-rgb", "--dpi", "150"]
        assert cli.main(argv) == 0
        # Labs take no WebP and no PNG.
        assert sorted(file.name for file in Path("made").iterdir()) == [
            "one.tif",
            "three.tif",
            "two.jpg",
        ]
        assert cli.main(["inspect", "made/one.tif"]) == 0
        told = capsys.readouterr().out
        assert "96x72 px, 8 bit, 150 dpi" in told
        assert "with the model style.safetensors" in told
        assert re.search(r"^content +photos/one\.png \(SHA-256 ", told, re.MULTILINE)
        assert re.search(r"^model +style\.safetensors \(SHA-256 ", told, re.MULTILINE)
        options = "--precision fp32 --deliver lab --icc adobe-rgb --dpi 150"
        assert re.search(rf"^options +{options}$", told, re.MULTILINE)
        error = refusal(["stylize", "--from", "made/one.tif", "-o", "again.tif"], capsys)
        assert "repeat it with hires apply style.safetensors" in error

    def test_a_page(self, capsys: pytest.CaptureFixture[str]) -> None:
        argv = ["apply", "style.safetensors", "photos/one.png", "-o", "page.pdf", *FP32, "--quiet"]
        assert "--dpi" in refusal(argv, capsys)
        assert cli.main([*argv, "--dpi", "72", "--no-metadata"]) == 0
        assert cli.main(["inspect", "page.pdf"]) == 0
        told = capsys.readouterr().out
        assert "PDF, 96x72 px" in told
        assert "unknown" in told

    def test_one_bad_picture_does_not_stop_the_others(
        self, work: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("photos/bad.jpg").write_bytes(b"no picture")
        save_image(random_image(20, 90), "photos/small.png")
        argv = ["apply", "style.safetensors", "photos", "-o", "made", *FP32, "--quiet"]
        assert cli.main(argv) == 2
        error = capsys.readouterr().err
        assert "cannot read photos/bad.jpg" in error
        assert "photos/small.png: the picture is 90x20, smaller than the network's view" in error
        assert error.endswith("hires: 2 of 4 pictures could not be made\n")
        assert sorted(file.name for file in (work / "made").iterdir()) == ["one.png", "two.jpg"]

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ("absent.safetensors photos/one.png -o out.png", "no such file; give a model's path"),
            ("tiny.safetensors photos/one.png -o out.png", "is a feature network"),
            ("photos/one.png photos/one.png -o out.png", "truncated or not safetensors"),
            ("style.safetensors absent.png -o out.png", "absent.png: there is no such file"),
            ("style.safetensors photos/*.tif -o out", "no picture matches this pattern"),
            ("style.safetensors photos -o out.png", "one file for several pictures"),
            ("style.safetensors photos/one.png style.png -o out.png", "one file for several"),
            ("style.safetensors photos/one.png -o photos", "it is the input photos/one.png"),
            ("style.safetensors photos/one.png -o style.safetensors", "is no folder"),
            ("style.safetensors photos/one.png -o out.png --overwrite", "is for folders"),
            ("style.safetensors photos/one.png -o out.png --thumbnail 99", "--mode thumbnail"),
            ("style.safetensors photos/one.png -o out.png --tile 3", "--tile is 3"),
            ("style.safetensors photos/one.png -o out.png --memory 10K", "at least"),
            ("style.safetensors photos/one.png -o out.png --dpi 1", "--dpi is 1"),
            ("style.safetensors photos/one.png -o out.png --grain 2", "--grain is 2"),
            ("enlarge.safetensors photos/one.png -o out.png --grain 0.1", "--grain is for style"),
            ("style.safetensors photos/one.png -o out.png --deliver lab", "labs do not take"),
            ("style.safetensors photos/one.png -o out.png --print A4", "--print"),
            ("style.safetensors -o out.png", "missing CONTENT"),
        ],
    )
    def test_mistakes(
        self, words: str, message: str, work: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = {file: file.stat().st_mtime_ns for file in work.rglob("*.*")}
        assert message in refusal(["apply", *words.split(), "--quiet"], capsys)
        assert {file: file.stat().st_mtime_ns for file in work.rglob("*.*")} == before

    def test_two_pictures_of_one_name(self, capsys: pytest.CaptureFixture[str]) -> None:
        save_image(random_image(72, 96), "one.png")
        argv = ["apply", "style.safetensors", "one.png", "photos/one.png", "-o", "made"]
        assert "would both become made/one.png" in refusal(argv, capsys)

    def test_an_interruption_keeps_what_was_there(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("out.png").write_bytes(b"before")

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(Geometry, "regions", interrupted)
        argv = ["apply", "style.safetensors", "photos/one.png", "-o", "out.png", "--quiet"]
        assert cli.main(argv) == 130
        assert "interrupted" in capsys.readouterr().err
        assert Path("out.png").read_bytes() == b"before"


class TestTrain:
    def test_trains_and_goes_on(self, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
        argv = ["train", "style.png", "--images", "photos", "-o", "my.safetensors", *TRAIN]
        assert cli.main(argv) == 0
        captured = capsys.readouterr()
        assert re.fullmatch(r"my\.safetensors: 2 steps in \d+ s\n", captured.out)
        assert "step 2/2: 100%" in captured.err
        argv[argv.index("--steps") + 1] = "3"
        assert cli.main([*argv, "--resume", "--quiet"]) == 0
        assert read_model(work / "my.safetensors").metadata["steps"] == "3"
        assert len((work / "my.jsonl").read_text().splitlines()) == 3

    def test_what_is_hidden_of_the_style_is_told(self, capsys: pytest.CaptureFixture[str]) -> None:
        alpha = torch.zeros(1, 1, 80, 80)
        Path("photos/notes.txt").write_bytes(b"no picture")
        argv = ["train", "cut.png", "--images", "photos", "-o", "my.safetensors", *TRAIN, "--quiet"]
        save_image(random_image(80, 80), "cut.png", alpha=alpha)
        assert refusal(argv, capsys) == (
            "hires: cut.png: all of it is transparent; choose another picture\n"
        )
        alpha[..., :20] = 1
        save_image(random_image(80, 80), "cut.png", alpha=alpha)
        assert cli.main(argv) == 0
        assert capsys.readouterr().err.splitlines() == [
            "hires: warning: cut.png: 75% of it is transparent and does not count",
            "hires: warning: 1 file of other kinds skipped (1 .txt)",
        ]

    def test_unreadable_files_are_counted(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("photos/bad.jpg").write_bytes(b"no picture")
        argv = ["train", "style.png", "--images", "photos", "-o", "my.safetensors", *TRAIN]
        argv[argv.index("--steps") + 1] = "3"
        assert cli.main([*argv, "--quiet"]) == 0
        error = capsys.readouterr().err
        assert error.startswith("hires: warning: skipped 1 of 3 files that cannot be read, bad.jpg")

    def test_super_resolution_then_finish(self, capsys: pytest.CaptureFixture[str]) -> None:
        words = "train --task super-resolution --factor 4 --images photos -o up.safetensors --quiet"
        assert cli.main([*words.split(), *TRAIN]) == 0
        argv = ["stylize", "photos/one.png", "style.png", "-o", "out.png", "--size", "690"]
        argv += ["--iterations", "1", "--features", "tiny.safetensors", *FP32]
        assert cli.main([*argv, "--finish", "up.safetensors"]) == 0
        assert capsys.readouterr().out.startswith("out.png: 690x518, painted in")
        # 173x130 is painted, enlarged to 692x520; the edges are cut to what was asked for.
        assert load_image("out.png").shape == (1, 3, 518, 690)
        sheet = [*argv[: argv.index("--size")], *argv[argv.index("--size") + 2 :]]
        sheet += ["--print", "10x8cm", "--dpi", "200", "--finish", "up.safetensors", "--quiet"]
        sheet[sheet.index("out.png")] = "sheet.png"
        assert cli.main(sheet) == 0
        assert load_image("sheet.png").shape == (1, 3, 630, 787)
        assert cli.main(["stylize", "--from", "sheet.png", "-o", "again.png", "--quiet"]) == 0
        assert torch.equal(load_image("again.png"), load_image("sheet.png"))
        assert cli.main(["plan", *sheet[1:-1]]) == 0
        told = " ".join(capsys.readouterr().out.split())
        assert re.search(
            r"then enlarged 4 times to 787x630 by up.safetensors in \S+ s of that", told
        )
        # The side that is measured is that of the finished picture.
        short = [*argv[1:3], "--size", "518", "--measured-side", "short", *argv[7:]]
        assert cli.main(["plan", *short, "--no-probe", "--finish", "up.safetensors"]) == 0
        assert "then enlarged 4 times to 690x518 by up.safetensors" in capsys.readouterr().out
        error = refusal([*argv, "--finish", "style.safetensors"], capsys)
        assert "is for style: give one that was trained for super-resolution" in error
        error = refusal([*argv[:-4], "--sizes", "99", "--finish", "up.safetensors"], capsys)
        assert "--size" in error

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ("--images photos -o my.safetensors", "missing STYLE"),
            ("style.png --images absent -o my.safetensors", "absent: no such folder"),
            ("style.png --images empty -o my.safetensors", "empty: no pictures in this folder"),
            ("style.png --images photos -o my.pth", "ends in .safetensors"),
            ("absent.png --images photos -o my.safetensors", "absent.png: there is no such file"),
            ("style.png --images photos -o my.safetensors --resume", "nothing to resume from"),
            ("style.png --images photos -o my.safetensors --factor 4", "--factor is for"),
            ("style.png --images photos -o my.safetensors --save-every 0", "--save-every is 0"),
            ("style.png --images photos -o my.safetensors --crop 32", "--crop is 32"),
            ("style.png --images photos -o my.safetensors --style-layers x", "unknown layer 'x'"),
            (
                "style.png --task super-resolution --factor 4 --images photos -o my.safetensors",
                "learns no style: leave style.png out",
            ),
        ],
    )
    def test_mistakes(
        self, words: str, message: str, work: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (work / "empty").mkdir()
        before = sorted(work.rglob("*"))
        argv = ["train", *words.split(), "--quiet"]
        argv += [] if "--crop" in argv else TRAIN
        assert message in refusal(argv, capsys)
        assert sorted(work.rglob("*")) == before


class TestExport:
    @pytest.mark.parametrize("name", ["style", "enlarge"])
    def test_onnx_computes_the_same(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        pytest.importorskip("onnxscript")
        runtime = pytest.importorskip("onnxruntime")
        assert cli.main(["export", f"{name}.safetensors", "model.onnx"]) == 0
        assert capsys.readouterr().out.startswith("model.onnx: ")
        session = runtime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
        design = STYLE if name == "style" else ENLARGE
        inference = Inference(random_model(design), ApplyConfig(precision="fp32"))
        for size in ((64, 65), (91, 78)):
            image = random_image(*size).float()
            (found,) = session.run(None, {"picture": image.numpy()})
            torch.testing.assert_close(
                torch.from_numpy(found), inference.apply(image), rtol=0, atol=1e-4
            )

    def test_grain_is_told_and_makes_what_apply_makes(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        onnx = pytest.importorskip("onnx")
        pytest.importorskip("onnxscript")
        runtime = pytest.importorskip("onnxruntime")
        model = replace(random_model(STYLE), metadata={"settings": '{"grain": 0.06}'})
        write_model(Path("grainy.safetensors"), model.design, model.weights, model.metadata)
        assert cli.main(["export", "grainy.safetensors", "model.onnx"]) == 0
        assert "mean 0 and standard deviation 0.06" in capsys.readouterr().out
        graph = onnx.load("model.onnx")
        assert {one.key: one.value for one in graph.metadata_props}["grain"] == "0.06"
        assert "standard deviation 0.06" in graph.graph.doc_string
        session = runtime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
        image = random_image(64, 65).float()
        grainy = image + 0.06 * grain_over(Region(Span(0, 64), Span(0, 65)))
        (found,) = session.run(None, {"picture": grainy.numpy()})
        wanted = Inference(model, ApplyConfig(precision="fp32")).apply(image)
        torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=0, atol=1e-4)

    def test_a_model_without_grain_needs_none(self, capsys: pytest.CaptureFixture[str]) -> None:
        onnx = pytest.importorskip("onnx")
        pytest.importorskip("onnxscript")
        assert cli.main(["export", "enlarge.safetensors", "model.onnx"]) == 0
        assert "grain" not in capsys.readouterr().out
        props = {one.key: one.value for one in onnx.load("model.onnx").metadata_props}
        assert props["grain"] == "0"

    def test_mistakes(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        argv = ["export", "style.safetensors", "model.pb"]
        assert "ends in .onnx" in refusal(argv, capsys)
        monkeypatch.setitem(__import__("sys").modules, "onnx", None)
        argv = ["export", "style.safetensors", "model.onnx"]
        assert "pip install onnx" in refusal(argv, capsys)
        assert not Path("model.onnx").exists()
