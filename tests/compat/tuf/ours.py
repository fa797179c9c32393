"""Our client of TUF with the face of python-tuf's `Updater`, so that python-tuf's own tests can be run against it.

The client is a process (`interop walk`) that says what it wants; fetching, and writing what is to be kept, is done here.
"""

import base64
import datetime
import json
import os
import subprocess

from tuf.api import exceptions

ROLES = ("root", "timestamp", "snapshot", "targets")

ERRORS = {
    "missing": exceptions.RepositoryError,
    "too-long": exceptions.DownloadLengthMismatchError,
    "repository": exceptions.RepositoryError,
    "unsigned": exceptions.UnsignedMetadataError,
    "version": exceptions.BadVersionNumberError,
    "announced": exceptions.LengthOrHashMismatchError,
    "expired": exceptions.ExpiredMetadataError,
    "log": exceptions.RepositoryError,
}


class OurUpdater:
    """One walk. Of python-tuf's arguments only those that name places are looked at."""

    program = None

    def __init__(self, metadata_dir, metadata_base_url, target_dir=None, target_base_url=None, fetcher=None, config=None, bootstrap=None):
        self.directory = metadata_dir
        self.base = metadata_base_url
        self.fetcher = fetcher
        self.outcome = None
        kept = {role: self._read(role) for role in ROLES}
        os.makedirs(metadata_dir, exist_ok=True)
        self.built_in = bootstrap if bootstrap is not None else kept["root"]

    def _path(self, role):
        return os.path.join(self.directory, f"{role}.json")

    def _read(self, role):
        try:
            with open(self._path(role), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def _write(self, kept):
        for role in ROLES:
            if kept[role] is not None:
                with open(self._path(role), "wb") as file:
                    file.write(base64.b64decode(kept[role]))
            elif os.path.exists(self._path(role)):
                os.remove(self._path(role))

    def _answer(self, name, at_most):
        try:
            data = b"".join(self.fetcher.fetch(self.base + name))
        except exceptions.DownloadHTTPError:
            return "missing"
        # Whoever is told to stop reads one byte more, which shows that there is more.
        return "file " + base64.b64encode(data[: at_most + 1]).decode()

    def refresh(self):
        """Walks to the end, or raises what python-tuf would raise."""
        encoded = lambda data: None if data is None else base64.b64encode(data).decode()
        start = {role: encoded(self._read(role)) for role in ROLES}
        start["built_in"] = encoded(self.built_in)
        start["now"] = int(datetime.datetime.now(datetime.timezone.utc).timestamp())
        with subprocess.Popen([self.program, "walk"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            say = lambda line: print(line, file=process.stdin, flush=True)
            say(json.dumps(start))
            for line in process.stdout:
                word, _, rest = line.rstrip("\n").partition(" ")
                if word == "kept":
                    self._write(json.loads(rest))
                elif word == "want":
                    name, at_most = rest.split(" ")
                    say(self._answer(name, int(at_most)))
                elif word == "error":
                    kind, _, text = rest.partition(" ")
                    raise ERRORS[kind](text)
                elif word == "done":
                    self.outcome = json.loads(rest)
                    return
                else:
                    raise AssertionError(line)
        raise AssertionError(f"the client ended without a word: {process.returncode}")
