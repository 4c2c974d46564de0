"""What the client tells the model, as plain values. `ticket` names the edit."""

from collections import namedtuple

#: The daemon answers: where, its version, that of its protocol, and the names of its models.
Connected = namedtuple("Connected", "place version protocol models")
#: A call failed; `ticket` is None when it was none of an edit.
Failed = namedtuple("Failed", "ticket reason code message")
#: The edit was accepted, with this seed.
Accepted = namedtuple("Accepted", "ticket seed")
#: It waits; 1 is next.
Queued = namedtuple("Queued", "ticket position")
#: A stage has moved on; `fraction` of the whole is done.
Progressed = namedtuple("Progressed", "ticket stage done total fraction")
#: How far the picture has come, as a file.
Preview = namedtuple("Preview", "ticket file step")
#: Done: pairs of seed and file.
Finished = namedtuple("Finished", "ticket results")
#: Cancelled or failed.
Ended = namedtuple("Ended", "ticket cancelled reason message")
