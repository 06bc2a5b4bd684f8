"""Repositories on the Hub, through huggingface_hub alone: its cache, its endpoint, its token, its offline switch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants, errors, hf_hub_url
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from codegen.diagnostics import CompileError, Diagnostic, printable
from codegen.repo.headers import Header, read_header, read_local
from codegen.repo.names import check_relative
from ir.records import dataclass

CONFIG = "config.json"
FIRST_READ = 128 << 10  # bytes: holds the whole header of all but the largest files
TIMEOUT = 30.0  # seconds


@dataclass(frozen=True, slots=True)
class HubFiles:
    """The files of one commit of a repository, fetched into the Hub's cache when asked for."""

    repository: str
    commit: str
    listing: tuple[str, ...]
    complete: bool = True  # False: the listing is what the cache happens to hold

    def names(self) -> tuple[str, ...]:
        return self.listing

    def path(self, name: str) -> Path | None:
        check_relative(name, self.repository)
        if name not in self.listing:
            return None
        with hub_errors(self.repository, self.commit):
            return Path(huggingface_hub.hf_hub_download(self.repository, name, revision=self.commit))

    def header(self, name: str) -> Header:
        """The header of a safetensors file, by ranged reads; the data stays where it is."""
        cached = huggingface_hub.try_to_load_from_cache(self.repository, name, revision=self.commit)
        if isinstance(cached, str):
            return read_local(Path(cached), name)
        with hub_errors(self.repository, self.commit):
            start, size = self._range(name, 0, FIRST_READ)

            def read(first: int, last: int) -> bytes:
                if last <= len(start) or len(start) < FIRST_READ:
                    return start[first:last]
                return self._range(name, first, last)[0]

            return read_header(read, size, name)

    def _range(self, name: str, start: int, stop: int) -> tuple[bytes, int | None]:
        """The bytes [start, stop) of a file and the size of the whole."""
        url = hf_hub_url(self.repository, name, revision=self.commit)
        headers = {**build_hf_headers(), "range": f"bytes={start}-{stop - 1}", "accept-encoding": "identity"}
        with get_session().stream("GET", url, headers=headers, timeout=TIMEOUT, follow_redirects=True) as response:
            if response.status_code == 416:  # a range of an empty file
                return b"", 0
            hf_raise_for_status(response)
            ranged = response.status_code == 206
            wanted, skip = stop - start, 0 if ranged else start
            data = bytearray()
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) >= skip + wanted:
                    break  # a server that ignores the range is not read to its end
            total = re.search(r"/(\d+)$", response.headers.get("content-range", ""))
            length = response.headers.get("content-length", "")
            size = int(total[1]) if total else int(length) if not ranged and length.isdigit() else None
            return bytes(data[skip : skip + wanted]), size


def open_repository(repository: str, revision: str | None) -> tuple[HubFiles, str]:
    """The files of a repository and the commit that they are of.

    Raises:
        CompileError: `source-not-found`, `source-gated`, `revision-not-found`, `hub-unreachable`.
    """
    with hub_errors(repository, revision):
        if constants.HF_HUB_OFFLINE:
            return _cached(repository, revision)
        commit = revision
        with suppress(errors.EntryNotFoundError):  # by name first: that is what the cache remembers for offline use
            commit = Path(huggingface_hub.hf_hub_download(repository, CONFIG, revision=revision)).parent.name
        info = huggingface_hub.HfApi().model_info(repository, revision=commit)
    names = tuple(sorted(sibling.rfilename for sibling in info.siblings or ()))
    return HubFiles(repository, info.sha or commit or "", names), info.sha or commit or ""


def _cached(repository: str, revision: str | None) -> tuple[HubFiles, str]:
    """What earlier runs left in the cache."""
    config = Path(huggingface_hub.hf_hub_download(repository, CONFIG, revision=revision, local_files_only=True))
    root = config.parent
    names = tuple(sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()))
    return HubFiles(repository, root.name, names, complete=False), root.name


@contextmanager
def hub_errors(repository: str, revision: str | None) -> Iterator[None]:
    """What huggingface_hub raises, as diagnostics."""
    try:
        yield
    except errors.GatedRepoError:
        raise CompileError(
            Diagnostic(
                "source-gated",
                f"access to {repository} on the Hub is restricted",
                help="accept its terms on its page, then log in with `hf auth login` or set HF_TOKEN",
            )
        ) from None
    except errors.RevisionNotFoundError:
        raise CompileError(
            Diagnostic("revision-not-found", f"{repository} has no revision {printable(str(revision), 200)}")
        ) from None
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise CompileError(
            Diagnostic(
                "source-not-found",
                f"there is no repository {printable(repository, 200)} on the Hub, or it is private",
                notes=(f"the Hub is {constants.ENDPOINT}", "no file or folder of that name is on this machine"),
                help="check the spelling; for a private repository log in with `hf auth login` or set HF_TOKEN",
            )
        ) from None
    except errors.LocalEntryNotFoundError:
        raise CompileError(_unreachable(repository, "it is not in the cache either")) from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        raise CompileError(_unreachable(repository, f"it answers with status {status}")) from None
    except (OSError, errors.OfflineModeIsEnabled) as error:
        raise CompileError(_unreachable(repository, printable(str(error).splitlines()[0], 200))) from None
    except CompileError:
        raise
    except Exception as error:
        if not type(error).__module__.startswith(("httpx", "httpcore", "huggingface_hub")):
            raise
        raise CompileError(_unreachable(repository, type(error).__name__)) from None


def _unreachable(repository: str, detail: str) -> Diagnostic:
    offline = "; HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else ""
    return Diagnostic(
        "hub-unreachable",
        f"{repository} cannot be fetched from {constants.ENDPOINT}{offline}",
        notes=(detail,),
        help="check the connection and HF_ENDPOINT, or give a folder that holds the repository",
    )
