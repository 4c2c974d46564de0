"""The messages of `easel.v1`, made from their descriptors when this is imported: `proto.GenerationSpec(prompt="a boat")`.

Enum types stand here as well (`proto.Stage.Name(3)`), and their values (`proto.STAGE_DENOISE`). The descriptors live in a pool of
their own, so that no other library's messages get in the way.
"""

from importlib import resources

from easel import _protobuf

_pool = _protobuf.descriptor_pool.DescriptorPool()
_files = _protobuf.descriptor_pb2.FileDescriptorSet.FromString(resources.files("easel").joinpath("_messages.binpb").read_bytes())
for _file in _files.file:
    _pool.AddSerializedFile(_file.SerializeToString())
for _file in _files.file:
    if _file.package != "easel.v1":
        continue
    _found = _pool.FindFileByName(_file.name)
    for _name, _descriptor in _found.message_types_by_name.items():
        globals()[_name] = _protobuf.message_factory.GetMessageClass(_descriptor)
    for _name, _descriptor in _found.enum_types_by_name.items():
        globals()[_name] = _protobuf.EnumTypeWrapper(_descriptor)
        for _value in _descriptor.values:
            globals()[_value.name] = _value.number
