"""The words of the link, shared by both ends.

What lives here: names that travel. What must not: anything that does something.
"""

PROTOCOL = 1
BEAT_S = 2.0  # seconds between two signs of life of a helper that works
STATE_FORMAT = 1  # what is kept on a node: .dasctl/state.json and .dasctl/manifest

# A line of its own, alone, that ends whatever a login script prints before the helper speaks.
MARKER = b"DASCTL-LINK-1"

MINIMUM_PYTHON = (3, 9)

# Requests (see docs/protocol.md).
PING = "ping"
LOOK = "look"
SYNC = "sync"
CONTENTS = "contents"
START = "start"
STOP = "stop"
RELOAD = "reload"
REMOVE = "remove"
COMMIT = "commit"
STAGE = "stage"
DEVIATIONS = "deviations"
READ = "read"
SOFTWARE = "software"  # also the folder below the node's directory in which releases of software lie
SWITCH = "switch"
RUN = "run"
TAIL = "tail"
LOGS = "logs"
MORE = "more"
DUMP = "dump"

# Verdicts of a request about one instance.
DONE = "done"  # carried out
UNCHANGED = "unchanged"  # nothing was to do
STANDS = "stands"  # the instance stands at another revision than expected: see `at`
NEEDS = "needs"  # contents have to follow
REFUSED = "refused"  # by the guard: see `reason`
STAGED = "staged"  # all that is lacking is verified beside; `commit` has to follow
FAILED = "failed"

# Reasons of the guard.
ANOTHER_DOMAIN = "another domain"
FENCED = "fenced"
MEMBERSHIP = "membership"
NEWER_FORMAT = "newer format"

# States of a server.
RUNNING = "running"
NOT_RUNNING = "not running"
STARTING = "starting"
SERVER_FAILED = "failed"
UNKNOWN = "unknown"  # never said by a helper: the node did not answer

# Kinds of entries in a manifest.
FILE = "f"
FOLDER = "d"
LINK = "l"

# Kinds of deviations.
CHANGED = "changed"
MISSING = "missing"
EXTRA = "extra"
OVERRIDDEN = "overridden"

# The areas of an instance that synchronisation owns, in their order.
AREAS = ("config", "applications", "lib", "docroot")

# The one area of the folder SOFTWARE.
RELEASES = "releases"
