"""Released weights: fetched, checked and kept on this machine.

huggingface_hub and pooch say where the bytes are and what they must hash to. The transfer is our
own, because theirs lack what a file of gigabytes needs: hf_hub_download (tried: 0.25.2, 0.36.2,
1.17.0, 1.18.0, 1.33.0, 2.4.0) compares the size but no hash, and since 1.18 starts from zero after
a kill; pooch (tried: 1.9.0) compares the hash but always starts from zero.
"""

from riboswitch.released.cache import cache_folder, is_here, read_provenance, released_path
from riboswitch.released.fetching import check, fetch

__all__ = ["cache_folder", "check", "fetch", "is_here", "read_provenance", "released_path"]
