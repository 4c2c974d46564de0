"""Which protobuf the messages are made with: the installed one, else the pure-Python copy that the package carries. A program that
embeds Python has often none, or an old one that another plugin brought."""

from __future__ import annotations

#: True when the copy is in use.
VENDORED = False

try:
    import google.protobuf as _installed

    if int(_installed.__version__.split(".")[0]) < 5:
        raise ImportError("this protobuf is too old")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
except ImportError:
    from easel._vendor.protobuf import (  # type: ignore[no-redef]
        descriptor_pb2,
        descriptor_pool,
        message_factory,
    )
    from easel._vendor.protobuf.internal.enum_type_wrapper import EnumTypeWrapper  # type: ignore[no-redef]

    VENDORED = True
