"""The contact sheet, in a real browser where there is one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rali.errors import InputError
from rali.report.contact import SheetRow, write_contact_sheet

EVIL = "<img src=x onerror=window.hacked=1>\"'&</script><script>window.hacked=1</script>\udce9.jpg"


def rows(photograph_files: list[Path], tmp_path: Path) -> list[SheetRow]:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    first, second = photograph_files[:2]
    return [
        SheetRow("b10.jpg", first, 3.5, (3.0, 4.0), [("soft focus", 0.8)], map=second),
        SheetRow(EVIL, second, 1.25, None, [(EVIL, 0.5)]),
        SheetRow("b9.jpg", broken, None, error="It is no picture."),
        SheetRow("a.jpg", second, 4.75),
    ]


def test_everything_from_outside_is_escaped(photograph_files, tmp_path):
    page = tmp_path / "page.html"
    assert write_contact_sheet(page, iter(rows(photograph_files, tmp_path)), title=EVIL) == 4
    text = page.read_text("utf-8")
    assert "<img src=x" not in text and text.count("<script") == 1
    assert len(re.findall(r'src="data:image/jpeg;base64,', text)) == 3
    assert "Not scored: It is no picture." in text and "80%" in text
    assert not re.findall(r'(?:src|href)="(?!data:)', text)  # nothing is fetched


def test_a_page_is_written_whole_or_not_at_all(photograph_files, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("the last one")

    def stopped():
        yield from rows(photograph_files, tmp_path)
        raise InputError("Stopped.")

    with pytest.raises(InputError):
        write_contact_sheet(page, stopped())
    assert page.read_text() == "the last one"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken.jpg", "page.html"]


@pytest.mark.slow
def test_a_browser_sorts_and_filters(chromium, photograph_files, tmp_path):
    page_file = tmp_path / "page.html"
    write_contact_sheet(page_file, rows(photograph_files, tmp_path))
    page, faults, asked = chromium.new_page(), [], []
    page.on("pageerror", lambda fault: faults.append(str(fault)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(page_file.as_uri())

    def shown() -> list[str]:
        names = page.locator(".card:visible small").all_text_contents()
        return ["evil" if "onerror" in name else name for name in names]

    assert shown() == ["b10.jpg", "evil", "b9.jpg", "a.jpg"]
    page.select_option("#order", "best")
    assert shown() == ["a.jpg", "b10.jpg", "evil", "b9.jpg"]
    page.select_option("#order", "worst")
    assert shown() == ["evil", "b10.jpg", "a.jpg", "b9.jpg"]
    page.select_option("#order", "name")
    assert [name for name in shown() if name != "evil"] == ["a.jpg", "b9.jpg", "b10.jpg"]
    page.fill("#text", "SOFT")
    assert shown() == ["b10.jpg"]
    assert page.text_content("#count") == "1 of 4 pictures"
    page.fill("#text", "")
    page.fill("#low", "4")
    assert shown() == ["a.jpg", "b9.jpg"]
    page.uncheck("#failed")
    assert shown() == ["a.jpg"]
    page.fill("#low", "1")
    page.fill("#high", "2")
    assert shown() == ["evil"]
    page.fill("#high", "5")
    page.focus("[data-map]")
    page.keyboard.press("Enter")
    assert page.locator("dialog img").get_attribute("src").startswith("data:image/jpeg")
    assert page.text_content("dialog p") == "b10.jpg"
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
    assert page.evaluate("window.hacked") is None and not faults
    assert all(url.startswith(("file:", "data:")) for url in asked)
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()
