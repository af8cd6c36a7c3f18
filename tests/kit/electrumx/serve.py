"""Runs an ElectrumX server, configured by its environment, for as long as standard input stays open.

Whoever starts it holds the other end of the pipe: when that process ends, however it ends, the server ends
too.
"""

import os
import runpy
import sys
import threading

from electrumx.server import block_processor, mempool


def end_with_the_pipe():
    while os.read(0, 4096):
        pass
    os._exit(0)


def look_as_often_as_told(of, pause, milliseconds):
    """Has what a class makes pause as the environment says: 1.16.0 knows no such settings, and takes five seconds."""
    begin = of.__init__

    def begin_and_hurry(self, *arguments, **named):
        begin(self, *arguments, **named)
        setattr(self, pause, int(milliseconds) / 1000)

    of.__init__ = begin_and_hurry


if __name__ == "__main__":
    look_as_often_as_told(block_processor.Prefetcher, "polling_delay", os.environ["DAEMON_POLL_INTERVAL_BLOCKS"])
    look_as_often_as_told(mempool.MemPool, "refresh_secs", os.environ["DAEMON_POLL_INTERVAL_MEMPOOL"])
    threading.Thread(target=end_with_the_pipe, daemon=True).start()
    # 1.16.0 has its entry there alone, later releases there as well.
    runpy.run_path(os.path.join(os.path.dirname(sys.executable), "electrumx_server"), run_name="__main__")
