"""The secrets that a scan knows: by form, by the name they are given, by value.

Three tables. `TOKENS`: what providers issue begins with a fixed
prefix, so its form is proof. `PLACES`: headers, cookies, URLs and
options hold a secret whatever it looks like. Assignments: a name
that means a credential, and a value in quotation marks; the names
of our own settings are taken from the services' sections, and
their variables may be set without quotation marks.

detect-secrets 1.5 was tried as the engine of the first table. Of
the 49 kinds of tests/secret_scan/corpus.py it finds 23 in plain
text, and it reports 80 of 120 innocent documents there (long
hexadecimal texts); it is the yardstick of the tests only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from jupyter_mjci.client.redaction import NO_PLACEHOLDER, SECRET_PATTERNS, iter_encodings
from jupyter_mjci.client.settings import list_section_settings
from jupyter_mjci.services import get_section_types

Patterns = list[tuple[str, re.Pattern[str]]]

_BEFORE = r"(?<![A-Za-z0-9_-])"
_AFTER = r"(?![A-Za-z0-9_-])"

# Kind -> the form of what the provider issues.
TOKENS: Mapping[str, str] = {
    "Airtable token": r"pat[A-Za-z0-9]{14}\.[0-9a-f]{64}",
    "Alibaba Cloud AccessKey ID": r"LTAI[A-Za-z0-9]{12,20}",
    "Anthropic key": r"sk-ant-[A-Za-z0-9_-]{20,4000}",
    "Artifactory key": r"AKC[pA-Z][A-Za-z0-9]{10,4000}",
    "AWS access key ID": r"(?:AKIA|ASIA)[A-Z0-9]{16}",
    "Azure account key": r"AccountKey=[A-Za-z0-9+/]{86}==",
    "Databricks token": r"dapi[0-9a-f]{32}(?:-\d)?",
    "DigitalOcean token": r"do[opr]_v1_[0-9a-f]{64}",
    "Discord webhook": r"https://(?:\w+\.)?discord(?:app)?\.com/api/webhooks/\d{6,4000}/[\w-]{40,4000}",
    "Docker token": r"dckr_pat_[A-Za-z0-9_-]{20,4000}",
    "Doppler token": r"dp\.(?:pt|st|ct)\.[A-Za-z0-9._-]{40,4000}",
    "Figma token": r"figd_[A-Za-z0-9_-]{30,4000}",
    "GitHub token": r"gh[pousr]_[A-Za-z0-9]{36,4000}",
    "GitHub fine-grained token": r"github_pat_[A-Za-z0-9_]{50,4000}",
    "GitLab token": r"gl(?:pat|dt|rt|oas|cbt|ptt|ft|soat)-[A-Za-z0-9_-]{20,4000}",
    "Google API key": r"AIza[A-Za-z0-9_-]{35}",
    "Google OAuth secret": r"GOCSPX-[A-Za-z0-9_-]{24,4000}",
    "Google OAuth token": r"ya29\.[A-Za-z0-9_-]{30,4000}",
    "Grafana token": r"gl(?:sa|c)_[A-Za-z0-9+/=_]{30,4000}",
    "Groq key": r"gsk_[A-Za-z0-9]{40,4000}",
    "Heroku key": r"HRKU-[A-Za-z0-9_-]{30,4000}",
    "Hugging Face token": r"(?:hf|api_org)_[A-Za-z0-9]{30,4000}",
    "Linear key": r"lin_(?:api|oauth)_[A-Za-z0-9]{32,4000}",
    "Mailchimp key": r"[0-9a-f]{32}-us\d{1,2}",
    "New Relic key": r"NRAK-[A-Z0-9]{27}",
    "Notion token": r"(?:ntn_|secret_)[A-Za-z0-9]{43,4000}",
    "npm token": r"npm_[A-Za-z0-9]{36}",
    "Perplexity key": r"pplx-[A-Za-z0-9]{40,4000}",
    "Postman key": r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}",
    "PyPI token": r"pypi-AgE[A-Za-z0-9_-]{50,4000}",
    "Replicate token": r"r8_[A-Za-z0-9]{30,4000}",
    "SendGrid key": r"SG\.[A-Za-z0-9_-]{20,24}\.[A-Za-z0-9_-]{39,50}",
    "Sentry token": r"sntry[su]_[A-Za-z0-9+/=_]{40,4000}",
    "Shopify token": r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}",
    "Slack token": r"xox[abeoprs](?:-[A-Za-z0-9]+){2,4000}",
    "Slack app token": r"xapp-\d-[A-Z0-9]+-\d+-[0-9a-f]{40,4000}",
    "Slack webhook": r"https://hooks\.slack\.com/(?:services|workflows)/T\w+/\w+/\w{20,4000}",
    "Square token": r"sq0(?:atp|csp)-[A-Za-z0-9_-]{22,4000}",
    "Stripe key": r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{20,4000}",
    "Telegram bot token": r"\d{8,10}:AA[A-Za-z0-9_-]{33}",
    "Terraform token": r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{60,4000}",
    "Twilio key": r"SK[0-9a-f]{32}",
    "Vault token": r"hv[sbr]\.[A-Za-z0-9_-]{24,4000}",
    "Volcengine access key ID": r"AKLT[A-Za-z0-9]{20,4000}",
    "xAI key": r"xai-[A-Za-z0-9]{60,4000}",
    "age key": r"AGE-SECRET-KEY-1[A-Z0-9]{58}",
}


def _make_value(least: int) -> str:
    """Return the form of a value of a header or option, of at least so many characters."""
    return rf"{NO_PLACEHOLDER}(?P<secret>[^\s\"'<>\\,;&]{{{least},4000}})"


# Values are bounded, so that a search takes linear time.
_RANDOM = r"(?=[^\s\"'<>\\&;]{0,80}\d)(?=[^\s\"'<>\\&;]{0,80}[A-Za-z])"
_HEADERS = "|".join(
    (
        "x-api-key",
        "api-key",
        "apikey",
        "x-auth-token",
        "x-access-token",
        "x-auth-key",
        "x-goog-api-key",
        "x-vault-token",
        "x-amz-security-token",
        "x-csrftoken",
        "x-xsrftoken",
        "private-token",
        "job-token",
        "deploy-token",
        "circle-token",
        "ocp-apim-subscription-key",
        "proxy-authorization",
        "x-mj-api-secret",
    )
)
_SESSION_COOKIES = "|".join(
    (
        "sessionid",
        "session",
        "session_id",
        "sid",
        r"connect\.sid",
        "_session_id",
        "phpsessid",
        "jsessionid",
        "auth_token",
        r"username-[\w-]+",
        r"jupyterhub-[\w-]+",
        r"__Secure-[\w.-]+",
        r"__Host-[\w.-]+",
        "cf_clearance",
    )
)
PLACES: Mapping[str, tuple[str, ...]] = {
    "private key": (
        r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:\s|\\[nrt]|[\w-]{1,40}: [^\n]{0,200}\n){0,20}"
        r"(?P<secret>[A-Za-z0-9+/=]{20,4000})",
        r"PuTTY-User-Key-File-\d: [\w-]+[\s\S]{0,2000}?"
        r"Private-Lines: \d+\s+(?P<secret>[A-Za-z0-9+/=]{20,4000})",
    ),
    "secret header": (
        rf"(?i)(?<![\w-])(?:{_HEADERS})[\"']?\s{{0,20}}[:=]\s{{0,20}}[\"']?" + _make_value(8),),
    "cookie": (
        r"(?i)(?<![\w-])(?:set-)?cookie[\"']?\s{0,20}[:=]\s{0,20}[\"']?(?:[\w.-]{1,80}=[^\s;\"']{0,400};\s{0,4}){0,20}[\w.-]{1,80}="
        + _RANDOM
        + _make_value(16),
        rf"(?i)(?<![\w-])(?:{_SESSION_COOKIES})=" + _RANDOM + _make_value(16),
    ),
    "token in a URL": (
        r"(?i)[?&](?:access_?token|auth_?token|id_token|refresh_token|private_token|api_?key|apikey"
        r"|token|secret|password|passwd|pwd|client_secret|key)=" + _RANDOM + _make_value(12),
    ),
    "password of a command": (
        r"(?i)\b(?:curl|wget|http|https|xh)\b[^\n]{0,300}?\s(?:-u|--user|--proxy-user|-a|--auth)"
        r"[\s=]*[\"']?[^\s:\"'/]{1,80}:" + _make_value(4),
        r"(?i)(?<![\w-])--?(?:[\w-]{1,30}-)?(?:password|passwd|secret|secret-key|api-key|token|access-key)"
        r"(?:\s{0,20}=\s{0,20}|\s+)[\"']?" + _RANDOM + _make_value(8),
        r"\bsshpass\s{1,20}-p\s{0,20}[\"']?" + _make_value(4),
    ),
    # auth=("user", "…"), HTTPDigestAuth("user", "…"), smtp.login("user", "…")
    "password of a client": (
        r"(?:\b[aA]uth\w{0,10}\s{0,20}=\s{0,20}[\w.]{0,60}|Auth|\.login)"
        r"\(\s{0,20}[rbu]?[\"'][^\"'\n]{1,80}[\"']\s{0,20},\s{0,20}[rbu]?[\"']"
        + _make_value(4),
    ),
    "password in a URL": (
        rf"(?i)\b[a-z][a-z0-9+.-]{{0,20}}://[^\s/:@\"'<>\\]{{0,200}}:{NO_PLACEHOLDER}"
        r"(?P<secret>[^\s/@\"'<>\\]{3,200})@[\w\[]",
        # GitHub and others take a token alone for the user.
        r"(?i)\bhttps?://(?P<secret>[A-Za-z0-9_-]{20,200})@[\w\[]",
    ),
    "password of netrc": (
        r"(?i)\bmachine\s{1,20}\S{1,200}\s{1,20}login\s{1,20}"
        r"\S{1,200}\s{1,20}password\s{1,20}" + _make_value(4),
    ),
}  # fmt: skip

# Names that mean a credential, behind any prefix but a paging one.
_NAMES = "|".join(
    (
        "secret_?key",
        "secret_?access_?key",
        "access_?key",
        "access_?key_?secret",
        "private_?key",
        "api_?key",
        "apikey",
        "api_?secret",
        "app_?secret",
        "client_?secret",
        "account_?key",
        "auth_?key",
        "encryption_?key",
        "signing_?key",
        "password",
        "passwd",
        "passphrase",
        "pwd",
        "secret",
        "secret_?id",
        "token",
        "credentials?",
    )
)
_PREFIX = (
    r"(?:(?!(?:next|page|paging|continuation|sync|cursor|max)[_-]?)[A-Za-z0-9]{1,30}[_-]){0,5}?"
)
_NAME = rf"(?i:(?<![A-Za-z0-9]){_PREFIX}(?:{_NAMES}))"
_QUOTE = r"\\?[\"']"
# Between name and value: `x = "…"`, `"x": "…"`, `d["x"] = "…"`, `f("x", "…")`, `x := "…"`.
_BETWEEN = rf"(?:{_QUOTE})?\s{{0,20}}\]?\s{{0,20}}(?::=|=>|=|:|,)\s{{0,20}}(?:[rbuf]?{_QUOTE}|`)"
_QUOTED = rf"{NO_PLACEHOLDER}(?P<secret>[^\s\"'`<>\\]{{6,4000}})(?:{_QUOTE}|`)"


def _compile_assignments() -> Patterns:
    """Build the patterns of assignments; names of our settings need no look of a secret."""
    names, variables = _list_own_names()
    own = "|".join(map(re.escape, names))
    env = "|".join(map(re.escape, variables))
    bare = rf"{NO_PLACEHOLDER}(?P<secret>[^\s\"'`<>\\()\[\]{{}},;]{{6,4000}})"
    forms = (
        rf"(?i:(?<![A-Za-z0-9])(?:{own})){_BETWEEN}{_QUOTED}",
        rf"(?i:(?<![\w-])--(?:{own.replace('_', '-')}))[\s=]+[\"']?{bare}",
        rf"(?<![A-Za-z0-9])(?:{env}){_BETWEEN}{_QUOTED}",
        rf"(?<![A-Za-z0-9])(?:{env})[\"']?[ \t]*=[ \t]*{bare}(?![(\[])",
        rf"(?m)(?<![A-Za-z0-9])(?:{env})[\"']?:[ \t]+{bare}[ \t]*$",
        rf"(?:%(?:set_)?env|%sx|\bsetx?|\bENV|\bset -x|\bexport)[ \t]+(?:{env})[ \t]+[\"']?{bare}",
        # A value that another program would not take for a word.
        rf"{_NAME}{_BETWEEN}{_RANDOM}{NO_PLACEHOLDER}(?P<secret>[^\s\"'`<>\\]{{8,4000}})(?:{_QUOTE}|`)",
        rf"(?m)^[ \t]*(?:export[ \t]+|%(?:set_)?env[ \t]+|ENV[ \t]+|-[ \t]*)?{_NAME}(?:=|:[ \t]+)"
        rf"{_RANDOM}{NO_PLACEHOLDER}(?P<secret>[^\s\"'`<>\\()\[\]{{}},;]{{12,4000}})[ \t]*$",
        rf"(?:%(?:set_)?env|\bsetx?|\bENV)[ \t]+{_NAME}(?:[ \t]+|=){_RANDOM}{bare}",
        rf"<(?P<tag>(?:\w+:)?(?:{_NAME}))>\s{{0,20}}{_RANDOM}{NO_PLACEHOLDER}(?P<secret>[^\s<>]{{8,4000}})\s{{0,20}}</",
    )
    return [("secret in an assignment", re.compile(form)) for form in forms]


def _list_own_names() -> tuple[list[str], list[str]]:
    """Return the names of all credentials as arguments, and their variables."""
    settings = list_section_settings(get_section_types())
    credentials = [setting for setting in settings if setting.is_credential]
    names = {setting.name for setting in credentials}
    variables = {variable for setting in credentials for variable in setting.env}
    return sorted(names), sorted(variables)


def compile_patterns() -> Patterns:
    """Return every pattern by its kind, those of the installed services too."""
    patterns = list(SECRET_PATTERNS)
    for kind, form in TOKENS.items():
        patterns.append((kind, re.compile(f"{_BEFORE}(?P<secret>{form}){_AFTER}")))
    for kind, forms in PLACES.items():
        patterns += [(kind, re.compile(form)) for form in forms]
    return patterns + _compile_assignments()


def iter_secrets(
    text: str, patterns: Patterns, known: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield each secret of a text: its kind, and what was found.

    Args:
        text: the text to search
        patterns: what `compile_patterns` returned
        known: secrets to search for by their value, each by the
            name to report
    """
    for kind, pattern in patterns:
        for match in pattern.finditer(text):
            secret = match.groupdict().get("secret") or match[0]
            if not _is_mask(secret):
                yield kind, secret
    for name, secret in known.items():
        if any(encoded in text for encoded in iter_encodings([secret])):
            # With its name: it counts beside the kind that its form tells.
            yield name, f"{name}={secret}"


def _is_mask(text: str) -> bool:
    return re.search(r"[xX]{8}|\*{3}|\.{3}|…", text) is not None
