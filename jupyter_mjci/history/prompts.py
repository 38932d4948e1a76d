"""Read prompts: their flags (`--ar 3:2`) as columns, and their words.

Flags are those of Midjourney's prompts; a short form and its long
one are the same column.
"""

from __future__ import annotations

import re
from collections import Counter

import pandas as pd

from jupyter_mjci.history.normalization import check_columns

# a flag, and everything up to the next one
_FLAG = re.compile(r"(?:^|\s)(?:--|—)([A-Za-z][\w-]*)((?:(?!\s(?:--|—)[A-Za-z]).)*)", re.DOTALL)
_WORD = re.compile(r"[^\W\d_][\w'’-]*")
_URL = re.compile(r"https?://\S+")
# Long forms, and what stands for them here.
_ALIASES = {
    "aspect": "ar",
    "version": "v",
    "s": "stylize",
    "c": "chaos",
    "q": "quality",
    "w": "weird",
}
# what a flag without a value has
FLAG_SET = "yes"


def parse_prompt(prompt: str) -> tuple[str, dict[str, str]]:
    """Return the text of a prompt without its flags, and the flags by name."""
    flags: dict[str, str] = {}
    for name, value in _FLAG.findall(prompt):
        word = name.casefold()
        flags[_ALIASES.get(word, word)] = " ".join(value.split()) or FLAG_SET
    return " ".join(_FLAG.sub(" ", prompt).split()), flags


def build_prompts(jobs: pd.DataFrame) -> pd.DataFrame:
    """Return the parts of every prompt.

    Args:
        jobs: jobs with the column subject

    Returns:
        One row per job, under its index: id, text, words (how
        many), and a column for every flag that occurs, the most
        frequent first; missing where a prompt has no such flag.
    """
    check_columns(jobs, ["subject"])
    subjects = jobs["subject"].astype("string").fillna("")
    # Most prompts of a history come many times.
    codes, unique = pd.factorize(subjects)
    parsed = [parse_prompt(str(subject)) for subject in unique]
    counts: Counter[str] = Counter()
    sizes = pd.Series(codes).value_counts()
    for code, (_, flags) in enumerate(parsed):
        counts.update(dict.fromkeys(flags, int(sizes.get(code, 0))))
    rows = pd.DataFrame(
        {
            "text": pd.array([text or None for text, _ in parsed], dtype="string"),
            "words": [len(list_words(text)) for text, _ in parsed],
        }
    ).astype({"words": "int64"})
    for name, _ in counts.most_common():
        label = f"{name}_flag" if name in ("id", "text", "words") else name
        rows[label] = pd.array([flags.get(name) for _, flags in parsed], dtype="string")
    frame = rows.take(codes).set_axis(jobs.index, axis=0)
    if "id" in jobs.columns:
        frame.insert(0, "id", jobs["id"])
    return frame


def list_words(text: str) -> list[str]:
    """Return the words of a text in lower case, without URLs."""
    return [word.casefold() for word in _WORD.findall(_URL.sub(" ", text))]


def count_words(jobs: pd.DataFrame, limit: int | None) -> pd.DataFrame:
    """Return in how many prompts a word occurs, and how many of those jobs succeeded.

    Args:
        jobs: jobs with the columns subject and status
        limit: the most frequent so many; all for None

    Returns:
        Columns: word, jobs, ended, succeeded, success_rate.
    """
    texts = build_prompts(jobs)["text"].fillna("")
    codes, unique = pd.factorize(texts)
    words = pd.Series([sorted(set(list_words(str(text)))) for text in unique], dtype=object)
    status = jobs["status"].astype("string")
    rows = pd.DataFrame(
        {
            "word": words.take(codes).to_numpy(),
            "ended": status.isin(["SUCCEEDED", "FAILED", "CANCELLED"]).to_numpy("int64"),
            "succeeded": (status == "SUCCEEDED").fillna(value=False).to_numpy("int64"),
        }
    ).explode("word")
    rows = rows.dropna(subset=["word"]).astype({"word": "string"}).assign(jobs=1)
    counts = rows.groupby("word", as_index=False)[["jobs", "ended", "succeeded"]].sum()
    counts["success_rate"] = counts["succeeded"] / counts["ended"].where(counts["ended"] > 0)
    ordered = counts.sort_values(["jobs", "word"], ascending=[False, True], ignore_index=True)
    return ordered.head(len(ordered) if limit is None else limit)
