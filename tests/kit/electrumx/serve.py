"""Runs an ElectrumX server, configured by its environment, for as long as standard input stays open.

serve.py [PROTOCOL_MAX]

Whoever starts it holds the other end of the pipe: when that process ends, however it ends, the server ends
too. PROTOCOL_MAX, such as 1.4.2, is the newest protocol version offered.
"""

import os
import sys
import threading


def end_with_the_pipe():
    while os.read(0, 4096):
        pass
    os._exit(0)


def lower_protocol(version):
    from electrumx.server import session

    session.ElectrumX.PROTOCOL_MAX = version
    for name in vars(session):
        kind = getattr(session, name)
        if isinstance(kind, type) and issubclass(kind, session.ElectrumX):
            kind.PROTOCOL_MAX = version


if __name__ == "__main__":
    threading.Thread(target=end_with_the_pipe, daemon=True).start()
    if len(sys.argv) > 1:
        lower_protocol(tuple(int(part) for part in sys.argv[1].split(".")))
    from electrumx.cli.electrumx_server import main

    main()
