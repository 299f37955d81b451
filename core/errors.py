"""Every error that fuseid raises, in two trees: a FuseidError ends the command, an ItemError rejects a single item.

The exit status of a FuseidError says whether to repeat the command: with every BadInput, and only with these, it is 2.
"""

import errno

# What names something else than was meant. All other errors of the system (permissions, disks, networks) may pass.
_WRONG_PATH = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL)


class FuseidError(Exception):
    """Ends a command with one line for the user: the cause, the offending value, the remedy."""

    exit_status = 1


class BadInput(FuseidError):
    """A manifest, option, path or query that cannot be used as given: the same command fails again."""

    exit_status = 2


class NotReady(FuseidError):
    """What was asked for cannot be done now and may work later with the same command: an item that is not ingested yet,
    a champion that is not promoted yet, a server that does not answer."""


class ConfigError(BadInput):
    """A configuration file or value that is not valid."""


class MissingPackage(BadInput):
    """A package that the command needs and that is not installed: an extra, or one that `fuseid-reader` leaves out."""


class ModelError(FuseidError):
    """A model that cannot be loaded now: the hub does not answer, memory is short."""


class BadModel(ModelError, BadInput):
    """A model of an unknown name, or one whose files or settings cannot be used."""


class FingerprintMismatch(BadInput):
    """Two artifacts, or an artifact and a database, that were made by different models or settings."""


class ArtifactError(FuseidError):
    """A saved fusion or tokenizer that is altered, lost or of an unknown format."""


class UnknownArtifact(ArtifactError, BadInput):
    """An id that no fusion or tokenizer of the database has."""


class StoreError(FuseidError):
    """A database that has another schema version, cannot be reached, or does not have yet what was asked for."""


class NoDatabase(StoreError, BadInput):
    """A path or uri at which there is no fuseid database."""


class DamagedTable(StoreError):
    """A table whose files are missing or changed. `fuseid check` says what is lost, and repairs it or names the
    remedy."""


class LeaseLost(FuseidError):
    """Another writer took the lease while this run held it; nothing further was committed."""


class LeaseHeld(FuseidError):
    """Another run is writing to this database."""

    exit_status = 3


class TooManyRejected(FuseidError):
    """All items were rejected, or more than `--max-rejected` allows; the items that succeeded are kept."""

    exit_status = 4


class GateFailed(FuseidError):
    """A figure of a tokenizer is beyond a limit of the gate."""

    exit_status = 5


class FitFailed(FuseidError):
    """A fit that diverged or collapsed; nothing of it is kept."""


class Stopped(FuseidError):
    """A signal stopped the run; finished work is kept. The exit status is 128 plus the number of the signal."""

    exit_status = 143

    def __init__(self, message: str, signal_number: int = 15) -> None:
        super().__init__(message)
        self.exit_status = 128 + signal_number


class ItemError(Exception):
    """Rejects one item: it becomes one row in `rejected`, and its class name is the row's `error_class`.

    may_pass: whether the same item may succeed later, without a change to it or to the configuration.
    """

    may_pass: bool = False


class MissingFile(ItemError):
    """The uri does not name a readable regular file."""


class NotAllowed(ItemError):
    """The uri is outside what the configuration allows, or its server refuses to show it (401, 403)."""


class FetchFailed(ItemError):
    """A remote file did not arrive complete and in time. This may be temporary, so the next ingest tries it again."""

    may_pass = True


class BadShard(ItemError):
    """A tar shard is not a tar file, or is damaged; what was read before the damage is kept."""


class Unrecognised(ItemError):
    """The bytes are not of a known image or video format."""


class CorruptMedia(ItemError):
    """The bytes start like a known format but cannot be decoded."""


class TooLarge(ItemError):
    """Bytes, pixels, duration or caption beyond the configured limit."""


class DecodeTimeout(ItemError):
    """Decoding took longer than `decode.timeout_seconds`; its process was killed."""


class DecodeCrashed(ItemError):
    """The decoding process died on this item."""


class OutOfMemory(ItemError):
    """Decoding needed more than `decode.memory_bytes`."""


class EmptyItem(ItemError):
    """The item has no modality: no media and no caption."""


class BadVector(ItemError):
    """A ready-made vector that is null, zero, not finite, or of the wrong size."""


class BadField(ItemError):
    """A field of a manifest row has the wrong type: uri, caption and kind are text, attributes is a JSON object."""


class BadSidecar(ItemError):
    """The caption file of a medium cannot be read, is too large, is outside the folder, or has a field of the wrong
    type."""


class EncodeFailed(ItemError):
    """The encoder raised on this item, or returned a vector that is not finite."""


def item_errors() -> list[type[ItemError]]:
    """Every class that `error_class` of a rejected item can name."""
    return ItemError.__subclasses__()


def unusable(message: str, cause: Exception) -> BadInput | NotReady:
    """The error for a file, folder or uri that a person named and that cannot be read or written because of `cause`:
    BadInput if it does not exist or its content is wrong, NotReady if a permission, disk or server is in the way."""
    if isinstance(cause, ItemError):
        may_pass = cause.may_pass
    elif isinstance(cause, OSError):
        # Readers of file formats raise OSErrors without a number.
        own = isinstance(cause, TimeoutError | ConnectionError)
        may_pass = own or (cause.errno is not None and cause.errno not in _WRONG_PATH)
    else:
        may_pass = isinstance(cause, MemoryError)
    return NotReady(message) if may_pass else BadInput(message)
