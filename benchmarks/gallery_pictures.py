"""The gallery's page as pictures for docs/guides/backbones.md: wide and narrow, light and dark, in real Chromium.

python benchmarks/gallery_pictures.py runs/gallery/gallery.html docs/guides
"""

from __future__ import annotations

import base64
import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.report.conftest import Page

SIZES = {1280: 950, 420: 950}
COLORS = 128


def main() -> None:
    """Each picture shows the top of the page for the second target, with its second model opened."""
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as profile:
        page = Page(shutil.which("chromium") or "chromium", Path(profile))
        try:
            page.connect()
            for width, height in SIZES.items():
                for scheme in ("light", "dark"):
                    page.as_seen(width, scheme)
                    page.open(source.resolve())
                    page.run(
                        "(() => { const at = document.getElementById('target');"
                        " const wanted = (each) => each.text.startsWith('orin-nx-16gb, JetPack 6.2');"
                        " at.value = [...at.options].findIndex(wanted); at.dispatchEvent(new Event('input'));"
                        " document.querySelectorAll('tbody:not([hidden]) .more')[1].click(); })()"
                    )
                    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
                    data = page._call("Page.captureScreenshot", {"format": "png", "clip": clip})["data"]
                    picture = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")
                    out = folder / f"gallery_{width}_{scheme}.png"
                    picture.quantize(COLORS, method=Image.Quantize.MEDIANCUT).save(out, optimize=True)
                    print(out, out.stat().st_size)
        finally:
            page.close()


if __name__ == "__main__":
    main()
