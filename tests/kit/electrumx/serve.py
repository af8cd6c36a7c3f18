"""Runs an ElectrumX server, configured by its environment, for as long as standard input stays open.

Whoever starts it holds the other end of the pipe: when that process ends, however it ends, the server ends
too.
"""

import os
import runpy
import sys
import threading


def end_with_the_pipe():
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=end_with_the_pipe, daemon=True).start()
    # 1.16.0 has its entry there alone, later releases there as well.
    runpy.run_path(os.path.join(os.path.dirname(sys.executable), "electrumx_server"), run_name="__main__")
