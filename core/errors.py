"""Every error that fuseid raises, in two trees: one that ends a run, one that costs a single item."""


class FuseidError(Exception):
    """Ends a command with one line for the user: the cause, the offending value, the mend."""

    exit_status = 1


class BadInput(FuseidError):
    """A manifest, option, path or query that cannot be used as given."""


class ConfigError(FuseidError):
    """A configuration file or value that does not validate."""


class ModelError(FuseidError):
    """A model that cannot be found or loaded."""


class FingerprintMismatch(FuseidError):
    """Two artifacts, or an artifact and a database, that were made from different things."""


class ArtifactError(FuseidError):
    """A saved fusion or tokenizer that is missing, altered or of an unknown format."""


class StoreError(FuseidError):
    """A database that is missing, of another schema version, or lacks what was asked of it."""


class DamagedTable(StoreError):
    """A table whose files are not as they were written. `fuseid check` says what that costs, and repairs it or names
    what does."""


class LeaseLost(FuseidError):
    """Another writer took the lease while this run held it; nothing further was committed."""


class LeaseHeld(FuseidError):
    """Another run is writing to this database."""

    exit_status = 3


class TooManyRejected(FuseidError):
    """All items were rejected, or more than `--max-rejected` allows; what was good is kept."""

    exit_status = 4


class Stopped(FuseidError):
    """The run was told to stop, and has kept what was finished. Its exit status is that of the signal, plus 128."""

    exit_status = 143

    def __init__(self, message: str, signal_number: int = 15) -> None:
        super().__init__(message)
        self.exit_status = 128 + signal_number


class ItemError(Exception):
    """Costs one item: it becomes one row in `rejected`, and its class name is the row's `error_class`."""


class MissingFile(ItemError):
    """The uri names no readable regular file."""


class NotAllowed(ItemError):
    """The uri is outside what the configuration allows, or its server refuses to show it (401, 403)."""


class FetchFailed(ItemError):
    """A remote file did not come over whole and in time. That may pass, so the next ingest tries it again by itself."""


class BadShard(ItemError):
    """A tar shard is no tar, or is damaged; what was read before the damage is kept."""


class Unrecognised(ItemError):
    """The bytes are of no known image or video format."""


class CorruptMedia(ItemError):
    """The bytes begin like a known format but cannot be decoded."""


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
    """A field of a manifest's row is of the wrong type: uri, caption or kind are text, attributes a JSON object."""


class BadSidecar(ItemError):
    """The file with a medium's caption cannot be read, is too large, lies outside the folder, or has a field of the
    wrong type."""


class EncodeFailed(ItemError):
    """The encoder raised on this item, or returned a vector that is not finite."""
