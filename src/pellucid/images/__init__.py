"""Pictures: what they are, how they are found and opened, and a map in a picture's own pixels."""

from pellucid.choices import SAMPLES as SAMPLES
from pellucid.choices import SUFFIXES as SUFFIXES
from pellucid.choices import Interpolation as Interpolation
from pellucid.images.notes import seen_as as seen_as
from pellucid.images.opening import locate as locate
from pellucid.images.opening import open_encoded as open_encoded
from pellucid.images.opening import open_picture as open_picture
from pellucid.images.opening import open_pictures as open_pictures
from pellucid.images.opening import open_with_others as open_with_others
from pellucid.images.opening import shared_ranges as shared_ranges
from pellucid.images.picture import Batch as Batch
from pellucid.images.picture import Box as Box
from pellucid.images.picture import Picture as Picture
from pellucid.images.placing import place as place
from pellucid.images.searching import find_pictures as find_pictures
