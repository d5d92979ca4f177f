"""The local page: sessions, their events and the health of delivery, in a browser.

``serve`` responds on the loopback interface to requests with its token. It reads the files of a
journal, even if its program has ended, and writes only to replay a dead letter. ``offline_page``
creates a single file of the same page.
"""

from wakelog.page._offline import offline_page
from wakelog.page._server import PageSettings, serve

__all__ = ["PageSettings", "offline_page", "serve"]
