"""Without FFCV everything but .beton files works, and what does not says what to install."""

import subprocess
import sys

WITHOUT = """
import sys
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == "ffcv" else found(name, *a)
import datapruner as dp
import datapruner.ffcv
assert "ffcv" not in sys.modules
works, why = datapruner.ffcv.available()
assert not works
for call in (
    lambda: dp.write_beton(dp.open_data("digits"), "never.beton"),
    lambda: dp.FFCVLoader(sys.executable),
    lambda: datapruner.ffcv.prune_ffcv(None, dp.RS2(0.1)),
):
    try:
        call()
    except dp.PrunerError as error:
        for word in ("apt-get install", "libturbojpeg0-dev", "pip install 'datapruner[ffcv]'"):
            assert word in str(error), error
    else:
        raise AssertionError("no error")
assert next(dp.TensorLoader(dp.open_data("digits"))(dp.Fixed().bind(5).draw(0)[0])).x.shape[0] == 5
print("ok")
"""


def test_everything_else_works_and_the_message_names_the_packages() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout == "ok\n", done.stderr[-2000:]
