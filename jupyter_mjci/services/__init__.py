"""Describe the job services, and find them: each is one folder, and one `Service`.

A `Service` tells everything that the rest of the package has to
know: how to build calls, what a response means, how often to
poll, what to show. Nothing outside a service's folder asks which
service a job belongs to; it asks `service(job.service)`.

Another package adds a service by an entry point of the group
`jupyter_mjci.services`: its name is the key, its value leads to
the `Service`. docs/how-to/add-a-service.md walks through one.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Protocol, cast

from jupyter_mjci.client import jsonlib, redaction
from jupyter_mjci.client import settings as client_settings
from jupyter_mjci.client.calls import Call, Page, Paginator, Response, Sender
from jupyter_mjci.client.job import Job
from jupyter_mjci.client.settings import SectionTypes, Settings, SettingsSection
from jupyter_mjci.client.transport import Clock, Endpoint, Transport
from jupyter_mjci.errors import SettingsError

if TYPE_CHECKING:
    import httpx

ENTRY_POINTS = "jupyter_mjci.services"
# Imported when they are first asked for.
BUILT_IN = {
    "mj": "jupyter_mjci.services.midjourney:SERVICE",
    "ci": "jupyter_mjci.services.tencent_ci:SERVICE",
}
KEY_PATTERN = re.compile(r"[a-z][a-z0-9]{1,15}")

# The texts of one job, by the paths of `Service.fields`.
Row = tuple[str | None, ...]
# The object whose public methods build calls.
Api = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class PollPolicy:
    """How often a service's jobs are polled.

    Args:
        batch_size: jobs in one bulk request, at most
        min_interval: seconds between two polls of a job
        typical_duration: seconds that a job takes, until the
            journal knows better
        settling_time: seconds after a submission's response was
            lost; what the listing does not show by then was never
            received. Longer than a gateway's lead over the
            service behind it, plus the lag of the listing
    """

    batch_size: int = 50
    min_interval: float = 2.0
    typical_duration: float = 20.0
    settling_time: float = 60.0


class SubmissionTracking(Protocol):
    """How the job of a submission is found whose response was lost; a module with these functions.

    A submission of a service without it is sent once, and its
    outcome stays unknown where no response came.
    """

    def is_trackable(self, call: Call[Any]) -> bool:
        """Return whether the call creates a job that a listing shows."""
        ...

    def with_marker(self, call: Call[Any], marker: str) -> Call[Any] | None:
        """Return the call with the marker in it, or None where there is no place for it."""
        ...

    def build_search_request(
        self, call: Call[Any], sent_at: float
    ) -> Call[list[Job]] | Paginator[Job]:
        """Build the listing that shows the job."""
        ...

    def build_matcher(
        self,
        call: Call[Any],
        marker: str,
        sent_at: float,
    ) -> Callable[[Job], bool]:
        """Return a predicate that tells whether the call created a job of the listing."""
        ...

    def is_exact_match(self, call: Call[Any], marker: str) -> bool:
        """Return whether the predicate cannot confuse the job with another one."""
        ...

    def restore_call(
        self,
        sender: Sender | None,
        name: str,
        path: str,
        body: bytes,
    ) -> Call[Job]:
        """Return the submission of a journal row."""
        ...


@dataclass(frozen=True, slots=True)
class MagicHelp:
    """What the help of a magic says beyond its builder.

    Args:
        example: a line, or a cell
        description: instead of the docstring's summary
        required: of several optional parameters the builder needs
            one: the usual choice
    """

    example: str = ""
    description: str = ""
    required: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PictureTarget:
    """A call that a picture can be sent to.

    Args:
        builder: the builder's name
        label: its name for people
        param: the builder's parameter that takes the picture
        line: the magic, with {picture} for a picture's name and
            {job} for the ID of its job
    """

    builder: str
    label: str
    param: str
    line: str


@dataclass(frozen=True, slots=True)
class ParamValues:
    """What completion offers for a parameter of builders, beyond the choices of its annotation.

    Args:
        texts: these
        job_field: and what the known jobs have there: "id",
            "action", or "subject" with the names of a listing
    """

    texts: tuple[str, ...] = ()
    job_field: str = ""


class PromptSyntax(Protocol):
    """What a service finds in the text of a prompt; a module with these names."""

    @property
    def FLAGS(self) -> Sequence[Any]:
        """The flags that completion offers, see `midjourney.prompt_flags`."""
        ...

    @property
    def FLAGS_BY_NAME(self) -> Mapping[str, Any]:
        """The same by each of their names."""
        ...

    def check_prompt(
        self,
        prompt: str,
        *,
        has_picture: bool = False,
        other_flags: Sequence[str] = (),
        others_are_text: bool = False,
    ) -> None:
        """Raise PreflightError for a prompt that would fail, or do something else."""
        ...

    def is_refused(self, prompt: str) -> bool:
        """Return whether `check_prompt` finds something wrong."""
        ...


@dataclass(frozen=True, slots=True)
class JobChanges:
    """What a bulk poll found.

    Args:
        items: the jobs that changed, or are new
        ids: the IDs of all jobs in the response
    """

    items: Sequence[Job]
    ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class SyncSource:
    """A listing from which the journal is updated.

    Args:
        bookmark: names the position up to which it was read; ""
            for a listing that is always read whole
        build: builds it for the jobs that were created between
            two times
    """

    bookmark: str
    build: Callable[[datetime | None, datetime | None], Call[list[Job]] | Paginator[Job]]


def read_whole(
    build: Callable[[Api, datetime | None, datetime | None], Call[list[Job]] | Paginator[Job]],
) -> Callable[[Api, Sequence[str], Sequence[str]], list[SyncSource]]:
    """Return the `list_sync_sources` of a service with one listing, which is always read whole."""
    return lambda api, _actions, _known: [SyncSource("", partial(build, api))]


# Of the kind "epoch": a smaller number counts seconds, a larger
# one milliseconds, up to the last second that a datetime can hold.
SECONDS_CUTOFF = 1e11
MAX_TIMESTAMP_MS = 253_402_300_799_000


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """How one field of `Job` is read from the wire.

    Args:
        name: the field of `Job`, also the column of a frame
        paths: the wire's names, whose values `parse` takes; "a.b"
            is in an object
        parse: from these values to the field's value
        kind: what the values are, where whole columns of them are
            converted faster than one by one: text (the first that
            is not empty), user_data, status, percent, epoch (a
            number of seconds or milliseconds), iso_time, outputs
            (of the status and URLs), buttons, sparse (empty for
            nearly all jobs)
        maybe: for the kind sparse: whether texts may give a
            value, which is asked before they are parsed
    """

    name: str
    paths: tuple[str, ...]
    parse: Callable[..., Any]
    kind: str = ""
    maybe: Callable[..., bool] | None = None


def _get_subject(job: Job) -> str:
    return job.subject


def _get_nothing(_: Job) -> str:
    return ""


def _get_named_kind(call: Call[Any]) -> tuple[str, str]:
    return call.name, ""


def _get_no_size(_: Job) -> None:
    return None


def _get_no_urls(_: Job) -> Sequence[str]:
    return ()


def _get_no_facts(_: Job) -> Iterable[tuple[str, str]]:
    return ()


def _get_no_step(_: Job) -> tuple[str, int | None]:
    return "", None


def _parse_no_jobs(_: Any) -> Sequence[Job]:
    return ()


def _list_no_children(_api: Api, _job: Job) -> None:
    return None


def _list_no_sources(
    _api: Api,
    _actions: Sequence[str],
    _known: Sequence[str],
) -> list[SyncSource]:
    return []


async def _list_no_active(_api: Api, _actions: Sequence[str]) -> list[Job]:
    return []


# From a call that this server does not support, the API, and a
# function that returns the service's jobs in the journal, oldest
# first, to what the call would have returned.
Fallback = Callable[[Call[Any], Api, Callable[[], Sequence[Job]]], Awaitable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One job service.

    Args:
        key: short name: `session.<key>`, `%<key>_…`, `Job.service`
        label: its name for people
        short_label: a word for captions; by default the label
        settings: the class of its settings; its required fields
            tell what is missing
        build_api: builds the API of a session from its sender and
            settings
        api: the API's class; its public methods are the magics
        build_endpoints: builds the hosts that calls are sent to,
            by the name in `Call.endpoint`
        get_origin: names what job IDs are unique within: the base
            URL, or the bucket
        describe_connection: tells people where it leads to
        id_pattern: what all of a job ID matches
        id_help: tells people what IDs look like
        job_magic: the magic that follows a job by its ID
        button_magic: the magic that presses a button of a job
        input_magic: the magic that answers a job in NEEDS_INPUT
        get_job: builds the call that fetches a job
        cancel_job: builds the call that cancels one; None where
            the service cannot
        fetch_jobs: fetches several jobs at once, at most
            `poll.batch_size`; None where the service cannot
        fetch_changes: builds the call of a bulk poll, with the
            jobs as they were last seen by ID
        can_poll_in_bulk: whether a bulk poll finds the job
        list_active: fetches the jobs that run, given the actions
            that the journal has seen
        list_sync_sources: the listings that a sync reads, given
            the actions that were asked for, and those that the
            journal has seen
        list_children: builds the call that lists the jobs of a
            batch, None for any other job
        poll: how often jobs are polled
        not_found_codes: `ServiceError.code` where there is no
            such job
        tracking: how lost submissions are found
        fallbacks: what does the same where a server lacks an
            endpoint, by the name of the call
        fields: how `Job` is read from the wire
        missing_text: what stands on the wire for a missing value
        parse_listing: from a response to its jobs; with IDs, at
            least those with them
        parse_rows: from a page of a listing to the texts of all
            paths of `fields`, where that is faster than jobs
        parse_text: parses a document that is not JSON; raises
            ValueError where it is not the service's
        parse_callback: from a webhook's document to its jobs, none
            where the document is not the service's
        parse_record: the same, for a record of an export
        links_expire: whether results must be archived before
            their links end
        secret_patterns: what a scan searches for, by kind
        get_facts: what a card shows beyond the common fields
        describe_subject: what a job is about, in one line
        subject_is_key: whether the subject is a name rather than
            a text
        get_preview_url: the picture of a running job
        get_kind: the action and the queue of the job that a
            submission creates, as far as the call says, for its
            price
        get_poster_url: a picture of a job whose outputs are films
        get_command: the magic that asks for the same again; ""
            where none can
        get_single_urls: the single pictures of a job whose output
            is a sheet of them, where the service has them
        get_picture_size: width and height of a job's picture, where
            the job tells them
        get_step: the button that made a job of its parent, and
            which of the parent's pictures it took, from 0
        picture_targets: where a picture can be sent to
        diagnose: "module:attribute" of the checks of `doctor`; by
            default a page of the first listing of a sync is read
        panel: "module:attribute" of its panel
        magic_help: examples and more, by the builder's name
        prompt_syntax: what is written in its prompts; None where
            they are plain text
        param_values: what completion offers, by the parameter's
            name
        session_methods: "module:function" by the name of the
            method that every session gets: `session.<name>()`; a
            session's own methods come first
        parse_cell_body: "module:attribute" of the parser of a
            cell's body; the magic of `get_job` takes one then
        body_builders: the builders whose parameters are the keys
            of that body
    """

    key: str
    label: str
    api: type[Any]
    settings: type[SettingsSection]
    build_api: Callable[[Sender | None, Any], Api]
    build_endpoints: Callable[[Any, Clock], Mapping[str, Endpoint]]
    get_origin: Callable[[Any], str]
    describe_connection: Callable[[Any], str]
    id_pattern: re.Pattern[str]
    get_job: Callable[[Api, str], Call[Job]]
    short_label: str = ""
    id_help: str = ""
    job_magic: str = ""
    button_magic: str = ""
    input_magic: str = ""
    cancel_job: Callable[[Api, str], Call[None]] | None = None
    fetch_jobs: Callable[[Api, Sequence[str]], Awaitable[Sequence[Job]]] | None = None
    fetch_changes: Callable[[Api, Mapping[str, Job]], Call[JobChanges]] | None = None
    can_poll_in_bulk: Callable[[Job], bool] = bool
    list_active: Callable[[Api, Sequence[str]], Awaitable[list[Job]]] = _list_no_active
    list_sync_sources: Callable[[Api, Sequence[str], Sequence[str]], list[SyncSource]] = (
        _list_no_sources
    )
    list_children: Callable[[Api, Job], Call[Any] | None] = _list_no_children
    poll: PollPolicy = PollPolicy()
    not_found_codes: frozenset[str] = frozenset({"not_found"})
    tracking: SubmissionTracking | None = None
    fallbacks: Mapping[str, Fallback] = field(default_factory=dict)
    fields: tuple[FieldSpec, ...] = ()
    missing_text: str = ""
    parse_rows: Callable[[Response], Page[Row]] | None = None
    parse_listing: Callable[[Response, frozenset[str] | None], Iterable[Job]] | None = None
    parse_text: Callable[[str], object] | None = None
    parse_callback: Callable[[Any], Sequence[Job]] = _parse_no_jobs
    parse_record: Callable[[Any], Sequence[Job]] = _parse_no_jobs
    links_expire: bool = False
    secret_patterns: tuple[tuple[str, re.Pattern[str]], ...] = ()
    get_facts: Callable[[Job], Iterable[tuple[str, str]]] = _get_no_facts
    describe_subject: Callable[[Job], str] = _get_subject
    subject_is_key: bool = False
    get_preview_url: Callable[[Job], str] = _get_nothing
    get_kind: Callable[[Call[Any]], tuple[str, str]] = _get_named_kind
    get_poster_url: Callable[[Job], str] = _get_nothing
    get_command: Callable[[Job], str] = _get_nothing
    get_single_urls: Callable[[Job], Sequence[str]] = _get_no_urls
    get_picture_size: Callable[[Job], tuple[int, int] | None] = _get_no_size
    get_step: Callable[[Job], tuple[str, int | None]] = _get_no_step
    picture_targets: tuple[PictureTarget, ...] = ()
    diagnose: str = ""
    panel: str = ""
    magic_help: Mapping[str, MagicHelp] = field(default_factory=dict)
    prompt_syntax: PromptSyntax | None = None
    param_values: Mapping[str, ParamValues] = field(default_factory=dict)
    session_methods: Mapping[str, str] = field(default_factory=dict)
    parse_cell_body: str = ""
    body_builders: tuple[Callable[..., Call[Job]], ...] = ()


def list_paths(fields: Iterable[FieldSpec]) -> tuple[str, ...]:
    """Return the wire's names that the fields are read from, each once."""
    return tuple(dict.fromkeys(path for spec in fields for path in spec.paths))


# --- registry ---------------------------------------------------

_registered: dict[str, Service] = {}


def register(new: Service) -> Service:
    """Add a service; its entry point does the same when the key is first asked for.

    Raises:
        SettingsError: the key is not valid, or taken by another
            service
    """
    known = _registered.get(new.key)
    if known is not None and known is not new:
        raise SettingsError(f"The service key {new.key!r} is taken by {known.label}.")
    if not KEY_PATTERN.fullmatch(new.key):
        raise SettingsError(
            f"{new.key!r} is not a valid service key.", hint="Use lower-case letters and digits."
        )
    _registered[new.key] = new
    redaction.register_secret_patterns(new.secret_patterns)
    return new


@cache
def _list_entry_points() -> dict[str, EntryPoint]:
    # Once for each process: it reads the metadata of every
    # installed package.
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def list_keys() -> list[str]:
    """Return the keys of all services, the built-in ones first. Imports none of them."""
    return list(dict.fromkeys([*BUILT_IN, *_list_entry_points(), *_registered]))


def services() -> list[Service]:
    """Return all services, the built-in ones first."""
    return [service(key) for key in list_keys()]


def find_service(key: str) -> Service | None:
    """Return a service by its key, None where it is not installed."""
    if key not in _registered:
        point = _list_entry_points().get(key)
        location = BUILT_IN.get(key) or (point.value if point else None)
        if location is None:
            return None
        register(_load_service(key, location))
    return _registered[key]


def _load_service(key: str, location: str) -> Service:
    try:
        return cast(Service, load_attribute(location))
    except Exception as error:  # another package's own
        if key in BUILT_IN:
            raise
        raise SettingsError(
            f"The package {get_package(key)}, which adds the service {key!r}, cannot be loaded.",
            detail=f"{type(error).__name__}: {error}",
            hint="Update it, or uninstall it.",
        ) from error


def get_package(key: str) -> str:
    """Return the name of the distribution that adds a service; "" for a built-in one."""
    point = _list_entry_points().get(key) if key not in BUILT_IN else None
    return point.dist.name if point and point.dist else ""


def get_packages() -> dict[str, str]:
    """Return the distributions that add services, by key."""
    return {key: get_package(key) for key in list_keys() if key not in BUILT_IN}


def service(key: str) -> Service:
    """Return a service by its key.

    Raises:
        SettingsError: it is not installed
    """
    found = find_service(key)
    if found is None:
        raise build_not_installed_error(key)
    return found


def build_not_installed_error(key: str, package: str = "") -> SettingsError:
    """Build the error of a job whose service is not installed, with its package if known."""
    hint = f"Install the package that adds it (entry point {ENTRY_POINTS}: {key})."
    return SettingsError(
        f"The service {key!r} is not installed.",
        detail="Its jobs can be shown and analysed, not followed.",
        hint=f"Install the package {package}." if package else hint,
    )


def get_label(key: str) -> str:
    """Return the name of a service for people; its key where it is not installed."""
    found = find_service(key)
    return found.label if found else key


def guess_service(job_id: str) -> Service | None:
    """Return the service whose IDs look like this one, None where none does.

    Those that other packages add come first: their patterns are
    the narrower ones.
    """
    for candidate in reversed(services()):
        if candidate.id_pattern.fullmatch(job_id.strip()):
            return candidate
    return None


def parse_document(content: bytes) -> object:
    """Parse JSON, or what a service has instead; None where it is neither."""
    text = content.decode("utf-8-sig", "replace").strip()
    parsers = [jsonlib.loads, *(each.parse_text for each in services() if each.parse_text)]
    for parse in parsers:
        with contextlib.suppress(ValueError):
            return parse(text)
    return None


def parse_callback(body: bytes) -> Sequence[Job]:
    """Return the jobs of a webhook's delivery, by the service that knows its document.

    Those that other packages add are asked first.
    """
    document = parse_document(body)
    for each in reversed(services()):
        jobs = each.parse_callback(document)
        if jobs:
            return jobs
    return ()


def parse_record(record: object) -> Sequence[Job]:
    """Return the job of an exported record, by the service that knows it."""
    for each in reversed(services()):
        jobs = each.parse_record(record)
        if jobs:
            return jobs
    return ()


def load_attribute(location: str) -> Any:
    """Import what "module:attribute" names."""
    module, _, attribute = location.partition(":")
    return getattr(import_module(module), attribute)


def list_session_methods() -> dict[str, str]:
    """Return the methods that services add to a session, by name; of two the first counts."""
    methods: dict[str, str] = {}
    for each in reversed(services()):
        methods.update(each.session_methods)
    return methods


# --- settings ---------------------------------------------------


def get_section_types() -> SectionTypes:
    """Return the class of each service's settings, by key."""
    return {each.key: each.settings for each in services()}


def load_settings(
    overrides: Mapping[str, Any] | None = None,
    **sources: Any,
) -> Settings:
    """Load the settings of all services; parameters are those of `client.settings.load`."""
    return client_settings.load(overrides, get_section_types(), **sources)


def list_configured(settings: Settings) -> list[Service]:
    """Return the services that the settings suffice for."""
    return [each for each in services() if settings.sections[each.key].is_configured]


def build_apis(sender: Sender, settings: Settings) -> dict[str, Api]:
    """Build the APIs of all services, by key."""
    return {each.key: each.build_api(sender, settings.sections[each.key]) for each in services()}


def build_endpoints(settings: Settings, clock: Clock) -> dict[str, Endpoint]:
    """Build the endpoints of the configured services, by name."""
    endpoints: dict[str, Endpoint] = {}
    for each in list_configured(settings):
        endpoints.update(each.build_endpoints(settings.sections[each.key], clock))
    return endpoints


def build_transport(
    settings: Settings, clock: Clock, transport: httpx.AsyncBaseTransport | None = None
) -> Transport:
    """Build what sends the requests of all configured services; parameters as of `Session`."""
    return Transport(
        build_endpoints(settings, clock),
        clock=clock,
        timeout=settings.timeout,
        at_once=settings.at_once,
        ca_file=settings.ca_file,
        transport=transport,
        build_missing_error=build_not_configured_error,
        redactor=redaction.Redactor(client_settings.list_secrets(settings)),
        allow_private=settings.allow_private,
    )


def get_origins(settings: Settings) -> dict[str, str]:
    """Return what the job IDs of each service are unique within."""
    return {each.key: each.get_origin(settings.sections[each.key]) for each in services()}


def describe_setup(each: Service, section: SettingsSection | None = None) -> str:
    """Return which variables configure a service, or those that it still lacks."""
    missing = (section or each.settings()).missing
    sections = client_settings.list_section_settings({each.key: each.settings})
    names = [setting.env[0] for setting in sections if setting.field.name in missing]
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def build_not_configured_error(key: str) -> SettingsError:
    """Build the error of a call whose service is not configured."""
    each = service(key)
    return SettingsError(
        f"{each.label} is not configured.",
        hint=f"Set {describe_setup(each)}, or use mjci.sandbox(), which needs no account.",
    )
