"""Films are played in the cell; their first frame is in the saved notebook where it can be made."""

from __future__ import annotations

import base64
import io
import re
import sys

import pytest

from jupyter_mjci.imaging import films
from jupyter_mjci.imaging.films import make_poster, render_player
from jupyter_mjci.imaging.picture import Picture, Provenance

FILM = b"\0\0\0\x18ftypmp42" + bytes(100)


def make_film(format: str = "mp4") -> bytes:
    av = pytest.importorskip("av")
    file = io.BytesIO()
    codec = "mpeg4" if format == "mp4" else "libvpx"
    with av.open(file, "w", format=format) as container:
        stream = container.add_stream(codec, rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(3):
            frame = av.VideoFrame(64, 48, "rgb24")
            frame.planes[0].update(bytes([200, 30, 30]) * (frame.planes[0].buffer_size // 3))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize("format", ["mp4", "webm"])
def test_cell_plays_a_film_with_its_first_frame_as_poster(format: str) -> None:
    film = Picture(make_film(format), Provenance("mj", "17", action="VIDEO", subject='a "fox"'))
    data, _ = film._repr_mimebundle_()
    assert sorted(data) == ["text/html", "text/plain"]
    html = data["text/html"]
    assert f'src="data:video/{format};base64,{base64.b64encode(film).decode()}"' in html
    assert 'aria-label="VIDEO 17 a &quot;fox&quot;"' in html
    (poster,) = set(re.findall(r"data:image/\w+;base64,([^\"]+)", html))
    frame = Picture(base64.b64decode(poster))
    assert frame.size == (64, 48)
    red, green, blue = frame.array()[24, 32]
    assert red > 150 > max(green, blue)


def test_long_film_is_played_from_its_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(films, "MAX_EMBEDDED", 50)
    html = render_player(FILM, "a fox", 'https://cdn/a.mp4?x="1"')
    assert 'src="https://cdn/a.mp4?x=&quot;1&quot;"' in html
    for link in ("", "javascript:alert(1)", "file:///etc/passwd"):
        assert render_player(FILM, "a fox", link) == ""


@pytest.mark.parametrize("content", [b"", b"text", b"RIFF\0\0\0\0AVI ", b"\x89PNG\r\n\x1a\n"])
def test_what_browsers_do_not_play_has_no_player(content: bytes) -> None:
    assert render_player(content, "a fox", "https://cdn/a.avi") == ""
    assert make_poster(content) == ""


def test_without_the_extra_or_a_frame_the_film_has_no_poster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "poster" not in render_player(FILM, "a fox")
    film = make_film()
    assert make_poster(film)
    monkeypatch.setitem(sys.modules, "av", None)
    assert make_poster(film) == ""
    assert ">a fox</video>" in render_player(film, "a fox")
