"""Where pictures of a run come from: folders, lists, archives, annotated sets, URLs, memory."""

from pellucid.runner.sources.opening import open_source as open_source
from pellucid.runner.sources.reading import read_bytes as read_bytes
from pellucid.runner.sources.reading import read_picture as read_picture
from pellucid.runner.sources.source import Source as Source
