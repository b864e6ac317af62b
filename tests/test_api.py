"""The public API: seen before it is used, and documented argument by argument."""

import inspect
import re
import subprocess
import sys

import pytest

import echosweep


def test_every_name_is_seen_before_torch_is_imported() -> None:
    code = (
        "import sys, echosweep; assert set(echosweep.__all__) <= set(dir(echosweep));"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", echosweep.__all__)
def test_every_argument_is_documented(name: str) -> None:
    found = getattr(echosweep, name)
    if inspect.isclass(found):
        return
    documented = re.findall(r"^ {8}(\w+): ", inspect.getdoc(found) or "", re.M)
    documented += re.findall(r"^ {4}(\w+): ", inspect.getdoc(found) or "", re.M)
    assert {*inspect.signature(found).parameters} <= {*documented}
