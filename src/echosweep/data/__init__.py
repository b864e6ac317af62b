"""Sources of videos and the frame store that everything is prepared into.

A source is a module with the functions of `source.Source`; its line here makes `echosweep prepare`
know it. `--kind auto` takes the one that finds its files in the folder.
"""

from collections.abc import Mapping

from echosweep.data import array, camus, dicom, echonet, folder, images
from echosweep.data.source import Source
from echosweep.registry import Registry

SOURCES: Mapping[str, Source] = Registry(
    "sources",
    {
        "echonet": echonet,
        "folder": folder,
        "dicom": dicom,
        "images": images,
        "array": array,
        "camus": camus,
    },
)
