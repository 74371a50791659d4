"""What a painting is like: octaves, colours, strokes, the scene; sheets; pages to choose on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from conftest import loaded
from torch import Tensor

from hires.cli import main as cli
from hires.errors import ImageError
from hires.features.checkpoints import load_features
from hires.image.decode.read import load_image
from hires.image.encode.save import save_image
from hires.image.resample import resize
from hires.judging.choice import Choice, write_choices
from hires.judging.comparison import crop_places, judge, networks_of
from hires.judging.octaves import ROUNDING, octave_energies, octave_ratios
from hires.judging.palette import palette_distance
from hires.judging.strokes import stroke_distances
from hires.judging.structure import structure_distance

SAMPLES = Path(__file__).parent.parent / "samples"


def checkerboard(square: int) -> Tensor:
    """(1, 3, 64, 64), grey."""
    lines = torch.arange(64) // square
    return (0.4 + 0.2 * ((lines[:, None] + lines) % 2).double()).expand(1, 3, 64, 64)


def noise(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, 3, height, width, generator=generator)


def test_a_checkerboard_is_in_the_finest_octave() -> None:
    fine = [luma for luma, _ in octave_energies(checkerboard(1), 3)]
    # Its filtered self is its mean, so all of its variance is in the band, and nothing goes on.
    assert fine == pytest.approx([0.1**2 + ROUNDING] + [ROUNDING] * 2, rel=1e-6)
    coarse = [luma for luma, _ in octave_energies(checkerboard(4), 3)]
    assert coarse[0] < fine[0] / 2
    assert coarse[1] > 1000 * fine[1]


def test_octaves_are_those_of_a_plain_pyramid() -> None:
    picture = noise(40, 52).double()
    kernel = torch.tensor([1.0, 4, 6, 4, 1], dtype=torch.float64) / 16
    matrix = torch.tensor(
        [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]],
        dtype=torch.float64,
    )
    x = torch.einsum("ij,jhw->ihw", matrix, picture[0])[:, None]
    weight = torch.outer(kernel, kernel)[None, None]
    for luma, chroma in octave_energies(picture, 3):
        padded = torch.nn.functional.pad(x, (2, 2, 2, 2), mode="reflect")
        low = torch.nn.functional.conv2d(padded, weight)
        band = (x - low)[:, 0, 2:-2, 2:-2].square().mean((1, 2)) + 1 / 12 / 255**2
        assert luma == pytest.approx(float(band[0]), rel=1e-9)
        assert chroma == pytest.approx(float(band[1] + band[2]), rel=2e-3)  # 0.564 for 0.5643
        x = low[..., ::2, ::2]


def test_a_grey_picture_has_the_chroma_of_rounding() -> None:
    grey = noise(64, 64)[:, :1].expand(1, 3, 64, 64)
    for luma, chroma in octave_energies(grey, 3):
        assert chroma == pytest.approx(2 * ROUNDING, rel=1e-6)
        assert luma > 100 * chroma
    for octave in octave_ratios(grey, grey, 3):
        assert (octave.luma, octave.chroma_to_luma) == (1, 1)
    # Colour that a grey style has not is many times too much.
    assert octave_ratios(noise(64, 64), grey, 3)[0].chroma_to_luma > 1000


def test_twice_the_contrast_is_four_times_the_energy() -> None:
    picture = noise(64, 64) / 2
    for octave in octave_ratios(2 * picture, picture, 3):
        assert octave.luma == pytest.approx(4, rel=0.02)
        assert octave.chroma_to_luma == pytest.approx(1, rel=0.02)


class TestPalette:
    def test_the_same_colours_elsewhere_are_the_same(self) -> None:
        picture = noise(40, 60)
        assert palette_distance(picture, picture) == 0
        assert palette_distance(picture, picture.flip(2, 3)) < 1e-6

    def test_no_colour_in_common_is_1(self) -> None:
        red, green = torch.zeros(2, 1, 3, 32, 32)
        red[:, 0], green[:, 1] = 1, 1
        assert palette_distance(red, green) > 0.9

    def test_a_tint_is_further_than_light(self) -> None:
        picture = load_image(SAMPLES / "harbour.jpg")
        darker = picture * 0.9
        tinted = picture * torch.tensor([1.0, 0.8, 0.7]).view(1, 3, 1, 1)
        assert 0 < palette_distance(darker, picture) < palette_distance(tinted, picture) < 1


class TestStrokes:
    def test_another_part_of_a_texture_is_alike(self) -> None:
        found = stroke_distances(noise(128, 128), noise(200, 128)[..., 70:, :], 3)
        assert max(found) < 0.1

    def test_a_blank_picture_is_as_far_as_can_be(self) -> None:
        found = stroke_distances(torch.full((1, 3, 96, 96), 0.5), noise(96, 96), 2)
        assert found == pytest.approx((1, 1), abs=1e-3)

    def test_turned_strokes_have_the_same_energy_and_are_told(self) -> None:
        lines = noise(1, 128).expand(1, 3, 128, 128)
        turned = lines.mT
        energies = [octave.luma for octave in octave_ratios(turned, lines, 2)]
        assert energies == pytest.approx([1, 1], rel=1e-6)
        assert min(stroke_distances(turned, lines, 2)) > 0.2


class TestStructure:
    def test_other_colours_are_nearer_than_another_scene(self) -> None:
        network = networks_of(["compact"])["compact"]
        scene = load_image(SAMPLES / "harbour.jpg")
        assert structure_distance(scene, scene, network) == 0
        recoloured = scene.flip(1)
        other = load_image(SAMPLES / "impasto.jpg")[..., : scene.shape[2], : scene.shape[3]]
        near = structure_distance(recoloured, scene, network)
        assert 0 < near < 0.7 * structure_distance(scene.flip(3), scene, network)
        assert near < structure_distance(other, other.flip(2), network)


def test_crops_lie_where_the_picture_is_busy_and_flat() -> None:
    picture = torch.full((1, 3, 200, 300), 0.5)
    picture[..., 120:, 200:] += 0.2 * (noise(80, 100) - 0.5)
    picture[..., :100] += 0.01 * (noise(200, 100) - 0.5)
    (top, left), flat = crop_places(picture, 64)
    assert top >= 104
    assert left >= 184
    assert flat[1] >= 84


def test_another_shape_and_small_pictures_are_refused() -> None:
    networks = {"compact": load_features("compact")}
    picture = noise(96, 128)
    with pytest.raises(ImageError, match="has not the shape"):
        judge(picture, noise(96, 96), picture, networks)
    with pytest.raises(ImageError, match="at least 64 px"):
        judge(noise(32, 96), noise(32, 96), picture, networks)


def test_a_page_holds_its_pictures_and_names(tmp_path: Path) -> None:
    pictures = {"one </script>": noise(96, 128), "other": noise(96, 128).flip(3)}
    choice = Choice(name="a in b", content=noise(48, 64), style=noise(50, 50), paintings=pictures)
    write_choices(tmp_path / "choose.html", [choice])
    text = (tmp_path / "choose.html").read_text()
    assert text.count("</script>") == 1
    (data,) = re.findall(r"const choices = (.*);\n", text)
    (found,) = json.loads(data)
    assert found["name"] == "a in b"
    assert [one["name"] for one in found["paintings"]] == [*pictures]
    assert all(one["whole"].startswith("data:image/jpeg;base64,") for one in found["paintings"])
    assert not re.search("https?://", text)


class TestCommand:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        scene = resize(load_image(SAMPLES / "harbour.jpg"), (576, 768))
        save_image(scene, "photo.png")
        save_image(scene.flip(1), "flipped.png")
        save_image(resize(load_image(SAMPLES / "impasto.jpg"), (448, 560)), "style.png")

    def test_a_table_a_sheet_and_a_page(self, capsys: pytest.CaptureFixture[str]) -> None:
        pair = ["compare", "photo.png", "style.png"]
        assert (
            cli.main([*pair, "flipped.png", "photo.png", "-o", "s.png", "--choose", "c.html"]) == 0
        )
        told = capsys.readouterr().out
        assert "flipped" in told
        assert load_image("s.png").shape[3] > 2 * 512
        assert Path("c.html").stat().st_size > 10_000
        assert cli.main([*pair, "photo.png", "--json"]) == 0
        (found,) = json.loads(capsys.readouterr().out).values()
        assert found["structure"] == {"compact": 0}
        assert len(found["octaves"]) == len(found["strokes"])

    @pytest.mark.parametrize("how", [[], ["--json"], ["-o", "s.png"]])
    def test_names_that_are_alike_are_numbered(
        self, how: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        small = resize(load_image("photo.png"), (96, 128))
        for folder in ("a", "b"):
            Path(folder).mkdir()
            save_image(small, f"{folder}/photo.png")
        save_image(small, "photo 1.png")
        results = ["a/photo.png", "b/photo.png", "photo 1.png"]
        assert cli.main(["compare", "photo.png", "style.png", *results, *how]) == 0
        told = capsys.readouterr().out
        assert [told.count(f"photo {number}") for number in (1, 2, 3)] == [1, 1, 1]

    def test_a_name_stays_in_its_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        name = "new\nline\x1b[red]"
        save_image(resize(load_image("photo.png"), (96, 128)), f"{name}.png")
        assert cli.main(["compare", "photo.png", "style.png", f"{name}.png", "-o", "s.png"]) == 0
        assert "new line?[red]" in capsys.readouterr().out

    @pytest.mark.parametrize("columns", [20, 40, 60, 80])
    def test_numbers_stay_whole_where_it_is_narrow(
        self,
        columns: int,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        typed = ["compare", "photo.png", "style.png", "flipped.png", "photo.png"]
        monkeypatch.setenv("COLUMNS", "200")
        assert cli.main(typed) == 0
        wide = capsys.readouterr().out
        monkeypatch.setenv("COLUMNS", str(columns))
        assert cli.main(typed) == 0
        narrow = capsys.readouterr().out
        assert "…" not in narrow
        number = r"\d\.\d\d+"
        assert sorted(re.findall(number, narrow)) == sorted(re.findall(number, wide))

    @pytest.mark.parametrize("small", ["style", "painting"])
    def test_names_the_picture_that_is_too_small(
        self, small: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        save_image(noise(36, 48), "small.png")
        pair = ["small.png", "photo.png"] if small == "style" else ["style.png", "small.png"]
        assert cli.main(["compare", "photo.png", *pair]) == 2
        told = capsys.readouterr().err
        assert told.startswith("hires: small.png is too small to measure, 48x36 px")
        assert told.count("\n") == 1

    @pytest.mark.parametrize(
        ("typed", "problem"),
        [
            (["photo.png"], "missing STYLE"),
            (["photo.png", "style.png"], "missing RESULT"),
            (["photo.png", "style.png", "none.png"], "cannot read none.png"),
            (["photo.png", "style.png", "style.png"], "style.png: a painting of"),
            (["photo.png", "style.png", "photo.png", "--choose", "c.html"], "two paintings"),
            (["photo.png", "style.png", "photo.png", "photo.png", "--choose", "c.txt"], ".html"),
            (["photo.png", "style.png", "photo.png", "-o", "photo.png"], "photo.png"),
            (["photo.png", "style.png", "photo.png", "--features", "none"], "none"),
        ],
    )
    def test_bad_input_is_one_line(
        self, typed: list[str], problem: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["compare", *typed]) == 2
        told = capsys.readouterr().err
        assert problem in told
        assert told.count("\n") == 1


def test_the_script_paints_judges_and_paints_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scripts = Path(__file__).parents[1] / "scripts"
    pair = f"{SAMPLES / 'harbour.jpg'}:{SAMPLES / 'woodcut.jpg'}"
    small = "--min-size 96 --iterations 2"
    typed = ["judge_paintings", "--pairs", pair, "--size", "96", "-o", str(tmp_path / "out")]
    typed += ["--run", f"plain={small}", "--run", f"gram={small} --style-loss gram"]
    monkeypatch.setattr("sys.argv", typed)
    with loaded(scripts / "judge_paintings.py") as script:
        assert script.main() == 0
        out = capsys.readouterr()
        assert out.err.count(": painted in") == 2
        assert "| **median** | gram |" in out.out
        found = json.loads((tmp_path / "out/judged.json").read_text())
        assert [*found["pairs"][pair]] == ["plain", "gram"]
        names = {path.name for path in (tmp_path / "out").iterdir()}
        assert {"sheet-harbour-woodcut.png", "choose.html", "judged.md"} < names
        assert script.main() == 0
        assert "painted in" not in capsys.readouterr().err
