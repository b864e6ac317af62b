import itertools
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from echosweep.config import (
    DiscriminatorConfig,
    FeatureConfig,
    SampleConfig,
    TrainConfig,
    changes,
    registered,
)
from echosweep.errors import UsageError

CONFIGS = st.fixed_dictionaries(
    {"total_kimg": st.floats(0.001, 1e6)},
    optional={
        "network": st.sampled_from(registered("networks", "NETWORKS")),
        "framework": st.sampled_from(registered("diffusion", "FRAMEWORKS")),
        "lr": st.floats(1e-8, 1.0),
        "batch": st.integers(1, 4096),
        "channel_mult": st.lists(st.integers(1, 8), min_size=1, max_size=5).map(tuple),
        "dropout": st.floats(0, 0.99),
        "precision": st.sampled_from(["auto", "fp32", "bf16"]),
    },
)


@given(CONFIGS)
def test_config_survives_yaml(tmp_path_factory: pytest.TempPathFactory, values: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "config.yaml"
    config = TrainConfig.make(values)
    config.write(path)
    assert TrainConfig.read(path) == config


@given(CONFIGS)
def test_identity_leaves_out_how_long_and_nothing_that_decides(values: Any) -> None:
    config = TrainConfig.make(values)
    longer = TrainConfig.make(values | {"total_kimg": 2e6, "snapshots": 3, "micro_batch": 1})
    assert longer.identity() == config.identity()
    assert TrainConfig.make(values | {"seed": 1}).identity() != config.identity()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "give --total-kimg or --budget-hours"),
        ({"total_kimg": 1, "netwrk": "adm"}, "unknown option 'netwrk'; did you mean 'network'?"),
        ({"total_kimg": 1, "network": "amd"}, "network 'amd' is not known; did you mean 'adm'?"),
        ({"total_kimg": 1, "grid_steps": 1}, "grid_steps = 1: must be 2 or more"),
        ({"total_kimg": 1, "seed": 2**63}, f"seed = {2**63}: must be below {2**63}"),
        ({"total_kimg": -1}, "total_kimg = -1: must be above 0"),
        ({"total_kimg": float("nan")}, "total_kimg = nan"),
        ({"total_kimg": 1, "precision": "fp8"}, "must be 'auto', 'fp32' or 'bf16'"),
        ({"total_kimg": 1, "channel_mult": "1,x"}, "channel_mult.1 = 'x'"),
        ({"total_kimg": 1, "split": "tain"}, "did you mean 'train'?"),
    ],
)
def test_wrong_values_are_named_with_what_is_allowed(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        TrainConfig.make(values)
    assert message in str(caught.value)


def test_every_wrong_value_is_named_at_once() -> None:
    with pytest.raises(UsageError, match=r"total_kimg.*batch"):
        TrainConfig.make({"total_kimg": -1, "batch": 0})


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "\x00", "1: 2"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"config\.yaml"):
        SampleConfig.read(path)


def test_unknown_key_in_yaml_names_the_file_and_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("total_kimg: 1\nlearning: 2\n")
    with pytest.raises(UsageError, match=r"config\.yaml.*learning"):
        TrainConfig.read(path)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *[("off", "off"), ("Off", "off"), ("false", "off"), ("no", "off"), ("'off'", "off")],
        *[("on", "on"), ("true", "on"), ("yes", "on"), ("auto", "auto")],
    ],
)
def test_switches_are_read_as_they_are_written(tmp_path: Path, word: str, value: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"total_kimg: 1e-2\ncompile: {word}\nlr: 2e-4\n")
    config = TrainConfig.read(path)
    assert (config.compile, config.total_kimg, config.lr) == (value, 0.01, 2e-4)


@pytest.mark.parametrize("word", ["true", "yes", "on", "True", "ON"])
def test_what_is_true_may_be_written_in_any_way(tmp_path: Path, word: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"total_kimg: 1\nposthoc_ema: {word}\n")
    assert TrainConfig.read(path).posthoc_ema is True


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=200),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@pytest.mark.parametrize("kind", [TrainConfig, SampleConfig, DiscriminatorConfig, FeatureConfig])
@given(data=st.data())
def test_any_wrong_value_is_one_short_line(kind: Any, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(kind.model_fields)))
    needed = {"total_kimg": 1} if kind is TrainConfig else {}
    said = ""
    try:
        kind.make({**needed, name: data.draw(VALUES)})
    except UsageError as error:
        said = str(error)
    assert "Input should" not in said  # pydantic's own words
    assert len(said) < 400


def test_what_differs_is_named_by_its_path_and_cut() -> None:
    was = {"name": "a", "select": {"num": 8, "seed": 0}, "long": "x" * 500}
    now = {"name": "a", "select": {"num": 9, "seed": 0}, "long": None, "new": 1}
    found = changes(was, now)
    assert found[0] == "select.num was 8, now 9"
    assert found[2] == "new was None, now 1"
    assert [len(line) < 100 for line in found] == [True, True, True]


def test_configs_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        SampleConfig().steps = 3


def test_lists_are_read_from_one_word() -> None:
    assert TrainConfig.make({"total_kimg": 1, "channel_mult": "1,2,2"}).channel_mult == (1, 2, 2)


def laughs(line: str) -> str:
    """Return nine lines, each of nine aliases of the line before."""
    names = "abcdefghij"
    return "".join(
        line.format(name=name, before=",".join([f"*{before}"] * 9)) + "\n"
        for before, name in itertools.pairwise(names)
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &a [lol]\n" + laughs("{name}: &{name} [{before}]"), "10,000 values, aliases written"),
        (
            "a: &a {lr: 1}\n" + laughs("{name}: &{name} {{<<: [{before}]}}"),
            "10,000 values, aliases",
        ),
        ("lr: &a [*a]", "line 1: an alias stands within itself"),
        ("".join(f"k{n}: 1\n" for n in range(10_000)), "holds more than 10,000 values"),
        ("".join(f"k{n}: 1\n" for n in range(100)), "; and 95 more"),
        ("lr: " + "[" * 100_000, "line 1: more than 40 lists within each other"),
        ("lr: [" + "1," * 4000 + "]", "lr = [1, 1, 1, 1"),
        ("#" * 300_000, "it has more than 256 KiB"),
        ("lr: 1\nseed: 3\nlr: 2\n", "line 3: 'lr' stands there twice; keep one"),
        (
            "lr: !!python/object/apply:os.system ['id']",
            "python/object/apply:os.system' is not read",
        ),
        ("lr: !!timestamp x", "is not read; leave it out"),
        ("seed: " + "9" * 5000, "line 1: a number of 5000 digits"),
        ("seed: 0x" + "f" * 5000, "line 1: a number of 5002 digits"),
        ("lr: 1e400", "lr = inf: must be a number that is not infinite"),
        ("x" * 1000 + ": 1", "unknown option in"),
        ("network: " + "x" * 100_000, "is not known"),
        ("lr: *" + "x" * 1000, "is not YAML: found undefined alias"),
        ("lr: =", "is not YAML"),
        ("? [a]\n: 1", "found unhashable key"),
    ],
)
def test_hostile_yaml_is_refused_in_a_few_words(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as refused:
        TrainConfig.read(path)
    assert reason in str(refused.value)
    assert len(str(refused.value)) < 5 * 700


def test_aliases_of_plain_values_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("total_kimg: &a 3\nseed: *a\n")
    assert TrainConfig.read(path).seed == 3


def test_pipes_and_devices_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(UsageError, match=f"cannot read {path}: it is a pipe or a device"):
            TrainConfig.read(path)
    with pytest.raises(UsageError, match="it is a folder"):
        TrainConfig.read(tmp_path)
