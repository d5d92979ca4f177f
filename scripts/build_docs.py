"""Makes a site of the documentation, from the pages as they are: `python -m scripts.build_docs [DIRECTORY]`.

Sphinx reads the Markdown (docs/site/conf.py says how), and any warning of it is an error: a link or an anchor that leads
nowhere, a page that is in no list. The site asks nothing of other machines, and can be opened from its files.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from sphinx.cmd.build import build_main

ROOT = Path(__file__).resolve().parent.parent


def build(site: Path) -> int:
    """Make the site in a directory, and return Sphinx's exit code."""
    strictly = ["-q", "-W", "--keep-going", "-E"]
    code = build_main(
        [*strictly, "-c", f"{ROOT}/docs/site", "-d", f"{site}/.doctrees", str(ROOT), str(site)]
    )
    if code == 0:
        # What stands in the pages as HTML is not seen by Sphinx, such as pictures for dark screens.
        shutil.copytree(ROOT / "docs" / "images", site / "docs" / "images", dirs_exist_ok=True)
        shutil.copyfile(site / "README.html", site / "index.html")
    return code


if __name__ == "__main__":
    where = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "site"
    done = build(where)
    if done == 0:
        print(where / "index.html")
    sys.exit(done)
