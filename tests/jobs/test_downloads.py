"""Downloads: what came is a picture, and no file of the user's is overwritten."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from PIL import Image

import jupyter_mjci as mjci
from jupyter_mjci.client.job import Button, Job, Status
from jupyter_mjci.client.redaction import Redactor
from jupyter_mjci.errors import InvalidRequest, InvalidResponse
from jupyter_mjci.imaging.picture import Picture
from jupyter_mjci.services import load_settings
from jupyter_mjci.services.midjourney.responses import parse_job
from jupyter_mjci.session import Session


def encode(color: str, format: str = "PNG", size: tuple[int, int] = (20, 10)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, format)
    return file.getvalue()


RED = encode("red")
BLUE = encode("blue")
LARGE = encode("red", size=(900, 900))
JOB = Job("mj", "17", "IMAGINE", Status.SUCCEEDED, subject="a fox: red/blue?")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[dict[str, bytes]], Session]]:
    """Build a session whose links lead to the given contents, by path."""
    sessions = []

    def build(contents: dict[str, bytes]) -> Session:
        transport = httpx.MockTransport(
            lambda request: httpx.Response(200, content=contents[request.url.path])
        )
        settings = load_settings({"mj_url": "http://proxy"}, environ={})
        session = Session(settings, transport=transport, home=tmp_path / "home")
        sessions.append(session)
        return session

    yield build
    for session in sessions:
        session.close()


def test_equal_names_of_two_jobs_make_two_files(
    serve: Callable[[dict[str, bytes]], Session], tmp_path: Path
) -> None:
    session = serve({"/a/0_0.png": RED, "/b/0_0.png": BLUE})
    first = replace(JOB, outputs=("http://cdn/a/0_0.png",))
    second = replace(JOB, id="18", outputs=("http://cdn/b/0_0.png",))
    files = [session.download(job, tmp_path).run()[0] for job in (first, second, first)]
    assert [file.name for file in files] == ["0_0.png", "0_0-2.png", "0_0.png"]
    colors = [Picture.open(file).image().getpixel((0, 0)) for file in files]
    assert colors == [(255, 0, 0), (0, 0, 255), (255, 0, 0)]


def test_file_of_the_user_is_never_replaced(
    serve: Callable[[dict[str, bytes]], Session], tmp_path: Path
) -> None:
    """Neither a file nor what a symbolic link leads to; a picture is never called a notebook."""
    session = serve({"/analysis.ipynb": RED, "/.bashrc": RED, "/link.png": RED})
    mine = tmp_path / "analysis.png"
    mine.write_text("mine")
    (tmp_path / "link.png").symlink_to(mine)
    urls = ("http://cdn/analysis.ipynb", "http://cdn/.bashrc", "http://cdn/link.png")
    files = session.download(replace(JOB, outputs=urls), tmp_path).run()
    assert [file.name for file in files] == ["analysis-2.png", "bashrc.png", "link-2.png"]
    assert mine.read_text() == "mine"


def test_template_makes_folders_and_safe_names(
    serve: Callable[[dict[str, bytes]], Session], tmp_path: Path
) -> None:
    session = serve({"/x.webp": encode("red", "JPEG")})
    job = replace(JOB, outputs=("http://cdn/x.webp",))
    template = "{prompt:.10}/../{action}/{id}-{index}"
    (file,) = session.download(job, tmp_path, template=template).run()
    assert file.relative_to(tmp_path) == Path("a fox_ red/17/IMAGINE/17-0.jpg")
    with pytest.raises(InvalidRequest, match="not a valid template") as caught:
        session.download(job, tmp_path, template="{seed}").run()
    assert "{prompt}" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"error":{"message":"expired"}}', "expired"),
        (b"<html><title>Login</title></html>", "Login"),
        (b"not here", "not here"),
        (b"", "nothing"),
        (LARGE[: len(LARGE) // 2], "truncated"),
    ],
)
def test_link_to_something_else_raises_and_is_not_archived(
    serve: Callable[[dict[str, bytes]], Session], tmp_path: Path, content: bytes, told: str
) -> None:
    session = serve({"/p.png": content})
    job = replace(JOB, outputs=("http://cdn/p.png",))
    with pytest.raises(InvalidResponse, match="does not lead to a picture") as caught:
        session.picture(job).run()
    assert told in caught.value.detail
    with pytest.raises(InvalidResponse):
        session.download(job, tmp_path).run()
    assert session.follow(job).run() == job
    assert session.archive is not None
    assert session.archive.find(job, 0) is None


@pytest.mark.parametrize(
    "content", [b'{"error":{"message":"expired"}}', b"<!doctype html><title>Login</title>", b""]
)
def test_link_to_an_error_raises(
    serve: Callable[[dict[str, bytes]], Session], content: bytes
) -> None:
    session = serve({"/p.png": content, "/data.json": b'{"width": 3}'})
    with pytest.raises(InvalidResponse, match="does not lead to a picture"):
        session.picture("http://cdn/p.png").run()
    assert session.picture("http://cdn/data.json").run() == b'{"width": 3}'


def test_film_is_fetched_and_archived(serve: Callable[[dict[str, bytes]], Session]) -> None:
    film = b"\0\0\0\x18ftypmp42" + bytes(100)
    session = serve({"/film.mp4": film})
    job = replace(JOB, outputs=("http://cdn/film.mp4",))
    assert session.picture(job).run() == film
    session.follow(job).run()
    assert session.archive is not None
    assert session.archive.find(job, 0) is not None


def test_single_pictures_of_a_grid_are_fetched_instead_of_cut_out(
    serve: Callable[[dict[str, bytes]], Session],
) -> None:
    """Those of the .NET family have the full size (Dooy/chatgpt-web-midjourney-proxy 652)."""
    colors = ("red", "blue", "green", "white")
    singles = {f"/{color}.png": encode(color, size=(90, 80)) for color in colors}
    session = serve({"/grid.png": LARGE, **singles})
    raw = {
        "id": "17",
        "action": "IMAGINE",
        "status": "SUCCESS",
        "imageUrl": "http://cdn/grid.png",
        "imageUrls": [{"url": f"http://cdn/{color}.png"} for color in colors],
    }
    job = parse_job(raw)
    assert session.picture(job).run() == LARGE
    pictures = session.pictures(job).run()
    assert pictures == list(singles.values())
    assert [picture.provenance.index for picture in pictures] == [0, 1, 2, 3]


def test_pictures_know_their_job(serve: Callable[[dict[str, bytes]], Session]) -> None:
    session = serve({"/a.png": RED})
    (picture,) = session.pictures(replace(JOB, outputs=("http://cdn/a.png",))).run()
    assert (picture.provenance.job_id, picture.provenance.index) == ("17", 0)
    assert "a fox: red/blue?" in repr(picture)


def test_item_of_a_job_is_one_of_its_pictures(
    serve: Callable[[dict[str, bytes]], Session],
) -> None:
    """Of a grid it is cut out; single pictures are preferred; the results of others count."""
    session = serve({"/grid.png": LARGE, "/1.png": RED, "/2.png": BLUE})
    urls = ["http://cdn/1.png", "http://cdn/2.png"]
    buttons = (Button("MJ::JOB::upsample::1::x", "U1"),)
    grid = replace(JOB, id="21", outputs=("http://cdn/grid.png",), buttons=buttons)
    singles = replace(JOB, id="22", outputs=grid.outputs, raw={"imageUrls": urls})
    for job in (grid, singles, replace(JOB, id="23", outputs=tuple(urls))):
        pictures = session.pictures(job).run()
        for index in (0, len(pictures) - 1, -1):
            picture = session.picture(job[index]).run()
            assert picture == pictures[index]
            assert picture.provenance == pictures[index].provenance
        with pytest.raises(InvalidRequest, match=f"has {len(pictures)} pictures, and 4 is none"):
            session.picture(job[4]).run()
    with pytest.raises(InvalidRequest, match="has no pictures"):
        session.picture(replace(JOB, status=Status.FAILED)[0]).run()


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF"])
def test_download_says_where_it_comes_from(
    serve: Callable[[dict[str, bytes]], Session], tmp_path: Path, format: str
) -> None:
    """In the file or beside it, the same every time, and without secrets or signed links."""
    content = encode("red", format, (90, 60))
    session = serve({"/a.png": content})
    session.client.transport.redactor = Redactor(("hunter2",))
    link = "https://cdn.discordapp.com/a/b.png?ex=65a1&hm=abcdef https://x.io/a?sig=1234"
    subject = f"ein <b>Fuchs</b> & 狐狸 {link} hunter2"
    job = replace(JOB, outputs=("http://cdn/a.png",), subject=subject, origin="http://proxy")
    (file,) = session.download(job, tmp_path).run()
    assert session.download(job, tmp_path).run() == [file]
    picture = mjci.picture(file)
    origin = picture.provenance
    assert (origin.service, origin.job_id, origin.action) == ("mj", "17", "IMAGINE")
    assert origin.subject.startswith("ein <b>Fuchs</b> & 狐狸 https://cdn.discordapp.com/a/b.png ")
    assert session.picture(file).run().provenance == origin
    written = b"".join(path.read_bytes() for path in tmp_path.glob(f"{file.name}*"))
    for secret in (b"hunter2", b"abcdef", b"1234"):
        assert secret not in written
    assert picture.image().tobytes() == Picture(content).image().tobytes()
    assert list(tmp_path.glob("*.json")) == (
        [file.with_name("a.gif.json")] if format == "GIF" else []
    )
