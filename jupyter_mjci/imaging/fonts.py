"""Fonts for text of any script: Pillow's own, those of the system, those of the extra `fonts`.

Text is split into runs, each drawn in the first font that has all
its glyphs. Whether a font has a character is seen by drawing it:
what it lacks looks like a character that no font has.
"""

from __future__ import annotations

import importlib.util
import subprocess
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, features

from jupyter_mjci.imaging.model import Frame, RuleError, Size

NOT_A_CHARACTER = "\uffff"
SAMPLE_SIZE = 24
# The only size of the bitmaps in Noto Color Emoji.
BITMAP_SIZE = 109
FONT_FOLDERS = (
    "~/.fonts",
    "~/.local/share/fonts",
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "~/Library/Fonts",
    "/Library/Fonts",
    "/System/Library/Fonts",
    "C:/Windows/Fonts",
)
FONT_SUFFIXES = (".ttf", ".otf", ".ttc")
# Joiners and marks belong to the character before them.
ATTACHED_CATEGORIES = ("Mn", "Mc", "Me", "Cf", "Sk", "Cc")

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class FontFace:
    """A face of a font file; Pillow's own font has no path."""

    path: str = ""
    index: int = 0

    def load(self, size: int) -> tuple[Font, float]:
        """Return the font at a size (points), and the factor to scale what it draws by.

        Raises:
            OSError: the file cannot be read
        """
        if not self.path:
            return ImageFont.load_default(size), 1.0
        try:
            return ImageFont.truetype(self.path, size, self.index), 1.0
        except OSError:
            font = ImageFont.truetype(self.path, BITMAP_SIZE, self.index)
            return font, size / BITMAP_SIZE

    def has(self, character: str) -> bool:
        """Return whether the face has a glyph for a character."""
        return character.isspace() or _has_glyph(self, character)

    def has_all(self, text: str) -> bool:
        """Return whether the face has a glyph for every character of a text."""
        return all(self.has(character) for character in dict.fromkeys(text))


DEFAULT_FACE = FontFace()


@lru_cache(maxsize=4096)
def _has_glyph(face: FontFace, character: str) -> bool:
    try:
        font, _ = face.load(SAMPLE_SIZE)
        return _draw_sample(font, character) != _draw_sample(font, NOT_A_CHARACTER)
    except OSError:
        return False


def _draw_sample(font: Font, character: str) -> bytes:
    size = 2 * SAMPLE_SIZE
    if isinstance(font, ImageFont.FreeTypeFont):
        size = 2 * round(font.size)
    sample = Image.new("L", (size, size))
    ImageDraw.Draw(sample).text((0, 0), character, fill=255, font=font)
    return sample.tobytes()


@lru_cache(maxsize=256)
def find_face(character: str) -> FontFace | None:
    """Return a face that has a character, None where none on this machine has it."""
    for face in _iter_faces(character):
        if face.has(character):
            return face
    return None


def _iter_faces(character: str) -> Iterator[FontFace]:
    yield DEFAULT_FACE
    yield from _list_packaged_faces()
    yield from _ask_fontconfig(character)
    yield from _list_system_faces()


@lru_cache(maxsize=1)
def _list_packaged_faces() -> Sequence[FontFace]:
    """Return the faces that the extra `fonts` brings, without importing it."""
    spec = importlib.util.find_spec("mplfonts")
    locations = (spec.submodule_search_locations or []) if spec else []
    paths = [path for location in locations for path in Path(location).glob("fonts/*")]
    # Without serifs first, as the service's default.
    paths.sort(key=lambda path: ("Serif" in path.name or "Mono" in path.name, path.name))
    return [FontFace(str(path)) for path in paths if path.suffix.lower() in FONT_SUFFIXES]


def _ask_fontconfig(character: str) -> Sequence[FontFace]:
    query = ["fc-list", "--format", "%{file}\t%{index}\n", f":charset={ord(character):x}"]
    try:
        answer = subprocess.run(query, capture_output=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    lines = sorted(answer.decode("utf-8", "replace").splitlines(), key=_rank_style)
    faces = []
    for line in lines:
        path, _, index = line.partition("\t")
        # the upper half of the number is a variation's
        faces.append(FontFace(path, int(index or 0) & 0xFFFF))
    return faces


def _rank_style(path: str) -> tuple[bool, str]:
    """Rank plain styles before bold, slanted and monospaced ones."""
    name = path.rpartition("/")[2].lower()
    styles = ("bold", "italic", "oblique", "mono", "serif", "light", "thin", "black")
    return any(style in name for style in styles), path


@lru_cache(maxsize=1)
def _list_system_faces() -> Sequence[FontFace]:
    """Return what lies in the folders for fonts, for systems without fontconfig."""
    paths = []
    for folder in FONT_FOLDERS:
        found = Path(folder).expanduser().rglob("*")
        paths += [str(path) for path in found if path.suffix.lower() in FONT_SUFFIXES]
    return [FontFace(path) for path in sorted(paths, key=_rank_style)]


def split_runs(text: str) -> list[tuple[FontFace, str]]:
    """Split one line into pieces of one face each.

    Raises:
        RuleError: no font on this machine has one of its
            characters; names the script
    """
    for character in text:
        if not _is_attached(character) and find_face(character) is None:
            raise RuleError(_describe_missing(text))
    _check_shaping(text)
    runs: list[tuple[FontFace, str]] = []
    for character in text:
        face = find_face(character) or DEFAULT_FACE
        if runs and (_is_attached(character) or runs[-1][0].has(character)):
            runs[-1] = (runs[-1][0], runs[-1][1] + character)
        else:
            runs.append((face, character))
    return runs


# Letters of these join, move or change with their neighbours, or run
# from right to left.
SHAPED_SCRIPTS = frozenset(
    """
    ARABIC BENGALI DEVANAGARI GUJARATI GURMUKHI HEBREW KANNADA KHMER LAO MALAYALAM MONGOLIAN MYANMAR
    NKO ORIYA SINHALA SYRIAC TAMIL TELUGU THAANA THAI TIBETAN
    """.split()  # noqa: SIM905
)


def _check_shaping(text: str) -> None:
    """Check that letters which depend on their neighbours can be drawn as such.

    Pillow finds the library for that (FriBiDi) at run time, and
    draws them wrong without it.
    """
    if text.isascii() or features.check("raqm"):
        return
    scripts = dict.fromkeys(_name_script(character) for character in text)
    shaped = [script for script in scripts if script in SHAPED_SCRIPTS]
    if shaped:
        raise RuleError(
            f"watermark/2/text: {', '.join(shaped)} letters depend on their neighbours, which "
            "Pillow draws only with FriBiDi; install it (apt install libfribidi0)"
        )


def _is_attached(character: str) -> bool:
    return unicodedata.category(character) in ATTACHED_CATEGORIES


def _describe_missing(text: str) -> str:
    missing = [
        character
        for character in dict.fromkeys(text)
        if not _is_attached(character) and find_face(character) is None
    ]
    scripts = dict.fromkeys(_name_script(character) for character in missing)
    return (
        f"watermark/2/text: no font on this machine has {', '.join(scripts)} characters "
        f"({''.join(missing)[:20]}); install one, or jupyter_mjci[fonts] for Chinese, Japanese "
        "and Korean"
    )


def _name_script(character: str) -> str:
    """Return the script of a character: the first word of its name."""
    name = unicodedata.name(character, f"U+{ord(character):04X}")
    return "emoji" if unicodedata.category(character) == "So" else name.partition(" ")[0]


def draw_text(text: str, size: int, color: str, max_size: Size) -> Frame:
    """Draw a text of any script on a transparent background.

    Args:
        text: one line or several
        size: of the font, in points
        color: "#RRGGBB"; emoji have their own
        max_size: what exceeds it is cut off

    Returns:
        The letters, and nothing around them.

    Raises:
        RuleError: no font on this machine has one of its
            characters
    """
    lines = [_draw_line(line, size, color, max_size[0]) for line in text.splitlines() or [""]]
    width = min(max(line.width for line in lines), max_size[0])
    height = min(sum(line.height for line in lines), max_size[1])
    letters = Image.new("RGBA", (width, height))
    top = 0
    for line in lines:
        letters.paste(line, (0, top))
        top += line.height
    box = letters.getbbox()
    return letters.crop(box) if box else letters


def _draw_line(text: str, size: int, color: str, max_width: int) -> Frame:
    pieces: list[tuple[Frame, int]] = []
    width = 0
    for face, run in split_runs(text):
        # No letter is narrower than an eighth of its height.
        drawn = _draw_run(face, run[: 8 * max_width // size + 8], size, color)
        pieces.append(drawn)
        width += drawn[0].width
        if width >= max_width:
            break
    if not pieces:
        return Image.new("RGBA", (1, size))
    ascent = max(baseline for _, baseline in pieces)
    descent = max(piece.height - baseline for piece, baseline in pieces)
    line = Image.new("RGBA", (width, ascent + descent))
    left = 0
    for piece, baseline in pieces:
        line.paste(piece, (left, ascent - baseline))
        left += piece.width
    return line


def _draw_run(face: FontFace, text: str, size: int, color: str) -> tuple[Frame, int]:
    font, scale = face.load(size)
    measuring = ImageDraw.Draw(Image.new("L", (1, 1)))
    left, top, right, bottom = map(int, measuring.textbbox((0, 0), text, font, anchor="ls"))
    left = min(left, 0)
    width = max(1, right - left, round(measuring.textlength(text, font)))
    # As wide as it is advanced, so that the next run begins there;
    # at least one row high.
    piece = Image.new("RGBA", (width, max(1, bottom - top)), color)
    piece.putalpha(0)
    ImageDraw.Draw(piece).text(
        (-left, -top), text, fill=color, font=font, anchor="ls", embedded_color=scale != 1
    )
    if scale == 1:
        return piece, -top
    scaled = (max(1, round(piece.width * scale)), max(1, round(piece.height * scale)))
    return piece.resize(scaled, Image.Resampling.LANCZOS), round(-top * scale)
