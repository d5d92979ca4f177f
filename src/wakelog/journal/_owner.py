"""The owner of a folder: the service and pipeline whose records it holds, and which writer it is.

``<folder>/owner`` is one line of JSON with a checksum, written before the first segment and never
changed. Only a process of the same service and pipeline delivers a folder, unless a user names
another one. The headers of segments repeat the fields that delivery needs, in case ``owner`` is
lost or damaged.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import unquote

import orjson

from wakelog.errors import CorruptLineError, JournalError, JournalFormatError
from wakelog.record import DEFAULT_PIPELINE, LOGS, Resource, read_header, seal_fields, verify
from wakelog.runtime import SYSTEM, FileSystem, ForeignFileError, open_to_read, read_small
from wakelog.storage import segment_name, segments, write_whole_lines

OWNER = "owner"
UNNAMED_SERVICE = "unknown_service"
"""The name of a service without a name. What OpenTelemetry appends to it is ignored."""

_NAMESPACE, _NAME = "service.namespace", "service.name"
_SERVICE, _ATTRIBUTES = "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"
_MODE = 0o600
_LONGEST_HEADER = 1024 * 1024
# A cache of folders' generations, which never change.
_generations: dict[Path, int] = {}
_MOST_GENERATIONS = 10_000


class Service(NamedTuple):
    """A service: the ``service.namespace`` and ``service.name`` of its resource."""

    namespace: str = ""
    name: str = UNNAMED_SERVICE

    @classmethod
    def of(cls, resource: Resource) -> Self:
        """Return the service of a resource."""
        attributes = resource.attributes
        name = str(attributes.get(_NAME) or UNNAMED_SERVICE)
        if name.startswith(f"{UNNAMED_SERVICE}:"):
            name = UNNAMED_SERVICE
        return cls(str(attributes.get(_NAMESPACE) or ""), name)

    @classmethod
    def of_environment(cls) -> Self:
        """Return the service that OpenTelemetry reads from the environment."""
        pairs = (one.partition("=") for one in os.environ.get(_ATTRIBUTES, "").split(","))
        said = {name.strip(): unquote(value.strip()) for name, _, value in pairs}
        name = os.environ.get(_SERVICE, "").strip() or said.get(_NAME) or UNNAMED_SERVICE
        return cls(said.get(_NAMESPACE, ""), name)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Owner(NamedTuple):
    """The service, pipeline and writer to which a folder belongs.

    Attributes:
        service: The service that recorded them.
        pipeline: The pipeline that they were recorded for.
        signal: Their signal, such as ``logs``.
        generation: The writer's generation; 0 in format 1.
        process: The UUID of the process, which all its folders share; empty in format 1.
        destination: The destination of the process's delivery, in words and without secrets; empty
            if it had none, None if unknown.
    """

    service: Service
    pipeline: str = DEFAULT_PIPELINE
    signal: str = LOGS
    generation: int = 0
    process: str = ""
    destination: str | None = None

    @property
    def key(self) -> tuple[Service, str, str]:
        """The service, pipeline and signal; folders with the same key are delivered together."""
        return self.service, self.pipeline, self.signal

    @property
    def whose(self) -> tuple[Service, str]:
        """The service and pipeline, without the signal."""
        return self.service, self.pipeline

    def to_bytes(self) -> bytes:
        """Return the content of the file ``owner``."""
        fields: dict[str, object] = {
            "service": {"namespace": self.service.namespace, "name": self.service.name},
            "pipeline": self.pipeline,
            "signal": self.signal,
            "generation": self.generation,
            "process": self.process,
        }
        if self.destination is not None:
            fields["destination"] = self.destination
        return seal_fields(fields)[0]

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read the content of the file ``owner``.

        Raises:
            CorruptLineError: When the content is damaged.
        """
        line = content.removesuffix(b"\n")
        try:
            if verify(line, 0) is None:
                message = "the checksum does not match"
                raise CorruptLineError(message)
            data = orjson.loads(line)
            return cls(
                Service(str(data["service"]["namespace"]), str(data["service"]["name"])),
                str(data["pipeline"]),
                str(data["signal"]),
                int(data["generation"]),
                str(data["process"]),
                data.get("destination"),
            )
        except (ValueError, KeyError, TypeError) as error:
            message = f"not an owner: {content[:80]!r} ({error})"
            raise CorruptLineError(message) from error


def write_owner(folder: Path, owner: Owner, fs: FileSystem = SYSTEM) -> None:
    """Write the ``owner`` file of a new folder, before its first segment.

    Raises:
        OSError: When a file operation fails.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    fd = fs.open(folder / OWNER, flags, _MODE)
    try:
        write_whole_lines(fs, fd, owner.to_bytes())
    finally:
        os.close(fd)


def owner_of(folder: Path) -> Owner | None:
    """Return the owner of a folder.

    Args:
        folder: The folder of a writer.

    Returns:
        The owner from the file ``owner``, else from the first readable header of a segment; a
        folder of format 1 belongs to the pipeline ``default``. None if neither is readable, or if a
        newer Wakelog wrote the folder.

    Raises:
        JournalError: When a file operation fails.
    """
    try:
        return Owner.from_bytes(read_small(folder / OWNER))
    except (CorruptLineError, FileNotFoundError, ForeignFileError):
        pass
    except OSError as error:
        raise JournalError("read", folder / OWNER, error) from error
    return _owner_by_headers(folder)


def signal_of(folder: Path) -> str:
    """Return the signal of a folder; ``logs`` if it is not stored.

    Raises:
        JournalError: When a file operation fails.
    """
    owner = owner_of(folder)
    return LOGS if owner is None else owner.signal


def generation_of(folder: Path) -> int:
    """Return the generation of a writer's folder, or 0 if it cannot be read."""
    known = _generations.get(folder)
    if known is not None:
        return known
    try:
        generation = Owner.from_bytes(read_small(folder / OWNER)).generation
    except (FileNotFoundError, NotADirectoryError):
        generation = 0
    except (CorruptLineError, OSError):
        with suppress(JournalError):
            found = _owner_by_headers(folder)
            return 0 if found is None else found.generation
        return 0
    if len(_generations) >= _MOST_GENERATIONS:
        _generations.clear()
    _generations[folder] = generation
    return generation


def _owner_by_headers(folder: Path) -> Owner | None:
    """Return the owner from the first readable header of a folder's segments."""
    for index in segments(folder):
        path = folder / segment_name(index)
        try:
            with open_to_read(path) as file:
                line = file.readline(_LONGEST_HEADER).removesuffix(b"\n")
            header = read_header(line, str(path))
        except (CorruptLineError, ForeignFileError):
            continue  # a damaged header might send records to the wrong destination
        except JournalFormatError:
            return None
        except OSError as error:
            raise JournalError("read", path, error) from error
        else:
            service = Service.of(header.resource)
            return Owner(service, header.pipeline, header.signal, header.generation)
    return None
