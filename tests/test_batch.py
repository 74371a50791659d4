"""Many paintings, one after the other: tables, parts, what is done, what fails."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hires.cli import main as cli
from hires.cli.commands import stylize
from hires.cli.display import Display
from hires.config.batch import output_name, part_of, read_table, shard_of
from hires.errors import ConfigError

SAMPLES = Path(__file__).parent.parent / "samples"
SMALL = ["--size", "64", "--min-size", "64", "--iterations", "2"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("harbour", "impasto", "woodcut"):
        shutil.copy(SAMPLES / f"{name}.jpg", tmp_path)
    return tmp_path


def summary(path: str = "out/summary.csv") -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def states(path: str = "out/summary.csv") -> list[str]:
    return [row["state"] for row in summary(path)]


class TestParts:
    @pytest.mark.parametrize(
        ("text", "environment", "wanted"),
        [
            (None, {}, (1, 1)),
            ("3/16", {"RANK": "0", "WORLD_SIZE": "2"}, (3, 16)),
            (None, {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "8"}, (8, 8)),
            (
                None,
                {
                    "SLURM_ARRAY_TASK_ID": "7",
                    "SLURM_ARRAY_TASK_COUNT": "8",
                    "SLURM_ARRAY_TASK_MIN": "1",
                },
                (7, 8),
            ),
            (None, {"RANK": "1", "WORLD_SIZE": "2"}, (2, 2)),
            (None, {"RANK": "1"}, (1, 1)),
        ],
    )
    def test_a_part_is_typed_or_the_schedulers(
        self, text: str | None, environment: dict[str, str], wanted: tuple[int, int]
    ) -> None:
        assert shard_of(text, environment) == wanted

    @pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0"])
    def test_others_are_refused(self, text: str) -> None:
        with pytest.raises(ConfigError, match="NUMBER/COUNT"):
            shard_of(text, {})

    @pytest.mark.parametrize("count", [1, 2, 3, 7, 20])
    def test_parts_are_all_jobs_once(self, count: int) -> None:
        parts = [part_of("abcdefghij", (number, count)) for number in range(1, count + 1)]
        assert sorted(one for part in parts for one in part) == [*enumerate("abcdefghij", 1)]
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


class TestTables:
    def test_rows_are_options(self) -> None:
        Path("jobs.csv").write_text(
            "content,--style,style-weights,print,tileable\n"
            "a b.jpg,one.jpg 'two b.jpg',0.3 0.7,A3,false\n"
            "\n"
            "c.jpg,one.jpg,,,\n",
            encoding="utf-8-sig",
        )
        first, second = read_table(Path("jobs.csv"))
        assert first == {
            "content": ("a b.jpg",),
            "styles": ("one.jpg", "two b.jpg"),
            "style_weights": ("0.3", "0.7"),
            "paper": ("A3",),
            "tileable": False,
        }
        assert second == {"content": ("c.jpg",), "styles": ("one.jpg",)}

    def test_lines_of_json_say_the_same(self) -> None:
        rows = [{"content": "a.jpg", "styles": ["b", "c"], "size": 64, "quiet": True, "tile": None}]
        Path("jobs.jsonl").write_text("".join(json.dumps(row) + "\n\n" for row in rows))
        assert read_table(Path("jobs.jsonl")) == [
            {"content": ("a.jpg",), "styles": ("b", "c"), "size": ("64",), "quiet": True}
        ]

    @pytest.mark.parametrize(
        ("name", "text", "problem"),
        [
            ("a.csv", "", "has no jobs"),
            ("a.csv", "content\n", "has no jobs"),
            ("a.csv", "content,content\n1,2\n", "each name once"),
            ("a.csv", "content\n1,2\n", "2 cells for 1 columns"),
            ("a.csv", "styles\n'a b\n", "line 2, styles"),
            ("a.jsonl", "{\n", "line 1: no JSON"),
            ("a.jsonl", "[1]\n", "object of options"),
            ("a.jsonl", '{"size": {"a": 1}}\n', "line 1, size"),
        ],
    )
    def test_what_is_no_table_is_refused(self, name: str, text: str, problem: str) -> None:
        Path(name).write_text(text)
        with pytest.raises(ConfigError, match=problem):
            read_table(Path(name))

    def test_names_of_files(self) -> None:
        assert output_name("{content}-{style}.jpg", "a/b.png", ["c.jpg", "d.jpg"], 7) == "b-c+d.jpg"
        assert output_name("{number}.tif", "b.png", ["c.jpg"], 7) == "0007.tif"
        for pattern in ("{size}.jpg", "{.jpg", "{content.x}.jpg"):
            with pytest.raises(ConfigError, match="pattern"):
                output_name(pattern, "b.png", ["c.jpg"], 7)


class TestCommand:
    def test_photographs_by_styles(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("photos").mkdir()
        shutil.copy("harbour.jpg", "photos/one.jpg")
        shutil.copy("harbour.jpg", "photos/two.jpg")
        typed = ["batch", "photos", "--styles", "impasto.jpg", "woodcut.jpg", "-o", "out", *SMALL]
        assert cli.main(typed) == 0
        assert "4 jobs: 4 painted" in capsys.readouterr().out
        names = [
            f"{content}-{style}" for content in ("one", "two") for style in ("impasto", "woodcut")
        ]
        for name in names:
            with Image.open(f"out/{name}.jpg") as picture:
                assert picture.size == (64, 48)
        rows = summary()
        assert [Path(row["output"]).stem for row in rows] == names
        assert {(row["width"], row["height"]) for row in rows} == {("64", "48")}
        with Image.open("out/contact-sheet.jpg") as sheet:
            assert sheet.width > 4 * 64

    def test_what_is_done_is_skipped_and_what_has_changed_is_not(self) -> None:
        typed = ["batch", "photos", "--styles", "impasto.jpg", "-o", "out", "--no-run-dir", *SMALL]
        Path("photos").mkdir()
        for name in ("one", "two"):
            shutil.copy("harbour.jpg", f"photos/{name}.jpg")
        assert cli.main([*typed, "--quiet"]) == 0
        before = Path("out/one-impasto.jpg").stat().st_mtime_ns
        shutil.copy("woodcut.jpg", "photos/two.jpg")
        assert cli.main([*typed, "--quiet"]) == 0
        assert states() == ["done before", "painted"]
        assert Path("out/one-impasto.jpg").stat().st_mtime_ns == before
        assert cli.main([*typed, "--quiet", "--tv-weight", "1"]) == 0
        assert states() == ["painted", "painted"]

    def test_failures_stop_nothing(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("broken.jpg").write_bytes(b"no picture")
        Path("jobs.csv").write_text(
            "content,styles,color\n"
            "broken.jpg,impasto.jpg,\n"
            "harbour.jpg,impasto.jpg,purple\n"
            "harbour.jpg,impasto.jpg,content\n"
        )
        assert cli.main(["batch", "jobs.csv", "-o", "out", *SMALL, "--quiet"]) == 2
        assert states() == ["failed", "failed", "painted"]
        told = capsys.readouterr().err
        assert "job 1 failed: " in told
        assert "job 2 failed: --color is 'purple'" in told
        assert "Traceback" not in told

    def test_a_run_that_is_interrupted_is_gone_on_with(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("jobs.jsonl").write_text(
            "".join(
                f'{{"content": "harbour.jpg", "seed": 0, "output": "{n}.png"}}\n' for n in range(3)
            )
        )
        typed = ["batch", "jobs.jsonl", "--styles", "impasto.jpg", "-o", "out", *SMALL, "--quiet"]
        paint: Any = stylize.paint
        painted: list[str] = []

        def stopping(run: Any, **options: Any) -> int:
            painted.append(run.job.output)
            if len(painted) == 2:
                raise KeyboardInterrupt
            found: int = paint(run, **options)
            return found

        monkeypatch.setattr(stylize, "paint", stopping)
        assert cli.main(typed) == 130
        assert states() == ["painted", "not begun", "not begun"]
        assert cli.main(typed) == 0
        assert states() == ["done before", "painted", "painted"]
        assert [Path(path).stem for path in painted] == ["0", "1", "1", "2"]
        assert "interrupted" in capsys.readouterr().err

    def test_a_picture_of_a_run_that_was_stopped_is_not_done(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("jobs.csv").write_text("content,styles,output\nharbour.jpg,impasto.jpg,one.png\n")
        typed = ["batch", "jobs.csv", "-o", "out", "--quiet", "--no-run-dir", *SMALL]

        def stopping(_: Display, progress: Any) -> None:
            if progress.iteration == 1:
                raise KeyboardInterrupt

        monkeypatch.setattr(Display, "update", stopping)
        assert cli.main(typed) == 130
        monkeypatch.undo()
        monkeypatch.chdir(folder)
        assert cli.main(["inspect", "out/one.png"]) == 0
        assert "as it stood at rung 1/1 (64x48), step 1/2" in capsys.readouterr().out
        assert cli.main(typed) == 0
        assert states() == ["painted"]
        assert cli.main(["inspect", "out/one.png"]) == 0
        assert "stood" not in capsys.readouterr().out

    def test_parts_make_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        Path("jobs.csv").write_text("content,seed\n" + "harbour.jpg,0\n" * 3)
        typed = ["batch", "jobs.csv", "--styles", "impasto.jpg", "-o", "out", "--quiet", *SMALL]
        typed += ["--pattern", "{number}.png"]
        assert cli.main([*typed, "--shard", "1/2"]) == 0
        # As a task of a Slurm array finds it.
        for name, value in (("ID", "8"), ("COUNT", "2"), ("MIN", "7")):
            monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
        assert cli.main(typed) == 0
        assert sorted(path.name for path in Path("out").glob("*.png")) == [
            "0001.png",
            "0002.png",
            "0003.png",
        ]
        assert [row["number"] for row in summary("out/summary-2-of-2.csv")] == ["2"]

    @pytest.mark.parametrize(
        ("typed", "problem"),
        [
            (["photos"], "missing --styles"),
            (
                ["nowhere", "--styles", "impasto.jpg"],
                "cannot read nowhere: there is no such folder",
            ),
            (["harbour.jpg", "--styles", "impasto.jpg"], "is no folder, and no table"),
            (["empty", "--styles", "impasto.jpg"], "has no pictures"),
            (["jobs.csv", "--pattern", "same.jpg"], "jobs 1 and 2 are both saved as"),
            (["typo.csv"], "a column 'colour', which is no option"),
            (["jobs.csv", "--no-metadata"], "leave it out"),
            (["jobs.csv", "--shard", "9/2"], "NUMBER/COUNT"),
            (["missing.csv"], "cannot read missing.csv: there is no such file; check the path"),
            (["folder.csv"], "cannot read folder.csv: it is a folder; give a table"),
        ],
    )
    def test_bad_input_is_one_line(
        self, typed: list[str], problem: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        Path("empty").mkdir()
        Path("folder.csv").mkdir()
        Path("jobs.csv").write_text("content,styles\n" + "harbour.jpg,impasto.jpg\n" * 2)
        Path("typo.csv").write_text("content,styles,colour\nharbour.jpg,impasto.jpg,style\n")
        assert cli.main(["batch", *typed, "-o", "out", *SMALL]) == 2
        told = capsys.readouterr().err
        assert problem in told
        assert told.count("\n") == 1
        assert not Path("out").exists()

    def test_the_folder_of_photographs_is_not_painted_into(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["batch", ".", "--styles", "impasto.jpg", "-o", ".", *SMALL]) == 2
        assert "holds the photographs" in capsys.readouterr().err
