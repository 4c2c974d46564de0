#!/usr/bin/env python3
"""Makes what the package carries and the tree does not: the descriptors of `easel.v1`, type stubs for them, and a copy of the
pure-Python protobuf under a name of our own. Needs grpcio-tools and protobuf; `python tools/generate.py` fills the source
folder in place, for work on the package without building it."""

import re
import shutil
import sys
from importlib import metadata, resources
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent

# What the pure implementation needs, and the well-known types that our messages use.
KEPT = [
    "__init__.py descriptor.py descriptor_database.py descriptor_pb2.py descriptor_pool.py message.py message_factory.py reflection.py",
    "runtime_version.py symbol_database.py text_encoding.py text_format.py unknown_fields.py any_pb2.py duration_pb2.py timestamp_pb2.py",
    "struct_pb2.py field_mask_pb2.py any.py duration.py timestamp.py empty_pb2.py wrappers_pb2.py",
]
KEPT_INTERNAL = [
    "__init__.py builder.py containers.py decoder.py encoder.py enum_type_wrapper.py extension_dict.py field_mask.py",
    "message_listener.py python_edition_defaults.py python_message.py type_checkers.py well_known_types.py wire_format.py",
]
IMPORT = re.compile(r"^(\s*)(from|import) google\.protobuf\b", re.MULTILINE)
ONE_IMPLEMENTATION = '''"""This copy of protobuf is the pure-Python one, whatever else is installed."""

_c_module = None


def Type():
    return "python"


def IsPythonDefaultSerializationDeterministic():
    return False
'''


def protos():
    """The folder with `easel/v1`: that of the tree, else the one beside this package."""
    for folder in (HERE / "proto", HERE.parent.parent / "proto"):
        if (folder / "easel" / "v1").is_dir():
            return folder
    raise SystemExit("the protos are missing: neither the tree nor a source distribution is here")


def copy_protos(target):
    source = protos()
    if source != target:
        shutil.copytree(source / "easel", target / "easel", dirs_exist_ok=True)


def all_files(package):
    """Makes everything below the folder of the package."""
    messages(package)
    vendor(package / "_vendor")


def messages(package):
    """Descriptors in one file, stubs in `v1/` and one stub that gathers them."""
    from grpc_tools import protoc

    source = protos()
    names = sorted(str(file.relative_to(source)) for file in (source / "easel" / "v1").glob("*.proto"))
    common = ["protoc", f"-I{source}", f"-I{resources.files('grpc_tools') / '_proto'}"]
    stubs = package.parent
    for more in ([f"--descriptor_set_out={package / '_messages.binpb'}", "--include_imports"], [f"--pyi_out={stubs}"]):
        if protoc.main([*common, *more, *names]) != 0:
            raise SystemExit("the protos do not compile")
    for file in (package / "v1").glob("*.pyi"):
        # Enums are whole numbers for whoever reads and writes messages.
        file.write_text(file.read_text())
    lines = [f"from easel.v1.{Path(name).stem}_pb2 import *" for name in names]
    text = '"""The messages of easel.v1."""\n\n' + "\n".join(lines) + "\n"
    (package / "proto.pyi").write_text(text)


def vendor(target):
    """Copies the installed protobuf without its C extension, imports rewritten so that it meets no other copy."""
    import google.protobuf

    source = Path(google.protobuf.__file__).parent
    shutil.rmtree(target, ignore_errors=True)
    (target / "protobuf" / "internal").mkdir(parents=True)
    (target / "__init__.py").write_text('"""Libraries that the package brings along."""\n')
    for folder, lists in (("", KEPT), ("internal", KEPT_INTERNAL)):
        for name in " ".join(lists).split():
            file = source / folder / name
            if file.exists():
                text = IMPORT.sub(r"\1\2 easel._vendor.protobuf", file.read_text())
                (target / "protobuf" / folder / name).write_text(text)
    (target / "protobuf" / "internal" / "api_implementation.py").write_text(ONE_IMPLEMENTATION)
    license_text = [file for file in metadata.files("protobuf") or [] if file.name == "LICENSE"]
    if not license_text:
        raise SystemExit("protobuf was installed without its licence, which its copy must carry")
    (target / "protobuf" / "LICENSE").write_text(license_text[0].read_text())


if __name__ == "__main__":
    all_files(HERE / "src" / "easel")
    sys.exit(0)
