"""Which protobuf the messages are made with: the installed one, else the pure-Python copy that the package carries. A program that
embeds Python has often none, or an old one that another plugin brought."""

from __future__ import annotations

from typing import Any

descriptor_pb2: Any
descriptor_pool: Any
message_factory: Any
EnumTypeWrapper: Any

#: True when the copy is in use.
VENDORED = False

try:
    import google.protobuf as _installed

    if int(_installed.__version__.split(".")[0]) < 5:
        raise ImportError("this protobuf is too old")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
except ImportError:
    from easel._vendor.protobuf import (  # type: ignore[import-not-found,no-redef]
        descriptor_pb2,
        descriptor_pool,
        message_factory,
    )
    from easel._vendor.protobuf.internal.enum_type_wrapper import (  # type: ignore[import-not-found,no-redef]
        EnumTypeWrapper,
    )

    VENDORED = True
