"""The local page: sessions, their events and the health of delivery, in a browser.

``serve`` answers on the loopback, to who has its token. It reads the files of a journal, also those of a
program that is dead, and writes only to replay a dead letter. ``offline_page`` makes one file of the same page.
"""

from wakelog.page._offline import offline_page
from wakelog.page._server import PageSettings, serve

__all__ = ["PageSettings", "offline_page", "serve"]
