"""Export the winner of a study: weights, images that may be given away, and cards for both.

OUT/README.md               what is here, and what to do before it is shared
OUT/model/                  the weights, config.yaml, and the model card
OUT/guide/, sample.yaml     what guides them, if anything does, and how the images were drawn
OUT/images/, png/, ...      a folder a format, with the dataset card

OUT/export.json             signatures of what was asked for

Invariant: OUT is whole or absent. Its parts are made in OUT.partial, each renamed when it is whole,
so the same call again makes only what is missing, over what a stop left of it.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from echosweep import __version__, folders, places, runs
from echosweep.config import ExportOptions
from echosweep.data.store import FrameStore
from echosweep.errors import UsageError
from echosweep.export import FORMATS
from echosweep.export.weights import copy_guide, copy_model, sampling
from echosweep.export.winner import Winner, find_winner
from echosweep.progress import Show, hidden
from echosweep.reporting import figures
from echosweep.reporting.cards import dataset_card, front_page, model_card

_EXAMPLES, _COLUMNS, _LEAST = 36, 12, 64  # images on a card, in a row, and pixels of each
_RESERVE = 1.05  # folders and tables
_ABOUT = "export.json"
_PARTS = "|".join(["model", "guide", *(each.folder for each in FORMATS.values())])
_FILE = r"[\w-]+\.(safetensors|json|yaml|md|png|csv|dcm|npy|avi)"
# What may lie in OUT.partial: parts, whole (in content) or begun, and a store of fewer images.
_NAMES = (
    rf"(content/)?({_PARTS})/(Videos/)?({_FILE})?|content/(sample\.yaml|README\.md|export\.json)"
    rf"|images\.partial/(\.lock|task\.json|content/({_FILE})?)?"
)


def export(
    study: str | Path,
    out: str | Path,
    *,
    config: ExportOptions | None = None,
    show: Show = hidden,
    **options: Any,
) -> Path:
    """Write the winner of the finished study `study` to the new folder `out`; return `out`.

    Args:
        study: Folder of the study.
        out: Folder to make.
        config: What to write.
        show: Makes progress bars.
        options: Fields of ExportOptions (formats, num), on top of `config`.

    Raises:
        UsageError: Before anything is written, for a study without a winner that may be given away,
            for what was asked for wrongly, and where there is no room.
    """
    wanted = ExportOptions.merge(config, options)
    chosen = _chosen(wanted.formats)
    winner, out = find_winner(Path(study)), Path(out)
    num = _count(wanted.num, winner.images)
    facts = _facts(winner, num)
    task = {
        "kind": "export",
        "study": runs.signature([winner.final, winner.shift]),
        "images": winner.images.content,
        "formats": chosen,
        "num": num,
    }
    if _is_finished(out, task):
        runs.note_finished(out)
        return out
    with folders.begun(out, task, _NAMES) as unfinished:
        content = folders.content_path(out)
        _check_room(content, winner, chosen, num)
        with show("weights", "folders") as progress:
            progress(0, 1)
            _make(unfinished / "model", partial(_write_model, winner, facts))
            if winner.guide:
                _make(unfinished / "guide", partial(copy_guide, winner.guide))
            progress(1, 1)
        for name in chosen:
            images = partial(_write_images, winner.images, name, facts, show)
            _make(unfinished / FORMATS[name].folder, images)
        runs.write_text(content / "sample.yaml", yaml.safe_dump(facts["sampling"]))
        kinds = {FORMATS[name].folder: name for name in chosen}
        runs.write_text(content / "README.md", front_page(facts, kinds))
        runs.write_record(content / _ABOUT, {"task": folders.signatures(task)})
        folders.publish(out)
    return out


def _is_finished(out: Path, task: dict[str, Any]) -> bool:
    """Say whether `out` is this very export; raise UsageError that says what differs if another."""
    try:
        found = runs.read_record(out / _ABOUT, "remove it, or choose another --out")
    except (FileNotFoundError, NotADirectoryError):
        return False
    folders.check_same(out, found.get("task", {}), task)
    folders.clear_published(out, _NAMES)
    return True


def _chosen(formats: Sequence[str]) -> list[str]:
    """Return the formats, each once; raise UsageError for what one lacks."""
    chosen = list(dict.fromkeys(formats))
    for name in chosen:
        FORMATS[name].check()
    return chosen


def _count(num: int | None, images: FrameStore) -> int:
    num = len(images) if num is None else num
    if num > len(images):
        raise UsageError(f"--num {num}: 1 to {len(images)} images can be given away")
    return num


def _facts(winner: Winner, num: int) -> dict[str, Any]:
    """Return what the cards say, see `cards.model_card`."""
    final = winner.final
    return {
        "study": winner.name,
        "data": winner.data,
        "measure": final["measure"],
        "evaluation": final["record"],
        "paper": final.get("paper"),
        "copies": final["copies"],
        "shift": winner.shift,
        "model": winner.model.facts,
        "guide": winner.guide and winner.guide.facts,
        "source": winner.source,
        "sampling": sampling(winner.source["sample"], "guide" if winner.guide else None),
        "num": num,
        "available": len(winner.images),
        "version": __version__,
    }


def _check_room(content: Path, winner: Winner, formats: Sequence[str], num: int) -> None:
    """Raise UsageError if what is still to be written does not fit on the disk."""
    needed = _RESERVE * sum(_bytes(content, winner, formats, num))
    places.check_room(
        content,
        needed,
        "the export needs",
        "choose another --out, or fewer --formats or --num",
    )


def _bytes(content: Path, winner: Winner, formats: Sequence[str], num: int) -> Iterator[int]:
    """Yield the bytes, at most, of each part that is not there."""
    for folder, weights in (("model", winner.model), ("guide", winner.guide)):
        if weights and not (content / folder).exists():
            yield weights.path.with_suffix(".safetensors").stat().st_size
    for name in formats:
        if not (content / FORMATS[name].folder).exists():
            yield num * (winner.images.images[0].nbytes + FORMATS[name].overhead)


def _make(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` make a folder, or go on with it; sync it and move it to the content, for once."""
    whole = folder.parent / folders.CONTENT / folder.name
    if whole.exists():
        return
    write(folder)
    os.sync()  # once: a sync for each of 50,000 small files would take longer than writing them
    folder.rename(whole)


def _write_model(winner: Winner, facts: dict[str, Any], folder: Path) -> None:
    copy_model(winner.model, folder)
    images = winner.images.images[:_EXAMPLES]
    zoom = max(1, _LEAST // images.shape[2])
    figures.save(figures.contact_sheet(images, _COLUMNS, zoom), folder / "examples.png")
    runs.write_text(folder / "README.md", model_card(facts))


def _write_images(
    images: FrameStore, name: str, facts: dict[str, Any], show: Show, folder: Path
) -> None:
    with show(name, "images") as progress:
        FORMATS[name].write(images, facts["num"], folder, progress)
    runs.write_text(folder / "README.md", dataset_card(facts, FORMATS[name].about))
