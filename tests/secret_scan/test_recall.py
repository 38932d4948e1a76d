"""What the scan finds in a corpus beside detect-secrets, and in innocent texts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from detect_secrets import SecretsCollection
from detect_secrets.settings import default_settings

from jupyter_mjci.secret_scan import scan
from tests.secret_scan import corpus

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, tuple[str, str]]:
    """Every kind in every shape, a file each."""
    folder = tmp_path_factory.mktemp("corpus")
    written = {}
    for kind, line in corpus.KINDS.items():
        for shape, make in corpus.SHAPES.items():
            name, content = make(line)
            path = folder / str(len(written)) / name
            path.parent.mkdir()
            path.write_bytes(content)
            written[path] = kind, shape
    return written


def find_with_detect_secrets(path: Path) -> bool:
    secrets = SecretsCollection()
    with default_settings():
        secrets.scan_file(str(path))
    return any(secrets[name] for name in secrets.files)


def test_corpus_has_the_announced_size() -> None:
    assert len(corpus.KINDS) >= 49
    assert len(corpus.SHAPES) >= 36


def test_scan_finds_95_percent_of_the_corpus_and_more_than_detect_secrets(
    files: dict[Path, tuple[str, str]],
) -> None:
    found = {leak.path for leak in scan(files, {}) if leak.is_secret}
    missed = Counter(label for path in files.keys() - found for label in files[path])
    assert len(found) >= 0.95 * len(files), missed.most_common(10)
    # Every 17th: their recall is far from ours, and it is slow.
    sample = list(files)[::17]
    theirs = sum(map(find_with_detect_secrets, sample)) / len(sample)
    ours = len(found.intersection(sample)) / len(sample)
    print(f"recall {len(found) / len(files):.1%}; in the sample {ours:.1%}, theirs {theirs:.1%}")
    assert ours > theirs + 0.2


def test_innocent_documents_and_our_own_files_hold_no_secret(tmp_path: Path) -> None:
    corpus.write_innocent(tmp_path, 120)
    paths = [tmp_path, ROOT / "notebooks", ROOT / "docs", *ROOT.glob("*.md")]
    assert [str(leak) for leak in scan(paths, {})] == []
