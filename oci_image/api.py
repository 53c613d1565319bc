"""The library: everything that the verbs of oci-image do, in one place to import from.

Nothing here prints, reads the command line or keeps state between calls; every function says in its
docstring what it raises, and all of that is an `ExpectedError` with `what`, `where` and `hint`.
docs/library.md shows how the parts go together.
"""

from oci_image.build.agent import read_agent
from oci_image.build.builder import BuildOptions, BuiltImage, build_image
from oci_image.build.mounts import read_secret
from oci_image.build.outputs import BuildOutput, parse_output
from oci_image.build.running import parse_host
from oci_image.configure import CLEARABLE, ConfigChanges, configure_image, create_image, tag_of
from oci_image.copying import CopyOptions, CopyResult, copy_image
from oci_image.errors import ImageError, IntegrityError, RegistryError, SnapshotError
from oci_image.flatten import (
    add_layer,
    export_image,
    export_to_file,
    import_archive,
    insert_tree,
    insert_whiteout,
    squash_image,
)
from oci_image.indexes import (
    EntryChanges,
    add_to_index,
    annotate_entry,
    annotate_index,
    create_index,
    read_index,
    remove_from_index,
)
from oci_image.inspecting import (
    HistoryStep,
    ImageDocuments,
    describe_image,
    inspect_image,
    read_history,
    read_image,
    read_raw_manifest,
)
from oci_image.layers.limits import Limits, parse_limits
from oci_image.layers.ownership import IdMap, IdRange, parse_id_range
from oci_image.locations import locate_image, open_destination, open_source, tag_in
from oci_image.model.descriptor import Descriptor
from oci_image.model.digest import Digest, parse_digest
from oci_image.model.platform import Platform, host_platform, parse_platform
from oci_image.model.reference import Reference, parse_image_name
from oci_image.model.registry_reference import (
    RegistryReference,
    full_name,
    parse_registry_reference,
    split_host,
)
from oci_image.pack.image import History
from oci_image.raw import digest_of_manifest, make_tree, unpack_tree, write_runtime_config
from oci_image.registry.configuration import Endpoint, Registries, load_registries
from oci_image.registry.credentials import Credentials, find_credentials, store_credentials
from oci_image.registry.listing import Deleted, check_login, delete_image, list_repositories, list_tags
from oci_image.registry.options import RegistryOptions
from oci_image.registry.searching import FoundRepository, search_repositories
from oci_image.repack import Changes, Repacked, RepackOptions, diff_bundle, repack_bundle
from oci_image.snapshots.cache import SnapshotCache
from oci_image.snapshots.overlay import mount_bundle, remove_bundle, unmount_bundle
from oci_image.snapshots.place import default_location as default_snapshots_path
from oci_image.store.check import Fault, StoreCheck, check_store
from oci_image.store.content import Entry, Store, create_layout, default_store_path, name_of
from oci_image.store.filters import FILTERS, filter_images
from oci_image.store.summary import ImageSummary, list_images
from oci_image.syncing import DESTINATIONS, SOURCES, Synced, SyncItem, find_images, sync
from oci_image.transfer import (
    POLICIES,
    Transferred,
    copy,
    load,
    pull,
    pull_every_tag,
    push,
    push_every_tag,
    save,
)
from oci_image.transports.interface import Destination, Source
from oci_image.unpack import UnpackedBundle, UnpackOptions, unpack_image
from pyruntime.base.errors import ExpectedError, HostError, UsageError

__all__ = [
    "CLEARABLE",
    "DESTINATIONS",
    "FILTERS",
    "POLICIES",
    "SOURCES",
    "BuildOptions",
    "BuildOutput",
    "BuiltImage",
    "Changes",
    "ConfigChanges",
    "CopyOptions",
    "CopyResult",
    "Credentials",
    "Deleted",
    "Descriptor",
    "Destination",
    "Digest",
    "Endpoint",
    "Entry",
    "EntryChanges",
    "ExpectedError",
    "Fault",
    "FoundRepository",
    "History",
    "HistoryStep",
    "HostError",
    "IdMap",
    "IdRange",
    "ImageDocuments",
    "ImageError",
    "ImageSummary",
    "IntegrityError",
    "Limits",
    "Platform",
    "Reference",
    "Registries",
    "RegistryError",
    "RegistryOptions",
    "RegistryReference",
    "RepackOptions",
    "Repacked",
    "SnapshotCache",
    "SnapshotError",
    "Source",
    "Store",
    "StoreCheck",
    "SyncItem",
    "Synced",
    "Transferred",
    "UnpackOptions",
    "UnpackedBundle",
    "UsageError",
    "add_layer",
    "add_to_index",
    "annotate_entry",
    "annotate_index",
    "build_image",
    "check_login",
    "check_store",
    "configure_image",
    "copy",
    "copy_image",
    "create_image",
    "create_index",
    "create_layout",
    "default_snapshots_path",
    "default_store_path",
    "delete_image",
    "describe_image",
    "diff_bundle",
    "digest_of_manifest",
    "export_image",
    "export_to_file",
    "filter_images",
    "find_credentials",
    "find_images",
    "full_name",
    "host_platform",
    "import_archive",
    "insert_tree",
    "insert_whiteout",
    "inspect_image",
    "list_images",
    "list_repositories",
    "list_tags",
    "load",
    "load_registries",
    "locate_image",
    "make_tree",
    "mount_bundle",
    "name_of",
    "open_destination",
    "open_source",
    "parse_digest",
    "parse_host",
    "parse_id_range",
    "parse_image_name",
    "parse_limits",
    "parse_output",
    "parse_platform",
    "parse_registry_reference",
    "pull",
    "pull_every_tag",
    "push",
    "push_every_tag",
    "read_agent",
    "read_history",
    "read_image",
    "read_index",
    "read_raw_manifest",
    "read_secret",
    "remove_bundle",
    "remove_from_index",
    "repack_bundle",
    "save",
    "search_repositories",
    "split_host",
    "squash_image",
    "store_credentials",
    "sync",
    "tag_in",
    "tag_of",
    "unmount_bundle",
    "unpack_image",
    "unpack_tree",
    "write_runtime_config",
]
