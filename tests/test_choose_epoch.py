"""`choose-epoch` as a user calls it, with discriminators that were drawn, not trained."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from echosweep import runs
from echosweep.build import build_discriminator, build_extractors
from echosweep.cli import app
from echosweep.commands.choose_epoch import choose_epoch
from echosweep.commands.epoch_record import warnings
from echosweep.commands.sample import sample
from echosweep.config import DiscriminatorConfig, FeatureConfig
from echosweep.data.provenance import Knowledge, Seen, count_seen
from echosweep.data.store import FrameStore, Preparation, Video
from echosweep.data.writer import begin_partial, write_store
from echosweep.errors import UsageError
from echosweep.evaluation.fid import distance_of
from echosweep.evaluation.floor import halve
from echosweep.evaluation.sets import Side
from echosweep.progress import Progress
from echosweep.training import checkpoint

STEPS = {"steps": 2, "w1": 2.0}
Choose = Callable[..., Any]


def write_epoch(folder: Path, run: Path, number: int, seed: int, **facts: Any) -> None:
    """Write an epoch as `discriminate` does, with weights that `seed` draws."""
    torch.manual_seed(seed)
    config = DiscriminatorConfig()
    described = checkpoint.read_facts(run / "model")
    guides = {key: described[key] for key in ("sha256", "config", "preparation", "classes")}
    discriminator = build_discriminator(config, guides)
    with torch.no_grad():
        for weight in discriminator.parameters():  # an untrained one guides nowhere
            weight.add_(0.05 * torch.randn_like(weight))
    made = {
        "kind": "discriminator",
        "epoch": number,
        "config": config.model_dump(mode="json"),
        "guides": guides,
        "data": described["data"],
        "features": None,
        "accuracy": [[0.1, 0.9], [10.0, 0.5 + number / 100]],
        "best_weight": [[0.1, 1.0], [10.0, 0.0]],
    }
    path = folder / "epochs" / f"{number:04d}"
    checkpoint.save(path, discriminator.trained_state(), made | facts)


@pytest.fixture(scope="module")
def disc(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three epochs, the second with the weights of the first."""
    folder = tmp_path_factory.mktemp("disc") / "disc"
    for number, seed in ((1, 0), (2, 0), (3, 1)):
        write_epoch(folder, small_run, number, seed)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECHOSWEEP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def call(small_run: Path, small_store: Path, disc: Path) -> Choose:
    given = {
        "guidance": disc,
        "data": small_store,
        "split": "val",
        "num": 8,
        "splits": 2,
        "batch": 2,
    }

    def choose(out: Path, model: Path = small_run, **changed: Any) -> Any:
        return choose_epoch(model, out=out, **{**given, "features": "random", **STEPS, **changed})

    return choose


@pytest.fixture
def choose(call: Choose, tmp_path: Path) -> Choose:
    return partial(call, tmp_path / "out")


@pytest.fixture(scope="module")
def chosen(call: Choose, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A finished choice among all epochs. Read only."""
    out = tmp_path_factory.mktemp("chosen") / "out"
    return out, call(out)


def test_the_record_says_all_of_it(chosen: tuple[Path, dict[str, Any]], disc: Path) -> None:
    out, record = chosen
    assert json.loads((out / "choice.json").read_text()) == json.loads(json.dumps(record))
    assert (record["metric"], record["n"], record["by"]) == ("rfd", 4, "video")
    assert [row["epoch"] for row in record["epochs"]] == [1, 2, 3]
    assert [row["accuracy"] for row in record["epochs"]] == pytest.approx([0.705, 0.71, 0.715])
    assert record["choice"]["epoch"] in (1, 3)  # 2 is 1
    path = disc / "epochs" / f"{record['choice']['epoch']:04d}.safetensors"
    assert f"--guidance {path} --w1 2.0 --seed 1000008" in record["next"]
    assert any("of 3 patients or videos" in note for note in record["warnings"])
    assert any("4 images a half for 64 features" in note for note in record["warnings"])
    with Image.open(out / "epochs.png") as picture:
        assert picture.width > 500


def test_equal_weights_are_drawn_once(chosen: tuple[Path, dict[str, Any]]) -> None:
    out, record = chosen
    stores = {path.parent.name for path in out.glob("*/manifest.json")}
    assert stores == {"epoch-0001", "epoch-0003", "unguided"}
    first, second, third = record["epochs"]
    assert (first["images"], second["images"]) == ("epoch-0001", "epoch-0001")
    assert first["mean"] == second["mean"] != third["mean"]


def test_images_are_those_that_sample_draws(
    chosen: tuple[Path, dict[str, Any]], small_run: Path, disc: Path, tmp_path: Path
) -> None:
    out, _ = chosen
    guides: dict[str, dict[str, Any]] = {
        "epoch-0003": {"guidance": disc / "epochs" / "0003.safetensors", "w1": 2.0},
        "unguided": {},
    }
    for name, guide in guides.items():
        alone = sample(small_run, tmp_path / name, num=8, seed=1_000_000, steps=2, batch=5, **guide)
        assert alone is not None
        assert FrameStore.open(out / name).content == alone.content
    assert len({FrameStore.open(out / name).content for name in guides}) == 2


def test_distances_are_of_disjoint_halves(
    chosen: tuple[Path, dict[str, Any]], small_store: Path
) -> None:
    """By hand: the extractor on the images of both halves of the first split."""
    out, record = chosen
    extract = build_extractors(FeatureConfig(features=("random",)))[0]
    real = FrameStore.open(small_store)
    halves = halve(Side(real, real.rows("val")), "video", 1_000_000)
    rows = real.rows("val")
    reals = [extract(real.images[rows[half[:4]]]) for half in halves]
    assert record["floor"]["values"][0] == pytest.approx(distance_of(*reals), rel=1e-4)
    found = record["details"]["epochs"][2][0]
    made = extract(FrameStore.open(out / "epoch-0003").images[:])
    seeds = [list(half) for half in combinations(range(8), 4)]
    for real_half, value in zip(reals, found, strict=True):
        values = [distance_of(made[half], real_half) for half in seeds]
        assert np.abs(np.array(values) - value).min() == pytest.approx(0, abs=1e-4 * value)


def stamps(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.glob("*/*") if path.is_file()}


def test_the_same_again_draws_and_measures_nothing(
    chosen: tuple[Path, dict[str, Any]], choose: Choose, tmp_path: Path
) -> None:
    out, record = chosen
    shutil.copytree(out, tmp_path / "out")
    before = stamps(tmp_path / "out")
    again = choose()
    assert stamps(tmp_path / "out") == before
    assert again["choice"] == record["choice"]
    fewer = choose(num=4, epochs=[3])  # of those that are there
    assert (fewer["n"], [row["epoch"] for row in fewer["epochs"]]) == (2, [3])
    assert fewer["choice"]["leak"] == {"mean": 0, "std": 0}
    images = tmp_path / "out" / "epoch-0003" / "images.npy"
    assert images.stat().st_mtime_ns == before[images]


def test_more_images_take_over_those_that_are_there(
    chosen: tuple[Path, dict[str, Any]], choose: Choose, small_run: Path, tmp_path: Path
) -> None:
    """What is taken over is not drawn again: marked pixels of the first 8 images stay."""
    out, _ = chosen
    shutil.copytree(out, tmp_path / "out")
    store = FrameStore.open(out / "unguided")
    marked = store.images[:].copy()
    marked[:, 0, 0] ^= 255
    target = tmp_path / "out" / "unguided"
    np.save(target / "images.npy", marked)
    manifest = runs.read_record(target / "manifest.json", "")
    manifest["sha256"]["images.npy"] = runs.sha256_file(target / "images.npy")
    runs.write_record(target / "manifest.json", manifest)
    assert choose(num=16)["n"] == 8
    grown = FrameStore.open(target)
    assert np.array_equal(grown.images[:8], marked)
    fresh = sample(small_run, tmp_path / "fresh", num=16, seed=1_000_000, steps=2)
    assert fresh is not None
    assert np.array_equal(grown.images[8:], fresh.images[8:])
    assert not list((tmp_path / "out").glob("*.fewer"))


def test_stopped_again_and_again_it_continues(
    chosen: tuple[Path, dict[str, Any]], choose: Choose, tmp_path: Path
) -> None:
    """Stopped after each batch, while each of the sets grows from 4 images to 8."""

    @contextmanager
    def stopping(title: str, unit: str) -> Iterator[Progress]:
        calls = iter(range(10**6))

        def progress(done: int, total: int, units: float | None = None) -> None:
            if title.startswith("images of") and next(calls):
                raise KeyboardInterrupt

        yield progress

    out, record = chosen
    choose(num=4)
    stops = 0
    for _ in range(20):
        with suppress(KeyboardInterrupt):
            choose(show=stopping)
            break
        stops += 1
    assert stops == 8
    assert choose()["choice"] == record["choice"]
    for name in ("epoch-0001", "epoch-0003", "unguided"):
        made, alone = (FrameStore.open(folder / name) for folder in (tmp_path / "out", out))
        assert made.content == alone.content


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num": 3}, "num = 3: must be 4 or more"),
        ({"num": 1000}, r"--num 1000: half of them .* by video has 8 images; ask for at most 16"),
        ({"splits": 0}, "repeats = 0: must be above 0"),
        ({"batch": 0}, "batch = 0: must be"),
        ({"seed": -1}, "seed = -1: must be"),
        ({"stps": 3}, "unknown option 'stps'; did you mean 'steps'"),
        ({"sampler": "ode", "S_churn": 3.0}, "'ode' has no S_churn"),
        ({"guidance": None, "w1": None}, "give --guidance"),
        ({"epochs": [1, 7, 9]}, r"--epochs 7,9: .* has epochs 1, 2, 3"),
        ({"split": "tset"}, "split = 'tset': must be 'train'"),
        ({"features": "random,dinov2"}, "epochs are compared by one"),
        ({"features": ("dinov2",)}, "no DINOv2 weights"),
    ],
)
def test_what_cannot_be_is_refused_before_any_image(
    choose: Choose, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        choose(**settings)
    assert not list(tmp_path.glob("out/*/*"))


def test_a_folder_without_epochs_and_one_of_another_model_are_refused(
    choose: Choose, small_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"has no epochs .*echosweep discriminate"):
        choose(guidance=small_run)
    first = min((small_run / "snapshots").glob("*.safetensors"))
    with pytest.raises(UsageError, match=r"guides the model with SHA-256 .*trained for"):
        choose(model=first)
    write_epoch(tmp_path / "disc", small_run, 1, 0, kind="model")
    with pytest.raises(UsageError, match="is no discriminator"):
        choose(guidance=tmp_path / "disc")
    assert not (tmp_path / "out").exists()


def test_images_unlike_the_model_s_are_refused(choose: Choose, tmp_path: Path) -> None:
    images = np.zeros((8, 8, 8), np.uint8)
    write_store(tmp_path / "other", Preparation((8, 8)), [(Video("v"), images)])
    with pytest.raises(
        UsageError, match=r"were made differently \(size: \(16, 16\) and \(8, 8\)\)"
    ):
        choose(data=tmp_path / "other", split=None)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 3}, r"epoch-0001 holds images of another task \(steps: 2, now 3\)"),
        ({"seed": 5}, r"seed: 1000000, now 5"),
        ({"w1": 3.0}, r"w1: 2.0, now 3.0"),
    ],
)
def test_a_folder_of_another_task_is_refused_and_left_alone(
    chosen: tuple[Path, dict[str, Any]], call: Choose, settings: dict[str, Any], message: str
) -> None:
    out, _ = chosen
    before = stamps(out)
    with pytest.raises(UsageError, match=message):
        call(out, **settings)
    assert stamps(out) == before


def test_an_epoch_that_was_trained_anew_is_not_mixed_in(
    choose: Choose, small_run: Path, disc: Path, tmp_path: Path
) -> None:
    again = shutil.copytree(disc, tmp_path / "disc")
    choose(guidance=again, epochs=[3])
    write_epoch(again, small_run, 3, seed=9)
    with pytest.raises(UsageError, match=r"epoch-0003 .*guidance: [0-9a-f]{12}\.\.\., now"):
        choose(guidance=again, epochs=[3])


def test_a_begun_set_of_another_number_is_refused_early(
    chosen: tuple[Path, dict[str, Any]], choose: Choose, tmp_path: Path
) -> None:
    task = FrameStore.open(chosen[0] / "unguided").manifest["source"]
    with begin_partial(tmp_path / "out" / "unguided", task):
        pass  # stopped
    with pytest.raises(UsageError, match=r"unguided\.partial .*num: 8, now 16"):
        choose(num=16)
    assert not (tmp_path / "out" / "epoch-0001.partial").exists()


def test_one_patient_is_halved_by_frame_and_tells_of_itself_alone(
    choose: Choose, small_store: Path, tmp_path: Path
) -> None:
    store = FrameStore.open(small_store)
    videos = [(Video("v", "val"), store.images[store.rows("val")[:8]])]
    write_store(tmp_path / "one", store.preparation, videos)
    record = choose(data=tmp_path / "one", epochs=[1])
    assert (record["by"], record["difference"]["interval"]) == ("frame", None)
    assert "cannot tell" in record["verdict"]
    assert any("this heart alone" in note for note in record["warnings"])


def test_videos_that_were_trained_on_may_choose_but_it_is_noted(
    small_store: Path, chosen: tuple[Path, dict[str, Any]]
) -> None:
    store = FrameStore.open(small_store)
    extractor = build_extractors(FeatureConfig(features=("random",)))[0]
    side = Side(store, store.rows("val"))
    for seen, noted in ((Seen(3, 2, 0, 0), 1), (Seen(3, 0, 3, 0), 0)):
        found = warnings(side, "video", 100, extractor, seen)
        assert sum("videos of the reference" in note for note in found) == noted
    assert chosen[1]["seen"]["videos"] == 3
    assert chosen[1]["seen"]["trained"] == 0


def test_the_same_images_of_other_patients_are_measured_anew(
    chosen: tuple[Path, dict[str, Any]],
    call: Choose,
    choose: Choose,
    small_store: Path,
    tmp_path: Path,
) -> None:
    """The images are equal to the last bit: who they are of decides the halves."""
    shutil.copytree(chosen[0], tmp_path / "out")
    store = FrameStore.open(small_store)
    others = {"v14": "v15", "v15": "v14"}
    videos = [
        (replace(v, patient=others.get(v.name, v.name)), store.images[store.index["video"] == i])
        for i, v in enumerate(store.videos)
    ]
    videos[16] = (replace(videos[16][0], patient="v14"), videos[16][1])
    other = write_store(tmp_path / "other", store.preparation, videos, source={"kind": "test"})
    assert (other.content == store.content, other.identity == store.identity) == (True, False)
    again = choose(data=tmp_path / "other")
    assert again["details"] != chosen[1]["details"]
    fresh = call(tmp_path / "fresh", data=tmp_path / "other")
    assert fresh["details"] == again["details"]


def test_images_of_the_chosen_epoch_know_what_chose_it(
    call: Choose, small_run: Path, small_store: Path, disc: Path, tmp_path: Path
) -> None:
    again = shutil.copytree(disc, tmp_path / "disc")
    record = call(tmp_path / "out", guidance=again, epochs=[3])
    guide = again / "epochs" / "0003.safetensors"
    made = sample(small_run, tmp_path / "made", num=4, steps=2, guidance=guide, w1=1.0)
    assert made is not None
    knows, store = Knowledge.of_store(made), FrameStore.open(small_store)
    assert [int(store.videos[i].content, 16) for i in (14, 15, 16)] == knows.chose.tolist()
    assert np.array_equal(Knowledge.from_json(record["provenance"]["knows"]).chose, knows.chose)
    assert count_seen(knows, store, store.rows("val")).chose == 3
    assert count_seen(knows, store, store.rows("test"))[:3] == (3, 0, 0)


def test_generated_images_cannot_choose(choose: Choose, small_run: Path, tmp_path: Path) -> None:
    sample(small_run, tmp_path / "made", num=8, steps=2)
    with pytest.raises(UsageError, match="--data"):
        choose(data=tmp_path / "made", split=None)
    assert not (tmp_path / "out").exists()


def test_the_command_prints_json_a_table_and_what_comes_next(
    chosen: tuple[Path, dict[str, Any]],
    small_run: Path,
    small_store: Path,
    disc: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, record = chosen
    call = ["choose-epoch", small_run, "--guidance", disc, "--data", small_store, "--out", out]
    more = ["--split", "val", "-n", 8, "--repeats", 2, "--steps", 2, "--w1", 2]
    words = [str(word) for word in [*call, *more, "--features", "random"]]
    app(words, result_action="return_value")
    printed = capsys.readouterr()
    assert json.loads(printed.out)["choice"] == record["choice"]
    assert "The leak" in printed.err
    assert "Next: echosweep sample" in printed.err
    with pytest.raises(UsageError, match=r"epochs\.0 = 'some': must be a whole number"):
        app([*words, "--epochs", "some"], exit_on_error=False)


def test_two_processes_choose_what_one_does(
    chosen: tuple[Path, dict[str, Any]],
    small_run: Path,
    small_store: Path,
    disc: Path,
    tmp_path: Path,
) -> None:
    _, record = chosen
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom echosweep.commands.choose_epoch import choose_epoch\n"
        "model, guidance, data, out = sys.argv[1:]\n"
        "record = choose_epoch(model, guidance=guidance, data=data, out=out, num=8, repeats=2,"
        " split='val', features='random', steps=2, w1=2.0, batch=2, device='cpu')\n"
        "sys.stdout.write('LEADS\\n' if record else 'FOLLOWS\\n')\n"  # whole: they share it
    )
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    words = [*launcher, "--master-port", "29517", script, small_run, disc, small_store]
    done = subprocess.run(
        [str(word) for word in [*words, tmp_path / "out"]],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == ["FOLLOWS", "LEADS"]
    found = json.loads((tmp_path / "out" / "choice.json").read_text())
    assert found["choice"] == record["choice"]
